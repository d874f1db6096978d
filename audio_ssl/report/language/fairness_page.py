"""What stands around the numbers of the fairness page: leads of its sections, captions and notes."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.report.language.fairness_cells import group_name
from audio_ssl.report.numbers import count, defined, number

RATIO = "Adjusted ratio (95 % CI)"
IN_PERCENT = "Relative to the second (95 % CI)"
DIFFERENCE = "difference (95 % CI)"
SYMMETRIC = "Δrel, in percent of the mean (95 % CI)"
DETECTABLE = "Minimum detectable (80 % power)"

CONCLUSIONS = "What may be concluded"
OVERVIEW = "All comparisons at a glance"
ADJUSTED = "Adjusted gaps (mixed model)"
SYSTEMS = "Gaps of two systems"
LAYERS = "Attributes in the layers"
NOTES = "Notes"
LIMITATIONS = "Limitations"
EXCLUDED = "Excluded"
EXCLUDED_TABLE = "Excluded, by reason"

CONCLUSIONS_LEAD = "The paragraph below each heading can be quoted on its own."
EXAMPLES_LEAD = (
    "These clips have the most errors of their group, or the lowest scores where errors are not counted. They are not "
    "typical."
)
EXCLUDED_LEAD = "Excluded clips are in none of the scores above."
MODELS_LEAD = (
    "A gap can come from what the groups said and how they were recorded. A Poisson mixed model with a random effect "
    "for every speaker (Liu, Veliche & Peng 2022) describes the errors per word and holds the recorded covariates "
    "fixed. It cannot account for what was not recorded."
)
SYSTEMS_LEAD = (
    "Both systems answered clips of the same speakers, so speakers are resampled for both together. This detects "
    "smaller differences than two separate confidence intervals do. The permutation test swaps the two systems' "
    "answers speaker by speaker."
)
_EMPTY_COUNTED = (
    "Empty hypotheses are counted in this report: every word of the reference is an error, as in sclite and jiwer."
)
_EMPTY_LEFT_OUT = "Clips with an empty hypothesis are excluded from this report (--empty-hypothesis leave-out)."
_EMPTY_LEAD = (
    "A hypothesis that is empty because a request failed says nothing about the speakers. So each difference is given "
    "twice: with these clips counted as errors, and without them."
)
EMPTY_TABLE = "Differences with empty hypotheses counted and excluded"
EMPTY_NOTE = "In brackets: 95 % confidence intervals. p-values are Holm-adjusted."
UNANSWERED_NOTE = (
    "Empty: the hypothesis has no words. Missing: there is no hypothesis. Clips without a hypothesis are not counted."
)
MODELS_TABLE = "Crude and adjusted ratios of error rates"
MODELS_NOTE = (
    "A ratio is the first group's errors per word over the second's; 1 means no gap. Speaker SD is the standard "
    "deviation between speakers of the logarithm of that rate. A dispersion far above 1 means that errors come in "
    "bursts. The intervals account for it, and a part of it is in the speaker SD."
)
COVARIATES_TABLE = "Covariates of the models"
SYSTEMS_TABLE = "Gaps of two systems on the same clips"
MODELS_CAPTION = (
    "First group relative to the second, in percent. Circle with interval: adjusted. Open diamond: crude, without the "
    "model. Dashed line: no gap."
)


def more_conclusions(more: int) -> str:
    """Say how many tested comparisons are not said in full."""
    return f"{count(more, 'further tested comparison')} {'is' if more == 1 else 'are'} in the tables below."


def more_blocks(shown: int, all_of_them: int) -> str:
    """Say that a page about more than fairness shows a part of it."""
    return f"The first {shown} of {all_of_them} blocks; the whole is in the report of `audio-ssl fairness`."


def overview_caption(system: str, marks: str, drawn: int, all_of_them: int) -> str:
    """Say what the figure of all gaps of a system shows."""
    about = f"{system}: " if system else ""
    caption = f"{about}first group relative to the second, in percent; dashed line: no gap.{marks}"
    return caption + (f" {drawn} of {all_of_them} comparisons; all are in the table." if all_of_them > drawn else "")


def groups_caption(metric: str, better: str, total: bool, without_interval: bool, drawn: int, all_of_them: int) -> str:
    """Say what the figure of the scores of groups shows."""
    caption = [f"{metric} per group, {better}"]
    caption += ["dotted line: all scored groups"] if total else []
    caption += ["no interval where there are too few speakers"] if without_interval else []
    caption += [f"the first {drawn} of {all_of_them} groups"] if all_of_them > drawn else []
    return f"{'; '.join(caption)}."


def gaps_caption(metric: str, unit: str, marks: str, drawn: int, all_of_them: int) -> str:
    """Say what the figure of the gaps of one metric shows."""
    size = f" in {'percentage points' if unit == '%' else metric}"
    caption = f"Gap{size}, first group minus second; dashed line: no gap.{marks}"
    return caption + (f" The {drawn} largest of {all_of_them}." if all_of_them > drawn else "")


def systems_caption(metric: str, systems: tuple[str, str] | None, marks: str) -> str:
    """Say what the figure of the gaps of two systems, or of several pairs of systems, shows."""
    what = f"the gap with {systems[0]} minus that with {systems[1]}" if systems else "gap minus gap"
    return f"{metric}: {what}; dashed line: no difference.{marks}"


def groups_table(metric: str, by: str) -> str:
    """Call the table of the scores of groups."""
    return f"{metric} and amount of test data per {by}"


def suppressed_table_name(by: str) -> str:
    """Call the table of groups without a score."""
    return f"Groups by {by} without a score"


def no_words(groups: Sequence[str]) -> tuple[str, ...]:
    """Say which groups have clips without words in the reference, and how many; nothing of none."""
    return (f"Clips whose reference has no words: {', '.join(groups)}.",) if groups else ()


def models_note(models: int) -> str:
    """Say that p-values of models stand alone."""
    return "The p-values are not adjusted for the number of models" + (f" ({models})." if models > 1 else ".")


def not_tested(reasons: Sequence[str], most: int) -> list[str]:
    """Give the reasons why comparisons were not tested, each once."""
    return [f"Not tested: {reason}." for reason in list(dict.fromkeys(one.rstrip(".") for one in reasons))[:most]]


def empty_lead(leave_out: bool) -> str:
    """Say how empty hypotheses are treated, and why that matters."""
    return f"{_EMPTY_LEFT_OUT if leave_out else _EMPTY_COUNTED} {_EMPTY_LEAD}"


def missing_note(leave_out: bool) -> str:
    """Say what becomes of clips without a hypothesis, or with an empty one."""
    empty = (
        "Clips with an empty hypothesis are excluded as well (--empty-hypothesis leave-out)."
        if leave_out
        else "Clips with an empty hypothesis are counted: each word of the reference is an error."
    )
    return f"Clips without a hypothesis are excluded from every number, also from the number of clips. {empty}"


def sign_off_note(sha256: str) -> str:
    """Name the file whose numbers were read."""
    return f"The numbers are those of the JSON file with the SHA-256 {sha256}."


NOT_STATED = "not stated"


def statement_rows(
    date: str,
    systems: Sequence[tuple[str, str]],
    test_set: str | None,
    scope: str,
    tolerance: float | None,
    method: str,
) -> list[tuple[str, str]]:
    """State what was audited, for whoever signs."""
    return [
        ("Date", date or NOT_STATED),
        *systems,
        ("Test set, version", test_set or f"{NOT_STATED} (--test-set)"),
        ("Scope", scope),
        ("Tolerance", "none stated (--tolerance)" if tolerance is None else f"{tolerance:g}, in points of the metric"),
        ("Method", method),
    ]


def method_words(permutations: str, replicates: int, seed: int, fewest: int, version: str) -> str:
    """Say how the numbers were made, in one sentence."""
    return (
        f"permutation tests over speakers ({permutations} permutations, or all), Holm-adjusted; "
        f"95 % confidence intervals from {number(replicates)} resamples of speakers; seed {seed}; "
        f"groups of fewer than {fewest} speakers not scored; audio_ssl {version or NOT_STATED}"
    )


def system_words(name: str, system: str | None, version: str | None) -> str:
    """Name a system and its version as whoever signs needs it."""
    if not system:
        return f"{NOT_STATED} (--system, --version); called {name} here"
    return f"{system}, {version or f'version {NOT_STATED} (--version)'}"


def scope_words(amounts: Sequence[str], by: Sequence[str], metrics: Sequence[str], scored: int, hidden: int) -> str:
    """Say how much was compared, by what, and how many groups have a score."""
    return (
        f"{'; '.join(amounts)}. Compared by {', '.join(by) or 'nothing'}; {', '.join(metrics) or 'no score'}. "
        f"{count(scored, 'group')} scored, {number(hidden)} counted only."
    )


def amount_words(clips: int, speakers: int, hours: float) -> str:
    """Say how much of a system was heard."""
    speech = f", {number(hours, 2)} hours" if defined(hours) and hours else ""
    return f"{count(clips, 'clip')} of {count(speakers, 'speaker')}{speech}"


def hidden_groups(by: str, groups: Sequence[str]) -> str:
    """Name groups without a score; without names they are people left out because of another attribute."""
    return ", ".join(group_name(by, name) for name in groups) or "others"
