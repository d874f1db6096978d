"""How the numbers of the fairness page were made, and what its terms mean.

A plan of a test as lines for a terminal: what it rests on, and how many speakers and clips it needs.
"""

from __future__ import annotations

import math

from audio_ssl.artifacts.fairness import ALPHA
from audio_ssl.artifacts.fairness_report import AuditOrigin, FairnessReport
from audio_ssl.fairness.measures import of_terms
from audio_ssl.fairness.planning import SizePlan
from audio_ssl.fairness.power import MOST_SPEAKERS
from audio_ssl.metrics.registry import metric_phrase
from audio_ssl.report.numbers import count, hard_spaces, number, score

HOW_MADE = (
    "A difference is the first group's score minus the second's. Confidence intervals resample speakers and tests "
    "permute them, because the clips of one speaker are not independent."
)
HIDDEN = (
    "These groups are counted but not scored. They are not in the row of all scored groups either, so that their "
    "scores cannot be found by subtraction."
)
CROSSED_LEAD = (
    "Groups of several attributes together. A difference can exist where two attributes meet and show in neither of "
    "them."
)
AGAIN_HEADING = "How to reproduce it"
AGAIN_LEAD = "Each command needs the manifest that it names. The resolved recipe of a run can be used as a recipe."
SIGN_LEAD = "To be filled in by whoever has read this report and takes responsibility for it."


def permutations_words(origin: AuditOrigin) -> str:
    """Say how many random permutations a test made, of speaker verification too where it is audited beside tables."""
    made, of_trials = number(origin.permutations or origin.replicates), origin.trial_permutations
    if of_trials is None or of_trials == origin.permutations:
        return made
    return f"{made} ({number(of_trials)} in speaker verification)"


def method_rows(report: FairnessReport) -> list[tuple[str, str]]:
    """Return a name and an explanation for every kind of number that the report has."""
    origin = report.provenance
    replicates, permutations = number(origin.replicates), permutations_words(origin)
    fewest, shown = number(origin.min_speakers), number(origin.min_group_speakers or origin.min_speakers)
    rows = [
        (
            "Difference",
            "The first group's score minus the second's. The relative difference is in percent of the second group's "
            "score. Δrel is 100 times the difference over the mean of the two scores; its size does not depend on "
            "their order. Differences are rounded last, so they can differ in the last digit from the difference of "
            "two rounded scores.",
        ),
        (
            "95 % confidence interval",
            f"Bootstrap over speakers with {replicates} resamples. The percentiles are moved outwards where there are "
            "few speakers (expanded percentile interval).",
        ),
        (
            "p-value",
            "Permutation test over speakers: the share of assignments of the group labels to speakers that give a "
            "difference at least as large, in standard errors (in speaker verification: in points). All assignments "
            f"are tried if there are at most {permutations}, otherwise so many random ones.",
        ),
        (
            "Holm-adjusted p-value",
            "The p-value adjusted for all comparisons of one metric of one system (Holm's method). Where it is below "
            f"{ALPHA}, the difference is called statistically significant.",
        ),
        (
            "Minimum detectable difference",
            "The true difference that a test set like this one shows as statistically significant in 80 % of cases "
            "(80 % power), at the 5 % level divided by the number of comparisons.",
        ),
        (
            "Tolerance",
            "A difference is smaller than the stated tolerance if its 90 % confidence interval lies within the "
            "tolerance: two one-sided tests at 5 % each (TOST), not adjusted for the number of comparisons. This "
            "verdict comes first. The difference may be statistically significant as well; the page then says so.",
        ),
        (
            "Few speakers",
            f"A group of fewer than {shown} speakers is counted but not scored. With fewer than {fewest} speakers "
            "nothing is tested, and with fewer than 20 there is a warning. A larger group is not scored either where "
            "the score of a small one could be found by subtracting published scores.",
        ),
    ]
    if report.models:
        what = "A Poisson mixed model of errors per word, with a random effect for every speaker and fixed covariates."
        rows.append(("Adjusted ratio", what))
    if report.gap_differences:
        what = "The gap of one system minus that of another. Speakers are resampled for both systems together."
        rows.append(("Difference between systems", what))
    if of_terms(row.metric for row in report.groups):
        what = (
            "The share of the reference's annotated gendered words that are in the translation, in the right or the "
            "wrong form (MuST-SHE). Gender accuracy is the share of these in the right form."
        )
        rows.append(("Term coverage", what))
    return [(name, hard_spaces(text)) for name, text in rows]


GLOSSARY = (
    ("Bootstrap", "Resampling speakers with replacement, to see how much a score would vary with other speakers."),
    (
        "Confidence interval",
        "A range that, computed from many test sets like this one, holds the true value in 95 % (or 90 %) of them.",
    ),
    ("Equivalence test", "A test that asks whether a difference is smaller than a tolerance stated beforehand (TOST)."),
    ("Group", "Speakers with the same recorded value of an attribute. Nothing about a person was inferred."),
    (
        "Holm-adjusted p-value",
        "A p-value raised so that the probability of a false positive among all comparisons of a metric is 5 %.",
    ),
    ("Inconclusive", "The data shows neither that there is a difference nor that the difference is small."),
    ("Intersection", "A group by several attributes together, such as women aged 20–29."),
    (
        "Minimum detectable difference",
        "The smallest true difference that a test set of this size detects in 80 % of cases (80 % power).",
    ),
    ("p-value", "The probability of a difference at least this large if the groups did not differ."),
    ("Percentage point", "Unit of the difference of two percentages. From 10 % to 12 % is 2 points, or 20 % more."),
    (
        "Permutation test",
        "A test that assigns the group labels to speakers at random and compares the differences with the one found.",
    ),
    ("Power", "The probability that a test detects a difference that exists."),
    (
        "Statistically significant",
        f"The Holm-adjusted p-value is below {ALPHA}. The difference may still be small.",
    ),
    ("Tolerance", "The largest difference that whoever ordered the audit considers unimportant."),
    (
        "Word error rate (WER)",
        "Words substituted, deleted and inserted, in percent of the words of the reference. CER: of characters.",
    ),
)
"""Terms of the page, in alphabetical order."""


def plan_lines(plan: SizePlan) -> list[str]:
    """Return the lines of a plan for a terminal."""
    spread, unit = plan.spread, plan.unit
    points = "percentage points" if unit == "%" else unit or "units of the score"
    head = ("clips a speaker", "speakers a group", "clips a group", "speakers a group, cautious")
    rows = [
        (f"{one.clips_per_speaker:,}", *(_amount(value) for value in (one.speakers, one.clips, one.speakers_cautious)))
        for one in plan.needed
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    shared = f": 5 % divided by {plan.comparisons} comparisons of {plan.groups} groups."
    return [
        f"To find a gap of {100 * plan.gap:g} % in {metric_phrase(plan.metric)} "
        f"({plan.gap * spread.value:.2f} {points}) by {plan.by} with {100 * plan.power:g} % power:",
        *table,
        "Assumed:",
        f"- The pilot ({count(spread.speakers, 'speaker')}, {count(spread.clips, 'clip')}) is like the test: the score "
        f"is {score(spread.value, unit).replace(chr(160), ' ')}, the standard deviation between speakers of a group "
        f"{math.sqrt(spread.between):.2f}, between clips of a speaker {math.sqrt(spread.within):.2f} {points}.",
        "- The gap is relative to that score. Both groups have the same number of speakers and the same variance.",
        f"- Two-sided test over speakers at the level {plan.alpha:.3g}{shared if plan.comparisons > 1 else '.'}",
        "- Cautious: the variance between speakers is at the upper limit of its one-sided 80 % confidence interval.",
    ]


def _amount(value: int | None) -> str:
    return f"over {MOST_SPEAKERS:,}" if value is None else f"{value:,}"
