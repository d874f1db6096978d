"""What pretraining gave: every probe's score for the model, its untrained twin and plain spectral frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.figures.forest import Estimate, Row, forest
from audio_ssl.report.figures.intervals import Dot, interval_chart
from audio_ssl.report.html import Block, Figure, Fold, Section, linked, make_table
from audio_ssl.report.numbers import MISSING, finite, interval, score, signed

SHAPES = ("circle", "square", "diamond", "triangle")
_MOST_OPEN = 12
_MOST_ROWS = 24
"""Of the picture of differences; more are read in the table."""


def gains_section(results: Sequence[Mapping[str, Any]]) -> Section:
    """Put the systems of every probe side by side."""
    figures = [figure for index, result in enumerate(results) if (figure := _figure(result, index))]
    table = make_table(
        "Main score of every probe on its test set",
        ("Probe", "System", "Score", "95 % interval", "Model minus this", "95 % interval", "The model is"),
        [row for result in results for row in _rows(result)],
        text_columns=(1, 6),
        folded=len(results) > _MOST_OPEN,
        notes=(
            "All systems get the same head, trained the same way on the same clips; only the frozen features differ. "
            "The untrained twin has the model's architecture with fresh random weights.",
            "The interval of a difference comes from drawing the clips that both systems heard again, together: all of "
            "what the probe says belongs together (data.cluster), else of a speaker, else of a track, else single "
            "clips. It is given where each clip's answer is known. A model is called better or worse "
            "only where that interval leaves out zero, or, for other scores (minDCF, same-different words), where "
            "the two intervals do not overlap, which is the more cautious reading.",
        ),
    )
    heading = "What pretraining gave"
    figures = [*_differences(results), *figures]
    if len(figures) <= _MOST_OPEN:
        return Section("gains", heading, (Block(id="gains-overview", figures=tuple(figures), tables=(table,)),))
    inside = Block(id="gains-figures", figures=tuple(figures))
    fold = Fold(f"Pictures of all {len(figures)} results", inside)
    return Section("gains", heading, (Block(id="gains-overview", tables=(table,), folds=(fold,)),))


def _differences(results: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Draw the model minus each baseline, on the same clips: gaps that separate intervals hide are seen here."""
    rows = []
    for result in results:
        sign = 1 if result["higher_is_better"] else -1
        for verdict in result["verdicts"]:
            value, low, high = (finite(verdict.get(key)) for key in ("difference", "low", "high"))
            if result["unit"] != "%" or value is None or low is None or high is None:
                continue
            ends = sorted((sign * low, sign * high))
            shape = SHAPES[(1 + [one["baseline"] for one in result["verdicts"]].index(verdict["baseline"])) % 4]
            mark = Estimate(sign * value, ends[0], ends[1], shape, bool(verdict["decided"]))
            words = "{} ({} to {})".format(*(signed(one, "points") for one in (sign * value, *ends)))
            rows.append(Row(f"{result['title']} − {verdict['label']}", words, (mark,)))
    if not 1 < len(rows) <= _MOST_ROWS:
        return []
    svg = forest(
        "gain-differences",
        "The model minus each baseline, on the same clips",
        "; ".join(f"{row.label} {row.words}" for row in rows),
        rows,
        sides=("baseline better", "model better"),
        unit="",
    )
    caption = (
        "The model minus each baseline in points of each probe's score, on the same clips, with the 95 % interval of "
        "the difference. Right of zero the model is better, whichever way its score goes; filled: told apart."
    )
    return [Figure("gain-paired", svg, caption)]


def direction(higher_is_better: bool) -> str:
    """Say which way a score is better."""
    return "higher is better" if higher_is_better else "lower is better"


def _figure(result: Mapping[str, Any], index: int) -> Figure | None:
    name, main, unit = str(result["title"]), result["main_metric"], result["unit"]
    dots = []
    for place, system in enumerate(result["systems"]):
        metric = system["metrics"].get(main) or {}
        value = finite(metric.get("value"))
        if value is not None:
            low, high = finite(metric.get("low")), finite(metric.get("high"))
            dots.append(Dot(system["label"], value, low, high, SHAPES[place % len(SHAPES)]))
    if not dots:
        return None
    better = direction(result["higher_is_better"])
    svg = interval_chart(
        f"gain-figure-{index}",
        f"{name}: {metric_label(main)} per system",
        f"{'; '.join(f'{dot.label} {score(dot.value, unit)}' for dot in dots)}; {better}.",
        dots,
        axis_label=metric_label(main),
        unit=unit,
        higher_is_better=result["higher_is_better"],
    )
    clips = finite((result["counts"].get("test") or {}).get("clips"))
    amount = f"; {clips:,.0f} test clips" if clips else ""
    return Figure(f"gain-{index}", svg, f"{name}: {metric_label(main)}, {better}{amount}.")


def _rows(result: Mapping[str, Any]) -> list[tuple[str | Markup, ...]]:
    main, unit = result["main_metric"], result["unit"]
    verdicts = {verdict["baseline"]: verdict for verdict in result["verdicts"]}
    plain = "points" if unit else ""
    rows: list[tuple[str | Markup, ...]] = []
    for system in result["systems"]:
        metric = system["metrics"].get(main) or {}
        verdict = verdicts.get(system["system"], {})
        rows.append(
            (
                f"{result['title']}, {metric_label(main)}",
                system["label"],
                linked(score(metric.get("value"), unit), system),
                interval(metric.get("low"), metric.get("high"), unit),
                signed(verdict.get("difference"), plain),
                _ends(verdict, plain),
                _reading(verdict),
            )
        )
    return rows


def _ends(verdict: Mapping[str, Any], unit: str) -> str:
    if finite(verdict.get("low")) is None:
        return MISSING
    return f"{signed(verdict['low'], unit)} to {signed(verdict['high'], unit)}"


def _reading(verdict: Mapping[str, Any]) -> str:
    if not verdict or verdict["better"] is None:
        return MISSING
    alone = finite(verdict.get("low")) is None
    if not verdict["decided"]:
        return "not told apart: intervals overlap or are missing" if alone else "not told apart by this test set"
    return ("better" if verdict["better"] else "worse") + (" (intervals apart)" if alone else "")
