"""All gaps at a glance, in percent of the second group's score: so metrics and systems can be laid side by side."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.differences import percent_words
from audio_ssl.report.figures.forest import Estimate, forest
from audio_ssl.report.figures.forest import Row as Line
from audio_ssl.report.html import Block, Figure, Section, make_table
from audio_ssl.report.numbers import p_value
from audio_ssl.report.sections.fairness.comparisons import marks_words
from audio_ssl.report.sections.fairness.rows import (
    MOST_OPEN,
    Report,
    Row,
    cut,
    foremost,
    pair_name,
    relative,
    relative_ends,
    rows_of,
    sides,
    with_ends,
)
from audio_ssl.report.verdicts import SHAPES, VERDICTS, verdict_of

_MOST_SYSTEMS, _MOST_DRAWN = 12, 14


def overview_section(report: Report) -> Section | None:
    """Show every gap of every system; None where there is none."""
    every = rows_of(report, "comparisons")
    rows = [row for row in every if relative(row) is not None]
    if not rows:
        return None
    systems: dict[str, list[Row]] = {}
    for row in rows:
        systems.setdefault(str(row.get("result") or ""), []).append(row)
    reach = [value for row in rows for value in (relative(row), *relative_ends(row)) if value is not None]
    span = [min(reach), max(reach)] if len(systems) > 1 else []
    drawn = list(systems.items())[:_MOST_SYSTEMS]
    figures = [_figure(f"overview-{place}", name, some, span) for place, (name, some) in enumerate(drawn)]
    shown, notes = cut(every)
    several = len({row.get("result") for row in every}) > 1
    cells = [
        (
            *([str(row.get("result") or "result")] if several else []),
            metric_label(row["metric"]),
            pair_name(row),
            with_ends(relative(row), *relative_ends(row)),
            p_value(row.get("p_value")),
            p_value(row.get("p_holm")),
            VERDICTS[verdict_of(row)],
        )
        for row in shown
    ]
    head = (
        *(["System"] if several else []),
        "Metric",
        "Groups",
        "In percent of the second (95 % CI)",
        "p",
        "Holm-adjusted p",
        "Verdict",
    )
    table = make_table(
        "Every comparison",
        head,
        cells,
        text_columns=(1, 2, 6) if several else (1, 5),
        notes=notes,
        sticky=True,
        folded=len(cells) > MOST_OPEN,
    )
    block = Block(id="overview-gaps", figures=tuple(figures), tables=(table,))
    return Section("overview", "All comparisons at a glance", (block,))


def _figure(prefix: str, name: str, rows: Sequence[Row], span: Sequence[float]) -> Figure:
    drawn = foremost(rows, _MOST_DRAWN)
    several = len({row["by"] for row in drawn}) > 1
    lines, said = [], []
    for row in drawn:
        value = relative(row)
        assert value is not None
        tested = verdict_of(row) not in ("refused", "untested")
        mark = Estimate(value, *relative_ends(row), SHAPES[verdict_of(row)], tested)
        label = f"{metric_label(row['metric'])}, {pair_name(row)}"
        lines.append(Line(label, percent_words(value), (mark,)))
        attribute = f" by {row['by']}" if several else ""
        said.append(f"{label}{attribute}: {percent_words(value)}, {VERDICTS[verdict_of(row)]}")
    svg = forest(
        prefix, f"Gaps of {name}" if name else "Gaps", f"{'; '.join(said)}.", lines,
        sides=sides(drawn), unit=" %", span=span,
    )  # fmt: skip
    about = f"{name}: " if name else ""
    caption = (
        f"{about}first group against the second, in percent of the second; dashed: no difference.{marks_words(drawn)}"
    )
    if len(rows) > len(drawn):
        caption += f" {len(drawn)} of {len(rows)} comparisons; all are in the table."
    return Figure(f"{prefix}-box", svg, caption)
