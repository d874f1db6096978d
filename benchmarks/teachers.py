"""The teachers beside other libraries: seconds, memory, and whether the values are right; one run, one table.

Ours and each peer do the same task alternately in one process, so that whatever else the machine does disturbs both
alike; ratios are medians over pairs. Memory is what one call adds in a process of its own. Parts:

- ``cqt``: nnAudio CQT1992v2 and CQT2010v2, librosa; the error is against a dense transform in float64
- ``encodec x 1``, ``encodec x 4``: the encodec package, random weights; share of the machine's measured peak
- ``k-means fit``, ``k-means label``: scikit-learn MiniBatchKMeans; mean squared distance to the nearest centroid
- ``random projection``: SpeechBrain; ``mel_rvq``: transformers' DAC quantiser; share of labels that are identical

Run ``python benchmarks/teachers.py``; prints a table and writes ``benchmarks/results/teachers.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import _teacher_cqt  # type: ignore[import-not-found]
import _teacher_encodec  # type: ignore[import-not-found]
import _teacher_kmeans  # type: ignore[import-not-found]
import _teacher_labels  # type: ignore[import-not-found]
import torch
from _teacher_parts import OURS, Part, Work  # type: ignore[import-not-found]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from audio_ssl.base.files import write_json

GROUPS = {"cqt": _teacher_cqt, "encodec": _teacher_encodec, "k-means": _teacher_kmeans, "labels": _teacher_labels}

Row = dict[str, Any]


def timed(work: Work) -> tuple[float, Any]:
    """Do the work once; return its seconds and its result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def compare(part: Part, rounds: int) -> list[Row]:
    """Run ours beside every peer; return one row per system."""
    works = {name: make() for name, make in part.systems.items()}
    # The first run, which is not timed, also compiles and fills caches.
    results = {name: [work()] for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    ratios = {}
    for peer in list(works)[1:]:
        for number in range(rounds):
            pair = (OURS, peer) if number % 2 == 0 else (peer, OURS)
            for name in pair:
                spent, result = timed(works[name])
                seconds[name].append(spent)
                results[name].append(result)
        ratios[peer] = _machine.faster(seconds[OURS][-rounds:], seconds[peer])
    figures = part.judge(results)
    rows = []
    for name, runs in seconds.items():
        median = statistics.median(runs)
        row: Row = {"part": part.name, "what": part.what, "system": name, "seconds": median, "runs": len(runs)}
        if part.audio_seconds:
            row["times_real_time"] = part.audio_seconds / median
        if name in ratios:
            row["ours_is_faster"] = ratios[name]
        rows.append(row | figures.get(name, {}))
    return rows


def add_memory(part: Part, rows: list[Row], arguments: list[str]) -> None:
    """Run each system once in a process of its own; add the bytes that its work took to its row."""
    for row in rows:
        command = [sys.executable, __file__, "--worker", part.name, row["system"], *arguments]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        row["work_bytes"] = json.loads(answer.splitlines()[-1])["work_bytes"]


def work_bytes(part: Part, system: str) -> int:
    """Return how far the resident memory of this process rises while one system works (Linux)."""
    work = part.systems[system]()
    before = _resident("VmRSS")
    # Starts the high-water mark anew: making ready may have taken more than the work.
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def print_rows(part: Part, rows: Sequence[Row]) -> None:
    print(f"\n{part.name}: {part.what}")
    for row in rows:
        line = f"  {row['system']:<38} {row['seconds']:>9.3f} s"
        line += f" {row['times_real_time']:>8.1f} x real time" if "times_real_time" in row else " " * 21
        line += f"   ours is {row['ours_is_faster']:>6.2f} x as fast" if "ours_is_faster" in row else " " * 27
        for name, shown in (
            ("share_of_peak", "{:.0%} of peak"),
            ("relative_error", "error {:.1e}"),
            ("identical", "{:.4%} identical"),
            ("exact", "{:.4%} as in float64"),
            ("codes_used", "{:.0f} codes used"),
            ("inertia", "inertia {:.4f}"),
            ("inertia_of_peer", "{:.4f} of the peer's"),
            ("work_bytes", "{:.3g} bytes"),
        ):
            if name in row:
                line += "   " + shown.format(row[name])
        print(line, flush=True)


def check(parts: Sequence[Part], rows: Sequence[Row]) -> list[Row]:
    """Return every goal with the measured figure and whether it is reached; print them."""
    found = []
    print("\ngoals")
    for part in parts:
        own = {row["system"]: row for row in rows if (row["part"], row["what"]) == (part.name, part.what)}
        for goal in part.goals:
            value = own[goal.against][goal.figure]
            sign = "<=" if goal.at_most else ">="
            beside = "" if goal.against == OURS else f" than {goal.against}"
            verdict = "reached" if goal.reached(value) else "NOT reached"
            print(f"  {part.name:<18} {goal.figure}{beside} {sign} {goal.bound:g}: {value:.4g}, {verdict}")
            entry = {"part": part.name, "what": part.what, "figure": goal.figure, "against": goal.against}
            found.append(entry | {"bound": goal.bound, "value": value, "reached": goal.reached(value)})
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short clips, few frames and two rounds, under a minute")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs per peer")
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "teachers.json")
    parser.add_argument("--worker", nargs=2, metavar=("PART", "SYSTEM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds = 2
    return options


def measure(options: argparse.Namespace, machine: _machine.Machine) -> tuple[list[Part], list[Row], _machine.Machine]:
    """Run all parts; return them, their rows, and the machine at its best."""
    parts, rows = [], []
    arguments = ["--threads", str(options.threads)] + ["--quick"] * options.quick
    for group in options.groups:
        for part in GROUPS[group].parts(options.quick):
            mine = compare(part, options.rounds)
            if part.memory:
                add_memory(part, mine, [*arguments, "--groups", group])
            if part.gflop:
                # The better of before and after: the peak is that of the undisturbed machine.
                machine = max(machine, _machine.measure(), key=lambda found: found.float32_gflops)
                for row in mine:
                    row["share_of_peak"] = part.gflop / row["seconds"] / machine.float32_gflops
            print_rows(part, mine)
            parts.append(part)
            rows += mine
    return parts, rows, machine


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        if options.worker:
            name, system = options.worker
            part = next(part for part in GROUPS[options.groups[0]].parts(options.quick) if part.name == name)
            print(json.dumps({"work_bytes": work_bytes(part, system)}))
            return
        machine = _machine.measure(seconds=0.5 if options.quick else 2.0)
        peak = f"{machine.float32_gflops:.0f} GFLOP/s float32"
        print(f"{machine.processor}, {machine.threads} threads: {peak}", flush=True)
        parts, rows, machine = measure(options, machine)
    goals = check(parts, rows)
    settings = {"rounds": options.rounds, "quick": options.quick}
    write_json(options.out, {"settings": settings, "machine": machine.as_dict(), "rows": rows, "goals": goals})


if __name__ == "__main__":
    main()
