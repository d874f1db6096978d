"""A study's numbers as text: what a cell of its table says, and its answer in sentences.

Read from the JSON of the study stage alone. `audio_ssl.report.sections.study` and the Markdown table share them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.fairness.wording import capital, people, whose
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.fairness import VERDICTS, verdict_of
from audio_ssl.report.numbers import MISSING, count, finite, interval, p_value, percent, score, signed

Cell = Mapping[str, Any]
Study = Mapping[str, Any]
UNTRAINED = "untrained"
ALL = "all"
TESTS = (
    "Gaps of percentages are in points. p-values give groups to other speakers (the gap) or swap the two models' "
    "answers of a speaker (the difference of gaps), and are adjusted for all columns together (Holm)."
)
_SENTENCES = re.compile(r"(?<=\.)\s+")


def column_title(column: Mapping[str, Any]) -> str:
    """Call a column of the table.

    Examples
    --------
    >>> column_title({"title": "ASR", "integration": "frozen", "metric": "wer"})
    'ASR, frozen'
    """
    return f"{column['title']}, {column['integration']}"


def cells_of(study: Study, column: str, metric: str) -> list[Cell]:
    """Return the cells of one column, in the order of the table's rows."""
    return [cell for cell in study["cells"] if cell["column"] == column and cell["metric"] == metric]


def row_label(name: str) -> str:
    """Call a row of the table."""
    return "no pretraining" if name == UNTRAINED else name


def value_text(cell: Cell, group: str) -> str:
    r"""Write a group's score with its interval over speakers, and the range over seeds where there are several.

    Examples
    --------
    >>> value_text({"unit": "%", "groups": {"F": {"value": 50.0, "low": 40.0, "high": 61.25}}}, "F")
    '50.0\xa0% (40.0 to 61.2)'
    """
    found = cell["groups"].get(group, {})
    return _with_range(score(found.get("value"), cell["unit"]), found, "", cell["unit"])


def relative_text(cell: Cell) -> str:
    """Write Δrel with its interval."""
    return _with_range(percent(cell.get("relative_symmetric")), cell, "relative_symmetric_", "%", signs=True)


def difference_text(cell: Cell) -> str:
    """Write by how much a gap is larger than that of the reference set, with its interval."""
    found = cell.get("against_reference")
    if found is None:
        return MISSING
    return _with_range(_points(found.get("difference"), cell), found, "", cell["unit"], signs=True)


def _points(value: Any, cell: Cell) -> str:
    return signed(value, "points" if cell["unit"] else "")


def p_text(row: Mapping[str, Any] | None) -> str:
    """Write the p-value of a gap, or of a difference of gaps, adjusted for how many there are."""
    return MISSING if row is None else p_value(row.get("p_holm"))


def verdict_text(row: Mapping[str, Any] | None) -> str:
    """Say what a test came to.

    Examples
    --------
    >>> verdict_text({"p_value": 0.2, "p_holm": 0.6}), verdict_text(None)
    ('no statistically significant difference; inconclusive', '–')
    """
    return MISSING if row is None else VERDICTS[verdict_of(row)]


def gap_text(cell: Cell) -> str:
    """Write the difference of the two groups with its interval."""
    return _with_range(_points(cell.get("difference"), cell), cell, "", cell["unit"], signs=True)


def against_text(cell: Cell, reference: str) -> str:
    """Say by how much a gap is larger than that of the reference set, and whether that is statistically significant."""
    if cell["set"] == UNTRAINED:
        return MISSING
    found = cell.get("against_reference")
    if found is None:
        return f"is {reference}"
    size, chance = difference_text(cell), p_text(found)
    verdict = verdict_text(found)
    if chance != MISSING:
        verdict += f" (p {chance})" if chance.startswith("<") else f" (p = {chance})"
    return verdict if size == MISSING else f"{size}: {verdict}"


def _with_range(value: str, found: Mapping[str, Any], prefix: str, unit: str, signs: bool = False) -> str:
    ends = _ends(found, prefix, unit, signs)
    seeds = _ends(found, f"{prefix}seed_", unit, signs)
    inside = "; ".join(part for part in (ends, f"seeds {seeds}" if seeds else "") if part)
    return f"{value} ({inside})" if inside and value != MISSING else value


def _ends(found: Mapping[str, Any], prefix: str, unit: str, signs: bool) -> str:
    low, high = finite(found.get(f"{prefix}low")), finite(found.get(f"{prefix}high"))
    if low is None or high is None:
        return ""
    plain = "points" if unit else ""
    return f"{signed(low, plain)} to {signed(high, plain)}" if signs else interval(low, high, unit)


def study_answer(study: Study) -> dict[str, list[str]]:
    """Answer what the study found: over all columns, for each, and what has to be minded."""
    columns = {column_title(column): _column_answer(study, column) for column in study["columns"]}
    return {
        "in short": _in_short(study),
        **columns,
        "mind": [
            _sentence(said) for said in (*_SENTENCES.split(str(study["note"]).strip()), *study["warnings"]) if said
        ],
    }


def _in_short(study: Study) -> list[str]:
    reference = study["reference"]
    main = {column["name"]: column["metric"] for column in study["columns"]}
    cells = [cell for cell in study["cells"] if cell["metric"] == main[cell["column"]] and cell["set"] != UNTRAINED]
    compared = [cell["against_reference"] for cell in cells if cell.get("against_reference")]
    tested = [row for row in compared if verdict_of(row) in ("found", "alone", "open")]
    if not tested:
        first = "No gap was tested against that of the reference set: nothing may be concluded about other speakers."
    else:
        found = sum(verdict_of(row) == "found" for row in tested)
        after = f"the gap after pretraining on the {reference} set"
        first = (
            f"None of {len(tested)} gaps differs statistically significantly from {after}."
            if not found
            else f"{found} of {len(tested)} gaps {'differs' if found == 1 else 'differ'} statistically significantly "
            f"from {after}."
        )
    gaps = [cell for cell in cells if verdict_of(cell) in ("found", "alone", "open")]
    beyond = sum(verdict_of(cell) == "found" for cell in gaps)
    a, b = (people(study["by"], group) for group in study["compare"])
    many = (
        f"{beyond} of {len(gaps)} gaps between {a} and {b} {'is' if beyond == 1 else 'are'}"
        if beyond
        else f"None of {len(gaps)} gaps between {a} and {b} is"
    )
    second = f"{many} statistically significant." if gaps else ""
    return [first, *([second] if second else [])]


def _column_answer(study: Study, column: Mapping[str, Any]) -> list[str]:
    cells = cells_of(study, column["name"], column["metric"])
    trained = [cell for cell in cells if cell["set"] != UNTRAINED and _value(cell, ALL) is not None]
    if not trained:
        return ["Nothing was scored."]
    higher, metric, unit = trained[0]["higher_is_better"], metric_label(column["metric"]), trained[0]["unit"]
    ordered = sorted(trained, key=lambda cell: _value(cell, ALL) or 0.0, reverse=higher)
    best, worst = ordered[0], ordered[-1]
    if score(_value(best, ALL), unit) == score(_value(worst, ALL), unit):
        out = [f"{metric} over all speakers is {score(_value(best, ALL), unit)} after pretraining on any set."]
    else:
        out = [
            f"{metric} over all speakers is best after pretraining on {best['set']}, {score(_value(best, ALL), unit)}, "
            f"and worst on {worst['set']}, {score(_value(worst, ALL), unit)}."
        ]
    fresh = next((cell for cell in cells if cell["set"] == UNTRAINED and _value(cell, ALL) is not None), None)
    if fresh is not None:
        out.append(_without_pretraining(_value(fresh, ALL) or 0.0, _value(best, ALL) or 0.0, higher, unit))
    gaps = [cell for cell in trained if finite(cell.get("relative_symmetric")) is not None]
    if gaps:
        out.append(_span_of_gaps(study, gaps, higher))
    refused = dict.fromkeys(str(cell["refused"]) for cell in trained if cell.get("refused"))
    return out + [f"Not tested: {_sentence(reason)}" for reason in refused]


def _without_pretraining(fresh: float, best: float, higher_is_better: bool, unit: str) -> str:
    """Say what the heads reach alone, and what follows where no set's model is better."""
    said = f"Without pretraining it is {score(fresh, unit)}"
    if (best > fresh) == higher_is_better and best != fresh:
        return f"{said}."
    return (
        f"{said}, no worse than after any pretraining: it gave nothing here, and how the sets differ is no sign of "
        "what was learned from them."
    )


def _span_of_gaps(study: Study, gaps: Sequence[Cell], higher_is_better: bool) -> str:
    low = min(gaps, key=lambda cell: cell["relative_symmetric"])
    high = max(gaps, key=lambda cell: cell["relative_symmetric"])
    a, b = study["compare"]
    ends = [percent(cell["relative_symmetric"]) for cell in (low, high)]
    span = f"goes from {ends[0]} ({low['set']}) to {ends[1]} ({high['set']})"
    if ends[0] == ends[1]:
        span = f"is {ends[0]} for every set"
    return (
        f"The relative gap {a} − {b} {span}; a positive one is "
        f"{'better' if higher_is_better else 'worse'} for {people(study['by'], a)}."
    )


def _value(cell: Cell, group: str) -> float | None:
    return finite(cell["groups"].get(group, {}).get("value"))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def speakers_text(study: Study, column: Mapping[str, Any]) -> str:
    """Say how many speakers and clips the column was tested on."""
    cells = cells_of(study, column["name"], column["metric"])
    if not cells:
        return ""
    parts = [
        f"{count(int(found['speakers']), 'speaker')}, {count(int(found['clips']), 'clip')} and "
        f"{count(int(found['words']), 'word')} of {people(study['by'], group)}"
        for group in study["compare"]
        if (found := cells[0]["groups"].get(group))
    ]
    return f"Tested on {'; '.join(parts)}." if parts else ""


def gap_direction(study: Study, higher_is_better: bool) -> tuple[str, str]:
    """Say what lies left and right of no gap."""
    whom = people(study["by"], study["compare"][0])
    worse, better = f"worse for {whom}", f"better for {whom}"
    return (worse, better) if higher_is_better else (better, worse)


def axis_words(study: Study, column: Mapping[str, Any]) -> str:
    """Say what the figure of scores shows."""
    a, b = (whose(study["by"], group, metric_label(column["metric"])) for group in study["compare"])
    return capital(f"{a} and {b}")


def study_markdown(study: Study) -> str:
    """Write the table and what may be concluded as Markdown."""
    lines = [f"# {study['name']}", ""]
    for subject, sentences in study_answer(study).items():
        if sentences:
            lines += [f"**{subject[:1].upper()}{subject[1:]}**", "", *(f"- {said}" for said in sentences), ""]
    a, b = study["compare"]
    for column in study["columns"]:
        for metric in column["metrics"]:
            head = ("Pretrained on", a, b, ALL, "Δrel", f"Gap against {study['reference']}")
            title = f"{column_title(column)}: {metric_label(metric)}"
            rows = [
                (
                    row_label(cell["set"]),
                    *(value_text(cell, group) for group in (a, b, ALL)),
                    relative_text(cell),
                    against_text(cell, study["reference"]),
                )
                for cell in cells_of(study, column["name"], metric)
            ]
            lines += [f"## {title}", "", *_table(head, rows), ""]
    lines += [TESTS, ""]
    amounts = ("Set", "Group", "Hours", "Clips", "Speakers", "Effective speakers", "Most of one speaker")
    lines += ["## Sets", "", *_table(amounts, composition_rows(study)), ""]
    lines += ["## Limits", "", *(f"- {said}" for said in study["limits"]), ""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]


def never_drawn(study: Study) -> list[str]:
    """Say what of the pool no set could have, such as clips whose gender is unknown, and what else was found in it."""
    draw = next(one for one in study["sets"] if one["name"] == study["reference"])["draws"][0]
    left = [
        f"{reason} ({count(int(one['clips']), 'clip')}, {_hours(one['hours'])})"
        for reason, one in draw["excluded"].items()
        if all(reason in other["draws"][0]["excluded"] for other in study["sets"])
    ]
    return ([f"Never drawn: {'; '.join(left)}."] if left else []) + list(draw["notes"])


def composition_rows(study: Study) -> list[tuple[str, ...]]:
    """Return what each set was made of: one row for each group of each draw."""
    rows = []
    for one in study["sets"]:
        for draw, seed in zip(one["draws"], study["seeds"], strict=True):
            name = one["name"] if len(study["seeds"]) == 1 else f"{one['name']}, seed {seed}"
            for group, got in draw["groups"].items():
                rows.append(
                    (
                        name,
                        group,
                        _hours(got["hours"]),
                        *(_plain(got[key]) for key in ("clips", "speakers")),
                        _tenths(got["effective_speakers"]),
                        _hours(got["most_hours_of_a_speaker"]),
                    )
                )
    return rows


def _hours(value: Any) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.1f} h" if amount >= 10 else f"{amount:.3f} h"


def _plain(value: Any) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.0f}"


def _tenths(value: Any) -> str:
    amount = finite(value)
    return MISSING if amount is None else f"{amount:,.1f}"
