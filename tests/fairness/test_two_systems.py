import math
import warnings
from itertools import product

import numpy as np
import pytest

from audio_ssl.fairness import gap_tests
from audio_ssl.fairness.gap_tests import gap_difference
from audio_ssl.metrics.registry import get_metric


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def answers(rng, count, rates, clips=20, own=0.2):
    """Errors and words of the same readers by two systems."""
    words = rng.integers(8, 25, (count, clips)).sum(1).astype(float)
    reader = rng.lognormal(-0.125, 0.5, count)
    return [np.stack([rng.poisson(words * r * reader * rng.lognormal(0, own, count)), words], 1) * 1.0 for r in rates]


def test_gaps_are_those_of_the_systems():
    rng = np.random.default_rng(0)
    first_a, first_b = answers(rng, 8, (0.3, 0.2))
    second_a, second_b = answers(rng, 9, (0.2, 0.2))
    found = gap_difference(first_a, second_a, first_b, second_b, mean, 500, rng)
    gap_a = mean(first_a.sum(0)) - mean(second_a.sum(0))
    gap_b = mean(first_b.sum(0)) - mean(second_b.sum(0))
    assert found.difference.value == pytest.approx(gap_a - gap_b)
    assert found.difference.low < found.difference.value < found.difference.high


def welch(first_a, second_a, first_b, second_b):
    """Difference of the gaps in standard errors, by hand."""
    change, variance = 0.0, 0.0
    for a, b, sign in ((first_a, first_b, 1), (second_a, second_b, -1)):
        change += sign * (mean(a.sum(0)) - mean(b.sum(0)))
        moved = [(s[:, 0] - mean(s.sum(0)) * s[:, 1]) / s[:, 1].sum() for s in (a, b)]
        variance += len(a) / (len(a) - 1) * ((moved[0] - moved[1]) ** 2).sum()
    return abs(change) / math.sqrt(variance)


def test_few_speakers_are_swapped_in_every_way():
    rng = np.random.default_rng(1)
    first, second = answers(rng, 5, (0.3, 0.2)), answers(rng, 4, (0.2, 0.25))
    observed = welch(first[0], second[0], first[1], second[1])
    extreme = 0
    for swaps in product([False, True], repeat=9):
        rows = np.array(swaps)[:, None]
        ours = [np.where(rows[:5], first[1 - i], first[i]) for i in (0, 1)]
        theirs = [np.where(rows[5:], second[1 - i], second[i]) for i in (0, 1)]
        extreme += welch(ours[0], theirs[0], ours[1], theirs[1]) >= observed - 1e-9
    found = gap_difference(first[0], second[0], first[1], second[1], mean, 100, rng)
    assert found.p_value == extreme / 512
    assert 2 / 512 < found.p_value < 0.8


def test_random_swaps_come_near_all_of_them(monkeypatch):
    rng = np.random.default_rng(2)
    first, second = answers(rng, 6, (0.3, 0.2)), answers(rng, 6, (0.2, 0.22))
    args = first[0], second[0], first[1], second[1], mean, 4_000, rng
    exact = gap_difference(*args).p_value
    monkeypatch.setattr(gap_tests, "ENUMERATE_UP_TO", 100)
    monkeypatch.setattr(gap_tests, "_CHUNK_ELEMENTS", 5_000)
    assert gap_difference(*args).p_value == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("sizes", [(6, 6), (8, 25)])
def test_a_system_that_is_better_for_everybody_has_no_other_gap(sizes):
    rng = np.random.default_rng(3)
    p_values, outside = [], []
    for _ in range(150):
        first, second = (answers(rng, n, (0.3, 0.1)) for n in sizes)
        found = gap_difference(first[0], second[0], first[1], second[1], mean, 200, rng)
        p_values.append(found.p_value <= 0.05)
        outside.append(not found.difference.low <= 0 <= found.difference.high)
    assert np.mean(p_values) < 0.12
    assert 0.005 < np.mean(outside) < 0.12


def test_a_gap_that_one_system_adds_is_found_although_both_are_far_better_for_nobody():
    rng = np.random.default_rng(4)
    first, second = answers(rng, 20, (0.3, 0.1)), answers(rng, 20, (0.2, 0.1))
    found = gap_difference(first[0], second[0], first[1], second[1], mean, 1_000, rng)
    assert found.p_value < 0.05
    assert found.difference.low > 0


def test_the_same_speakers_are_sharper_than_others():
    rng = np.random.default_rng(5)
    first, second = answers(rng, 15, (0.2, 0.2), own=0.05), answers(rng, 15, (0.2, 0.2), own=0.05)
    paired = gap_difference(first[0], second[0], first[1], second[1], mean, 2_000, rng).difference
    shuffled = rng.permutation(15)
    apart = gap_difference(first[0], second[0], first[1][shuffled], second[1][shuffled], mean, 2_000, rng).difference
    assert paired.value == apart.value
    assert paired.high - paired.low < 0.7 * (apart.high - apart.low)


def test_a_system_and_itself():
    rng = np.random.default_rng(6)
    first, second = answers(rng, 6, (0.3,))[0], answers(rng, 6, (0.2,))[0]
    found = gap_difference(first, second, first, second, mean, 300, rng)
    assert found.p_value == 1.0
    assert found.difference == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_swapping_systems_or_groups_changes_signs_only():
    rng = np.random.default_rng(7)
    first, second = answers(rng, 5, (0.3, 0.2)), answers(rng, 6, (0.2, 0.25))
    found = gap_difference(first[0], second[0], first[1], second[1], mean, 300, rng)
    systems = gap_difference(first[1], second[1], first[0], second[0], mean, 300, rng)
    groups = gap_difference(second[0], first[0], second[1], first[1], mean, 300, rng)
    assert found.p_value == systems.p_value == groups.p_value
    assert found.difference.value == pytest.approx(-systems.difference.value)
    assert found.difference.value == pytest.approx(-groups.difference.value)


def test_the_generator_decides():
    rng = np.random.default_rng(8)
    first, second = answers(rng, 12, (0.3, 0.25)), answers(rng, 12, (0.2, 0.2))
    args = first[0], second[0], first[1], second[1], mean, 200
    runs = [gap_difference(*args, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_undefined_gaps_are_nan_without_warnings():
    score = get_metric("wer").score
    silent, spoken = np.zeros((6, 4)), np.tile([1, 0, 0, 10.0], (6, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gap_difference(silent, spoken, spoken, spoken, score, 100, np.random.default_rng(0))
        assert math.isnan(found.p_value)
        assert np.isnan(found.difference).all()
        none = gap_difference(spoken, spoken, spoken * [0, 0, 0, 1], spoken, score, 100, np.random.default_rng(0))
        # Swapping all of the first group or nobody is as extreme, whatever is swapped where nothing differs.
        assert none.p_value == 2 * 2**6 / 2**12
