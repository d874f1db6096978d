"""Judge models while recipes are tried: linear probes by cross-validation on *training* clips, never on held-out ones.

The questions are those of ``learning.py``, asked of fewer clips. Every clip is answered by a probe that was trained on
clips of other scenes, sentences or tracks. Each layer's score is printed, and how much better the best one is than the
first system on the same clips, with a 95 % interval over those clusters (of one comparison). Scores compare systems
with one another and no more: the layer and the regularisation are chosen on the clips that are scored, and models that
were pretrained on these corpora have heard them, without labels. ``learning.py`` is the measurement.

    python benchmarks/judge.py logmel untrained:RUN RUN
    python benchmarks/judge.py logmel mel=RUN1 stacked=RUN2 --tasks characters language key --clips 400

A system is whatever ``audio-ssl extract`` takes, or a ``peer:NAME`` (``_peers.py``), perhaps with a name of its own,
``NAME=SYSTEM``. Answers are kept below ``--kept`` by the system's fingerprint, so a model is asked once. One thread;
minutes for each new system.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _clip_probes import Array64, metric, paths, statistics  # type: ignore[import-not-found]
from _frame_probes import METRICS, ask_frames  # type: ignore[import-not-found]
from _heard import pooled  # type: ignore[import-not-found]
from _learning import SHOWN, TASKS, asked_of, corpora  # type: ignore[import-not-found]
from _linear_probes import (  # type: ignore[import-not-found]
    Split,
    Task,
    answers_of,
    characters,
    counted,
    labels_of,
    value,
    whiten,
)
from _pairs import LOWER_IS_BETTER, ClipCounts, gap  # type: ignore[import-not-found]
from _peers import open_system  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource

Answer = tuple[list[float], ClipCounts]
"""Score of each layer on the clips asked (of frames: their average precision, or the share of right chords), and what
the best one's score is made of."""

FOLDS = 4
CTC_STEPS = 500


def asked(task: Task, clips: Sequence[Clip], most: int) -> list[Clip]:
    """Return at most so many training clips, or stretches of them, chosen by a hash of their names."""
    mine = asked_of(task, [clip for clip in clips if clip.split == "train"])
    return sorted(mine, key=lambda clip: _number(clip.id))[:most]


def _number(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)


def classified(task: Task, clips: list[Clip], source: FeatureSource) -> Answer:
    """Answer each clip by a logistic regression of the clips in the other folds."""
    found = pooled(clips, source)
    clips = [clip for clip in clips if clip.id in found]
    stacked = np.stack([found[clip.id] for clip in clips])
    labels = labels_of(task, clips)
    answers = answers_of(task, clips, labels)
    fold = np.array([_number(_cluster(task, clip)) % FOLDS for clip in clips])
    said: dict[tuple[int, int, int], Array64] = {}
    for layer, number in np.ndindex(stacked.shape[1], FOLDS):
        inside, outside = fold != number, fold == number
        for way, course in enumerate(paths(stacked[inside, layer], answers[inside], [stacked[outside, layer]])):
            for strength, (found_outside,) in enumerate(course):
                tried = said.setdefault((layer, way, strength), np.zeros(answers.shape, found_outside.dtype))
                tried[outside] = found_outside
    counts = {tried: counted(metric(answers), statistics(one, answers), clips, task) for tried, one in said.items()}
    scores = {tried: one.of_all() for tried, one in counts.items()}
    layers = [max(score for tried, score in scores.items() if tried[0] == layer) for layer in range(stacked.shape[1])]
    return layers, counts[max(scores, key=lambda tried: scores[tried])]


def transcribed(task: Task, clips: list[Clip], source: FeatureSource) -> Answer:
    """Read the characters of the clips of one fold with a linear layer trained on the others."""
    train, valid = _apart(task, clips)
    found = [counts for _, counts in characters(Split(train, [], valid), source, whiten, steps=CTC_STEPS)]
    layers = [float(100 * counts[:, 0].sum() / counts[:, 1].sum()) for counts in found]
    return layers, counted("CER", found[int(np.argmin(layers))], valid, task)


def frames_asked(task: Task, clips: list[Clip], source: FeatureSource) -> Answer:
    """Ask the frames of the clips of one fold with a linear layer trained on the others."""
    train, valid = _apart(task, clips)
    counts, _, layers = ask_frames(Split(train, valid, valid), task, source)
    return layers, counts


def _apart(task: Task, clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    held = [_number(_cluster(task, clip)) % FOLDS == 0 for clip in clips]
    train, valid = ([clip for clip, out in zip(clips, held, strict=True) if out is side] for side in (False, True))
    return train, valid


def _cluster(task: Task, clip: Clip) -> str:
    return str(value(clip, task.cluster)) if task.cluster else clip.id


def answer(task: Task, clips: list[Clip], name: str, kept: Path) -> Answer:
    """Return what a system answers, from the disk if it was asked before."""
    source = open_system(name)
    asked_of = hashlib.sha256(f"{task}{[(c.id, c.start, c.seconds) for c in clips]}{FOLDS} {CTC_STEPS}".encode())
    path = kept / f"{task.name} of {source.fingerprint}, {asked_of.hexdigest()[:8]}.json"
    if not path.is_file():
        ways = {"text": transcribed} | dict.fromkeys(METRICS, frames_asked)
        layers, counts = ways.get(task.answer, classified)(task, clips, source)
        write_json(path, {"system": name, "task": task.name, "layers": layers, "counts": counts.row()})
    row = json.loads(path.read_text(encoding="utf-8"))
    return row["layers"], ClipCounts.of_row(row["counts"])


def line(task: Task, name: str, found: Answer, first: Answer | None) -> str:
    """Return a system's row: its score, how much better than the first one it is, and what each layer has."""
    layers, counts = found
    best = int(np.argmin(layers) if counts.metric in LOWER_IS_BETTER else np.argmax(layers))
    score = counts.score(counts.table.sum(0))
    row = f"{task.name:<17} {SHOWN.get(counts.metric, counts.metric):<11}{name:<24}{score:6.1f} (layer {best:>2})"
    if first is not None:
        better = gap(counts, first[1])
        row += f"  better by {better.value:+5.1f} [{better.low:+5.1f}, {better.high:+5.1f}]"
    return f"{row}  layers: {' '.join(f'{one:5.1f}' for one in layers)}"


def main() -> None:
    """Ask and print."""
    known: dict[str, Any] = {task.name: task for domain in TASKS.values() for task in domain}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", help="[NAME=]RUN, untrained:RUN, logmel, cqt, peer:NAME")
    parser.add_argument("--tasks", nargs="+", default=list(known), choices=list(known), help="all if left out")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--clips", type=int, default=800, help="at most so many clips a task")
    parser.add_argument("--kept", type=Path, default=Path("runs/judge"), help="folder of the answers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    systems = [one.split("=", 1) if "=" in one.split("?")[0] else [one, one] for one in args.systems]
    for name in args.tasks:
        task = known[name]
        # Clips asked frame by frame are whole ones and have hundreds of answers each.
        most = args.clips // 2 if task.answer in METRICS else args.clips
        clips = asked(task, corpora(args.data, [task.corpus])[task.corpus], most)
        first: Answer | None = None
        for label, system in systems:
            began = time.perf_counter()
            found = answer(task, clips, system, args.kept)
            print(f"{line(task, label, found, first)}  ({time.perf_counter() - began:.0f} s)", flush=True)
            first = first or found


if __name__ == "__main__":
    main()
