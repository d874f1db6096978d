from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from audio_ssl.fairness import gap_tests
from audio_ssl.fairness.gap_tests import permutation_test
from audio_ssl.metrics.registry import get_metric


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def speakers(rng, count, rate):
    return np.stack([rng.poisson(rate * 100, count), np.full(count, 100)], 1).astype(float)


def in_standard_errors(first, second):
    """Welch's t of a ratio of sums, by hand."""
    gap, variance = 0.0, 0.0
    for group, sign in ((first, 1), (second, -1)):
        rate = group[:, 0].sum() / group[:, 1].sum()
        residuals = group[:, 0] - rate * group[:, 1]
        variance += len(group) / (len(group) - 1) * (residuals**2).sum() / group[:, 1].sum() ** 2
        gap += sign * rate
    return abs(gap) / np.sqrt(variance)


@pytest.mark.parametrize(
    ("studentise", "statistic"),
    [(True, in_standard_errors), (False, lambda a, b: abs(mean(a.sum(0)) - mean(b.sum(0))))],
)
def test_small_groups_are_enumerated(studentise, statistic):
    rng = np.random.default_rng(0)
    first, second = speakers(rng, 5, 0.3), speakers(rng, 6, 0.2)
    first[:, 1] += rng.integers(0, 20, 5)
    pooled = np.concatenate([first, second])
    observed = statistic(first, second)
    extreme = 0
    for chosen in combinations(range(11), 5):
        other = [i for i in range(11) if i not in chosen]
        extreme += statistic(pooled[list(chosen)], pooled[other]) >= observed - 1e-9
    found = permutation_test(first, second, mean, rng, studentise=studentise)
    assert found == (extreme / 462, True, 462)
    assert 2 / 462 < found.p_value < 0.5


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(1)
    first, second = speakers(rng, 5, 0.25), speakers(rng, 5, 0.2)
    theirs = stats.permutation_test(
        (first[:, 0], second[:, 0]), lambda a, b: a.mean() - b.mean(), n_resamples=np.inf, alternative="two-sided"
    )
    assert permutation_test(first, second, mean, rng, studentise=False).p_value == pytest.approx(theirs.pvalue)
    welch = stats.ttest_ind(
        first[:, 0], second[:, 0], equal_var=False, method=stats.PermutationMethod(n_resamples=np.inf)
    )
    assert permutation_test(first, second, mean, rng).p_value == pytest.approx(welch.pvalue)


def test_random_assignments_come_near_all_of_them():
    rng = np.random.default_rng(2)
    first, second = speakers(rng, 6, 0.26), speakers(rng, 7, 0.22)
    every = permutation_test(first, second, mean, rng)
    drawn = permutation_test(first, second, mean, rng, permutations=1_500)
    assert (every.exact, every.assignments) == (True, 1716)
    assert (drawn.exact, drawn.assignments) == (False, 1_500)
    assert drawn.p_value == pytest.approx(every.p_value, abs=0.05)


def test_swapping_the_groups_changes_nothing():
    rng = np.random.default_rng(1)
    first, second = speakers(rng, 4, 0.3), speakers(rng, 6, 0.2)
    assert permutation_test(first, second, mean, rng) == permutation_test(second, first, mean, rng)


def test_the_generator_decides():
    rng = np.random.default_rng(4)
    first, second = speakers(rng, 15, 0.22), speakers(rng, 15, 0.2)
    values = [permutation_test(first, second, mean, np.random.default_rng(s), 300).p_value for s in (5, 5, 6)]
    assert values[0] == values[1] != values[2]


def level(rng, groups, runs, **options):
    values = [
        permutation_test(
            *(speakers(rng, n, 0.2) * clips + noise(rng, n, sd) for n, clips, sd in groups), mean, rng, **options
        )
        for _ in range(runs)
    ]
    return np.mean([found.p_value <= 0.05 for found in values]), min(found.p_value for found in values)


def noise(rng, count, sd):
    return np.stack([np.maximum(rng.normal(0, sd, count), -15), np.zeros(count)], 1)


def test_type_one_error_is_near_nominal():
    found, smallest = level(np.random.default_rng(2), [(12, 1, 0), (12, 1, 0)], 200, permutations=400)
    assert found == pytest.approx(0.05, abs=0.04)
    assert smallest >= 1 / 401


def test_a_small_group_that_varies_more_is_no_gap():
    groups = [(8, 1, 12), (40, 1, 1)]
    ours, _ = level(np.random.default_rng(3), groups, 150, permutations=200)
    plain, _ = level(np.random.default_rng(3), groups, 150, permutations=200, studentise=False)
    assert ours < 0.12
    assert plain > 0.2


def test_a_large_gap_has_the_smallest_p_value():
    rng = np.random.default_rng(3)
    assert permutation_test(speakers(rng, 6, 0.5), speakers(rng, 6, 0.1), mean, rng).p_value == pytest.approx(2 / 924)


def test_thousands_of_speakers_are_taken_a_few_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    rows = []

    def score(sums):
        rows.append(len(sums) if sums.ndim > 1 else 1)
        return mean(sums)

    first, second = speakers(rng, 3_000, 0.2), speakers(rng, 2_000, 0.2)
    found = permutation_test(first, second, score, rng, permutations=150)
    assert found.assignments == 150
    assert max(rows) * 5_000 <= gap_tests._CHUNK_ELEMENTS
    for part in gap_tests._some(50, 20, 30, rng):
        assert (part.sum(1) == 20).all()
    monkeypatch.setattr(gap_tests, "_CHUNK_ELEMENTS", 100)
    parts = list(gap_tests._all(8, 3))
    assert len(parts) > 1
    assert len(np.unique(np.concatenate(parts), axis=0)) == 56


def test_degenerate_groups():
    rng = np.random.default_rng(0)
    score = get_metric("wer").score
    none, one = np.tile([0, 0, 0, 10.0], (6, 1)), np.tile([1, 0, 0, 10.0], (6, 1))
    assert permutation_test(none, none, score, rng).p_value == 1.0
    assert permutation_test(one, one, score, rng).p_value == 1.0
    # Groups that are each all alike differ as much as can be.
    assert permutation_test(one, none, score, rng).p_value == pytest.approx(2 / 924)
    no_words = np.zeros((6, 4))
    assert np.isnan(permutation_test(no_words, one, score, rng).p_value)
    # A few speakers without words: assignments that give a group only them are left out.
    few = np.concatenate([no_words, one[:3]])
    found = permutation_test(few[:6], np.concatenate([few[6:], one[:1]]), score, rng)
    assert np.isnan(found.p_value)
    assert np.isfinite(permutation_test(few[3:], one[:2], score, rng).p_value)


def test_many_columns_and_a_score_with_kinks():
    rng = np.random.default_rng(5)
    metric = get_metric("bleu")
    pairs = [("a b c d e f g", "a b c d e x g"), ("a b c d e", "a b c d e"), ("k l m n o p", "k l z n o p")]
    clips = np.stack([metric.per_clip(*pair) for pair in pairs])
    groups = [np.stack([clips[rng.integers(0, 3, 6)].sum(0) for _ in range(5)]) for _ in range(2)]
    found = permutation_test(*groups, metric.score, rng)
    assert 2 / 252 <= found.p_value <= 1
    assert found.assignments == 252
