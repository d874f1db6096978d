"""The mixed models: whether a gap is left between clips that are alike in duration, speech rate and level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.differences import covariate_label, model_words, percent_words
from audio_ssl.report.figures.forest import Estimate, forest
from audio_ssl.report.figures.forest import Row as Line
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.numbers import MISSING, finite, number, p_value
from audio_ssl.report.sections.fairness.rows import (
    MOST_OPEN,
    Report,
    Row,
    cut,
    foremost,
    pair_name,
    rows_of,
    sides,
    warnings_of,
)

_MOST_SAID, _MOST_DRAWN = 4, 12
_LEAD = (
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
    figure = _figure(shown)
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
    numbers = Block(id="adjusted-numbers", tables=tuple(table for table in (_table(rows), covariates) if table))
    return Section("adjusted", "The gap between like clips", (block, numbers), lead=(_LEAD,))


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


def _figure(rows: Sequence[Row]) -> Figure | None:
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


def _table(rows: Sequence[Row]) -> Table:
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
