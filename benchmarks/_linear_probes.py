"""Linear probes with intervals: a question is asked of every representation alike.

Questions of a whole clip or a stretch of it (speaker, language, key, instrument, style): frames averaged, logistic
regression (``_clip_probes.py``); the layer, one of two ways to scale its dimensions, and the regularisation are chosen
on the validation clips (as MARBLE chooses layers). Characters: one linear layer on every whitened frame, trained with
CTC (``_ctc.py``), greedy decoding, layer chosen the same way. Questions about single frames of music are in
``_frame_probes.py``. A representation is named by a run's folder, ``untrained:FOLDER``, ``logmel`` or ``cqt``.

Why frames are whitened: a linear layer can undo it, so it changes nothing about what is asked, but the variance of a
hidden layer lies in some twenty directions, and a linear layer trained for some thousand updates sees little else.
Standardised frames put every trained layer behind its own input (``probe_conditioning.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _clip_probes import Answers, metric, paths, statistics  # type: ignore[import-not-found]
from _ctc import fit, read  # type: ignore[import-not-found]
from _heard import hear  # type: ignore[import-not-found]
from _linear_layer import LinearLayer  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _whitening import whitening  # type: ignore[import-not-found]
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.metrics.families.text import CER

Array = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]

CTC_STEPS = 1500

RAREST_ANSWER = 10
"""Answers with fewer training clips are not asked for (speakers of two lines)."""

SEVERAL = ("tags",)
"""Columns with several labels a clip."""

WORSE = 1.0
"""Points below the best so far at which weaker regularisation is tried no further."""


@dataclass(frozen=True)
class Task:
    """One question."""

    name: str
    corpus: str
    """Name of the corpus' manifest."""

    answer: str
    """Column of the manifest to predict. ``text``: characters by CTC; `SEVERAL`: which labels a clip has;
    `_frame_probes.METRICS`: frame by frame."""

    cluster: str
    """Column that intervals are resampled by; empty: the clip."""

    where: tuple[str, Any] | None = None
    """Only clips whose column has this value."""

    seconds: float | None = None
    """Ask of a stretch this long instead of the whole clip."""

    stretches: int = 1
    """Of each clip; intervals are then resampled by `_excerpts.OF`, the clip, or by what several clips share."""


@dataclass(frozen=True)
class Split:
    """The clips of a task with their answers."""

    train: list[Clip]
    valid: list[Clip]
    test: list[Clip]


def value(clip: Clip, column: str) -> Any:
    """Return a column of a clip, its own or an extra one."""
    return getattr(clip, column, None) if hasattr(clip, column) else clip.extra.get(column)


def answers_of(task: Task, clips: Sequence[Clip], labels: Sequence[str]) -> Answers:
    """Return the right answers: ``[clip]`` names, or of several labels a clip ``[clip, label]`` which it has."""
    if task.answer in SEVERAL:
        return np.array([[label in (value(clip, task.answer) or ()) for label in labels] for clip in clips])
    return np.array([str(value(clip, task.answer)) for clip in clips])


def labels_of(task: Task, clips: Sequence[Clip]) -> list[str]:
    """Return the labels of a question with several answers a clip: those that some training clips have, others not."""
    if task.answer not in SEVERAL:
        return []
    counts = Counter(label for clip in clips for label in value(clip, task.answer) or ())
    return sorted(label for label, count in counts.items() if RAREST_ANSWER <= count <= len(clips) - RAREST_ANSWER)


def classify(split: Split, task: Task, features: dict[str, Array], layer: int | None = None) -> tuple[ClipCounts, int]:
    """Return what is right of the test clips, and the layer: the one given, or the best on the validation clips."""
    parts = [[clip for clip in part if clip.id in features] for part in (split.train, split.valid, split.test)]
    stacked = [np.stack([features[clip.id] for clip in part]) for part in parts]
    labels = labels_of(task, parts[0])
    train, valid, test = (answers_of(task, part, labels) for part in parts)
    best, chosen, layer_of_best = -1.0, None, 0
    for number in range(stacked[0].shape[1]) if layer is None else [layer]:
        inputs, *others = (part[:, number] for part in stacked)
        for course in paths(inputs, train, others):
            highest = -1.0
            for said in course:
                score = _counts(statistics(said[0], valid), valid, parts[1], task).of_all()
                if score > best:
                    best, chosen, layer_of_best = score, said[1], number
                if score < highest - WORSE:
                    break
                highest = max(highest, score)
    assert chosen is not None
    return _counts(statistics(chosen, test), test, parts[2], task), layer_of_best


def _counts(table: Array64, answers: Answers, clips: list[Clip], task: Task) -> ClipCounts:
    return counted(metric(answers), table, clips, task)


def counted(metric: str, table: Array64, clips: list[Clip], task: Task) -> ClipCounts:
    """Return statistics with the names of their clips and clusters."""
    clusters = [str(value(clip, task.cluster)) if task.cluster else clip.id for clip in clips]
    return ClipCounts(metric, table, [clip.id for clip in clips], clusters)


def transcribe(split: Split, task: Task, source: FeatureSource) -> tuple[ClipCounts, int]:
    """Return the wrong characters of the test clips, and the layer chosen on the validation clips."""
    layers = list(characters(split, source, whiten))
    rates = [valid[:, 0].sum() / valid[:, 1].sum() for valid, _ in layers]
    layer = int(np.argmin(rates))
    return counted("CER", layers[layer][1], split.test, task), layer


def characters(
    split: Split,
    source: FeatureSource,
    prepare: Callable[[dict[str, Tensor], Sequence[str]], None],
    seed: int = 0,
    steps: int = CTC_STEPS,
) -> Iterator[tuple[Array64, Array64]]:
    """Yield for each layer `_count` of the validation clips and of the test clips."""
    by_layer: list[dict[str, Tensor]] = [{} for _ in range(source.num_layers)]
    for found in hear([*split.train, *split.valid, *split.test], source):
        for kept, states in zip(by_layer, found.layers, strict=True):
            kept[found.clip.id] = states
    text = {clip.id: _letters(str(clip.text)) for part in (split.train, split.valid, split.test) for clip in part}
    for frames in by_layer:
        prepare(frames, [clip.id for clip in split.train])
        probe, alphabet = _fit_ctc(split.train, frames, text, seed, steps)
        valid, test = (_count(probe, part, frames, text, alphabet) for part in (split.valid, split.test))
        yield valid, test
        frames.clear()


def whiten(frames: dict[str, Tensor], train: Sequence[str]) -> None:
    """Rotate and scale frames to zero mean and unit covariance over the training clips, in place."""
    scaling = whitening(torch.cat([frames[name] for name in train if name in frames]))
    for name, states in frames.items():
        frames[name] = scaling(states)


def _fit_ctc(
    clips: list[Clip], frames: dict[str, Tensor], text: dict[str, str], seed: int, steps: int
) -> tuple[LinearLayer, str]:
    alphabet = "".join(sorted({letter for clip in clips for letter in text[clip.id]}))
    symbols = [[alphabet.index(letter) + 1 for letter in text[clip.id]] for clip in clips]
    return fit([frames[clip.id] for clip in clips], symbols, len(alphabet) + 1, steps, seed), alphabet


def _letters(text: str) -> str:
    kept = "".join(letter if letter.isalpha() else " " for letter in text.lower())
    return " ".join(kept.split())


def _count(
    probe: LinearLayer, clips: list[Clip], frames: dict[str, Tensor], text: dict[str, str], alphabet: str
) -> Array64:
    """Return ``[clip, 2]``: wrong characters and characters of each clip."""
    said = ["".join(alphabet[number - 1] for number in read(probe, frames[clip.id])) for clip in clips]
    counts = CER.statistics([(text[clip.id], hypothesis) for clip, hypothesis in zip(clips, said, strict=True)])
    return np.stack([counts[:, :3].sum(1), counts[:, 3]], axis=1)
