import numpy as np
import pytest
from sklearn.metrics import r2_score

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.registry import get_metric


def pairs(seed, count=30, offset=0.0):
    rng = np.random.default_rng(seed)
    right = rng.normal(size=(count, 2)) * [1.0, 0.2] + offset
    said = right + rng.normal(size=(count, 2)) * 0.3
    return right, said


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_equal_to_scikit_learn(offset):
    right, said = pairs(0, offset=offset)
    metric = get_metric("r2", ["valence", "arousal"])
    answers = list(zip(right.tolist(), said.tolist(), strict=True))
    assert metric.corpus(answers) == pytest.approx(100 * r2_score(right, said), abs=1e-6)
    assert metric.statistics(answers).shape == (30, len(metric.columns))
    assert get_metric("r2").corpus(answers) == metric.corpus(answers)


def test_one_number_a_clip():
    right, said = (values[:, :1] for values in pairs(1))
    answers = zip(right.tolist(), said.tolist(), strict=True)
    assert get_metric("r2").corpus(answers) == pytest.approx(100 * r2_score(right, said))


def test_a_number_that_never_varies_is_left_out():
    right, said = pairs(2)
    right[:, 1] = 0.1
    answers = list(zip(right.tolist(), said.tolist(), strict=True))
    assert get_metric("r2").corpus(answers) == pytest.approx(100 * r2_score(right[:, 0], said[:, 0]))
    assert np.isnan(get_metric("r2").corpus([([0.1], [0.2]), ([0.1], [0.1])]))


def test_a_clip_without_a_number_does_not_count_for_it():
    right, said = pairs(3)
    right[:10, 0] = np.nan
    expected = (r2_score(right[10:, 0], said[10:, 0]) + r2_score(right[:, 1], said[:, 1])) / 2
    answers = zip(right.tolist(), said.tolist(), strict=True)
    assert get_metric("r2").corpus(answers) == pytest.approx(100 * expected)


def test_stacked_sums_score_as_single_ones():
    metric = get_metric("r2", ["a", "b"])
    parts = [metric.statistics(zip(*(v.tolist() for v in pairs(s)), strict=True)).sum(0) for s in range(3)]
    assert metric.score(np.stack(parts)).tolist() == [float(metric.score(part)) for part in parts]


def test_what_are_no_numbers_is_refused():
    with pytest.raises(UserError, match=r"takes 2 numbers \(a, b\), but got 1 and 1"):
        get_metric("r2", ["a", "b"]).per_clip([1.0], [1.0])
    with pytest.raises(UserError, match="takes a list of numbers, but got '1'"):
        get_metric("r2").per_clip("1", [1.0])
