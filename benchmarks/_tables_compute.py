"""Tables of what was trained to be compared: MERT's ablation, and scores over compute with their plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _markdown import table  # type: ignore[import-not-found]
from _scaling_figure import figure  # type: ignore[import-not-found]

_SIGNED = "+.1f"


def scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return systems by tasks, each cell a score with its interval."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    clips = {row["task"]: f"{row['metric']}, {row['test_clips']} clips" for row in rows}
    return _grid("system", rows, tasks, [f"{task} ({clips[task]})" for task in tasks])


def by_task(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return tasks by systems, each cell a score with its interval."""
    tasks = {row["task"]: f"{row['task']} ({row['metric']}, {row['test_clips']} clips)" for row in rows}
    named = [{**row, "task": row["system"], "named": tasks[row["task"]]} for row in rows]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    return _grid("named", named, systems, systems).replace("| named ", "| task ", 1)


def _grid(
    first: str, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str], heads: Sequence[str], form: str = ".1f"
) -> str:
    cells = {(row[first], row["task"]): row for row in rows}
    lines = [
        [name, *(_cell(found, form) if (found := cells.get((name, task))) else "" for task in tasks)]
        for name in dict.fromkeys(row[first] for row in rows)
    ]
    written: str = table((first, *heads), lines)
    return written


def _cell(row: Mapping[str, Any], form: str = ".1f") -> str:
    return f"{row['value']:{form}} [{row['low']:{form}}, {row['high']:{form}}]"


def ablation(result: Mapping[str, Any]) -> str:
    """Return MERT's ablation: the systems, what each choice does, which of the paper's orderings hold."""
    if "findings" not in result:
        # One seed, and intervals of each system by itself.
        said = (
            f"After {result['updates']} updates of 24 s no difference between teachers, or between mixing and none,\n"
            "is larger than its interval: so short a run cannot rank them, which does not say that they are alike.\n"
        )
        return f"{scores(result['rows'])}\n{said}"
    rows, tasks = result["rows"], list(dict.fromkeys(row["task"] for row in result["rows"]))
    clips = {row["task"]: row["test_clips"] for row in rows}
    measures = {row["task"]: row.get("metric", "") for row in rows}
    heads = [f"{task} ({', '.join(filter(None, (measures[task], f'{clips[task]} clips')))})" for task in tasks]
    seeds = result["seeds"]
    parts = [
        f"Mean of {seeds} seeds after {result['updates']} updates each, the same for all;\n"
        "intervals of 95 % count both held-out clips and seeds.\n",
        _grid("system", rows, tasks, heads),
        "What each choice changes, in points, on the same clips and seeds:\n",
        _grid("effect", result["effects"], tasks, tasks, _SIGNED),
    ]
    lines = [
        [row["ordering"], row["paper"], ", ".join(row["tasks"]), _cell(row, _SIGNED), f"**{row['verdict']}**"]
        for row in result["findings"]
    ]
    parts.append(table(("ordering", "in the paper", "asked of", "points here", "verdict"), lines))
    return "\n".join(parts)


def scaling(result: Mapping[str, Any]) -> str:
    """Return the section on scores over compute: plots, slopes and every run."""
    tasks = list(dict.fromkeys(row["task"] for row in result["rows"]))
    slopes = [
        [row["task"], "all, one slope" if row["size"] == "all" else row["size"], _cell(row, _SIGNED)]
        for row in result["slopes"]
    ]
    runs = {(row["size"], row["updates"]): row for row in result["rows"]}
    cells = {(row["size"], row["updates"], row["task"]): row for row in result["rows"]}
    lines = [
        [
            size,
            f"{updates:,}",
            f"{row['tflop']:.1f}",
            f"{row['core_minutes']:.1f}",
            *(_cell(cells[size, updates, task]) for task in tasks),
        ]
        for (size, updates), row in runs.items()
    ]
    levels = []
    for name in dict.fromkeys(row["system"] for row in result["baselines"]):
        of = {row["task"]: row["value"] for row in result["baselines"] if row["system"] == name}
        levels.append([name, "", "", "", *(f"{of[task]:.1f}" for task in tasks)])
    return "\n".join(
        [
            "## What ten times the compute gives\n",
            f"Three sizes of `{result['recipe']}` at four budgets, each a run with a whole course of its own,\n"
            "one seed. A budget is the same number of operations for every size. Characters: CER of a linear layer,\n"
            "lower is better. Lines up and down are 95 % intervals over held-out clips.\n",
            *(f"![{task} over compute, one line a size](tables/{_name(task)})\n" for task in tasks),
            table(("task", "layers × width", "points for ten times the compute"), slopes),
            "The slope's interval counts the held-out clips, which are the same for all, and how far the runs scatter\n"
            "around their lines. A slope below 0 is a gain in characters, one above 0 in accuracy.\n",
            table(("layers × width", "updates", "TFLOP", "core minutes", *tasks), [*lines, *levels]),
            "`python benchmarks/scaling.py`",
            "",
        ]
    )


def figures(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the plot of each task by the name of its file."""
    return {_name(task): figure(result, task) for task in dict.fromkeys(row["task"] for row in result["rows"])}


def _name(task: str) -> str:
    return f"scaling_{task.replace(',', '').replace(' ', '_')}.svg"
