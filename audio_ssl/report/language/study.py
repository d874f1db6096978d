"""A study's numbers as text: what a cell of its table says, and the answer in sentences.

The page (`audio_ssl.report.sections.study`) and the Markdown table share them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from audio_ssl.artifacts.fairness import GapOutcome
from audio_ssl.artifacts.study import UNTRAINED, GapAgainstReference, StudyCell, StudyColumn, StudyResult
from audio_ssl.base.text import markdown_table
from audio_ssl.fairness.wording import capital, people, whose
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.fairness_cells import OUTCOMES
from audio_ssl.report.language.phrases import better_words
from audio_ssl.report.numbers import MISSING, count, finite, interval, p_value, percent, score, signed

ALL = "all"
HOW = (
    "Each row is one set of pretraining audio. Each column is one way to use the model: a head on the frozen model, or "
    "model and head trained together (fine-tuned). Δrel is 100 · (first − second) divided by the mean of both groups. "
    "Confidence intervals are bootstrap intervals over test speakers."
)
TESTS = (
    "Gaps between percentages are in percentage points. p-values are those of permutation tests: the test of a gap "
    "permutes the groups of the speakers; the test of a difference of gaps swaps the answers of the two models, "
    "speaker by speaker. All are Holm-adjusted over the columns together."
)
LIMITS = (
    "Results hold for these clips and these speakers. Groups are as the corpus records them.",
    "The sets differ in their speakers and sentences, not only in the shares of the groups. The shares need not be the "
    "cause of a difference between sets.",
    "Confidence intervals and tests cover the choice of test speakers. They do not cover the draw of a set or the "
    "training; several seeds show how much these vary.",
    "Without a statistically significant difference, fairness is not proven: with few speakers, only large differences "
    "can be detected.",
)
EFFECTIVE = (
    "The effective number of speakers is the number of speakers with equal hours that would be as concentrated "
    "(inverse Simpson index)."
)
AMOUNTS = ("Set", "Group", "Hours", "Clips", "Speakers", "Effective speakers", "Maximum per speaker")
_SENTENCES = re.compile(r"(?<=\.)\s+")
Ends = tuple[float | None, float | None]


def column_title(column: StudyColumn) -> str:
    """Return the title of a column: ``ASR, frozen``."""
    return f"{column.title}, {column.integration}"


def row_label(name: str) -> str:
    """Return the label of a row."""
    return "no pretraining" if name == UNTRAINED else name


def group_value(cell: StudyCell, group: str) -> float | None:
    """Return a group's score; None where it is not defined."""
    found = cell.groups.get(group)
    return None if found is None else finite(found.value)


def value_text(cell: StudyCell, group: str) -> str:
    r"""Write a group's score with its interval over speakers, and the range over seeds where there are several.

    Examples
    --------
    >>> from audio_ssl.artifacts.study import CellGroup
    >>> from types import SimpleNamespace
    >>> women = CellGroup(value=50.0, low=40.0, high=61.25, speakers=9, clips=9, words=90, hours=0.1)
    >>> value_text(SimpleNamespace(unit="%", groups={"F": women}), "F")
    '50.0\xa0% (40.0 to 61.2)'
    """
    found = cell.groups.get(group)
    if found is None:
        return MISSING
    seeds = found.seed_low, found.seed_high
    return _with_ranges(score(found.value, cell.unit), (found.low, found.high), seeds, cell.unit)


def relative_text(cell: StudyCell) -> str:
    """Write Δrel with its interval."""
    ends = cell.relative_symmetric_low, cell.relative_symmetric_high
    seeds = cell.relative_symmetric_seed_low, cell.relative_symmetric_seed_high
    return _with_ranges(percent(cell.relative_symmetric), ends, seeds, "%", signs=True)


def gap_text(cell: StudyCell) -> str:
    """Write the difference of the two groups with its interval."""
    seeds = cell.seed_low, cell.seed_high
    return _with_ranges(_points(cell.difference, cell), (cell.low, cell.high), seeds, cell.unit, signs=True)


def difference_text(cell: StudyCell) -> str:
    """Write by how much a gap is larger than that of the reference set, with its interval."""
    found = cell.against_reference
    if found is None:
        return MISSING
    return _with_ranges(_points(found.difference, cell), (found.low, found.high), (None, None), cell.unit, signs=True)


def _points(value: float, cell: StudyCell) -> str:
    return signed(value, "points" if cell.unit else "")


def _with_ranges(value: str, ends: Ends, seeds: Ends, unit: str, signs: bool = False) -> str:
    """Add the confidence interval and the range over seeds, those that are defined, to a number."""
    known = (_range(ends, unit, signs), _range(seeds, unit, signs))
    inside = "; ".join(f"{what}{ends}" for what, ends in zip(("", "seeds "), known, strict=True) if ends)
    return f"{value} ({inside})" if inside and value != MISSING else value


def _range(ends: Ends, unit: str, signs: bool) -> str:
    low, high = map(finite, ends)
    if low is None or high is None:
        return ""
    plain = "points" if unit else ""
    return f"{signed(low, plain)} to {signed(high, plain)}" if signs else interval(low, high, unit)


def p_text(row: StudyCell | GapAgainstReference | None) -> str:
    """Write the adjusted p-value of a gap or of a difference of gaps."""
    return MISSING if row is None else p_value(row.p_holm)


def verdict_text(row: StudyCell | GapAgainstReference | None) -> str:
    """Write what a test came to."""
    return MISSING if row is None else OUTCOMES[row.outcome]


def against_text(cell: StudyCell) -> str:
    """Write by how much a gap is larger than that of the reference set, with the verdict."""
    if cell.set == UNTRAINED:
        return MISSING
    found = cell.against_reference
    if found is None:
        return "reference set"
    size, chance = difference_text(cell), p_text(found)
    verdict = verdict_text(found)
    if chance != MISSING:
        verdict += f" (p {chance})" if chance.startswith("<") else f" (p = {chance})"
    return verdict if size == MISSING else f"{size}: {verdict}"


def study_answer(study: StudyResult) -> dict[str, list[str]]:
    """Return the findings over all columns and of each column, and the warnings."""
    columns = {column_title(column): _column_answer(study, column) for column in study.columns}
    return {
        "in short": _in_short(study),
        **columns,
        "warnings": [_sentence(said) for said in (*_SENTENCES.split(study.note.strip()), *study.warnings) if said],
    }


def _in_short(study: StudyResult) -> list[str]:
    reference = study.reference
    main = {column.name: column.metric for column in study.columns}
    cells = [cell for cell in study.cells if cell.metric == main[cell.column] and cell.set != UNTRAINED]
    tested = [row for cell in cells if (row := cell.against_reference) is not None and row.outcome.tested]
    if not tested:
        first = "No gap was tested against that of the reference set. The scores describe these test speakers only."
    else:
        found = sum(row.outcome == GapOutcome.FOUND for row in tested)
        after = f"the gap after pretraining on the {reference} set"
        many = f"{found} of {len(tested)} tested gaps" if found else f"None of the {len(tested)} tested gaps"
        first = f"{many} {'differs' if found < 2 else 'differ'} statistically significantly from {after}."
    gaps = [cell for cell in cells if cell.outcome.tested]
    beyond = sum(cell.outcome == GapOutcome.FOUND for cell in gaps)
    a, b = (people(study.by, group) for group in study.compare)
    many = (
        f"{beyond} of {len(gaps)} tested gaps between {a} and {b} {'is' if beyond == 1 else 'are'}"
        if beyond
        else f"None of the {len(gaps)} tested gaps between {a} and {b} is"
    )
    second = f"{many} statistically significant." if gaps else ""
    return [first, *([second] if second else [])]


def _column_answer(study: StudyResult, column: StudyColumn) -> list[str]:
    cells = study.cells_of(column.name, column.metric)
    trained = [cell for cell in cells if cell.set != UNTRAINED and group_value(cell, ALL) is not None]
    if not trained:
        return ["Nothing was scored."]
    higher, metric, unit = trained[0].higher_is_better, metric_label(column.metric), trained[0].unit
    ordered = sorted(trained, key=lambda cell: group_value(cell, ALL) or 0.0, reverse=higher)
    best, worst = ordered[0], ordered[-1]
    if score(group_value(best, ALL), unit) == score(group_value(worst, ALL), unit):
        out = [f"{metric} over all speakers is {score(group_value(best, ALL), unit)} after pretraining on any set."]
    else:
        ends = [f"{one.set} ({score(group_value(one, ALL), unit)})" for one in (best, worst)]
        out = [f"{metric} over all speakers is best after pretraining on {ends[0]} and worst on {ends[1]}."]
    fresh = next((cell for cell in cells if cell.set == UNTRAINED and group_value(cell, ALL) is not None), None)
    if fresh is not None:
        out.append(_without_pretraining(group_value(fresh, ALL) or 0.0, group_value(best, ALL) or 0.0, higher, unit))
    gaps = [cell for cell in trained if finite(cell.relative_symmetric) is not None]
    if gaps:
        out.append(_span_of_gaps(study, gaps, higher))
    refused = dict.fromkeys(cell.refused for cell in trained if cell.refused)
    return out + [f"Not tested: {_sentence(reason)}" for reason in refused]


def _without_pretraining(fresh: float, best: float, higher_is_better: bool, unit: str) -> str:
    """Give the score without pretraining, and say what follows where no set improves on it."""
    said = f"Without pretraining it is {score(fresh, unit)}."
    if (best > fresh) == higher_is_better and best != fresh:
        return said
    return (
        f"{said} No set improved on that, so differences between the sets do not show what the models learned from "
        "them."
    )


def _span_of_gaps(study: StudyResult, gaps: Sequence[StudyCell], higher_is_better: bool) -> str:
    low = min(gaps, key=lambda cell: cell.relative_symmetric)
    high = max(gaps, key=lambda cell: cell.relative_symmetric)
    a, b = study.compare
    ends = [percent(cell.relative_symmetric) for cell in (low, high)]
    span = f"ranges from {ends[0]} ({low.set}) to {ends[1]} ({high.set})"
    if ends[0] == ends[1]:
        span = f"is {ends[0]} for every set"
    return (
        f"The relative gap {a} − {b} {span}. A positive gap is "
        f"{'better' if higher_is_better else 'worse'} for {people(study.by, a)}."
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def speakers_text(study: StudyResult, column: StudyColumn) -> str:
    """Return the number of speakers, clips and words that the column was tested on."""
    cells = study.cells_of(column.name, column.metric)
    if not cells:
        return ""
    parts = [
        f"{count(found.speakers, 'speaker')}, {count(found.clips, 'clip')} and "
        f"{count(found.words, 'word')} of {people(study.by, group)}"
        for group in study.compare
        if (found := cells[0].groups.get(group))
    ]
    return f"Tested on {'; '.join(parts)}." if parts else ""


def gap_direction(study: StudyResult, higher_is_better: bool) -> tuple[str, str]:
    """Return the directions left and right of no gap."""
    whom = people(study.by, study.compare[0])
    worse, better = f"worse for {whom}", f"better for {whom}"
    return (worse, better) if higher_is_better else (better, worse)


def axis_words(study: StudyResult, column: StudyColumn) -> str:
    """Return what the figure of scores shows."""
    a, b = (whose(study.by, group, metric_label(column.metric)) for group in study.compare)
    return capital(f"{a} and {b}")


def overview_notes(seeds: int) -> tuple[str, ...]:
    """Say where the rest of the table's numbers is."""
    scores = (
        f"Scores pool the answers of {seeds} seeds." if seeds > 1 else "Scores over all speakers link to predictions."
    )
    return ("Confidence intervals and tests are in the tables of each column below.", scores)


def pooled(seeds: int) -> str:
    """Say what a score over several seeds is."""
    return f"Scores pool the answers of {seeds} seeds. The range over seeds follows the confidence interval."


def scores_caption(study: StudyResult, column: StudyColumn, higher_is_better: bool) -> str:
    """Say what the figure of scores shows."""
    a, b = study.compare
    return f"{axis_words(study, column)}, {better_words(higher_is_better)}. Circles are {a}, squares {b}."


def relative_caption(refused: bool) -> str:
    """Say what the figure of relative gaps shows; `refused` where some were not tested."""
    return "Relative gap Δrel. The dashed line marks no gap." + (" Diamonds were not tested." if refused else "")


def against_caption(reference: str) -> str:
    """Say what the figure of differences from the reference set shows."""
    return f"Gap minus the gap of the {reference} set, on the same speakers. The dashed line marks equal gaps."


def pretrained_how(study: StudyResult) -> tuple[str, str]:
    """Say how the models were pretrained."""
    made = study.pretraining
    settings = f"Settings: {', '.join(made.settings)}." if made.settings else "All settings are those of the recipe."
    return f"One model per set was pretrained with the recipe {made.recipe} on {study.hours:g} hours.", settings


def study_markdown(study: StudyResult) -> str:
    """Write the answer, the tables and the limitations as Markdown."""
    lines = [f"# {study.name}", ""]
    for subject, sentences in study_answer(study).items():
        if sentences:
            lines += [f"**{subject[:1].upper()}{subject[1:]}**", "", *(f"- {said}" for said in sentences), ""]
    a, b = study.compare
    for column in study.columns:
        for metric in column.metrics:
            head = ("Pretrained on", a, b, ALL, "Δrel", f"Gap compared with {study.reference}")
            title = f"{column_title(column)}: {metric_label(metric)}"
            rows = [
                (
                    row_label(cell.set),
                    *(value_text(cell, group) for group in (a, b, ALL)),
                    relative_text(cell),
                    against_text(cell),
                )
                for cell in study.cells_of(column.name, metric)
            ]
            lines += [f"## {title}", "", markdown_table(head, rows), ""]
    lines += [TESTS, ""]
    lines += ["## Sets", "", markdown_table(AMOUNTS, composition_rows(study)), ""]
    lines += ["## Limitations", "", *(f"- {said}" for said in study.limits), ""]
    return "\n".join(lines)


def never_drawn(study: StudyResult) -> list[str]:
    """Return what was excluded from every set, such as clips of unknown gender, and the notes on the pool."""
    draw = next(one for one in study.sets if one.name == study.reference).draws[0]
    left = [
        f"{reason} ({count(one.clips, 'clip')}, {_hours(one.hours)})"
        for reason, one in draw.excluded.items()
        if all(reason in other.draws[0].excluded for other in study.sets)
    ]
    return ([f"Excluded from every set: {'; '.join(left)}."] if left else []) + list(draw.notes)


def composition_rows(study: StudyResult) -> list[tuple[str, ...]]:
    """Return the amounts of each set: one row per draw and group."""
    rows: list[tuple[str, ...]] = []
    for one in study.sets:
        for draw, seed in zip(one.draws, study.seeds, strict=True):
            name = one.name if len(study.seeds) == 1 else f"{one.name}, seed {seed}"
            for group, got in draw.groups.items():
                rows.append(
                    (
                        name,
                        group,
                        _hours(got.hours),
                        _plain(got.clips),
                        _plain(got.speakers),
                        _tenths(got.effective_speakers),
                        _hours(got.most_hours_of_a_speaker),
                    )
                )
    return rows


def _hours(value: float | None) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.1f} h" if amount >= 10 else f"{amount:.3f} h"


def _plain(value: float | None) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.0f}"


def _tenths(value: float | None) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.1f}"
