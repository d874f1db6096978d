"""Judge models while recipes are tried: linear probes by cross-validation on *training* clips, never on held-out ones.

The questions are those of ``learning.py``, asked of fewer clips. Every clip is answered by a probe that was trained on
clips of other scenes, sentences or tracks. Each layer's score is printed, and the difference of the best one to the
first system's on the same clips, with a 95 % interval over those clusters (of one comparison). Scores compare systems
with one another and no more: the layer and the regularisation are chosen on the clips that are scored, and models that
were pretrained on these corpora have heard them, without labels. ``learning.py`` is the measurement.

    python benchmarks/judge.py logmel untrained:RUN RUN
    python benchmarks/judge.py logmel mel=RUN1 stacked=RUN2 --tasks characters language key --clips 400

A system is whatever ``audio-ssl extract`` takes, perhaps with a name of its own, ``NAME=SYSTEM``. Answers are kept
below ``--kept`` by the system's fingerprint, so a model is asked once. One thread; minutes for each new system.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _learning import RAREST_ANSWER, TASKS, corpora, excerpt  # type: ignore[import-not-found]
from _linear_probes import STRENGTHS, Split, Task, characters, pooled, value, whiten  # type: ignore[import-not-found]
from sklearn.linear_model import LogisticRegression

from audio_ssl.atomic import write_json
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource, open_source
from audio_ssl.metrics.bootstrap import Interval, cluster_bootstrap, cluster_sums

Array = npt.NDArray[np.float64]

FOLDS = 4
LONGEST_SECONDS = 6.0
"""Of the music that is heard: keys and styles are told from less."""

CTC_STEPS = 500


@dataclass(frozen=True)
class Answer:
    """What one system answered."""

    layers: list[float]
    """Score of each layer, in percent."""

    counts: Array
    """``[clip, 2]``: right (or wrong) and asked, of the best layer."""

    clips: list[str]
    """Their ids."""

    clusters: list[str]
    """What is resampled, clip by clip."""


def asked(task: Task, clips: Sequence[Clip], most: int) -> list[Clip]:
    """Return at most so many training clips, chosen by a hash of their names, rare answers left out."""
    mine = [c for c in clips if c.split == "train" and (task.where is None or value(c, task.where[0]) == task.where[1])]
    if task.answer != "text":
        answers = [value(clip, task.answer) for clip in mine]
        mine = [clip for clip in mine if answers.count(value(clip, task.answer)) >= RAREST_ANSWER]
    if task.seconds is not None:
        mine = [excerpt(clip, task.seconds) for clip in mine]
    elif task.corpus in ("rendered_scores", "game_music"):
        mine = [excerpt(clip, LONGEST_SECONDS) if clip.seconds > LONGEST_SECONDS else clip for clip in mine]
    return sorted(mine, key=lambda clip: _number(clip.id))[:most]


def _number(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)


def clusters_of(task: Task, clips: Sequence[Clip]) -> list[str]:
    """Return what each clip belongs to."""
    return [str(value(clip, task.cluster)) if task.cluster else clip.id for clip in clips]


def classified(task: Task, clips: list[Clip], source: FeatureSource) -> Answer:
    """Answer each clip by a logistic regression of the clips in the other folds."""
    found = pooled(clips, source)
    clips = [clip for clip in clips if clip.id in found]
    stacked, answers = (
        np.stack([found[clip.id] for clip in clips]),
        np.array([str(value(c, task.answer)) for c in clips]),
    )
    clusters = clusters_of(task, clips)
    fold = np.array([_number(one) % FOLDS for one in clusters])
    right = np.zeros((stacked.shape[1], len(STRENGTHS), len(clips)))
    for layer, number in np.ndindex(stacked.shape[1], FOLDS):
        inside, outside = fold != number, fold == number
        mean, scale = stacked[inside, layer].mean(0), stacked[inside, layer].std(0) + 1e-6
        features = (stacked[:, layer] - mean) / scale
        model = LogisticRegression(max_iter=200, tol=1e-3, warm_start=True)
        for at, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(features[inside], answers[inside])
            right[layer, at, outside] = model.predict(features[outside]) == answers[outside]
    scores = 100 * right.mean(-1)
    layer, strength = np.unravel_index(int(scores.argmax()), scores.shape)
    counts = np.stack([right[layer, strength], np.ones(len(clips))], axis=1)
    return Answer(scores.max(1).tolist(), counts, [clip.id for clip in clips], clusters)


def transcribed(task: Task, clips: list[Clip], source: FeatureSource) -> Answer:
    """Read the characters of the clips of one fold with a linear layer trained on the others."""
    apart = [_number(one) % FOLDS == 0 for one in clusters_of(task, clips)]
    train = [clip for clip, held in zip(clips, apart, strict=True) if not held]
    valid = [clip for clip, held in zip(clips, apart, strict=True) if held]
    found = [counts for _, counts in characters(Split(train, [], valid), source, whiten, steps=CTC_STEPS)]
    layers = [float(100 * counts[:, 0].sum() / counts[:, 1].sum()) for counts in found]
    return Answer(layers, found[int(np.argmin(layers))], [clip.id for clip in valid], clusters_of(task, valid))


def answer(task: Task, clips: list[Clip], name: str, kept: Path) -> Answer:
    """Return what a system answers, from the disk if it was asked before."""
    source = open_source(name)
    asked_of = hashlib.sha256(f"{task}{[(c.id, c.start, c.seconds) for c in clips]}{FOLDS} {CTC_STEPS}".encode())
    path = kept / f"{task.name} of {source.fingerprint}, {asked_of.hexdigest()[:8]}.json"
    if path.is_file():
        row = json.loads(path.read_text(encoding="utf-8"))
        return Answer(row["layers"], np.array(row["counts"]), row["clips"], row["clusters"])
    found = (transcribed if task.answer == "text" else classified)(task, clips, source)
    write_json(path, {**found.__dict__, "counts": found.counts.tolist(), "system": name, "task": task.name})
    return found


def difference(mine: Answer, other: Answer) -> Interval:
    """Return mine minus the other, in points, clips of a cluster resampled together."""
    place = {name: row for row, name in enumerate(other.clips)}
    shared = [(row, place[name]) for row, name in enumerate(mine.clips) if name in place]
    rows = np.array(shared, np.int64).reshape(-1, 2)
    counts = np.concatenate([mine.counts[rows[:, 0]], other.counts[rows[:, 1]]], axis=1)
    sums, _ = cluster_sums(counts, [mine.clusters[row] for row, _ in shared])
    return cluster_bootstrap(sums, lambda s: 100 * (s[..., 0] / s[..., 1] - s[..., 2] / s[..., 3]))


def line(task: Task, name: str, found: Answer, first: Answer | None) -> str:
    """Return a system's row."""
    lower = task.answer == "text"
    best = int(np.argmin(found.layers) if lower else np.argmax(found.layers))
    layers = " ".join(f"{score:5.1f}" for score in found.layers)
    row = f"{task.name:<17} {'CER' if lower else 'accuracy':<9}{name:<24}{found.layers[best]:6.1f} (layer {best:>2})"
    if first is not None:
        gap = difference(found, first)
        row += f"  {gap.value:+5.1f} [{gap.low:+5.1f}, {gap.high:+5.1f}]"
    return f"{row}  layers: {layers}"


def main() -> None:
    """Ask and print."""
    known: dict[str, Any] = {task.name: task for domain in TASKS.values() for task in domain}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", help="[NAME=]RUN, [NAME=]untrained:RUN, logmel, cqt")
    parser.add_argument("--tasks", nargs="+", default=list(known), choices=list(known), help="all if left out")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--clips", type=int, default=800, help="at most so many clips a task")
    parser.add_argument("--kept", type=Path, default=Path("runs/judge"), help="folder of the answers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    systems = [one.split("=", 1) if "=" in one.split("?")[0] else [one, one] for one in args.systems]
    for name in args.tasks:
        task = known[name]
        clips = asked(task, corpora(args.data, [task.corpus])[task.corpus], args.clips)
        first: Answer | None = None
        for label, system in systems:
            began = time.perf_counter()
            found = answer(task, clips, system, args.kept)
            print(f"{line(task, label, found, first)}  ({time.perf_counter() - began:.0f} s)", flush=True)
            first = first or found


if __name__ == "__main__":
    main()
