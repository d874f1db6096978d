"""What stands around the numbers of the fairness page: leads of its sections, captions and notes."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.report.language.fairness_cells import group_name
from audio_ssl.report.numbers import count, defined, number

IN_PERCENT = "In percent of the second (95 % CI)"
DIFFERENCE = "difference (95 % confidence interval)"
SYMMETRIC = "Δrel, in percent of the mean (95 % CI)"
DETECTABLE = "Minimum detectable (80 % power)"

CONCLUSIONS = "What may be concluded"
OVERVIEW = "All comparisons at a glance"
ADJUSTED = "The gap between like clips"
SYSTEMS = "Gaps of two systems"
LAYERS = "What the layers tell"

CONCLUSIONS_LEAD = "The paragraph below each heading can be quoted alone."
EXAMPLES_LEAD = (
    "These clips were chosen because they have the most errors of their group, or the lowest scores where errors are "
    "not counted; they are not typical."
)
EXCLUDED_LEAD = "Nothing of these is in any number above."
MODELS_LEAD = (
    "A gap can come from what the groups said and how it was recorded. A Poisson model with an effect of its own for "
    "every speaker (Liu, Veliche & Peng 2022) counts errors per word and holds these differences fixed, as far as "
    "they were measured. What the model does not know of, it cannot hold fixed."
)
SYSTEMS_LEAD = (
    "Both systems heard the same speakers, so both are resampled together, which finds smaller differences than two "
    "separate intervals do. The test swaps the systems' answers speaker by speaker."
)
_EMPTY_COUNTED = (
    "Empty hypotheses are counted in this report: every word of the reference is an error, as in sclite and jiwer."
)
_EMPTY_LEFT_OUT = "Clips with an empty hypothesis are left out of this report (--empty-hypothesis leave-out)."
_EMPTY_LEAD = (
    "A hypothesis that is empty because a request failed says nothing about the speakers. Each difference is given "
    "here with these clips counted as errors and without them."
)
EMPTY_TABLE = "Differences with empty hypotheses counted, and left out"
EMPTY_NOTE = "In brackets: 95 % intervals. p is Holm-adjusted."
UNANSWERED_NOTE = (
    "Empty: the hypothesis has no word. Missing: there is no hypothesis; these clips are not among those counted."
)
MODELS_TABLE = "Ratios of error rates, crude and adjusted"
MODELS_NOTE = (
    "Ratios are errors per word of the first group over those of the second; 1 is no gap. Speaker SD is the "
    "standard deviation between speakers of the logarithm of that rate. A dispersion far above 1 says that errors "
    "come in bursts; the interval allows for them, and a part of them is in the speaker SD."
)
COVARIATES_TABLE = "What else the errors go with"
SYSTEMS_TABLE = "Gaps of two systems on the same clips"
MODELS_CAPTION = (
    "First group against the second, in percent of the second. Circle with interval: adjusted; "
    "open diamond: crude, without the model; dashed: no gap."
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
    caption = f"{about}first group against the second, in percent of the second; dashed: no difference.{marks}"
    return caption + (f" {drawn} of {all_of_them} comparisons; all are in the table." if all_of_them > drawn else "")


def groups_caption(metric: str, better: str, total: bool, without_interval: bool, drawn: int, all_of_them: int) -> str:
    """Say what the figure of the scores of groups shows."""
    caption = [f"{metric} per group, {better}"]
    caption += ["dotted: all scored groups"] if total else []
    caption += ["no interval where speakers are too few"] if without_interval else []
    caption += [f"the first {drawn} of {all_of_them} groups"] if all_of_them > drawn else []
    return f"{'; '.join(caption)}."


def gaps_caption(metric: str, unit: str, marks: str, drawn: int, all_of_them: int) -> str:
    """Say what the figure of the gaps of one metric shows."""
    size = f" in {'percentage points' if unit == '%' else metric}"
    caption = f"Gap{size}, first group minus second; dashed: no gap.{marks}"
    return caption + (f" The {drawn} largest of {all_of_them}." if all_of_them > drawn else "")


def systems_caption(metric: str, systems: tuple[str, str] | None, marks: str) -> str:
    """Say what the figure of the gaps of two systems, or of several pairs of systems, shows."""
    what = f"the gap with {systems[0]} minus that with {systems[1]}" if systems else "gap minus gap"
    return f"{metric}: {what}; dashed: no difference.{marks}"


def groups_table(metric: str, by: str) -> str:
    """Call the table of the scores of groups."""
    return f"{metric} and amount of test data per {by}"


def suppressed_table_name(by: str) -> str:
    """Call the table of groups without a score."""
    return f"Groups by {by} that are counted and not scored"


def no_words(groups: Sequence[str]) -> tuple[str, ...]:
    """Say which groups have clips without words in the reference, and how many; nothing of none."""
    return (f"Clips without words in the reference: {', '.join(groups)}.",) if groups else ()


def models_note(models: int) -> str:
    """Say that p-values of models stand alone."""
    return f"The p-values are those of single models; they are not adjusted for there being {models}."


def not_tested(reasons: Sequence[str], most: int) -> list[str]:
    """Give the reasons why comparisons were not tested, each once."""
    return [f"Not tested: {reason}." for reason in list(dict.fromkeys(one.rstrip(".") for one in reasons))[:most]]


def empty_lead(leave_out: bool) -> str:
    """Say how empty hypotheses are treated, and why that matters."""
    return f"{_EMPTY_LEFT_OUT if leave_out else _EMPTY_COUNTED} {_EMPTY_LEAD}"


def missing_note(leave_out: bool) -> str:
    """Say what becomes of clips without a hypothesis, or with an empty one."""
    empty = (
        "Those with an empty one are left out as well (--empty-hypothesis leave-out)."
        if leave_out
        else "Those with an empty one are counted: each word of the reference is an error."
    )
    return f"Clips without a hypothesis are left out of every number and are not among the clips counted. {empty}"


def sign_off_note(sha256: str) -> str:
    """Name the file whose numbers were read."""
    return f"The numbers read are those of the JSON file with the SHA-256 {sha256}."


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
