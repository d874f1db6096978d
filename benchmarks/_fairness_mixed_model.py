"""The Poisson mixed model beside simulated truth, beside the model as published, and beside statsmodels' GEE.

Studies have two groups of readers of 30 clips of 16 words, and a covariate that differs between clips and between
readers. Where errors come in bursts, each clip's rate is multiplied by a gamma variable of variance 1.
"""

from __future__ import annotations

import math
import time
import tracemalloc
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm
from tables import table as to_table  # type: ignore[import-not-found]

from audio_ssl.fairness.design import prepare
from audio_ssl.fairness.mixed_model import MixedModel, fit_mixed_model
from audio_ssl.fairness.poisson import Problem

Array = npt.NDArray[np.float64]
Row = dict[str, Any]

SPREAD = 0.5
RATIO = 1.2
SLOPE = 0.1


class Study(NamedTuple):
    """One simulated test set, ``[clip]``."""

    errors: Array
    words: Array
    speakers: npt.NDArray[np.intp]
    group: Array
    covariate: Array

    @property
    def design(self) -> dict[str, Array]:
        """Return the columns."""
        return {"F": self.group, "covariate": self.covariate}


class Case(NamedTuple):
    """What studies are like."""

    name: str
    speakers: tuple[int, int]
    spreads: tuple[float, float] = (SPREAD, SPREAD)
    burst: float = 0.0

    def draw(self, rng: np.random.Generator, ratio: float, slope: float) -> Study:
        """Simulate a study."""
        first, second = self.speakers
        count = first + second
        speakers = np.repeat(np.arange(count), 30)
        member = (np.arange(count) < first).astype(float)
        spreads = np.where(member == 1, *self.spreads)
        words = rng.integers(8, 25, len(speakers)).astype(float)
        covariate = rng.normal(size=len(speakers)) + rng.normal(size=count)[speakers]
        effects = math.log(ratio) * member + spreads * rng.normal(size=count)
        mean = words * 0.15 * np.exp(effects[speakers] + slope * covariate)
        if self.burst:
            mean = mean * rng.gamma(1 / self.burst, self.burst, len(mean))
        return Study(rng.poisson(mean).astype(float), words, speakers, member[speakers], covariate)


EQUAL = [Case(f"{n} and {n}", (n, n)) for n in (5, 10, 20, 40)]
BURSTS = [Case(f"{n} and {n}, bursts", (n, n), burst=1.0) for n in (5, 10, 20, 40)]
UNEQUAL = [
    Case("5 and 20", (5, 20)),
    Case("10 and 40", (10, 40)),
    Case("10 and 40, spread 0.3 and 0.7", (10, 40), (0.3, 0.7)),
    Case("10 and 40, spread 0.7 and 0.3", (10, 40), (0.7, 0.3)),
]


def run(quick: bool) -> Row:
    """Return every figure."""
    studies = 30 if quick else 400
    cases = [*EQUAL[:2], BURSTS[1]] if quick else [*EQUAL, *BURSTS, *UNEQUAL]
    return {
        "studies": studies,
        "no_gap": [no_gap(case, studies) for case in cases],
        "gap": [gap(case, studies // 2) for case in cases],
        "speed": speed(100_000 if quick else 1_000_000),
    }


def no_gap(case: Case, studies: int) -> Row:
    """Count how often a gap and a slope are found where there are none; studies are the same for every method."""
    rng = np.random.default_rng(1)
    found = {name: np.zeros(2) for name in ("ours", "as published", "GEE")}
    apart = []
    for _ in range(studies):
        study = case.draw(rng, 1.0, 0.0)
        model, (beta, error) = fit_mixed_model(*study[:3], study.design), equations(study)
        found["ours"] += np.array(list(model.p_values.values())) < 0.05
        found["as published"] += as_published(study) < 0.05
        found["GEE"] += 2 * norm.sf(np.abs(beta / error)) < 0.05
        apart.append((math.log(model.ratios["F"].value) - beta[0]) / error[0])
    shares = {name: [_share(int(k), studies) for k in counts] for name, counts in found.items()}
    return {"case": case.name, "shares": shares, "gee_apart": float(np.sqrt(np.mean(np.square(apart))))}


def gap(case: Case, studies: int) -> Row:
    """Measure bias and coverage where the first group's rate is 1.2 times the second's."""
    rng = np.random.default_rng(2)
    logs: list[tuple[float, float]] = []
    spreads: list[float] = []
    covered = np.zeros(3)
    for _ in range(studies):
        study = case.draw(rng, RATIO, SLOPE)
        model = fit_mixed_model(*study[:3], study.design)
        group, slope = model.ratios["F"], model.ratios["covariate"]
        logs.append((math.log(group.value), math.log(slope.value)))
        spreads.append(model.speaker_sd)
        covered += [
            group.low < RATIO < group.high,
            slope.low < math.exp(SLOPE) < slope.high,
            model.speaker_sd_low < SPREAD < model.speaker_sd_high,
        ]
    bias = np.mean(logs, 0) - [math.log(RATIO), SLOPE]
    return {
        "case": case.name,
        "bias": bias.tolist(),
        "bias_error": (np.std(logs, 0) / math.sqrt(studies)).tolist(),
        "covered": [_share(int(k), studies) for k in covered],
        "sd": float(np.mean(spreads)),
    }


def as_published(study: Study) -> Array:
    """Return p-values by plain maximum likelihood and Wald's z."""
    rows = prepare(*study[:3], study.design)
    problem = Problem(rows.errors, rows.log_words, rows.columns, rows.speakers)
    start = problem.solve(0.0, problem.start())
    best = minimize_scalar(
        lambda log_sd: -problem.solve(math.exp(log_sd), start.beta).log_likelihood, bounds=(-7, 2), method="bounded"
    )
    solution = problem.solve(math.exp(best.x), start.beta)
    errors = np.sqrt(np.diag(np.linalg.inv(solution.information)))
    return np.asarray(2 * norm.sf(np.abs(solution.beta / errors))[1:])


def equations(study: Study) -> tuple[Array, Array]:
    """Return statsmodels' coefficients and standard errors by estimating equations, exchangeable, robust."""
    import statsmodels.api as sm

    columns = np.stack([np.ones(len(study.errors)), study.group, study.covariate], 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sm.GEE(
            study.errors,
            columns,
            groups=study.speakers,
            family=sm.families.Poisson(),
            cov_struct=sm.cov_struct.Exchangeable(),
            offset=np.log(study.words),
        ).fit()
    return np.asarray(found.params[1:]), np.asarray(found.bse[1:])


def speed(clips: int) -> Row:
    """Time a fit with 600 speakers and four columns, and GEE with two of them."""
    rng = np.random.default_rng(3)
    speakers = np.sort(rng.integers(0, 600, clips))
    group, covariates = (speakers % 2).astype(float), rng.normal(size=(clips, 3))
    words = rng.integers(8, 25, clips).astype(float)
    effects = (SPREAD * rng.normal(size=600))[speakers] + 0.1 * group + covariates @ [0.2, -0.1, 0.05]
    errors = rng.poisson(words * 0.1 * np.exp(effects)).astype(float)
    design = {"F": group} | {f"x{index}": column for index, column in enumerate(covariates.T)}
    started = time.perf_counter()
    model = fit_mixed_model(errors, words, speakers, design)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    equations(Study(errors, words, speakers, group, covariates[:, 0]))
    theirs = time.perf_counter() - started
    return {
        "clips": clips,
        "seconds": ours,
        "gee_seconds": theirs,
        "megabytes": _peak(errors, words, speakers, design),
    } | {"converged": model.converged}


def _peak(errors: Array, words: Array, speakers: npt.NDArray[np.intp], design: dict[str, Array]) -> float:
    tracemalloc.start()
    model: MixedModel = fit_mixed_model(errors, words, speakers, design)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak if model.converged else math.nan


def _share(count: int, studies: int) -> Row:
    low, high = binomtest(count, studies).proportion_ci()
    return {"share": count / studies, "low": float(low), "high": float(high)}


def _percent(share: Row) -> str:
    return f"{100 * share['share']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def table(result: Row) -> str:
    """Return the tables."""
    parts = []
    for index, what in enumerate(("a gap", "an effect of a covariate")):
        rows = [
            [row["case"], *(_percent(shares[index]) for shares in row["shares"].values())] for row in result["no_gap"]
        ]
        head = f"% of {result['studies']} studies in which {what} is found; there is none"
        parts.append(to_table((head, *result["no_gap"][0]["shares"]), rows))
    rows = [
        [
            row["case"],
            *(f"{bias:+.3f} ± {2 * error:.3f}" for bias, error in zip(row["bias"], row["bias_error"], strict=True)),
            *(_percent(share) for share in row["covered"][:2]),
            f"{row['sd']:.2f}",
            f"{other['gee_apart']:.2f}",
        ]
        for row, other in zip(result["gap"], result["no_gap"], strict=True)
    ]
    said = ("a ratio of 1.2", "bias of its log", "of the covariate's", "% covered", "covariate's", "mean sd")
    parts.append(to_table((*said, "log ratio from GEE's, standard errors"), rows))
    found = result["speed"]
    parts.append(
        f"{found['clips']:,} clips, 600 speakers, 4 columns: {found['seconds']:.1f} s, {found['megabytes']:.0f} MB "
        f"beyond the input; GEE with 2 columns {found['gee_seconds']:.1f} s.\n"
    )
    return "\n".join(parts)
