"""Scores of the groups of one attribute: dots with intervals, and the table with how much speech each rests on.

Gaps between pairs of groups: the figure in the metric's unit, and the table of everything that is known of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from audio_ssl.fairness.wording import capital, short_people
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.html import MOST_OPEN, Figure, Table, TableColumn, tabulate, turned
from audio_ssl.report.language.conclusions import tally, tally_words
from audio_ssl.report.language.fairness import (
    SHAPES,
    better_words,
    comparison_words,
    higher_is_better,
    spread_words,
    unit_of,
    verdict_of,
    worse_group,
)
from audio_ssl.report.language.methods import HIDDEN
from audio_ssl.report.numbers import MISSING, count, finite, interval, number, percent, score, signed
from audio_ssl.report.sections.fairness_rows import (
    MOST_DRAWN,
    P_HOLM,
    P_VALUE,
    VERDICT,
    Report,
    Row,
    chosen,
    difference,
    group_name,
    is_total,
    is_unknown,
    pair_name,
    relative,
    relative_ends,
    rows_of,
    sides,
    system_column,
    with_ends,
)
from audio_ssl.report.sections.scores import GAIN_SHAPES

_UNANSWERED = {"empty_hypotheses": "Empty", "missing_hypotheses": "Missing"}
_GONE = "Empty: the hypothesis has no word. Missing: there is no hypothesis; these clips are not among those counted."


def ordered(groups: Sequence[Row]) -> list[Row]:
    """Put the known groups first, then the speakers without a record, then all clips."""
    return sorted(groups, key=lambda row: (is_total(row), is_unknown(row)))


def group_figure(groups: Sequence[Row], prefix: str, span: Sequence[float] = ()) -> Figure | None:
    """Draw the score of every group; None where none has one."""
    drawn = [row for row in ordered(groups) if finite(row.get("value")) is not None]
    if not drawn:
        return None
    first, total = drawn[0], next((row for row in drawn if is_total(row)), None)
    dots = [_dot(row, index) for index, row in enumerate(drawn[:MOST_DRAWN])]
    metric, by, unit = metric_label(first["metric"]), str(first["by"]), unit_of(first)
    said = "; ".join(f"{dot.label} {score(dot.value, unit)}, {dot.note}" for dot in dots)
    svg = interval_chart(
        f"{prefix}-groups",
        f"{metric} by {by}",
        f"{said}.",
        dots,
        axis_label=metric,
        unit=unit,
        higher_is_better=higher_is_better(first),
        reference=finite(total["value"]) if total else None,
        span=span,
    )
    caption = [f"{metric} per group{f', {way}' if (way := better_words(first)) else ''}"]
    caption += ["dotted: all scored groups"] if total else []
    caption += ["no interval where speakers are too few"] if any(dot.low is None for dot in dots) else []
    caption += [f"the first {MOST_DRAWN} of {len(drawn)} groups"] if len(drawn) > MOST_DRAWN else []
    return Figure(f"{prefix}-groups-box", svg, "; ".join(caption) + ".")


def _dot(row: Row, index: int) -> Dot:
    quiet = is_total(row) or is_unknown(row)
    speakers = finite(row.get("speakers"))
    return Dot(
        group_name(row),
        float(row["value"]),
        finite(row.get("low")),
        finite(row.get("high")),
        GAIN_SHAPES[0 if quiet else index % len(GAIN_SHAPES)],
        count(int(speakers), "speaker") if speakers is not None else "",
        quiet,
    )


def group_table(groups: Sequence[Row]) -> Table:
    """Write the score of every group and the amount of speech it rests on."""
    shown = ordered(groups)
    metric, by = metric_label(shown[0]["metric"]), str(shown[0]["by"])
    # Columns of zeros would hide the one that is not zero.
    gone = [name for name in _UNANSWERED if any(finite(row.get(name)) for row in shown)]
    columns = [
        TableColumn(capital(by), group_name),
        TableColumn(metric, lambda row: score(row.get("value"), unit_of(row))),
        TableColumn("95 % confidence interval", lambda row: interval(row.get("low"), row.get("high"), unit_of(row))),
        TableColumn("Speakers", lambda row: number(row.get("speakers"))),
        TableColumn("Clips", lambda row: number(row.get("clips"))),
        TableColumn("Words", lambda row: number(row.get("words"))),
        TableColumn("Hours", lambda row: number(row.get("hours"), 2)),
        *(TableColumn(_UNANSWERED[name], partial(_amount, name)) for name in gone),
    ]
    notes = (*_empty_note(shown), *([_GONE] if gone else []))
    caption = f"{metric} and amount of test data per {by}"
    return tabulate(caption, shown, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)


def _amount(name: str, row: Row) -> str:
    return number(row.get(name))


def _empty_note(rows: Sequence[Row]) -> tuple[str, ...]:
    found = [
        f"{group_name(row)} {amount:.0f}"
        for row in rows
        if not is_total(row) and (amount := finite(row.get("empty_references")) or 0) > 0
    ]
    return (f"Clips without words in the reference: {', '.join(found)}.",) if found else ()


def suppressed_table(report: Report, by: str) -> Table | None:
    """Count the groups that are not scored, so that nobody can be recognised by a score."""
    cells = chosen(rows_of(report, "suppressed"), by=by)
    if not cells:
        return None
    columns = [
        *system_column(report),
        TableColumn("Group", _hidden_groups, words=True),
        TableColumn("Why", lambda cell: str(cell.get("reason") or ""), words=True),
        TableColumn("Speakers", lambda cell: number(cell.get("speakers"))),
        TableColumn("Clips", lambda cell: number(cell.get("clips"))),
    ]
    caption = f"Groups by {by} that are counted and not scored"
    return tabulate(caption, cells, columns, notes=(HIDDEN,), open_up_to=MOST_OPEN)


def _hidden_groups(cell: Row) -> str:
    return ", ".join(group_name({**cell, "group": name}) for name in cell.get("groups") or ()) or "others"


_ONE_LINE = 17
MOST_UPRIGHT = 3
"""Pairs whose table has a column for each; of more, a row for each."""


def gap_figure(comparisons: Sequence[Row], prefix: str) -> Figure | None:
    """Draw every gap around zero, the largest first where there are too many; None where none is known."""
    known = [row for row in comparisons if finite(row.get("difference")) is not None]
    if not known:
        return None
    drawn = known
    if len(known) > MOST_DRAWN:
        drawn = sorted(known, key=lambda row: -abs(float(row["difference"])))[:MOST_DRAWN]
    unit = unit_of(known[0])
    dots = [
        Dot(
            label,
            float(row["difference"]),
            finite(row.get("low")),
            finite(row.get("high")),
            SHAPES[verdict_of(row)],
            note,
            quiet=verdict_of(row) in ("refused", "untested"),
            style=0,
        )
        for row in drawn
        for label, note in (_two_lines(pair_name(row)),)
    ]
    said = "; ".join(f"{dot.label} {dot.note}: {signed(dot.value, unit)}" for dot in dots)
    metric = metric_label(known[0]["metric"])
    svg = interval_chart(
        f"{prefix}-gaps", f"Gaps in {metric}", f"{said}.", dots,
        axis_label="gap", unit=unit, zero=sides(drawn),
    )  # fmt: skip
    size = f" in {'percentage points' if unit == '%' else metric}"
    caption = f"Gap{size}, first group minus second; dashed: no gap.{marks_words(drawn)}"
    if len(known) > len(drawn):
        caption += f" The {len(drawn)} largest of {len(known)}."
    return Figure(f"{prefix}-gaps-box", svg, caption)


def _two_lines(pair: str) -> tuple[str, str]:
    """Break a long name before its second group."""
    first, minus, second = pair.partition(" − ")
    return (first, f"minus {second}") if minus and len(pair) > _ONE_LINE else (pair, "")


def marks_words(rows: Sequence[Row]) -> str:
    """Say what the shapes of the marks mean, as far as they occur."""
    found = {SHAPES[verdict_of(row)] for row in rows}
    words = {
        "square": "a square: statistically significant",
        "circle": "a circle: not statistically significant",
        "triangle": "a triangle: smaller than the tolerance",
        "diamond": "a diamond: not tested",
    }
    said = [text for shape, text in words.items() if shape in found]
    return f" {said[0][0].upper()}{'; '.join(said)[1:]}." if said else ""


def gap_sentences(comparisons: Sequence[Row], spread: Sequence[Row]) -> list[str]:
    """Say the gaps: each where they are few, else the extremes and those that are statistically significant."""
    if len(comparisons) <= MOST_UPRIGHT:
        said = [text for row in spread if (finite(row.get("groups")) or 0) > 2 and (text := spread_words(row))]
        return said + [comparison_words(row) for row in comparisons]
    said = [text for row in spread if (text := spread_words(row))]
    found = [row for row in comparisons if verdict_of(row) == "found"]
    said.append(tally_words(tally(comparisons)))
    found.sort(key=lambda row: -abs(float(row.get("difference") or 0.0)))
    said += [comparison_words(row) for row in found[:MOST_UPRIGHT]]
    return said


def gap_table(comparisons: Sequence[Row]) -> Table:
    """Write everything known of the gaps: a column for each where they are few, else a row."""
    metric, few = metric_label(comparisons[0]["metric"]), len(comparisons) <= MOST_UPRIGHT
    symmetric = "Δrel, in percent of the mean (95 % CI)" if few else "Δrel"
    columns = [
        TableColumn("Groups", pair_name),
        TableColumn(f"{metric}, difference (95 % confidence interval)", difference),
        TableColumn("In percent of the second (95 % CI)", lambda row: with_ends(relative(row), *relative_ends(row))),
        TableColumn(symmetric, _symmetric if few else lambda row: percent(row.get("relative_symmetric"))),
        P_VALUE,
        P_HOLM,
        TableColumn("Minimum detectable (80 % power)", _detectable),
        TableColumn("Worse for", _worse, words=True),
        VERDICT,
    ]
    refused = [str(row["refused"]).rstrip(".") for row in comparisons if row.get("refused")]
    notes = [f"Not tested: {reason}." for reason in list(dict.fromkeys(refused))[:MOST_UPRIGHT]]
    caption = f"Gaps in {metric} by {comparisons[0]['by']}"
    table = tabulate(caption, comparisons, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)
    return turned(table, "Groups") if few else table


def _detectable(row: Row) -> str:
    return signed(row.get("minimum_detectable"), unit_of(row)).lstrip("+")


def _worse(row: Row) -> str:
    worse = worse_group(row)
    return short_people(str(row["by"]), worse) if worse else MISSING


def _symmetric(row: Row) -> str:
    return with_ends(*(row.get(f"relative_symmetric{end}") for end in ("", "_low", "_high")))
