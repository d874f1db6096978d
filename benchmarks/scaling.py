"""What ten times the compute gives: held-out scores of three sizes of one recipe at four budgets of compute.

The recipe is `hubert_visible_tiny` (speech). A budget is a number of operations, matrix products and convolutions of
forward and backward passes as torch counts them; every size gets each of four budgets, three times apart. Each is a run
of its own with a whole course of its learning rate, as a checkpoint from the middle of a longer run has not had its
decay and would look worse than it is; four such runs cost half as much again as the longest. Then the linear probes of
``learning.py`` on held-out clips: characters and language.

The slope is that of the scores over the logarithm of compute: one for all sizes, each with a level of its own, and one
for each size. Its interval counts the held-out clips (all models answer the same ones) and what the scores scatter
around their lines, which is how much chance there is in a run (one seed) and how far the lines are from straight.

Run ``python benchmarks/scaling.py`` (an hour and a half of one core) or with ``--tflop 0.5`` to try it; prints the
tables and writes ``benchmarks/results/scaling.json``, from which ``tables.py`` draws the plot. Finished runs and
answers below ``--out`` are kept.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _answers import answer  # type: ignore[import-not-found]
from _learning import RESULTS, TASKS, measure, prepare, split_of, train  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _seeds import clip_variance, contrast, interval  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.features.source import open_source
from audio_ssl.metrics.resampling import Interval

RECIPE = "hubert_visible_tiny"
APART = 3.0
BUDGETS = 4
ASKED = ("characters", "language")
_LOWER = ("characters", "characters, acted")
"""Tasks whose score is an error rate."""


@dataclass(frozen=True)
class Size:
    """A width, a depth and the learning rate that goes with them."""

    dim: int
    layers: int
    lr: float

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.layers} × {self.dim}"

    def settings(self) -> list[str]:
        """Return the encoder's settings."""
        return [
            f"encoder.dim={self.dim}",
            f"encoder.ffn_dim={4 * self.dim}",
            f"encoder.layers={self.layers}",
            f"encoder.heads={self.dim // 64}",
        ]


# The recipe's own size is the middle one; the rate falls with the root of the width.
SIZES = (Size(128, 3, 1.4e-3), Size(256, 4, 1.0e-3), Size(384, 6, 0.8e-3))


@dataclass(frozen=True)
class Point:
    """One trained model and what it cost."""

    size: str
    updates: int
    tflop: float
    core_minutes: float
    """Of training, by the clock of the processor; what was measured here, on this machine."""


def budgets(largest: float) -> list[float]:
    """Return the budgets in TFLOP, the smallest first."""
    return [largest / APART**step for step in reversed(range(BUDGETS))]


def labels(manifest: Path, out: Path) -> str:
    """Fit the labels that all runs share, or find them; return the setting that names them."""
    # One update fits the teacher of the run.
    fitted = train(RECIPE, ["steps=1", "data.valid_share=0"], manifest, out / "fitted")
    path = fitted / "teachers" / "0" / "kmeans.safetensors"
    return f"teachers=[{{kind: kmeans, standardize: true, clusters: 100, hop_samples: 320, path: {path}}}]"


def run_settings(size: Size, updates: int, teachers: str) -> list[str]:
    """Return the settings of a run; its warm-up is a share of its course."""
    course = f"optim={{lr: {size.lr:g}, warmup_steps: {max(1, updates // 15)}, schedule: linear, clip_norm: 5.0}}"
    often = max(50, updates // 4)
    keep = f"checkpoint={{every: {often}, keep_last: 1, valid_every: {often}, valid_seconds: 120}}"
    return ["precision=bfloat16", teachers, *size.settings(), course, f"steps={updates}", keep]


def trained(size: Size, updates: int, teachers: str, manifest: Path, out: Path) -> tuple[Path, float]:
    """Train, or find it done; return the run and the seconds of a core that it took, over all starts."""
    run = out / f"{size.layers}x{size.dim}_{updates}"
    clock = run.with_suffix(".seconds.json")
    before = json.loads(clock.read_text(encoding="utf-8"))["seconds"] if clock.is_file() else 0.0
    if (run / "model.safetensors").is_file() and before:
        return run, before
    began = time.process_time()
    try:
        train(RECIPE, run_settings(size, updates, teachers), manifest, run)
    finally:
        before += time.process_time() - began
        write_json(clock, {"seconds": before})
    return run, before


def slope(points: Sequence[Point], answers: Sequence[ClipCounts]) -> Interval:
    """Return points of score gained for ten times the compute, with the interval over clips and scatter.

    Sizes have levels of their own and one slope: within each, scores are fitted by a line over log10 of compute.
    """
    x = np.log10([point.tflop for point in points])
    y = np.array([found.of_all() for found in answers])
    names = list(dict.fromkeys(point.size for point in points))
    inside = np.array([[point.size == name for point in points] for name in names])
    means = inside.sum(1)
    x_off = x - (inside.T @ ((inside @ x) / means))
    y_off = y - (inside.T @ ((inside @ y) / means))
    spread = float(np.sum(x_off**2))
    weights = x_off / spread
    value = float(weights @ y)
    freedom = len(points) - len(names) - 1
    scatter = float(np.sum((y_off - value * x_off) ** 2)) / freedom
    clips = clip_variance(list(zip(weights.tolist(), answers, strict=True)))
    found: Interval = interval(value, [clips, (scatter / spread, freedom + 1)])
    return found


def slopes(points: Sequence[Point], answers: Mapping[str, Sequence[ClipCounts]]) -> list[dict[str, Any]]:
    """Return the slope of each task, of all sizes together and of each."""
    rows = []
    for task, found in answers.items():
        sizes = dict.fromkeys(point.size for point in points)
        for name in ["all", *sizes] if len(sizes) > 1 else list(sizes):
            kept = [i for i, point in enumerate(points) if name in ("all", point.size)]
            one = slope([points[i] for i in kept], [found[i] for i in kept])
            rows.append({"task": task, "size": name, **one._asdict()})
    return rows


def scores(points: Sequence[Point], answers: Mapping[str, Sequence[ClipCounts]]) -> list[dict[str, Any]]:
    """Return the score of every model with its interval over clips."""
    rows = []
    for task, found in answers.items():
        for point, one in zip(points, found, strict=True):
            value = contrast({"": [{task: one}]}, {"": 1.0}, [task])
            rows.append({"task": task, **asdict(point), **value._asdict(), "test_clips": len(one.table)})
    return rows


def lines(result: Mapping[str, Any]) -> list[str]:
    """Return the tables as text."""
    said = [
        f"{row['task']:<12}{row['size']:<10}{row['updates']:>6} updates {row['tflop']:7.1f} TFLOP "
        f"{row['core_minutes']:6.1f} min  {row['value']:5.1f} [{row['low']:5.1f}, {row['high']:5.1f}]"
        for row in result["rows"]
    ]
    said += [f"{row['task']:<12}{row['system']:<24}{row['value']:5.1f}" for row in result["baselines"]]
    return said + [
        f"{row['task']:<12}{row['size']:<10} {row['value']:+5.1f} [{row['low']:+5.1f}, {row['high']:+5.1f}] points for "
        "ten times the compute"
        for row in result["slopes"]
    ]


def main() -> None:
    """Train what is missing, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"), help="folder of the runs")
    parser.add_argument("--tflop", type=float, default=45.0, help="the largest budget of each size")
    parser.add_argument("--results", type=Path, default=RESULTS / "scaling.json", help="where the result is written")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips, manifest = prepare("speech", args.data, args.out)
    tasks = [task for task in TASKS["speech"] if task.name in ASKED]
    splits = {task.name: split_of(task, clips[task.corpus]) for task in tasks}
    points: list[Point] = []
    answers: dict[str, list[ClipCounts]] = {task.name: [] for task in tasks}
    systems = {"log-mel": "logmel"}
    # The smallest budgets first, so that there is something to look at early.
    teachers = labels(manifest, args.out)
    cost = {size: _gflop(size, teachers, manifest, args.out) for size in SIZES}
    for budget in budgets(args.tflop):
        for size in SIZES:
            updates = max(1, round(1e3 * budget / cost[size]))
            run, seconds = trained(size, updates, teachers, manifest, args.out)
            systems.setdefault(f"untrained, {size.name}", f"untrained:{run}")
            points.append(Point(size.name, updates, updates * cost[size] / 1e3, seconds / 60))
            source = open_source(str(run))
            for task in tasks:
                answers[task.name].append(answer(task, splits[task.name], source, args.out / "answers"))
    baselines = []
    for name, system in systems.items():
        source = open_source(system)
        for task in tasks:
            found = answer(task, splits[task.name], source, args.out / "answers")
            baselines.append({"system": name, "task": task.name, "value": found.of_all()})
    result = {
        "recipe": RECIPE,
        "sizes": [asdict(size) for size in SIZES],
        "lower_is_better": [name for name in ASKED if name in _LOWER],
        "rows": scores(points, answers),
        "baselines": baselines,
        "slopes": slopes(points, answers),
    }
    print("\n".join(["", *lines(result)]))
    write_json(args.results, result)


def _gflop(size: Size, teachers: str, manifest: Path, out: Path) -> float:
    """Return what an update costs; counted once and kept."""
    kept = out / f"cost_{size.layers}x{size.dim}.json"
    if not kept.is_file():
        settings = ["precision=bfloat16", teachers, *size.settings()]
        write_json(kept, asdict(measure(RECIPE, settings, manifest)))
    return float(json.loads(kept.read_text(encoding="utf-8"))["gflop_per_update"])


if __name__ == "__main__":
    main()
