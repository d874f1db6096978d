"""Linear probes of frozen features: what ``learning.py`` asks of every representation alike.

Clip-level questions (speaker, language, key, instrument, style): frames averaged over the clip, logistic regression,
layer and regularisation chosen on the validation clips (as MARBLE chooses layers). Characters: one linear
layer on every whitened frame, trained with CTC (``_ctc.py``), greedy decoding, layer chosen the same way. Questions
about single frames of music are in ``_frame_probes.py``. A representation is named by a run's folder,
``untrained:FOLDER``, ``logmel`` or ``cqt``.

Why whitened: a linear layer can undo it, so it changes nothing about what is asked, but the variance of a hidden layer
lies in some twenty directions, and a linear layer trained for some thousand updates sees little else. Standardised
frames put every trained layer behind its own input (``probe_conditioning.py``).
Clip-level probes are standardised instead: a thousand clips cannot support every direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _ctc import fit, read  # type: ignore[import-not-found]
from _linear_layer import LinearLayer  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from audio_ssl.data.manifest import Clip
from audio_ssl.features.batches import stream
from audio_ssl.features.source import FeatureSource
from audio_ssl.metrics.text import CER

Array = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation of the logistic regressions; the best on the validation clips is kept."""

WEAKEST_DIRECTION = 1e-5
"""Share of the strongest direction's variance below which a direction of the frames is left out."""

CTC_STEPS = 1500


@dataclass(frozen=True)
class Task:
    """One question."""

    name: str
    corpus: str
    """Name of the corpus' manifest."""

    answer: str
    """Column of the manifest to predict. ``text``: characters by CTC; `_frame_probes.METRICS`: frame by frame."""

    cluster: str
    """Column that intervals are resampled by; empty: the clip."""

    where: tuple[str, str] | None = None
    """Only clips whose column has this value."""

    seconds: float | None = None
    """Ask of a stretch this long instead of the whole clip."""


@dataclass(frozen=True)
class Split:
    """The clips of a task with their answers."""

    train: list[Clip]
    valid: list[Clip]
    test: list[Clip]


def value(clip: Clip, column: str) -> Any:
    """Return a column of a clip, its own or an extra one."""
    return getattr(clip, column, None) if hasattr(clip, column) else clip.extra.get(column)


def pooled(clips: Sequence[Clip], source: FeatureSource) -> dict[str, Array]:
    """Return ``[layer, dim]`` frame means of every clip, by id."""
    return {
        found.clip.id: torch.stack([layer.mean(0) for layer in found.layers]).numpy()
        for found in stream(clips, source, refuse)
    }


def refuse(clip: Clip, reason: str) -> None:
    print(f"left out: {clip.id}: {reason}")


def classify(split: Split, task: Task, features: dict[str, Array], layer: int | None = None) -> tuple[ClipCounts, int]:
    """Return what is right of the test clips, and the layer: the one given, or the best on the validation clips."""
    parts = [[clip for clip in part if clip.id in features] for part in (split.train, split.valid, split.test)]
    stacked = [np.stack([features[clip.id] for clip in part]) for part in parts]
    answers = [np.array([str(value(clip, task.answer)) for clip in part]) for part in parts]
    best, chosen, layer_of_best = -1.0, None, 0
    for number in range(stacked[0].shape[1]) if layer is None else [layer]:
        mean, scale = stacked[0][:, number].mean(0), stacked[0][:, number].std(0) + 1e-6
        train, valid, test = ((part[:, number] - mean) / scale for part in stacked)
        # Each fit starts from the one before it, of stronger regularisation.
        model = LogisticRegression(max_iter=200, tol=1e-3, warm_start=True)
        for strength in STRENGTHS:
            model.set_params(C=strength).fit(train, answers[0])
            score = float(model.score(valid, answers[1]))
            if score > best:
                best, chosen, layer_of_best = score, model.predict(test) == answers[2], number
    assert chosen is not None
    counts = np.stack([chosen, np.ones(len(chosen))], axis=1).astype(np.float64)
    return counted("accuracy", counts, parts[2], task), layer_of_best


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
    for found in stream([*split.train, *split.valid, *split.test], source, refuse):
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
    sample = torch.cat([frames[name] for name in train if name in frames])
    mean = sample.mean(0)
    values, directions = torch.linalg.eigh(torch.cov((sample - mean).T.double()))
    kept = values > WEAKEST_DIRECTION * values[-1]
    rotation = (directions[:, kept] / values[kept].sqrt()).float()
    for name, states in frames.items():
        frames[name] = (states - mean) @ rotation


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
