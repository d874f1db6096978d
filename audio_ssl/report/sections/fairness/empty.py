"""Empty hypotheses: what they do to each gap. Failed requests of one group are no finding about people."""

from __future__ import annotations

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.gaps import unit_of
from audio_ssl.report.html import Block, Section, make_table
from audio_ssl.report.numbers import finite, p_value, signed
from audio_ssl.report.sections.fairness.rows import MOST_OPEN, Report, Row, cut, group_name, rows_of

_COUNTED = (
    "Empty hypotheses are counted in this report: every word of the reference is an error, as in sclite and jiwer."
)
_LEFT_OUT = "Clips with an empty hypothesis are left out of this report (--empty-hypothesis leave-out)."
_LEAD = (
    "A hypothesis that is empty because a request failed says nothing about the speakers. Each difference is given "
    "here with these clips counted as errors and without them."
)


def empty_section(report: Report) -> Section | None:
    """Show the gaps both ways; None where no hypothesis is empty."""
    effects = rows_of(report, "empty_hypotheses")
    if not effects:
        return None
    left_out = (report.get("provenance") or {}).get("empty_hypothesis") == "leave-out"
    several = len({row.get("result") for row in effects}) > 1
    shown, notes = cut(effects)
    rows = [
        (
            *([str(row.get("result"))] if several else []),
            f"{group_name({**row, 'group': row['a']})} − {group_name({**row, 'group': row['b']})}",
            metric_label(row["metric"]),
            _counts(row),
            *_way(row, "counted"),
            *_way(row, "left_out"),
        )
        for row in shown
    ]
    head = ("Groups", "Metric", "Empty", "Counted", "p", "Left out", "p")
    table = make_table(
        "Differences with empty hypotheses counted, and left out",
        (*(["System"] if several else []), *head),
        rows,
        notes=(*notes, "In brackets: 95 % intervals. p is Holm-adjusted."),
        folded=len(rows) > MOST_OPEN,
    )
    warnings = dict.fromkeys(
        f"{row['a']} and {row['b']}, {metric_label(row['metric'])}: {row['warning']}."
        for row in shown
        if row.get("warning")
    )
    return Section(
        "empty-hypotheses",
        "Empty hypotheses",
        (Block(id="empty-hypotheses-rows", tables=(table,), warnings=tuple(warnings)),),
        lead=(f"{_LEFT_OUT if left_out else _COUNTED} {_LEAD}",),
    )


def _counts(row: Row) -> str:
    """Return how many are empty in both groups."""
    return " / ".join("–" if finite(row.get(key)) is None else str(row[key]) for key in ("empty_a", "empty_b"))


def _way(row: Row, way: str) -> tuple[str, str]:
    unit, gap = unit_of(row), finite(row.get(f"difference_{way}"))
    if gap is None:
        return "–", "–"
    plain = "points" if unit else ""
    low, high = row.get(f"low_{way}"), row.get(f"high_{way}")
    around = f" ({signed(low, plain)} to {signed(high, plain)})" if finite(low) is not None else ""
    return signed(gap, unit) + around, p_value(row.get(f"p_holm_{way}"))
