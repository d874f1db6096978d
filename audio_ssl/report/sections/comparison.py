"""Models side by side: every main score in one table, and how each system differs from the first model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from audio_ssl.report.html import Block, Section, Table, linked, make_table
from audio_ssl.report.numbers import MISSING, finite, interval, metric_label, number, score, signed

NOT_APART, APART = "not apart", "apart"


def comparison_section(comparison: Mapping[str, Any]) -> Section | None:
    """Show all systems on all questions; None where there is only one question to one model (see the gains)."""
    questions = comparison["questions"]
    if not questions or (len(questions) == 1 and comparison["models"] < 2):
        return None
    tables = [_scores(comparison), *([_ranks(comparison)] if comparison.get("ranks") else [])]
    differences = _differences(questions)
    lead = (
        "A score leads to the predictions it was made from. "
        "↑ marks scores of which the higher is better, ↓ those of which the lower is better.",
    )
    warnings = tuple(warning for one in questions for warning in one["warnings"])
    blocks = [Block(id="comparison-scores", lead=lead, warnings=warnings, tables=tuple(tables))]
    if differences.rows:
        how = _how(questions)
        heading = "Differences to the first model"
        blocks.append(Block(id="comparison-differences", heading=heading, lead=how, tables=(differences,)))
    return Section("comparison", "Side by side", tuple(blocks))


def column_name(question: Mapping[str, Any]) -> str:
    """Name a question's column.

    Examples
    --------
    >>> column_name({"name": "asr", "metric": "wer", "higher_is_better": False})
    'asr, WER ↓'
    """
    return f"{question['name']}, {metric_label(question['metric'])} {'↑' if question['higher_is_better'] else '↓'}"


def _scores(comparison: Mapping[str, Any]) -> Table:
    questions = comparison["questions"]
    head = ["Model", *map(column_name, questions)]
    rows = [[name, *(_cell(one, name) for one in questions)] for name in comparison["systems"]]
    note = "Below each score: its 95 % interval. Best: of its column, by the score alone."
    again = "A number after a model's name counts the results that were given for the same probe and model."
    notes = (note, *((again,) if any(name.endswith(")") for name in comparison["systems"]) else ()))
    return make_table("Main score of every model and baseline", head, rows, notes=notes)


def _cell(question: Mapping[str, Any], name: str) -> str | Markup:
    cell = question["cells"].get(name)
    if cell is None:
        return MISSING
    unit = question["unit"]
    ends = interval(cell["low"], cell["high"], unit)
    best = Markup(' <strong class="best">best</strong>') if cell["best"] else Markup("")
    under = Markup('<br><span class="soft">{}</span>').format(ends) if ends != MISSING else Markup("")
    return Markup("{}{}{}").format(best + Markup(" ") if best else "", linked(score(cell["value"], unit), cell), under)


def _ranks(comparison: Mapping[str, Any]) -> Table:
    rows = [
        (row["system"], number(row["mean_rank"]), number(row["score"], 4), str(row["questions"]))
        for row in comparison["ranks"]
    ]
    return make_table(
        "Over all probes",
        ("Model", "Mean rank ↓", "SUPERB-style score ↑", "Probes"),
        rows,
        notes=(
            "Only probes that every system in this table answered count.",
            *([str(comparison["rank_note"])] if comparison.get("rank_note") else []),
        ),
    )


def _differences(questions: Sequence[Mapping[str, Any]]) -> Table:
    head = ("Probe", "System", "Difference", "95 % interval", "Reading", "Clips of both", "Resampled")
    rows = []
    for question in questions:
        for one in question["differences"]:
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
                    column_name(question),
                    f"{one['system']} minus {question['first']}",
                    signed(one["difference"], plain),
                    ends,
                    reading(one),
                    clips,
                    one["over"] or MISSING,
                )
            )
    caption = "Difference to the first model on the clips that both predicted"
    return make_table(caption, head, rows, text_columns=(1, 4, 6))


def reading(difference: Mapping[str, Any]) -> str:
    """Say what a difference shows.

    Examples
    --------
    >>> reading({"apart": True, "better": False}), reading({"apart": False, "better": True})
    ('apart: worse', 'not apart')
    """
    if difference["apart"] is None:
        return MISSING
    if not difference["apart"] or difference["better"] is None:
        return NOT_APART
    return f"{APART}: {'better' if difference['better'] else 'worse'}"


def _how(questions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    text = (
        "Both systems' answers to the same clips are drawn again together, all clips of a speaker (else of a track, "
        "else single clips) at a time. Apart: the 95 % interval of the difference leaves out zero."
    )
    unpaired = any(one["clips"] is None and one["apart"] is not None for q in questions for one in q["differences"])
    if unpaired:
        text += (
            " Where no interval of the difference is given, apart means that the two systems' intervals do not overlap."
        )
    if any(one["left_out"] for q in questions for one in q["differences"]):
        text += " Clips that only one predicted, or with other references, do not count; how many is in brackets."
    return (text,)
