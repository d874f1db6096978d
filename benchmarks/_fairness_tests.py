"""Ways to decide whether two groups differ: ours, and what else is done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from _fairness_people import error_rate  # type: ignore[import-not-found]
from scipy.stats import norm, ttest_ind

from audio_ssl.fairness.gap_tests import contrast, permutation_test
from audio_ssl.fairness.mixed_model import fit_mixed_model
from audio_ssl.metrics.resampling import CONFIDENCE, Array, Interval, ScoreOfSums, quantile_interval, replicate_sums

REPLICATES = 1_000
PERMUTATIONS = 1_000
LEVEL = 0.05
PERCENTILES_FROM = 20
"""Speakers from which on percentiles are as good as BCa."""

Decide = Callable[[Array, Array, np.random.Generator], bool]
"""From errors and words of both groups' clips, ``[speaker, clip, 2]``: is there a gap?"""


def ours(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Permute groups over speakers, gaps in standard errors."""
    found = permutation_test(first.sum(1), second.sum(1), error_rate, rng, PERMUTATIONS)
    return found.p_value <= LEVEL


def our_interval(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """See whether the expanded percentile interval leaves out zero."""
    interval = contrast(first.sum(1), second.sum(1), error_rate, REPLICATES, rng).difference
    return not interval.low <= 0 <= interval.high


def plain_permutation(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Permute groups over speakers, gaps as they are."""
    found = permutation_test(first.sum(1), second.sum(1), error_rate, rng, PERMUTATIONS, studentise=False)
    return found.p_value <= LEVEL


def percentiles(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Resample speakers, percentile interval."""
    return _outside(_gaps(first.sum(1), second.sum(1), rng), np.array([LEVEL / 2, 1 - LEVEL / 2]))


def bca(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Resample speakers, BCa interval for two samples (as scipy.stats.bootstrap; here without its loops)."""
    first, second = first.sum(1), second.sum(1)
    gaps = _gaps(first, second, rng)
    gap = error_rate(first.sum(0)) - error_rate(second.sum(0))
    below = np.clip(np.mean(gaps < gap) + 0.5 * np.mean(gaps == gap), 0.5 / len(gaps), 1 - 0.5 / len(gaps))
    cubes = squares = 0.0
    for sums, sign in ((first, 1.0), (second, -1.0)):
        left_out = sign * error_rate(sums.sum(0) - sums)
        moved = (len(sums) - 1) * (left_out.mean() - left_out)
        cubes, squares = cubes + np.sum(moved**3) / len(sums) ** 3, squares + np.sum(moved**2) / len(sums) ** 2
    bias, acceleration = norm.ppf(below), cubes / (6 * squares**1.5)
    z = bias + norm.ppf([LEVEL / 2, 1 - LEVEL / 2])
    return _outside(gaps, norm.cdf(bias + z / (1 - acceleration * z)))


def usual_interval(sums: Array, score: ScoreOfSums, replicates: int, rng: np.random.Generator) -> Interval:
    """Return the score of one group with its BCa interval (Efron 1987), or with percentiles from 20 speakers on."""
    value = float(score(sums.sum(0)))
    draws = score(replicate_sums(sums, replicates, rng))
    levels = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / draws.size
    if len(sums) < PERCENTILES_FROM and 0 < below < 1:
        left_out = score(sums.sum(0) - sums)
        moved = left_out.mean() - left_out
        scale = np.sum(moved**2) ** 1.5
        acceleration = np.sum(moved**3) / (6 * scale) if scale > 0 else 0.0
        z = norm.ppf(below) + norm.ppf(levels)
        levels = norm.cdf(norm.ppf(below) + z / (1 - acceleration * z))
    return quantile_interval(value, draws, levels)


def clips(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Resample clips, percentile interval."""
    gaps = _gaps(first.reshape(-1, 2), second.reshape(-1, 2), rng)
    return _outside(gaps, np.array([LEVEL / 2, 1 - LEVEL / 2]))


def t_test_of_resamples(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Compare the scores of many resamples of clips by a t-test, as if each were a measurement."""
    scores = [error_rate(replicate_sums(side.reshape(-1, 2), REPLICATES, rng)) for side in (first, second)]
    return bool(ttest_ind(*scores).pvalue <= LEVEL)


def welch(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Compare the logarithms of the speakers' rates by Welch's t-test; half an error more, so that none is zero."""
    logs = [np.log((side.sum(1)[:, 0] + 0.5) / side.sum(1)[:, 1]) for side in (first, second)]
    return bool(ttest_ind(*logs, equal_var=False).pvalue <= LEVEL)


def mixed_model(first: Array, second: Array, rng: np.random.Generator) -> bool:
    """Fit our Poisson mixed model."""
    rows = np.concatenate([first.reshape(-1, 2), second.reshape(-1, 2)])
    speakers = np.concatenate(
        [
            np.repeat(np.arange(len(first)), first.shape[1]),
            len(first) + np.repeat(np.arange(len(second)), second.shape[1]),
        ]
    )
    group = (speakers < len(first)).astype(np.float64)
    return fit_mixed_model(rows[:, 0], rows[:, 1], speakers, {"group": group}).p_values["group"] <= LEVEL


TESTS: dict[str, Decide] = {
    "permuting speakers, in standard errors (ours)": ours,
    "interval over speakers, expanded percentiles (ours)": our_interval,
    "Poisson mixed model (ours)": mixed_model,
    "permuting speakers, plain gaps": plain_permutation,
    "interval over speakers, percentiles": percentiles,
    "interval over speakers, BCa": bca,
    "Welch's t-test of the speakers' log rates": welch,
    "interval over clips, percentiles": clips,
    "t-test of resamples' scores": t_test_of_resamples,
}
OF_CLIPS = ("interval over clips, percentiles", "t-test of resamples' scores")
SLOW = ("Poisson mixed model (ours)", *OF_CLIPS)
"""Tried on fewer studies."""


def _gaps(first: Array, second: Array, rng: np.random.Generator) -> Array:
    a, b = (error_rate(replicate_sums(side, REPLICATES, rng)) for side in (first, second))
    return np.asarray(a - b)


def _outside(gaps: Array, levels: Array) -> bool:
    low, high = np.quantile(gaps, levels)
    return not low <= 0 <= high
