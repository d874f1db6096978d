"""Models side by side: every main score in one table, and how each system differs from the first model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.html import Block, Section, Table, linked, make_table
from audio_ssl.report.names import question_id
from audio_ssl.report.numbers import MISSING, finite, interval, score, signed

NOT_APART, APART = "not apart", "apart"
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
    ('apart: worse', 'not apart')
    >>> reading({"apart": True, "better": True, "low": None})
    'intervals apart: better'
    """
    if difference["apart"] is None:
        return MISSING
    if unpaired(difference):
        if not difference["apart"]:
            return "intervals overlap"
        return f"intervals {APART}: {'better' if difference['better'] else 'worse'}"
    if not difference["apart"] or difference["better"] is None:
        return NOT_APART
    return f"{APART}: {'better' if difference['better'] else 'worse'}"


def unpaired(difference: Mapping[str, Any]) -> bool:
    """Say whether no interval of the difference is known, so that two systems' own intervals stand in for it."""
    return "low" in difference and difference["low"] is None


def _how(questions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    text = (
        "Both systems' answers to the same clips are drawn again together, all clips of a speaker (else of a track, "
        "else single clips) at a time. Apart: the 95 % interval of the difference leaves out zero."
    )
    bare = [q for q in questions if any(unpaired(one) and one["apart"] is not None for one in q["differences"])]
    if bare:
        named = ", ".join(dict.fromkeys(metric_label(one["metric"]) for one in bare))
        text += (
            f" Where that cannot be ({named}), the two systems' own intervals are compared: apart if they do not "
            "overlap, which is the more cautious reading; where they overlap there may still be a difference."
        )
    if any(one["left_out"] for q in questions for one in q["differences"]):
        text += " Clips that only one predicted, or with other references, do not count; how many is in brackets."
    return (text,)
