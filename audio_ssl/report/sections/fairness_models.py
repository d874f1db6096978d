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
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.language.fairness import (
    SHAPES,
    VERDICTS,
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
    MOST_OPEN,
    Report,
    Row,
    cut,
    ends,
    foremost,
    group_name,
    pair_name,
    rows_of,
    sides,
    warnings_of,
)

_MOST_SAID, _MOST_DRAWN = 4, 12
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
    covariates = _covariate_table(fitted)
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
    numbers = Block(id="adjusted-numbers", tables=tuple(table for table in (_models_table(rows), covariates) if table))
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


def _models_table(rows: Sequence[Row]) -> Table:
    shown, notes = cut(rows)
    cells = [
        (
            str(row.get("result") or "result"),
            metric_label(row["metric"]),
            pair_name(row),
            number(row.get("crude_ratio")),
            number(row.get("ratio")) + (f" ({interval})" if (interval := _ends(row)) != MISSING else ""),
            p_value(row.get("p_value")),
            number(row.get("speaker_sd")),
            number(row.get("dispersion")),
            number(row.get("speakers")),
            ", ".join(covariate_label(name) for name in row.get("covariates") or ()) or "nothing",
        )
        for row in shown
    ]
    head = (
        "System", "Metric", "Groups", "Crude ratio", "Adjusted ratio (95 % CI)", "p", "Speaker SD",
        "Dispersion", "Speakers", "Held fixed",
    )  # fmt: skip
    notes = (
        *notes,
        f"The p-values are those of single models; they are not adjusted for there being {len(rows)}.",
        "Ratios are errors per word of the first group over those of the second; 1 is no gap. Speaker SD is the "
        "standard deviation between speakers of the logarithm of that rate. A dispersion far above 1 says that errors "
        "come in bursts; the interval allows for them, and a part of them is in the speaker SD.",
    )
    return make_table(
        "Ratios of error rates, crude and adjusted", head, cells,
        text_columns=(1, 2, 9), notes=notes, sticky=True, folded=len(cells) > MOST_OPEN,
    )  # fmt: skip


def _ends(row: Mapping[str, object]) -> str:
    if finite(row.get("low")) is None or finite(row.get("high")) is None:
        return MISSING
    return f"{number(row['low'])} to {number(row['high'])}"


def _covariate_table(rows: Sequence[Row]) -> Table | None:
    cells = [
        (
            str(row.get("result") or "result"),
            metric_label(row["metric"]),
            pair_name(row),
            covariate_label(name),
            number(found.get("value")),
            _ends(found),
            str(found.get("per") or MISSING),
        )
        for row in rows
        for name, found in (row.get("covariate_ratios") or {}).items()
        if isinstance(found, Mapping)
    ]
    if not cells:
        return None
    head = ("System", "Metric", "Groups", "Covariate", "Ratio", "95 % interval", "For")
    shown, notes = cells[:60], ((f"{len(cells) - 60:,} rows more are in the JSON.",) if len(cells) > 60 else ())
    return make_table(
        "What else the errors go with", head, shown, text_columns=(1, 2, 3, 6), notes=notes, folded=True, sticky=True
    )


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
        lead=(f"{_LEFT_OUT if left_out else _COUNTED} {_EMPTY_LEAD}",),
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
