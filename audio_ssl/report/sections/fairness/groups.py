"""Scores of the groups of one attribute: dots with intervals, and the table with how much speech each rests on."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.fairness.people import capital
from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.differences import better_words
from audio_ssl.report.fairness_words.methods import HIDDEN
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.gaps import higher_is_better, unit_of
from audio_ssl.report.html import Figure, Table, make_table
from audio_ssl.report.numbers import count, finite, interval, number, score
from audio_ssl.report.sections.fairness.rows import (
    MOST_DRAWN,
    MOST_OPEN,
    Row,
    chosen,
    cut,
    group_name,
    is_total,
    is_unknown,
)
from audio_ssl.report.sections.gains import SHAPES

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
        SHAPES[0 if quiet else index % len(SHAPES)],
        count(int(speakers), "speaker") if speakers is not None else "",
        quiet,
    )


def group_table(groups: Sequence[Row]) -> Table:
    """Write the score of every group and the amount of speech it rests on."""
    shown, notes = cut(ordered(groups))
    first = shown[0]
    metric, by = metric_label(first["metric"]), str(first["by"])
    amounts = [name for name in ("speakers", "clips", "words", "hours") if _any(shown, name)]
    # Columns of zeros would hide the one that is not zero.
    gone = [name for name in _UNANSWERED if any(finite(row.get(name)) for row in shown)]
    rows = [
        (
            group_name(row),
            score(row.get("value"), unit_of(row)),
            interval(row.get("low"), row.get("high"), unit_of(row)),
            *(number(row.get(name), 2 if name == "hours" else 3) for name in amounts),
            *(number(row.get(name)) for name in gone),
        )
        for row in shown
    ]
    head = (
        capital(by),
        metric,
        "95 % confidence interval",
        *map(capital, amounts),
        *(_UNANSWERED[name] for name in gone),
    )
    notes = (*notes, *_empty_note(shown), *([_GONE] if gone else []))
    caption = f"{metric} and amount of test data per {by}"
    return make_table(caption, head, rows, notes=notes, sticky=True, folded=len(rows) > MOST_OPEN)


def _empty_note(rows: Sequence[Row]) -> tuple[str, ...]:
    found = [
        f"{group_name(row)} {amount:.0f}"
        for row in rows
        if not is_total(row) and (amount := finite(row.get("empty_references")) or 0) > 0
    ]
    return (f"Clips without words in the reference: {', '.join(found)}.",) if found else ()


def _any(rows: Sequence[Row], name: str) -> bool:
    return any(finite(row.get(name)) is not None for row in rows)


def suppressed_table(cells: Sequence[Row], by: str) -> Table | None:
    """Count the groups that are not scored, so that nobody can be recognised by a score."""
    cells = chosen(cells, by=by)
    if not cells:
        return None
    several = len({cell.get("result") for cell in cells}) > 1
    rows = [
        (
            *([str(cell.get("result") or "")] if several else []),
            ", ".join(group_name({"by": by, "group": name}) for name in cell.get("groups") or ()) or "others",
            str(cell.get("reason") or ""),
            number(cell.get("speakers")),
            number(cell.get("clips")),
        )
        for cell in cells
    ]
    head = (*(["System"] if several else []), "Group", "Why", "Speakers", "Clips")
    shown, notes = cut(rows)
    return make_table(
        f"Groups by {by} that are counted and not scored", head, shown,
        text_columns=(1, 2) if several else (1,), notes=(*notes, HIDDEN), folded=len(shown) > MOST_OPEN,
    )  # fmt: skip
