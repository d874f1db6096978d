import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.families.verification import EER, MIN_DCF, SpeakerTrials, eer, equal_error, min_dcf
from audio_ssl.metrics.resampling import bootstrap


def trials(seed, count=400, decimals=8):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.3
    return np.round(rng.normal(size=count) + 1.5 * same, decimals), same


@pytest.mark.parametrize("decimals", [8, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_scikit_learns_curve(seed, decimals):
    scores, same = trials(seed, decimals=decimals)
    alarms, hits, _ = roc_curve(same, scores)
    expected = brentq(lambda x: 1 - x - interp1d(alarms, hits)(x), 0, 1)
    assert eer(scores, same) == pytest.approx(100 * expected, abs=1e-6)
    for p_target, c_miss, c_fa in [(0.01, 1, 1), (0.5, 1, 1), (0.05, 10, 1)]:
        cost = c_miss * (1 - hits) * p_target + c_fa * alarms * (1 - p_target)
        least = cost.min() / min(c_miss * p_target, c_fa * (1 - p_target))
        assert min_dcf(scores, same, p_target, c_miss, c_fa) == pytest.approx(least)


def test_known_values():
    same = np.array([True, True, False, False])
    assert eer(np.array([4.0, 3, 2, 1]), same) == 0.0
    assert eer(np.array([1.0, 2, 3, 4]), same) == 100.0
    assert eer(np.zeros(4), same) == 50.0
    assert min_dcf(np.array([4.0, 3, 2, 1]), same) == 0.0
    assert min_dcf(np.zeros(4), same) == 1.0


@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_at_the_threshold_of_equal_error_both_errors_are_about_it(decimals):
    scores, same = trials(9, decimals=decimals)
    rate, threshold = equal_error(scores, same)
    assert rate == eer(scores, same)
    edges = scores[scores >= threshold].min(), scores[scores <= threshold].max()
    misses = [100 * np.mean(scores[same] < edge) for edge in edges]
    alarms = [100 * np.mean(scores[~same] >= edge) for edge in edges]
    assert misses[1] - 1e-9 <= rate <= misses[0] + 1e-9
    assert alarms[0] - 1e-9 <= rate <= alarms[1] + 1e-9


def test_a_threshold_that_parts_the_kinds_lies_between_them():
    rate, threshold = equal_error(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert rate == 0
    assert 0.2 < threshold <= 0.8


def speaker_trials(seed, speakers=15, utterances=4, between=1.0):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"s{i}" for i in range(speakers)], utterances)
    vectors = np.repeat(rng.normal(size=(speakers, 8)) * between, utterances, 0) + rng.normal(size=(len(names), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = np.triu_indices(len(names), 1)
    pairs = list(zip(names[left].tolist(), names[right].tolist(), strict=True))
    return (vectors[left] * vectors[right]).sum(1), names[left] == names[right], pairs


def curves(scores, same, pairs):
    names, index = np.unique(np.array(pairs), return_inverse=True)
    return SpeakerTrials(scores, same, *index.reshape(-1, 2).T), len(names)


def test_the_interval_holds_the_value_and_is_wider_than_one_over_trials():
    scores, same, pairs = speaker_trials(0)
    trials, speakers = curves(scores, same, pairs)
    interval = bootstrap(lambda counts: trials.resampled(EER, counts), speakers, 200)
    assert interval.value == eer(scores, same)
    assert interval.low < interval.value < interval.high
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(scores), len(scores)) for _ in range(200)]
    low, high = np.quantile([eer(scores[draw], same[draw]) for draw in draws], [0.025, 0.975])
    assert interval.high - interval.low > 1.3 * (high - low)


@pytest.mark.parametrize(("metric", "function"), [(EER, eer), (MIN_DCF, min_dcf)])
def test_weights_are_copies_of_speakers(metric, function):
    scores, same, pairs = speaker_trials(1, speakers=4)
    counts = {"s0": 2, "s1": 1, "s2": 1, "s3": 0}
    copies = [counts[a] if a == b else counts[a] * counts[b] for a, b in pairs]
    expected = function(np.repeat(scores, copies), np.repeat(same, copies))
    once = function(scores, same)
    found = curves(scores, same, pairs)[0].resampled(metric, np.array([[2.0, 1, 1, 0], [1, 1, 1, 1], [4, 0, 0, 0]]))
    assert found[:2] == pytest.approx([expected, once])
    # One speaker alone has no trial of two.
    assert np.isnan(found[2])


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="none is the same"):
        eer(np.zeros(2), np.zeros(2, bool))
    with pytest.raises(UserError, match="all are the same"):
        min_dcf(np.zeros(2), np.ones(2, bool))
    with pytest.raises(UserError, match="must be finite, but 1 are not"):
        eer(np.array([0.0, np.nan]), np.array([True, False]))
    with pytest.raises(UserError, match="`p_target` must be between 0 and 1"):
        min_dcf(np.zeros(2), np.array([True, False]), p_target=1.0)
