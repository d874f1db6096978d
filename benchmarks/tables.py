"""Write the tables of ``docs/benchmarks.md`` from the results that the benchmarks left.

Run ``python benchmarks/tables.py`` after any of them; it writes one Markdown file per result into ``docs/tables/``. A
test holds these files to the results, so no figure of that page is typed by hand.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _markdown import table as _table  # type: ignore[import-not-found]
from _tables_compute import ablation, by_task, figures, scaling, scores  # type: ignore[import-not-found]
from _tables_fairness import fairness  # type: ignore[import-not-found]
from _tables_parity import parity  # type: ignore[import-not-found]
from _tables_small import extract_small  # type: ignore[import-not-found]
from _tables_starting import continued, graphs, students  # type: ignore[import-not-found]

from audio_ssl.base.files import write_text
from audio_ssl.release.card import models_table
from audio_ssl.shipped import SHIPPED

table: Callable[[Sequence[str], Sequence[Sequence[str]]], str] = _table
HOME = Path(__file__).resolve().parents[1]
RESULTS, TABLES = HOME / "benchmarks" / "results", HOME / "docs" / "tables"


def machine_line(machine: dict[str, Any], commit: str = "") -> str:
    """Return the machine in a sentence."""
    peaks = f"{machine['float32_gflops']:.0f} GFLOP/s in float32, {machine['bfloat16_gflops']:.0f} in bfloat16"
    return (
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; matrix products: {peaks}.\n"
    )


def pretrain(result: dict[str, Any]) -> str:
    """Return the table of a training step."""
    rows = [
        [
            row["system"],
            row["precision"],
            f"{row['audio_seconds_per_second']:.2f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
            "" if row["ours_is_faster"] == 1.0 else f"{row['ours_is_faster']:.2f}",
        ]
        for row in result["rows"]
    ]
    said = []
    for entry in result["summary"]:
        parts = [f"{entry['share_of_peak']:.0%} of the machine's peak"]
        parts += [f"{entry['faster_than_best_peer']:.2f} x the fastest peer"] * ("faster_than_best_peer" in entry)
        if "faster_than_best_float32_peer" in entry and entry["precision"] != "float32":
            parts.append(f"{entry['faster_than_best_float32_peer']:.2f} x the fastest peer in float32")
        parts += [f"{entry['memory_of_leanest_peer']:.2f} of the leanest peer's memory"] * (
            "memory_of_leanest_peer" in entry
        )
        said.append(f"- {entry['precision']}: {', '.join(parts)}\n")
    head = ("system", "precision", "audio s / s", "peak GB", "ours is faster by")
    return machine_line(result["machine"]) + "\n" + table(head, rows) + "\n" + "".join(said)


EXTRACT_GOALS = (
    ("float32", "", "share of peak", 0.85),
    ("float32", "transformers", "x transformers", 1.2),
    ("float32", "transformers, padded batches", "x padded batches", 1.5),
    ("bfloat16", "transformers", "x transformers", 2.0),
)
"""Precision, the system it is compared with (none: the peak), the figure, and what was aimed at."""

_REMOVED = "int8"
"""A precision that the results still have; docs/benchmarks.md says why it went."""


def extract(result: dict[str, Any]) -> str:
    """Return the table of extraction, the goals, where the time goes, and what precision does."""
    rows = [
        [
            row["system"],
            f"{row['audio_seconds_per_second']:.2f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['share_of_peak']:.0%}",
            f"{row['times_transformers']:.2f}",
            f"{row['largest_difference']:.1e}",
        ]
        for row in result["rows"]
    ]
    found = result["settings"]
    said = (
        f"{found['clips']} clips of 0.3 to 30 s and a file of {found['long_seconds']:g} s, together "
        f"{found['audio_seconds']:.0f} s; {found['rounds']} rounds.\n"
    )
    head = ("system", "audio s / s", "peak GB", "share of peak", "x transformers", "largest difference")
    parts = [machine_line(result["machine"]), said, table(head, rows), _extract_goals(result["rows"])]
    if profile := result.get("profile"):
        kinds = list(dict.fromkeys(kind for part in profile.values() for kind in part))
        lines = [[kind, *(f"{1e3 * part.get(kind, 0.0):.1f}" for part in profile.values())] for kind in kinds]
        parts.append(table(("ms of one core a second of audio", *profile), lines))
    if rounding := result.get("rounding"):
        lines = [
            [row["system"], f"{row['layer_0']:.2%}", f"{row['last_layer']:.2%}"]
            for row in rounding
            if row["system"] != _REMOVED
        ]
        what = f"relative error, HuBERT base, random weights ({rounding[0]['clips']} clips)"
        parts.append(table((what, "layer 0", "last layer"), lines))
    if probe := result.get("probe"):
        lines = [
            [
                f"{row['precision']}, layer {row['layer']}{' (chosen)' if row['chosen'] else ' (last)'}",
                f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]",
                f"{row['error']:.2%}",
            ]
            for row in probe["rows"]
            if row["precision"] != _REMOVED
        ]
        what = f"probe: {probe['task']} ({probe['test_clips']} clips)"
        parts.append(table((what, "accuracy", "relative error, last layer"), lines))
    return "\n".join(parts)


def _extract_goals(rows: Sequence[dict[str, Any]]) -> str:
    systems = {row["system"]: row for row in rows}
    lines = []
    for precision, peer, figure, bound in EXTRACT_GOALS:
        ours = systems[f"audio_ssl {precision}"]
        if peer == "transformers":
            value, shown = ours["times_transformers"], "{:.2f}".format
        elif peer:
            pairs = zip(ours["seconds"], systems[peer]["seconds"], strict=True)
            value, shown = statistics.median(theirs / own for own, theirs in pairs), "{:.2f}".format
        else:
            value, shown = ours["share_of_peak"], "{:.0%}".format
        reached = "yes" if value >= bound else "no"
        lines.append([f"{precision}: {figure}", f"≥ {shown(bound)}", shown(value), reached])
    return table(("goal", "bound", "measured", "reached"), lines)


def teachers(result: dict[str, Any]) -> str:
    """Return the table of the teachers and the goals."""
    extras: tuple[tuple[str, Callable[[float], str]], ...] = (
        ("share_of_peak", "{:.0%} of peak".format),
        ("relative_error", "error {:.1e}".format),
        ("identical", "{:.4%} identical".format),
        ("inertia_of_peer", "inertia {:.4f} of the peer's".format),
        ("work_bytes", lambda value: f"{value / 1e6:.0f} MB"),
    )
    rows = [
        [
            f"{row['part']}: {row['system']}",
            f"{row['seconds']:.3f}",
            f"{row['times_real_time']:.1f}" if "times_real_time" in row else "",
            f"{row['ours_is_faster']:.2f}" if "ours_is_faster" in row else "",
            "; ".join(shown(row[name]) for name, shown in extras if name in row),
        ]
        for row in result["rows"]
    ]
    goals = [
        [
            f"{goal['part']}: {goal['figure'].replace('_', ' ')}",
            f"{'≤' if goal['figure'].startswith(('inertia', 'relative', 'work')) else '≥'} {goal['bound']:g}",
            f"{goal['value']:.4g}",
            "yes" if goal["reached"] else "no",
        ]
        for goal in result["goals"]
    ]
    head = ("part and system", "seconds", "x real time", "ours is faster by", "note")
    goal_table = table(("goal", "bound", "measured", "reached"), goals)
    return machine_line(result["machine"]) + "\n" + table(head, rows) + "\n" + goal_table


def learning(result: dict[str, Any]) -> str:
    """Return for each domain a table of scores, one of differences on the same clips, and the verdicts."""
    parts = []
    for domain, found in result.items():
        runs = ", ".join(f"`{name}` after {number:,} updates" for name, number in found["updates"].items())
        said = "".join(f"- {line}\n" for line in found.get("summary", found["verdict"]))
        head = f"{domain.capitalize()}: {runs}." if runs else f"{domain.capitalize()}:"
        if not found.get("pairs"):
            parts.append(f"{head}\n\n{scores(found['rows'])}\n{said}")
            continue
        # Tasks are more than systems.
        parts.append(f"{head}\n\n{by_task(found['rows'])}\n{gaps(found['pairs'])}\n{said}")
    return "\n".join(parts)


def gaps(pairs: list[dict[str, Any]]) -> str:
    """Return how much better each model is than each baseline and than the best peer, on the same clips."""
    lines, peers = [], any(row["peer"] for row in pairs)
    for model, task in dict.fromkeys((row["model"], row["task"]) for row in pairs):
        mine = [row for row in pairs if (row["model"], row["task"]) == (model, task)]
        cells = [_gap(next((row for row in mine if row["other"] == name), None)) for name in ("log-mel", "CQT")]
        cells.append(_gap(next((row for row in mine if row["other"] == f"{model}, untrained"), None)))
        if peers:
            best = next((row for row in mine if row["peer"]), None)
            way = best["covered"] if best else None
            cells.append(f"{_gap(best)} ({best['other']})" if best else "")
            cells.append("" if way is None else "all" if way >= 100.0 else f"{max(0.0, way):.0f} %")
        lines.append([f"{task}, {model}", *cells])
    head = ["better than", "log-mel", "CQT", "untrained twin"]
    return table([*head, "best peer", "of the way to it"] if peers else head, lines)


def _gap(row: dict[str, Any] | None) -> str:
    return f"{row['value']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}], {row['word']}" if row else ""


def cheap_roads(result: dict[str, Any]) -> str:
    """Return what the recipes cost, and what they reach."""
    costs = result["costs"]
    full = next(iter(costs.values()))
    rows = [
        [
            name,
            str(cost["updates"]),
            f"{cost['audio_seconds_per_update'] * cost['updates'] / 3600:.2f}",
            f"{cost['gflop_per_update'] * cost['updates'] / 1e3:.1f}",
            f"{cost['gflop_per_update'] * cost['updates'] / (full['gflop_per_update'] * full['updates']):.2f}",
            f"{cost['seconds_per_update'] * cost['updates'] / (full['seconds_per_update'] * full['updates']):.2f}",
        ]
        for name, cost in costs.items()
    ]
    head = ("recipe", "updates", "audio hours", "TFLOP", "share of TFLOP", "share of seconds")
    said = "".join(f"- {line}\n" for line in result["verdict"])
    return f"{table(head, rows)}\n{scores(result['rows'])}\n{said}"


def long_file(result: dict[str, Any]) -> str:
    """Return how far chunks are from the whole, and the memory of a long file."""
    found, memory = result["distance"], result["memory"]
    layers = len(found["rows"][0]["by_layer"])
    rows = [[f"{row['context_seconds']:g} s", *(f"{value:.1%}" for value in row["by_layer"])] for row in found["rows"]]
    said = (
        f"Root mean square of the difference over that of the features: {found['seconds']:g} s of speech in chunks of "
        f"{found['chunk_seconds']:g} s, a model trained for a short time.\n"
    )
    peak = (
        f"A file of {memory['hours']:g} hours with HuBERT base's sizes, layer {memory['layer']} as float32 "
        f"({memory['feature_bytes'] / 1e9:.2f} GB on the disk): peak memory {memory['peak_bytes'] / 1e9:.2f} GB.\n"
    )
    head = ("context", *(f"layer {number}" for number in range(layers)))
    return f"{said}\n{table(head, rows)}\n{peak}"


def probing(result: dict[str, Any]) -> str:
    """Return what a sweep takes, by the way it is run."""
    rows = {row["system"]: row for row in result["rows"]}
    lines = []
    for name, row in rows.items():
        ours = rows["stacked, mixes alone" if "mixes" in name else "stacked"]
        extracted = 0.0 if name.startswith("re-extraction") else result["extraction_seconds"]
        whole = (row["seconds"] + extracted) / (ours["seconds"] + result["extraction_seconds"])
        test = row["test"]
        lines.append(
            [
                name,
                f"{row['seconds']:.1f}",
                f"{row['seconds'] / ours['seconds']:.1f}",
                f"{whole:.1f}",
                "" if test is None else f"{test['value']:.1f} [{test['low']:.1f}, {test['high']:.1f}]",
                "" if row["how"] == "measured" else row["how"],
            ]
        )
    clips = result["clips"]
    said = (
        f"{result['runs']} heads; {clips['train']} training, {clips['valid']} validation and {clips['test']} test "
        f"clips; the features of all layers took {result['extraction_seconds']:.0f} s, once.\n"
    )
    head = ("way", "seconds", "times ours", "with the features", "test score", "note")
    rates = [[name, f"{value:.0f}"] for name, value in result["products_gflops"].items()]
    bound = table(("first layer of 13 heads, 64 clips", "GFLOP/s"), rates)
    return "\n".join([machine_line(result["machine"]), said, table(head, lines), bound])


def label_purity(result: dict[str, Any]) -> str:
    """Return how well labels tell phones apart, by features and by fit."""
    measured = ("phone_purity", "cluster_purity", "pnmi")

    def cells(row: dict[str, Any]) -> list[str]:
        return [f"{row[name]:.3f} ± {row[f'{name}_deviation']:.3f}" for name in measured]

    said = (
        f"{result['clips']} sentences, {result['minutes']:.0f} minutes; {result['clusters']} clusters, mean and "
        f"standard deviation of {result['seeds']} fits, frames of sentences that no fit has seen.\n"
    )
    scaled = {False: "as they are", True: "standardised"}
    rows = [[f"{row['what']}, {scaled[row['standardize']]}", *cells(row)] for row in result["rows"]]
    fits = [[row["what"], *cells(row)] for row in result["fits"]]
    names = ("phone purity", "cluster purity", "PNMI")
    frames = max(row["frames"] for row in result["fits"])
    second = table((f"kaldi_mfcc as they are, fitted to (all: {frames:,} frames)", *names), fits)
    return "\n".join([said, table(("features", *names), rows), second])


def batching(result: dict[str, Any]) -> str:
    """Return what updates are made of, how noisy their gradients are."""
    rows = [
        [
            row["way"],
            f"{row['padding']:.1%}",
            f"{row['deviation_inside']:.2f} s",
            f"{row['deviation_of_means']:.2f} s",
            f"{row['seconds']:.0f} s",
            f"{row['busy_of_32']:.0%}",
        ]
        for row in result["lengths"]
    ]
    head = ("an update is", "padding", "deviation inside", "of means", "audio", "32 GPUs busy")
    parts = [table(head, rows)]
    if noise := result.get("noise"):
        done = sorted({row["after_updates"] for row in noise["rows"]})
        cells = {(row["way"], row["after_updates"]): row for row in noise["rows"]}
        lines = [
            [way, *(f"{cells[way, one]['noise']:.3f} ± {cells[way, one]['error']:.3f}" for one in done)]
            for way in dict.fromkeys(row["way"] for row in noise["rows"])
        ]
        what = f"noise over signal, {noise['crops']:,} crops"
        parts.append(table((what, *(f"after {one} updates" for one in done)), lines))
    return "\n".join(parts)


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "pretrain": pretrain,
    "extract": extract,
    "extract_small": extract_small,
    "teachers": teachers,
    "learning": learning,
    "peers": learning,
    "ablation": ablation,
    "cheap_roads": cheap_roads,
    "scaling": scaling,
    "long_file": long_file,
    "probing": probing,
    "fairness": fairness,
    "label_purity": label_purity,
    "parity": parity,
    "batching": batching,
    "students": students,
    "continued": continued,
    "graphs": graphs,
}


def render(name: str) -> str:
    """Return the Markdown of a result by its name."""
    return WRITERS[name](json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def drawings() -> dict[Path, str]:
    """Return the pictures of the results that are there, by where they lie."""
    path = RESULTS / "scaling.json"
    if not path.is_file():
        return {}
    found: dict[str, str] = figures(json.loads(path.read_text(encoding="utf-8")))
    return {TABLES / name: drawn for name, drawn in found.items()}


def main() -> None:
    """Write every table whose result is there, and that of the models that ship."""
    write_text(TABLES / "shipped.md", models_table(SHIPPED))
    for name in WRITERS:
        if (RESULTS / f"{name}.json").is_file():
            write_text(TABLES / f"{name}.md", render(name))
            print(TABLES / f"{name}.md")
    for path, drawn in drawings().items():
        write_text(path, drawn)
        print(path)


if __name__ == "__main__":
    main()
