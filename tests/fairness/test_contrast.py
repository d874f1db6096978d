import math
import warnings

import numpy as np
import pytest
from scipy import stats

from audio_ssl.fairness.gap_tests import contrast, contrast_crossed
from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.resampling import replicate_sums

WER = get_metric("wer").score


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def readers(rng, count, rate, clips=30, spread=0.5):
    words = rng.integers(8, 25, (count, clips)).sum(1).astype(float)
    rates = rate * np.exp(rng.normal(-(spread**2) / 2, spread, count))
    return np.stack([rng.poisson(words * rates), words], 1).astype(float)


def test_values_are_those_of_the_groups():
    rng = np.random.default_rng(0)
    first, second = readers(rng, 12, 0.3), readers(rng, 9, 0.2)
    a, b = mean(first.sum(0)), mean(second.sum(0))
    found = contrast(first, second, mean, 2_000, rng)
    assert found.difference.value == pytest.approx(a - b)
    assert found.ratio.value == pytest.approx(a / b)
    assert found.relative_symmetric.value == pytest.approx(200 * (a - b) / (a + b))
    for interval in found[:3]:
        assert interval.low < interval.value < interval.high


def test_the_standard_error_is_that_of_welch():
    rng = np.random.default_rng(1)
    first, second = (np.stack([rng.normal(5, 1, n), np.ones(n)], 1) for n in (6, 11))
    expected = math.sqrt(first[:, 0].var(ddof=1) / 6 + second[:, 0].var(ddof=1) / 11)
    assert contrast(first, second, mean, 20_000, rng).standard_error == pytest.approx(expected, rel=0.03)


def test_many_speakers_agree_with_scipy():
    rng = np.random.default_rng(2)
    first, second = (np.stack([rng.gamma(4, 1, n), np.ones(n)], 1) for n in (200, 150))
    ours = contrast(first, second, mean, 20_000, rng).difference
    for method in ("percentile", "BCa"):
        theirs = stats.bootstrap(
            (first[:, 0], second[:, 0]), lambda a, b, axis=-1: a.mean(axis) - b.mean(axis), n_resamples=20_000,
            method=method, rng=np.random.default_rng(3),
        ).confidence_interval  # fmt: skip
        assert ours.low == pytest.approx(theirs.low, abs=0.03)
        assert ours.high == pytest.approx(theirs.high, abs=0.03)


def test_few_speakers_get_the_width_of_a_t_test():
    rng = np.random.default_rng(3)
    found, welch = [], []
    for _ in range(40):
        first, second = (np.stack([rng.normal(5, 1, n), np.ones(n)], 1) for n in (6, 6))
        ours = contrast(first, second, mean, 4_000, rng).difference
        theirs = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False).confidence_interval()
        found.append(ours.high - ours.low)
        welch.append(theirs.high - theirs.low)
    assert np.mean(found) == pytest.approx(np.mean(welch), rel=0.08)


def test_intervals_never_disagree():
    rng = np.random.default_rng(4)
    verdicts = set()
    for _ in range(60):
        found = contrast(readers(rng, 6, 0.3), readers(rng, 8, 0.2), mean, 500, rng)
        outside = [
            not interval.low <= null <= interval.high for interval, null in zip(found[:3], (0.0, 1.0, 0.0), strict=True)
        ]
        assert len(set(outside)) == 1
        verdicts |= set(outside)
    assert verdicts == {True, False}


@pytest.mark.parametrize(("sizes", "clips"), [((5, 5), (30, 30)), ((6, 20), (8, 60)), ((15, 15), (30, 30))])
def test_gaps_that_are_not_there_are_found_as_often_as_stated(sizes, clips):
    rng = np.random.default_rng(5)
    ours, plain = [], []
    for _ in range(400):
        first, second = (readers(rng, n, 0.15, c) for n, c in zip(sizes, clips, strict=True))
        found = contrast(first, second, mean, 600, rng).difference
        ours.append(not found.low <= 0 <= found.high)
        draws = mean(replicate_sums(first, 600, rng)) - mean(replicate_sums(second, 600, rng))
        low, high = np.quantile(draws, [0.025, 0.975])
        plain.append(not low <= 0 <= high)
    # Three binomial standard errors around 5 +- 2 %.
    assert 0.01 < np.mean(ours) < 0.09
    assert np.mean(plain) > np.mean(ours)


def test_the_interval_for_a_tolerance_is_the_narrower_one():
    rng = np.random.default_rng(6)
    first, second = readers(rng, 15, 0.3), readers(rng, 15, 0.2)
    found = contrast(first, second, mean, 4_000, rng)
    wide, narrow = found.difference, found.within
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_generator_decides():
    rng = np.random.default_rng(0)
    first, second = readers(rng, 8, 0.3), readers(rng, 8, 0.2)
    runs = [contrast(first, second, mean, 300, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    crossed = [contrast_crossed(first, second, mean, 300, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert crossed[0] == crossed[1] != crossed[2]


def test_speakers_in_both_groups_are_drawn_together():
    rng = np.random.default_rng(7)
    spread = np.exp(rng.normal(0, 1, 25))
    words = np.full(25, 400.0)
    first, second = (np.stack([rng.poisson(words * 0.1 * level * spread), words], 1) for level in (1.2, 1.0))
    together = contrast_crossed(first.astype(float), second.astype(float), mean, 2_000, rng)
    apart = contrast(first.astype(float), second.astype(float), mean, 2_000, rng)
    assert together.difference.value == apart.difference.value
    assert together.standard_error < 0.5 * apart.standard_error
    assert together.difference.low > 0 > apart.difference.low


def test_crossed_groups_without_common_speakers_are_like_separate_ones():
    rng = np.random.default_rng(8)
    first, second = readers(rng, 40, 0.3), readers(rng, 40, 0.2)
    none = np.zeros_like(first)
    crossed = contrast_crossed(np.concatenate([first, none]), np.concatenate([none, second]), mean, 8_000, rng)
    apart = contrast(first, second, mean, 8_000, rng)
    assert crossed.standard_error == pytest.approx(apart.standard_error, rel=0.05)
    assert crossed.difference.low == pytest.approx(apart.difference.low, abs=0.01)


def wer(errors, words):
    rows = np.zeros((len(errors), 4))
    rows[:, 0], rows[:, 3] = errors, words
    return rows


@pytest.mark.parametrize("way", [contrast, contrast_crossed])
def test_degenerate_groups_say_so_without_warnings(way):
    rng = np.random.default_rng(9)
    none, some, silent = wer([0] * 6, 10), wer([1, 2, 0, 1, 3, 1], 10), np.zeros((6, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = way(none, none, WER, 200, rng)
        assert same.difference == (0.0, 0.0, 0.0)
        assert np.isnan(same.ratio).all()
        assert np.isnan(same.relative_symmetric).all()
        assert same.standard_error == 0.0
        onto_zero = way(some, none, WER, 200, rng)
        assert onto_zero.difference.low > 0
        assert np.isnan(onto_zero.ratio).all()
        assert onto_zero.relative_symmetric.value == 200.0
        from_zero = way(none, some, WER, 200, rng)
        assert from_zero.ratio[:2] == (0.0, 0.0)
        rare = way(some, wer([0, 0, 0, 0, 2, 0], 10), WER, 2_000, rng)
        assert math.isfinite(rare.ratio.low)
        assert rare.ratio.high == math.inf
        undefined = way(silent, some, WER, 200, rng)
        assert np.isnan(undefined.difference).all()
        assert math.isnan(undefined.standard_error)
        # Some resamples without any words.
        few = way(np.concatenate([silent[:4], some[:2]]), some, WER, 500, rng)
        assert np.isfinite(few.difference).all()
        one = way(some[:1], some[1:2], WER, 200, rng)
        assert math.isfinite(one.difference.value)
        assert np.isnan([one.difference.low, one.difference.high, one.standard_error]).all()


def test_the_difference_of_a_group_with_itself_spans_zero():
    sums = readers(np.random.default_rng(0), 30, 0.2)
    found = contrast(sums, sums, mean, 2_000, np.random.default_rng(0)).difference
    assert found.value == 0.0
    assert found.low < 0 < found.high
