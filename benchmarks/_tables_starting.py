"""Tables of what starts from a trained model: students (``learning.py --teacher``), ``continued.py``, ``graphs.py``."""

from __future__ import annotations

from typing import Any

from _markdown import table  # type: ignore[import-not-found]


def students(result: dict[str, Any]) -> str:
    """Return each task's score of log-mel, teacher and student, and how much of the gain the student keeps."""
    rows, kept = [], []
    twins = any(row["system"].endswith(", untrained") for found in result.values() for row in found["rows"])
    for domain in (one for one in ("speech", "music") if one in result):
        scores = {(row["task"], row["system"]): row for row in result[domain]["rows"]}
        for row in result[domain]["kept"]:
            twin = [f"{row['student']}, untrained"] if twins else []
            names = ("log-mel", row["teacher"], *twin, row["student"])
            cells = [_cell(scores.get((row["task"], name))) for name in names]
            metric = scores[row["task"], "log-mel"]["metric"]
            rows.append([row["task"], metric, *cells, f"{row['kept']:.0f} %"])
            kept.append(row)
    points = sum(row["gain"] for row in kept)
    mean = sum(row["kept"] for row in kept) / len(kept)
    whole = sum(row["gain"] * row["kept"] for row in kept) / points
    teacher, student = kept[0]["teacher"], kept[0]["student"]
    twin = [f"{student}, untrained"] if twins else []
    head = ("task", "metric", "log-mel", teacher, *twin, student, "gain kept")
    said = f"Of the gain of {teacher} over log-mel {student} keeps {mean:.1f} % in the mean over {len(kept)} tasks, and"
    return "\n".join([f"{said} {whole:.1f} % of the {points:.0f} points of all of them.\n", str(table(head, rows))])


def continued(result: dict[str, Any]) -> str:
    """Return each system's scores on the domain, then how far the continued model is from each other one."""
    systems = list(dict.fromkeys(row["system"] for row in result["rows"]))
    tasks = list(dict.fromkeys(row["task"] for row in result["rows"]))
    scores = {(row["task"], row["system"]): row for row in result["rows"]}
    metrics = {row["task"]: row["metric"] for row in result["rows"]}
    first = [[f"{task} ({metrics[task]})", *(_cell(scores.get((task, one))) for one in systems)] for task in tasks]
    pairs = {(row["task"], row["other"]): row for row in result["pairs"]}
    others = [one for one in systems if one != "continued"]
    second = [[task, *(_difference(pairs.get((task, one))) for one in others)] for task in tasks]
    updates = f"{result['updates']} updates of 36 s of audio each.\n"
    what = "continued is better by"
    return "\n".join([updates, str(table(("task", *systems), first)), str(table((what, *others), second))])


def graphs(result: dict[str, Any]) -> str:
    """Return speeds in multiples of real time, ratios to audio_ssl, and errors."""
    rows = []
    for model, found in result["models"].items():
        for what, speeds in found["times_real_time"].items():
            for system, speed in speeds.items():
                error = found["error_percent"].get(system)
                ratio = f"{speed / speeds['audio_ssl']:.2f}"
                rows.append([model, what, system, f"{speed:.3g}", ratio, "" if error is None else f"{error:.2g} %"])
    machine = result["machine"]
    where = f"{machine['processor']}, torch {machine['torch']}, one thread; median of {result['rounds']} rounds.\n"
    head = ("model", "waveforms", "system", "x real time", "x audio_ssl", "error")
    return "\n".join([where, str(table(head, rows))])


def _cell(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _difference(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['value']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}] {row['word']}"
