"""The mixed models: whether a gap is left between clips that are alike in duration, speech rate and level.

Two systems on the same speakers: whether the gap of one is larger than the gap of the other.

Empty hypotheses: what they do to each gap. Failed requests of one group are no finding about people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audio_ssl.fairness.wording import capital
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.intervals import Dot, Estimate, forest, interval_chart
from audio_ssl.report.figures.intervals import Row as Line
from audio_ssl.report.html import MOST_OPEN, MOST_ROWS, Block, Figure, Section, Table, TableColumn, tabulate
from audio_ssl.report.language.fairness import (
    SHAPES,
    covariate_label,
    gap_difference_words,
    model_words,
    percent_words,
    unit_of,
    verdict_of,
)
from audio_ssl.report.numbers import MISSING, finite, number, p_value, signed
from audio_ssl.report.sections.fairness_groups import marks_words
from audio_ssl.report.sections.fairness_rows import (
    METRIC,
    P_HOLM,
    P_VALUE,
    VERDICT,
    Report,
    Row,
    difference,
    foremost,
    group_name,
    pair_name,
    rows_of,
    sides,
    system_column,
    warnings_of,
)

_MOST_SAID, _MOST_DRAWN, _MOST_COVARIATES = 4, 12, 60
_MODELS_LEAD = (
    "A gap can come from what the groups said and how it was recorded. A Poisson model with an effect of its own for "
    "every speaker (Liu, Veliche & Peng 2022) counts errors per word and holds these differences fixed, as far as "
    "they were measured. What the model does not know of, it cannot hold fixed."
)


def models_section(report: Report) -> Section | None:
    """Show crude and adjusted ratios side by side; None where no model was asked for."""
    rows = rows_of(report, "models")
    if not rows:
        return None
    fitted = [row for row in rows if finite(row.get("ratio")) is not None]
    shown = foremost(fitted, _MOST_DRAWN)
    figure = _models_figure(shown)
    covariates = _covariate_table(report, fitted)
    said = [_sentence(row) for row in shown[:_MOST_SAID]]
    refused = [row for row in rows if row not in fitted]
    said += [_sentence(row) for row in refused] if len(refused) <= 2 else [_refusals(refused)]
    block = Block(
        id="adjusted-models",
        points=tuple(said),
        warnings=warnings_of(rows),
        figures=(figure,) if figure else (),
        beside=True,
    )
    numbers = Block(
        id="adjusted-numbers", tables=tuple(table for table in (_models_table(report, rows), covariates) if table)
    )
    return Section("adjusted", "The gap between like clips", (block, numbers), lead=(_MODELS_LEAD,))


def _sentence(row: Row) -> str:
    where = f"{row['result']}: " if row.get("result") else ""
    said = where + model_words(row)
    p = finite(row.get("p_value"))
    return said if row.get("refused") or p is None else f"{said[:-1]}; p = {p_value(p)}.".replace("= <", "<")


def _refusals(rows: Sequence[Row]) -> str:
    reason = str(rows[0].get("refused") or "no reason is given").rstrip(".")
    return f"For {len(rows)} pairs of groups no model was fitted, such as: {reason}."


def _percent(ratio: object) -> float | None:
    value = finite(ratio)
    return None if value is None else 100 * (value - 1)


def _models_figure(rows: Sequence[Row]) -> Figure | None:
    if not rows:
        return None
    lines, said = [], []
    for row in rows:
        value, crude = _percent(row["ratio"]), _percent(row.get("crude_ratio"))
        assert value is not None
        marks = [] if crude is None else [Estimate(crude, shape="diamond", filled=False)]
        marks.append(Estimate(value, _percent(row.get("low")), _percent(row.get("high"))))
        where = f"{row['result']} · " if row.get("result") else ""
        label = f"{where}{metric_label(row['metric'])}, {pair_name(row)}"
        words = percent_words(value)
        lines.append(Line(label, words, tuple(marks)))
        said.append(f"{label}: adjusted {words}" + (f", crude {percent_words(crude)}" if crude is not None else ""))
    svg = forest(
        "adjusted-figure", "Crude and adjusted gaps", f"{'; '.join(said)}.", lines,
        sides=sides(rows), unit=" %",
    )  # fmt: skip
    caption = (
        "First group against the second, in percent of the second. Circle with interval: adjusted; "
        "open diamond: crude, without the model; dashed: no gap."
    )
    return Figure("adjusted-box", svg, caption)


def _models_table(report: Report, rows: Sequence[Row]) -> Table:
    columns = [
        *system_column(report),
        METRIC,
        TableColumn("Groups", pair_name, words=True),
        TableColumn("Crude ratio", lambda row: number(row.get("crude_ratio"))),
        TableColumn("Adjusted ratio (95 % CI)", _ratio),
        P_VALUE,
        TableColumn("Speaker SD", lambda row: number(row.get("speaker_sd"))),
        TableColumn("Dispersion", lambda row: number(row.get("dispersion"))),
        TableColumn("Speakers", lambda row: number(row.get("speakers"))),
        TableColumn("Held fixed", _held_fixed, words=True),
    ]
    notes = (
        f"The p-values are those of single models; they are not adjusted for there being {len(rows)}.",
        "Ratios are errors per word of the first group over those of the second; 1 is no gap. Speaker SD is the "
        "standard deviation between speakers of the logarithm of that rate. A dispersion far above 1 says that errors "
        "come in bursts; the interval allows for them, and a part of them is in the speaker SD.",
    )
    caption = "Ratios of error rates, crude and adjusted"
    return tabulate(caption, rows, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)


def _ratio(row: Row) -> str:
    return number(row.get("ratio")) + (f" ({found})" if (found := _ends(row)) != MISSING else "")


def _held_fixed(row: Row) -> str:
    return ", ".join(covariate_label(name) for name in row.get("covariates") or ()) or "nothing"


def _ends(row: Mapping[str, object]) -> str:
    if finite(row.get("low")) is None or finite(row.get("high")) is None:
        return MISSING
    return f"{number(row['low'])} to {number(row['high'])}"


def _covariate_table(report: Report, rows: Sequence[Row]) -> Table | None:
    found = [
        {**row, **ratio, "covariate": name}
        for row in rows
        for name, ratio in (row.get("covariate_ratios") or {}).items()
        if isinstance(ratio, Mapping)
    ]
    columns = [
        *system_column(report),
        METRIC,
        TableColumn("Groups", pair_name, words=True),
        TableColumn("Covariate", lambda row: covariate_label(row["covariate"]), words=True),
        TableColumn("Ratio", lambda row: number(row.get("value"))),
        TableColumn("95 % interval", _ends),
        TableColumn("For", lambda row: str(row.get("per") or MISSING), words=True),
    ]
    caption = "What else the errors go with"
    return tabulate(caption, found, columns, sticky=True, most=_MOST_COVARIATES, open_up_to=0) if found else None


_SHORT = 18
_SYSTEMS_LEAD = (
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
    figures = [
        figure for place, some in enumerate(by_metric.values()) if (figure := _systems_figure(some, f"systems-{place}"))
    ]
    block = Block(
        id="systems-gaps",
        points=tuple(capital(gap_difference_words(row)) for row in shown[:_MOST_SAID]),
        warnings=warnings_of(rows),
        figures=tuple(figures[:2]),
        beside=True,
    )
    numbers = Block(id="systems-numbers", tables=(_systems_table(rows),))
    return Section("systems", "Gaps of two systems", (block, numbers), lead=(_SYSTEMS_LEAD,))


def _systems_figure(rows: Sequence[Row], prefix: str) -> Figure | None:
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


def _systems_table(rows: Sequence[Row]) -> Table:
    columns = [
        TableColumn("Systems", lambda row: f"{row['result_a']} − {row['result_b']}", words=True),
        METRIC,
        TableColumn("Gap", pair_name, words=True),
        TableColumn("With the first", lambda row: signed(row.get("gap_a"), unit_of(row))),
        TableColumn("With the second", lambda row: signed(row.get("gap_b"), unit_of(row))),
        TableColumn("Difference (95 % CI)", difference),
        P_VALUE,
        P_HOLM,
        TableColumn("Speakers", lambda row: number(row.get("speakers"))),
        VERDICT,
    ]
    reasons = dict.fromkeys(str(row["refused"]).rstrip(".") for row in rows if row.get("refused"))
    notes = [f"Not tested: {reason}." for reason in list(reasons)[:_MOST_SAID]]
    caption = "Gaps of two systems on the same clips"
    return tabulate(caption, rows, columns, notes=notes, sticky=True, open_up_to=MOST_OPEN)


_COUNTED = (
    "Empty hypotheses are counted in this report: every word of the reference is an error, as in sclite and jiwer."
)
_LEFT_OUT = "Clips with an empty hypothesis are left out of this report (--empty-hypothesis leave-out)."
_EMPTY_LEAD = (
    "A hypothesis that is empty because a request failed says nothing about the speakers. Each difference is given "
    "here with these clips counted as errors and without them."
)


def empty_section(report: Report) -> Section | None:
    """Show the gaps both ways; None where no hypothesis is empty."""
    effects = rows_of(report, "empty_hypotheses")
    if not effects:
        return None
    left_out = (report.get("provenance") or {}).get("empty_hypothesis") == "leave-out"
    columns = [
        *system_column(report),
        TableColumn("Groups", _both_groups, words=True),
        METRIC,
        TableColumn("Empty", _counts),
        TableColumn("Counted", lambda row: _way(row, "counted")),
        TableColumn("p", lambda row: p_value(row.get("p_holm_counted"))),
        TableColumn("Left out", lambda row: _way(row, "left_out")),
        TableColumn("p", lambda row: p_value(row.get("p_holm_left_out"))),
    ]
    caption = "Differences with empty hypotheses counted, and left out"
    notes = ("In brackets: 95 % intervals. p is Holm-adjusted.",)
    table = tabulate(caption, effects, columns, notes=notes, open_up_to=MOST_OPEN)
    warnings = dict.fromkeys(
        f"{row['a']} and {row['b']}, {metric_label(row['metric'])}: {row['warning']}."
        for row in effects[:MOST_ROWS]
        if row.get("warning")
    )
    return Section(
        "empty-hypotheses",
        "Empty hypotheses",
        (Block(id="empty-hypotheses-rows", tables=(table,), warnings=tuple(warnings)),),
        lead=(f"{_LEFT_OUT if left_out else _COUNTED} {_EMPTY_LEAD}",),
    )


def _counts(row: Row) -> str:
    """Return how many are empty in both groups."""
    return " / ".join("–" if finite(row.get(key)) is None else str(row[key]) for key in ("empty_a", "empty_b"))


def _both_groups(row: Row) -> str:
    return " − ".join(group_name({**row, "group": row[side]}) for side in ("a", "b"))


def _way(row: Row, way: str) -> str:
    return difference({**row, **{key: row.get(f"{key}_{way}") for key in ("difference", "low", "high")}})
