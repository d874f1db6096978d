"""Scores of the groups of one attribute: dots with intervals, and the table with how much speech each rests on.

Gaps between pairs of groups: the figure in the metric's unit, and the table of everything that is known of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.fairness.wording import capital, short_people
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.html import Figure, Table, make_table
from audio_ssl.report.language.conclusions import tally, tally_words
from audio_ssl.report.language.fairness import (
    SHAPES,
    VERDICTS,
    better_words,
    comparison_words,
    higher_is_better,
    spread_words,
    unit_of,
    verdict_of,
    worse_group,
)
from audio_ssl.report.language.methods import HIDDEN
from audio_ssl.report.numbers import MISSING, count, finite, interval, number, p_value, percent, score, signed
from audio_ssl.report.sections.fairness_rows import (
    MOST_DRAWN,
    MOST_OPEN,
    Row,
    chosen,
    cut,
    ends,
    group_name,
    is_total,
    is_unknown,
    pair_name,
    relative,
    relative_ends,
    sides,
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
    shown, notes = cut(comparisons)
    metric = metric_label(shown[0]["metric"])
    facts = [
        (f"{metric}, difference (95 % confidence interval)", [_difference(row) for row in shown]),
        ("In percent of the second (95 % CI)", [with_ends(relative(row), *relative_ends(row)) for row in shown]),
        _symmetric(shown),
        ("p", [p_value(row.get("p_value")) for row in shown]),
        ("Holm-adjusted p", [p_value(row.get("p_holm")) for row in shown]),
        (
            "Minimum detectable (80 % power)",
            [signed(row.get("minimum_detectable"), unit_of(row)).lstrip("+") for row in shown],
        ),
        ("Worse for", [_worse(row) for row in shown]),
        ("Verdict", [VERDICTS[verdict_of(row)] for row in shown]),
    ]
    facts = [(name, cells) for name, cells in facts if name == "p" or any(cell != MISSING for cell in cells)]
    pairs = [pair_name(row) for row in shown]
    refusals = dict.fromkeys(f"Not tested: {str(row['refused']).rstrip('.')}." for row in shown if row.get("refused"))
    notes = (*notes, *list(refusals)[:MOST_UPRIGHT])
    caption = f"Gaps in {metric} by {shown[0]['by']}"
    if len(shown) <= MOST_UPRIGHT:
        # Cells of words may break their lines; those of numbers may not.
        columns = range(1, len(pairs) + 1)
        cells = [(name, *cells) for name, cells in facts]
        return make_table(caption, ("Groups", *pairs), cells, text_columns=columns, notes=notes)
    words = [place for place, (name, _) in enumerate(facts, start=1) if name in ("Worse for", "Verdict")]
    rows = list(zip(pairs, *(cells for _, cells in facts), strict=True))
    head = ("Groups", *(name for name, _ in facts))
    folded = len(shown) > MOST_OPEN
    return make_table(caption, head, rows, text_columns=words, notes=notes, sticky=True, folded=folded)


def _worse(row: Row) -> str:
    worse = worse_group(row)
    return short_people(str(row["by"]), worse) if worse else MISSING


def _difference(row: Row) -> str:
    interval = ends(row)
    return signed(row.get("difference"), unit_of(row)) + (f" ({interval})" if interval != MISSING else "")


def _symmetric(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """Return the name and cells of Δrel, with its interval where there is room for one."""
    if len(rows) > MOST_UPRIGHT:
        return ("Δrel", [percent(row.get("relative_symmetric")) for row in rows])
    keys = ("relative_symmetric", "relative_symmetric_low", "relative_symmetric_high")
    return ("Δrel, in percent of the mean (95 % CI)", [with_ends(*map(row.get, keys)) for row in rows])
