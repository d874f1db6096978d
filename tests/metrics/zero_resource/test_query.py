import numpy as np
import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.dtw import dtw_pairs
from audio_ssl.metrics.families.ranking import average_precisions
from audio_ssl.metrics.families.zero_resource import mtwv, standardised


def searched(seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(4, 6, 8))
    holds = rng.random((4, 15)) < 0.4
    holds[:, 0], holds[:, 1] = True, False
    utterances = []
    for column in holds.T:
        parts = [rng.normal(size=(3, 8))]
        for word in words[column]:
            parts += [np.repeat(word, rng.integers(1, 3), 0) + noise * rng.normal(size=(1, 8)), rng.normal(size=(2, 8))]
        utterances.append(torch.tensor(np.concatenate(parts)))
    pairs = list(np.ndindex(holds.shape))
    costs = dtw_pairs([torch.tensor(word) for word in words], utterances, pairs, "cosine", subsequence=True)
    return -costs.double().numpy().reshape(holds.shape), holds


def value_at(threshold, scores, relevant, beta):
    rates = [
        ((row < threshold)[right].mean(), (row >= threshold)[~right].mean())
        for row, right in zip(scores, relevant, strict=True)
    ]
    misses, alarms = np.mean(rates, 0)
    return 1 - misses - beta * alarms


def test_queries_are_found_where_they_are_said():
    scores, holds = searched(noise=0.0)
    assert scores[holds] == pytest.approx(0.0, abs=1e-5)
    assert (average_precisions(scores, holds) == 100.0).all()
    assert mtwv(scores, holds)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_trying_every_threshold(seed):
    rng = np.random.default_rng(seed)
    relevant = rng.random((6, 40)) < 0.2
    relevant[:, 0] = True
    scores = standardised(np.round(rng.normal(size=(6, 40)) + 2 * relevant, 1))
    value, threshold = mtwv(scores, relevant)
    beta = (1 / 0.0008 - 1) / 100
    best = max(0.0, *(value_at(t, scores, relevant, beta) for t in np.unique(scores)))
    assert value == pytest.approx(best)
    assert value == pytest.approx(value_at(threshold, scores, relevant, beta))
    assert 0 < value < 1


def test_never_below_accepting_nothing():
    relevant = np.array([[True, False, False]])
    assert mtwv(np.array([[0.0, 1.0, 2.0]]), relevant) == (0.0, np.inf)


def test_queries_that_nobody_said_do_not_count():
    relevant = np.array([[True, False], [False, False]])
    assert mtwv(np.array([[1.0, 0.0], [5.0, 5.0]]), relevant)[0] == 1.0


def test_standardised():
    scores = standardised(np.array([[1.0, 2, 3], [5, 5, 5]]))
    assert scores[0].mean() == pytest.approx(0)
    assert scores[0].std() == pytest.approx(1)
    assert scores[1].tolist() == [0, 0, 0]


def test_wrong_input_is_refused():
    with pytest.raises(UserError, match=r"must both be \[query, utterance\]"):
        mtwv(np.zeros((1, 2)), np.zeros((2, 2), bool))
    with pytest.raises(UserError, match="no query has both"):
        mtwv(np.zeros((1, 2)), np.ones((1, 2), bool))
    with pytest.raises(UserError, match="must be finite"):
        mtwv(np.full((1, 2), np.inf), np.array([[True, False]]))
