"""Sections of scores: gains over baselines, and models side by side.

What pretraining gave: every probe's score for the model, its untrained twin and plain spectral frames.

Models side by side: every main score in one table, and how each system differs from the first model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.comparison import question_id
from audio_ssl.report.figures.intervals import Dot, Estimate, Row, forest, interval_chart
from audio_ssl.report.html import Block, Figure, Fold, Section, Table, linked, make_table
from audio_ssl.report.numbers import MISSING, finite, interval, score, signed

GAIN_SHAPES = ("circle", "square", "diamond", "triangle")
_MOST_OPEN = 12
_MOST_DRAWN = 24
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
    figures = [*_difference_figures(results), *figures]
    if len(figures) <= _MOST_OPEN:
        return Section("gains", heading, (Block(id="gains-overview", figures=tuple(figures), tables=(table,)),))
    inside = Block(id="gains-figures", figures=tuple(figures))
    fold = Fold(f"Pictures of all {len(figures)} results", inside)
    return Section("gains", heading, (Block(id="gains-overview", tables=(table,), folds=(fold,)),))


def _difference_figures(results: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Draw the model minus each baseline, on the same clips: gaps that separate intervals hide are seen here."""
    rows = []
    for result in results:
        sign = 1 if result["higher_is_better"] else -1
        for verdict in result["verdicts"]:
            value, low, high = (finite(verdict.get(key)) for key in ("difference", "low", "high"))
            if result["unit"] != "%" or value is None or low is None or high is None:
                continue
            ends = sorted((sign * low, sign * high))
            shape = GAIN_SHAPES[(1 + [one["baseline"] for one in result["verdicts"]].index(verdict["baseline"])) % 4]
            mark = Estimate(sign * value, ends[0], ends[1], shape, bool(verdict["decided"]))
            words = "{} ({} to {})".format(*(signed(one, "points") for one in (sign * value, *ends)))
            rows.append(Row(f"{result['title']} − {verdict['label']}", words, (mark,)))
    if not 1 < len(rows) <= _MOST_DRAWN:
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
        "the difference. Right of zero the model is better, whichever way its score goes; filled: "
        "statistically significant."
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
            dots.append(Dot(system["label"], value, low, high, GAIN_SHAPES[place % len(GAIN_SHAPES)]))
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
        why = ": intervals overlap or are missing" if alone else " on these clips"
        return f"no significant difference{why}"
    return ("better" if verdict["better"] else "worse") + (" (separate intervals)" if alone else "")


NOT_SIGNIFICANT = "not significant"
_MOST_ROWS = 30
_MOST_COLUMNS = 8


def comparison_section(comparison: Mapping[str, Any]) -> Section | None:
    """Show all systems on all questions; None where there is only one question to one model (see the gains)."""
    questions = comparison["questions"]
    if not questions or (len(questions) == 1 and comparison["models"] < 2):
        return None
    tables = [_scores(comparison), *(table for table in (_ranks(comparison), _superb(comparison)) if table)]
    differences = _differences(questions)
    lead = (
        "A score leads to the predictions it was made from. "
        "↑ marks scores of which the higher is better, ↓ those of which the lower is better.",
    )
    warnings = tuple(warning for one in questions for warning in one["warnings"])
    blocks = [Block(id="comparison-scores", lead=lead, warnings=warnings, tables=tuple(tables))]
    # With one model, what it gains over its baselines is the next section.
    if comparison["models"] > 1 and differences.rows:
        how = _how(questions)
        heading = "Differences to the first model"
        blocks.append(Block(id="comparison-differences", heading=heading, lead=how, tables=(differences,)))
    return Section("comparison", "Side by side", tuple(blocks))


def column_name(question: Mapping[str, Any]) -> str:
    r"""Name a question's column.

    Examples
    --------
    >>> column_name({"name": "asr", "metric": "wer", "higher_is_better": False})
    'asr, WER\xa0↓'
    """
    return f"{question['name']}, {metric_label(question['metric'])}\u00a0{'↑' if question['higher_is_better'] else '↓'}"


def _scores(comparison: Mapping[str, Any]) -> Table:
    questions, systems = comparison["questions"], comparison["systems"]
    named = [
        Markup('<a href="#{}">{}</a><br>{}').format(question_id(one), *column_name(one).split(", ", 1))
        for one in questions
    ]
    table: list[list[str | Markup]] = [["Model", *named]]
    table += [[name, *(_cell(one, name) for one in questions)] for name in systems]
    # A suite is longer than a screen is wide.
    turned = len(questions) > _MOST_COLUMNS
    if turned:
        table = [list(column) for column in zip(*table, strict=True)]
        table[0][0] = "Probe"
    head, *rows = table
    which = "row" if turned else "column"
    note = f"Below each score: its 95 % interval. Best: of its {which}, by the score alone."
    again = "A number after a name tells apart results of models of the same name, in the order they were given."
    numbered = any(re.search(r" \(\d+\)$", name) for name in systems)
    notes = (note, *((again,) if numbered else ()))
    return make_table("Main score of every model and baseline", head, rows, notes=notes, sticky=True)


def _cell(question: Mapping[str, Any], name: str) -> str | Markup:
    cell = question["cells"].get(name)
    if cell is None:
        return MISSING
    unit = question["unit"]
    ends = interval(cell["low"], cell["high"], unit)
    best = Markup(' <strong class="best">best</strong>') if cell["best"] else Markup("")
    under = Markup('<br><span class="soft">{}</span>').format(ends) if ends != MISSING else Markup("")
    return Markup("{}{}{}").format(best + Markup(" ") if best else "", linked(score(cell["value"], unit), cell), under)


def _ranks(comparison: Mapping[str, Any]) -> Table | None:
    ranks = comparison["ranks"]
    if not ranks:
        return None
    rows = [(row["system"], f"{row['mean_rank']:.2f}", f"{row['borda']:g}") for row in ranks]
    whole = len(rows) == len(comparison["systems"])
    notes = (
        f"Over the {ranks[0]['questions']} probes that all of them answered; 1 is best. Ranks depend on who is in the "
        "table, and say nothing about how large or sure a difference is.",
        *(() if whole else ("Systems that did not answer all probes of the first model are left out.",)),
    )
    return make_table("Mean rank", ("Model", "Mean rank ↓", "Wins (ties half) ↑"), rows, notes=notes)


def _superb(comparison: Mapping[str, Any]) -> Table | None:
    rows = [
        (
            row["system"],
            f"{row['score']:,.0f}".replace("-", "−"),
            ", ".join(row["tasks"]),
            ", ".join(row["missing"]) or "–",
        )
        for row in comparison["superb"]
    ]
    if not rows:
        return None
    note = (
        "Each task on a line from 0 (log-mel features) to 1000 (the best of the leaderboard of October 2021), then the "
        "mean; compare only scores of the same tasks, and only with scores made with the same ends."
    )
    return make_table(
        "SUPERB score", ("Model", "Score ↑", "Tasks", "Missing"), rows, text_columns=(2, 3), notes=(note,)
    )


def _differences(questions: Sequence[Mapping[str, Any]]) -> Table:
    firsts = list(dict.fromkeys(one["first"] for one in questions))
    head = ("System, probe", "Difference", "95 % interval", "Reading", "Clips of both", "Resampled")
    rows = []
    for question in questions:
        for one in question["differences"]:
            name = one["system"] if len(firsts) == 1 else f"{one['system']} minus {question['first']}"
            unit = question["unit"]
            plain = "points" if unit else ""
            ends = (
                MISSING
                if finite(one["low"]) is None
                else f"{signed(one['low'], plain)} to {signed(one['high'], plain)}"
            )
            clips = MISSING if one["clips"] is None else f"{one['clips']:,}"
            clips += f" ({one['left_out']:,} not)" if one["left_out"] else ""
            rows.append(
                (
                    Markup('{}<br><span class="soft">{}</span>').format(name, column_name(question)),
                    signed(one["difference"], plain),
                    ends,
                    reading(one),
                    clips,
                    one["over"] or MISSING,
                )
            )
    first = firsts[0] if len(firsts) == 1 else "the first model"
    caption = f"Each system minus {first}, on the clips that both predicted"
    return make_table(caption, head, rows, text_columns=(3, 5), sticky=True, folded=len(rows) > _MOST_ROWS)


def reading(difference: Mapping[str, Any]) -> str:
    """Say what a difference shows.

    Examples
    --------
    >>> reading({"apart": True, "better": False}), reading({"apart": False, "better": True})
    ('significantly worse', 'not significant')
    >>> reading({"apart": True, "better": True, "low": None})
    'significantly better (separate intervals)'
    """
    if difference["apart"] is None:
        return MISSING
    if unpaired(difference):
        if not difference["apart"]:
            return "intervals overlap"
        return f"significantly {'better' if difference['better'] else 'worse'} (separate intervals)"
    if not difference["apart"] or difference["better"] is None:
        return NOT_SIGNIFICANT
    return f"significantly {'better' if difference['better'] else 'worse'}"


def unpaired(difference: Mapping[str, Any]) -> bool:
    """Say whether no interval of the difference is known, so that two systems' own intervals stand in for it."""
    return "low" in difference and difference["low"] is None


def _how(questions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    text = (
        "The bootstrap resamples both systems' answers to the same clips together: all clips of a speaker, else of a "
        "track, else single clips. A difference is significant if its 95 % interval leaves out zero."
    )
    bare = [q for q in questions if any(unpaired(one) and one["apart"] is not None for one in q["differences"])]
    if bare:
        named = ", ".join(dict.fromkeys(metric_label(one["metric"]) for one in bare))
        text += (
            f" Where that cannot be done ({named}), the two systems' own intervals are compared. The difference is "
            "significant if they do not overlap, which is more cautious; where they overlap there may still be one."
        )
    if any(one["left_out"] for q in questions for one in q["differences"]):
        text += " Clips that only one predicted, or with other references, do not count; how many is in brackets."
    return (text,)
