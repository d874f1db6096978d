"""A comparison in words and as plain text: which model is best on what, and which differences are significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.numbers import score

MOST_COLUMNS = 100
"""Characters of a terminal's line."""
_MOST_NAME = 22


def compare_sentences(comparison: Mapping[str, Any]) -> list[str]:
    """Say which model has the best scores and which differences are told apart.

    Parameters
    ----------
    comparison
        Of a report's JSON, with two models or more.

    Returns
    -------
    list
        First how many probes each model is best on, then one sentence a probe.
    """
    models = comparison["systems"][: comparison["models"]]
    shared = [one for one in comparison["questions"] if sum(name in one["cells"] for name in models) > 1]
    if not shared:
        return [f"{len(models)} models, but no probe that two of them answered."]
    best = dict.fromkeys(models, 0)
    for one in shared:
        for name in _leaders(one, models):
            best[name] += 1
    counts = [
        f"{name} on {number} probe{'s' if number != 1 else ''}"
        for name, number in sorted(best.items(), key=lambda item: -item[1])
    ]
    head = f"Best score among {len(models)} models: {', '.join(counts)}."
    decided = [row for one in shared for row in one["differences"] if row["system"] in models]
    apart = sum(bool(row["apart"]) for row in decided)
    head += f" {apart} of {len(decided)} differences to {_firsts(shared)} are statistically significant."
    return [head, *(_sentence(one, models) for one in shared)]


def _leaders(question: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    values = {name: cell["value"] for name, cell in question["cells"].items() if name in models}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return []
    top = (max if question["higher_is_better"] else min)(known.values())
    return [name for name, value in known.items() if value == top]


def _sentence(question: Mapping[str, Any], models: Sequence[str]) -> str:
    parts = [
        f"{name} {score(cell['value'], question['unit'])}" for name, cell in question["cells"].items() if name in models
    ]
    way = "higher is better" if question["higher_is_better"] else "lower is better"
    said = [
        f"{row['system']} has {'a' if row['apart'] else 'no'} statistically significant difference from "
        f"{question['first']}"
        for row in question["differences"]
        if row["system"] in models and row["apart"] is not None
    ]
    tail = f"; {', '.join(said)}" if said else ""
    return f"{question['title']}: {metric_label(question['metric'])} {', '.join(parts)} ({way}{tail})."


def score_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Write the main scores as a table: a line a probe, a column a system.

    A star marks the best score of a line, a tilde one without a statistically significant difference from the line's
    first model. Where the columns need more than 100 characters, the rest follows as another table.
    """
    questions, systems = comparison.get("questions") or (), comparison.get("systems") or ()
    if not questions:
        return []
    left = [["probe", "score"]]
    for one in questions:
        label = f"{metric_label(one['metric'])} {'↑' if one['higher_is_better'] else '↓'}"
        left.append([_short(one["name"], 28), _short(label, 22)])
    columns = [
        [_short(name.replace("untrained twin of ", "untrained "), _MOST_NAME), *(_cell(one, name) for one in questions)]
        for name in systems
    ]
    room = MOST_COLUMNS - len(_joined(left)[0])
    lines: list[str] = []
    while columns:
        taken, used = 0, 0
        for column in columns:
            used += max(map(len, column)) + 2
            if used > room and taken:
                break
            taken += 1
        shown, columns = columns[:taken], columns[taken:]
        table = [[*row, *(column[place] for column in shown)] for place, row in enumerate(left)]
        lines += [*([""] if lines else []), *(line.rstrip() for line in _joined(table))]
    marks = [mark for mark in ("*", "~") if any(line.rstrip().endswith(mark) or f"{mark} " in line for line in lines)]
    legend = {"*": "* best of its line", "~": f"~ no statistically significant difference from {_firsts(questions)}"}
    return lines + (["; ".join(legend[mark] for mark in marks)] if marks else [])


def _firsts(questions: Sequence[Mapping[str, Any]]) -> str:
    firsts = {str(one["first"]) for one in questions}
    return _short(firsts.pop(), _MOST_NAME) if len(firsts) == 1 else "the first model"


def _cell(question: Mapping[str, Any], name: str) -> str:
    cell = question["cells"].get(name)
    if cell is None:
        return ""
    near = any(row["system"] == name and row["apart"] is False for row in question["differences"])
    marks = ("*" if cell["best"] else "") + ("~" if near else "")
    return f"{score(cell['value'], question['unit'])}{f' {marks}' if marks else ''}"


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
