"""Two systems on the same speakers: whether the gap of one is larger than the gap of the other."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.fairness.people import capital
from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.differences import gap_difference_words
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.gaps import unit_of
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.numbers import MISSING, finite, number, p_value, signed
from audio_ssl.report.sections.fairness.comparisons import marks_words
from audio_ssl.report.sections.fairness.rows import (
    MOST_OPEN,
    Report,
    Row,
    cut,
    ends,
    foremost,
    pair_name,
    rows_of,
    warnings_of,
)
from audio_ssl.report.verdicts import SHAPES, VERDICTS, verdict_of

_MOST_SAID, _MOST_DRAWN = 4, 12
_SHORT = 18
_LEAD = (
    "Both systems heard the same speakers, so both are resampled together, which finds smaller differences than two "
    "separate intervals do. The test swaps the systems' answers speaker by speaker."
)


def systems_section(report: Report) -> Section | None:
    """Show the differences of gaps; None where there are none."""
    rows = rows_of(report, "gap_differences")
    if not rows:
        return None
    shown = foremost(rows, _MOST_DRAWN)
    by_metric: dict[str, list[Row]] = {}
    for row in shown:
        by_metric.setdefault(str(row["metric"]), []).append(row)
    figures = [figure for place, some in enumerate(by_metric.values()) if (figure := _figure(some, f"systems-{place}"))]
    block = Block(
        id="systems-gaps",
        points=tuple(capital(gap_difference_words(row)) for row in shown[:_MOST_SAID]),
        warnings=warnings_of(rows),
        figures=tuple(figures[:2]),
        beside=True,
    )
    numbers = Block(id="systems-numbers", tables=(_table(rows),))
    return Section("systems", "Gaps of two systems", (block, numbers), lead=(_LEAD,))


def _figure(rows: Sequence[Row], prefix: str) -> Figure | None:
    known = [row for row in rows if finite(row.get("difference")) is not None]
    if not known:
        return None
    several = len({(row["result_a"], row["result_b"]) for row in known}) > 1
    dots = [
        Dot(
            f"{row['result_a']} − {row['result_b']}" if several else pair_name(row),
            float(row["difference"]),
            finite(row.get("low")),
            finite(row.get("high")),
            SHAPES[verdict_of(row)],
            pair_name(row) if several else "",
            verdict_of(row) in ("refused", "untested"),
            style=0,
        )
        for row in known
    ]
    unit, metric = unit_of(known[0]), metric_label(known[0]["metric"])
    said = "; ".join(f"{dot.label} {dot.note}: {signed(dot.value, unit)}" for dot in dots)
    first, second = str(known[0]["result_a"]), str(known[0]["result_b"])
    svg = interval_chart(
        f"{prefix}-differences", f"Differences of gaps in {metric}", f"{said}.", dots,
        axis_label="difference of gaps", unit=unit, zero=_sides(known),
    )  # fmt: skip
    caption = f"{metric}: the gap with {first} minus that with {second}" if not several else f"{metric}: gap minus gap"
    return Figure(f"{prefix}-box", svg, f"{caption}; dashed: no difference.{marks_words(known)}")


def _sides(rows: Sequence[Row]) -> tuple[str, str]:
    """Say what a negative and a positive difference mean: of the gaps, which may be worse for either group."""
    systems = {str(row["result_a"]) for row in rows}
    name = next(iter(systems))
    name = name if len(systems) == 1 and len(name) <= _SHORT else "the first"
    return f"gap lower with {name}", f"gap higher with {name}"


def _table(rows: Sequence[Row]) -> Table:
    shown, notes = cut(rows)
    cells = [
        (
            f"{row['result_a']} − {row['result_b']}",
            metric_label(row["metric"]),
            pair_name(row),
            signed(row.get("gap_a"), unit_of(row)),
            signed(row.get("gap_b"), unit_of(row)),
            signed(row.get("difference"), unit_of(row)) + (f" ({found})" if (found := ends(row)) != MISSING else ""),
            p_value(row.get("p_value")),
            p_value(row.get("p_holm")),
            number(row.get("speakers")),
            VERDICTS[verdict_of(row)],
        )
        for row in shown
    ]
    reasons = dict.fromkeys(str(row["refused"]).rstrip(".") for row in shown if row.get("refused"))
    notes = (*notes, *(f"Not tested: {reason}." for reason in list(reasons)[:_MOST_SAID]))
    head = (
        "Systems", "Metric", "Gap", "With the first", "With the second", "Difference (95 % CI)", "p", "Holm-adjusted p",
        "Speakers", "Verdict",
    )  # fmt: skip
    return make_table(
        "Gaps of two systems on the same clips", head, cells,
        text_columns=(1, 2, 9), notes=notes, sticky=True, folded=len(cells) > MOST_OPEN,
    )  # fmt: skip
