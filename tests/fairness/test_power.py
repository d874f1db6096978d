import math

import numpy as np
import pytest
from scipy import stats

from audio_ssl.fairness.gap_tests import contrast, permutation_test
from audio_ssl.fairness.power import minimum_detectable


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def people(rng, count, level):
    return np.stack([rng.normal(level, 1.0, count), np.ones(count)], 1)


def test_equal_groups_have_the_freedom_of_a_t_test():
    first = second = np.ones((8, 2))
    expected = (stats.t.ppf(0.975, 14) + stats.t.ppf(0.8, 14)) * 0.5
    assert minimum_detectable(first, second, mean, 0.5) == pytest.approx(expected)
    assert minimum_detectable(first, second, mean, 0.5, power=0.9) > expected
    assert minimum_detectable(first, second, mean, 0.5, alpha=0.01) > expected


def test_a_small_group_counts_for_what_it_is():
    few, many = np.ones((5, 2)), np.ones((500, 2))
    expected = (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * 0.5
    assert minimum_detectable(few, many, mean, 0.5) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("sizes", [(8, 8), (20, 10)])
def test_gaps_of_that_size_are_found_four_times_in_five(sizes):
    rng = np.random.default_rng(0)
    pilots = [[people(rng, n, 3.0) for n in sizes] for _ in range(60)]
    least = np.mean(
        [minimum_detectable(*groups, mean, contrast(*groups, mean, 400, rng).standard_error) for groups in pilots]
    )
    found = [
        permutation_test(people(rng, sizes[0], 3.0 + least), people(rng, sizes[1], 3.0), mean, rng, 200).p_value <= 0.05
        for _ in range(300)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


def test_what_cannot_be_said_is_nan():
    two = np.ones((2, 2))
    assert math.isnan(minimum_detectable(two[:1], two, mean, 0.5))
    assert math.isnan(minimum_detectable(two, two, mean, math.nan))
    # Speakers who are all alike do not tell how much others differ: no gap can be called findable.
    assert math.isnan(minimum_detectable(two, two, mean, 0.0))
    assert math.isnan(minimum_detectable(two, two, mean, 1e-17))
    with np.errstate(invalid="ignore"):
        assert math.isnan(minimum_detectable(two, np.zeros((2, 2)), mean, 0.5))
