from itertools import combinations

import numpy as np
import pytest

from audio_ssl.fairness.permutation import permutation_test


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def speakers(rng, count, rate):
    return np.stack([rng.poisson(rate * 100, count), np.full(count, 100)], 1).astype(float)


def test_small_groups_are_enumerated():
    rng = np.random.default_rng(0)
    first, second = speakers(rng, 5, 0.3), speakers(rng, 5, 0.2)
    pooled = np.concatenate([first, second])
    observed = abs(mean(first.sum(0)) - mean(second.sum(0)))
    extreme = 0
    for chosen in combinations(range(10), 5):
        other = [i for i in range(10) if i not in chosen]
        extreme += abs(mean(pooled[list(chosen)].sum(0)) - mean(pooled[other].sum(0))) >= observed - 1e-9
    assert permutation_test(first, second, mean, rng).p_value == extreme / 252


def test_swapping_the_groups_changes_nothing():
    rng = np.random.default_rng(1)
    first, second = speakers(rng, 4, 0.3), speakers(rng, 6, 0.2)
    assert permutation_test(first, second, mean, rng) == permutation_test(second, first, mean, rng)


def test_type_one_error_is_near_nominal():
    rng = np.random.default_rng(2)
    values = [
        permutation_test(speakers(rng, 12, 0.2), speakers(rng, 12, 0.2), mean, rng, permutations=400).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert min(values) >= 1 / 401


def test_a_large_gap_has_the_smallest_p_value():
    rng = np.random.default_rng(3)
    assert permutation_test(speakers(rng, 6, 0.5), speakers(rng, 6, 0.1), mean, rng).p_value == pytest.approx(2 / 924)
