"""Linear probes of single frames of music: notes, chords, beats and downbeats.

One linear layer on every frame, logistic loss of each key (beat, downbeat) or cross entropy of the chords; the layer of
the representation, and whether its frames are standardised or whitened, is chosen by the validation clips: notes want
them whitened, beats standardised (``docs/lab-notes.md``). Targets, decoding and scores are those of the tasks in
`audio_ssl.probing.tasks`: average precision over all frames and keys; time with the right chord; F of beats within
70 ms, where beats are the likeliest course of tempo and position, as a linear layer seldom is certain of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from _heard import hear  # type: ignore[import-not-found]
from _linear_layer import LinearLayer, fit_layer  # type: ignore[import-not-found]
from _linear_probes import Split, Task, counted  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _whitening import WAYS, Scaling  # type: ignore[import-not-found]
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource
from audio_ssl.metrics.families.music import activation_counts
from audio_ssl.metrics.registry import get_metric
from audio_ssl.probing.task import IGNORED
from audio_ssl.probing.tasks import beats, chords, notes

Array64 = npt.NDArray[np.float64]

METRICS = {"notes": "frame_ap", "chords": "chord_accuracy", "beats": "beat_f70", "downbeats": "downbeat_f70"}
"""Kind of question to its score; a `Task` asks one by naming it as its answer."""

STEPS, BATCH, TRAIN_RATE_HZ = 600, 1024, 12.5
"""Updates, frames an update, and frames kept of a second of the training clips, as neighbours are alike."""


class Frames(NamedTuple):
    """All layers of a clip."""

    total: int
    """Frames of the clip, also where fewer are held."""

    layers: list[Tensor]
    """``[frame, dim]`` each, in half precision."""


class HeldFrames:
    """Of the latest source, by clip and by how many of its frames one is held of."""

    source: FeatureSource | None = None
    frames: ClassVar[dict[tuple[str, int], Frames]] = {}


def question(kind: str) -> Any:
    """Return the task of a kind, as probes have it."""
    if kind == "notes":
        return notes.build(notes.Config())
    if kind == "chords":
        return chords.build(chords.Config())
    return beats.build(beats.Config(decoding="viterbi", metres=(2, 3, 4)))


def usable(kind: str, clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips that have an answer; UserError where none has."""
    asked = question(kind)
    found = [clip for clip in clips if asked.why_not(clip) is None]
    if not found:
        raise UserError(
            f"no clip has {kind}: the manifest was written before its reader knew them",
            remedy="remove the corpus' .jsonl file (not its folder), and run this again",
        )
    return found


def frames_of(clips: Sequence[Clip], source: FeatureSource, step: int = 1) -> dict[str, Frames]:
    """Return all layers of clips, one frame of every `step`; they are held until another source is heard."""
    if HeldFrames.source is not source:
        HeldFrames.source, HeldFrames.frames = source, {}
    held = HeldFrames.frames
    for found in hear([clip for clip in clips if (clip.id, step) not in held], source):
        layers = [layer[::step].half() for layer in found.layers]
        held[found.clip.id, step] = Frames(len(found.layers[0]), layers)
    return {clip.id: held[clip.id, step] for clip in clips if (clip.id, step) in held}


class FrameProbe(NamedTuple):
    """A linear layer for one layer of a representation."""

    goodness: float
    """Of single frames of the validation clips: average precision, or the share of right chords."""

    scaling: Scaling
    layer: LinearLayer

    def __call__(self, frames: Tensor) -> Tensor:
        """Return the scores of ``[frame, dim]``."""
        return self.layer(self.scaling(frames.float()))  # type: ignore[no-any-return]


def frame_layers(split: Split, task: Task, source: FeatureSource) -> list[FrameProbe]:
    """Return for each layer the probe of the way to scale frames that the validation clips prefer."""
    asked, kind = question(task.answer), task.answer
    asked.start(source.grid)
    step = max(1, round(source.grid.frame_rate_hz / TRAIN_RATE_HZ))
    few, whole = frames_of(split.train, source, step), frames_of(split.valid, source)
    train, valid = [clip for clip in split.train if clip.id in few], [clip for clip in split.valid if clip.id in whole]
    target = torch.cat([asked.frame_target(clip, few[clip.id].total, source.grid)[::step] for clip in train])
    right = [asked.frame_target(clip, whole[clip.id].total, source.grid) for clip in valid]
    found = []
    for number in range(source.num_layers):
        inputs = torch.cat([few[clip.id].layers[number].float() for clip in train])
        tried = []
        for way in WAYS:
            scaling = way(inputs)
            probe = FrameProbe(0.0, scaling, _fit(scaling(inputs), target, len(asked.classes)))
            said = [probe(whole[clip.id].layers[number]) for clip in valid]
            tried.append(probe._replace(goodness=_goodness(kind, said, right)))
        found.append(max(tried, key=lambda one: one.goodness))
    return found


def ask_frames(split: Split, task: Task, source: FeatureSource) -> tuple[ClipCounts, int, list[float]]:
    """Return the statistics of the test clips, the layer, and how good each is on the validation clips."""
    probes = frame_layers(split, task, source)
    goodness = [probe.goodness for probe in probes]
    number = int(np.argmax(goodness))
    asked, metric = question(task.answer), METRICS[task.answer]
    asked.start(source.grid)
    whole = frames_of(split.test, source)
    test = [clip for clip in split.test if clip.id in whole]
    said = [probes[number](whole[clip.id].layers[number]) for clip in test]
    if task.answer == "notes":
        table = np.stack([asked.statistics(metric, clip, one) for clip, one in zip(test, said, strict=True)])
    else:
        pairs = [(asked.reference(clip), asked.hypothesis(one)) for clip, one in zip(test, said, strict=True)]
        table = get_metric(metric).statistics(pairs)
    return counted(metric, table, test, task), number, goodness


def _fit(inputs: Tensor, targets: Tensor, outputs: int) -> LinearLayer:
    """Train a layer: cross entropy of classes ``[frame]``, logistic loss of probabilities ``[frame, output]``."""
    if targets.ndim == 1:
        inputs, targets = inputs[targets != IGNORED], targets[targets != IGNORED]
        targets = torch.nn.functional.one_hot(targets, outputs)
        squash = torch.softmax
    else:
        squash = None
    rng = np.random.default_rng(0)

    def batch(layer: LinearLayer) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(rng.integers(len(inputs), size=BATCH))
        frames = inputs[chosen]
        scores = layer(frames)
        said = scores.sigmoid() if squash is None else squash(scores, -1)
        return frames, (said - targets[chosen]) / BATCH

    return fit_layer(inputs.shape[1], outputs, STEPS, 0, batch)


def _goodness(kind: str, said: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    if kind == "chords":
        known = torch.cat(list(right))
        hits = torch.cat(list(said)).argmax(-1) == known
        return float(100 * hits[known != IGNORED].float().mean())
    columns = {"beats": slice(0, 1), "downbeats": slice(1, 2), "notes": slice(None)}[kind]
    counts = [
        activation_counts(one[:, columns].numpy(), (target[:, columns] == 1).numpy())
        for one, target in zip(said, right, strict=True)
    ]
    return float(get_metric("frame_ap").score(np.sum(counts, axis=0)))
