"""Features computed for every batch: where they are too large to keep, and where the model itself is trained."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.artifacts.result import ADAPTER_FOLDER, MODEL_FOLDER
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.features.source import FeatureSource, ModelSource
from audio_ssl.interop.settings import parse_name, path_of, take_point
from audio_ssl.models.adapters import AdaptedModel, need_peft, targets_of
from audio_ssl.models.depths import rate_shares
from audio_ssl.models.model import SSLModel
from audio_ssl.models.normalisation import BatchNorm
from audio_ssl.probing.features import AudioSpan, LayerBatch, Refuse, key_of, pad_layers
from audio_ssl.probing.probe import FineTuning

STATISTICS_CLIPS = 256
"""Training clips that standardise the layers of a model which will be trained."""

BATCH_SECONDS = 160.0
"""Seconds of audio in one forward pass of a frozen model."""


class LiveBank:
    """Features of a frozen source, computed each time they are needed.

    Parameters
    ----------
    source
        Where features come from.
    pooled
        Give the mean frame only.
    """

    def __init__(self, source: FeatureSource, pooled: bool) -> None:
        self.source, self.pooled, self.seconds_taken = source, pooled, 0.0
        self._samples: dict[AudioSpan, int] = {}
        self._batch_seconds = BATCH_SECONDS

    def open(self, clips: Sequence[Clip], refuse: Refuse) -> None:
        """Decode every clip once, to know which can be used and how many frames they have."""
        with Progress("reading audio", total=len(clips)) as progress:
            for clip in clips:
                try:
                    samples = len(read_clip(clip, self.source.sample_rate))
                    if self.source.grid.num_frames(samples) == 0:
                        raise AudioError(f"too short: {samples} samples give no frame")
                    self._samples[key_of(clip)] = samples
                except AudioError as error:
                    refuse(clip, error.reason)
                progress.advance()

    def __contains__(self, clip: Clip) -> bool:
        """Return whether a clip can be used."""
        return key_of(clip) in self._samples

    def frames(self, clip: Clip) -> int:
        """Return how many frames a clip has."""
        return 1 if self.pooled else self.source.grid.num_frames(self._samples[key_of(clip)])

    def one(self, clip: Clip) -> Float[Tensor, "layer frame dim"]:
        """Return the features of a clip."""
        return self.batch([clip]).values[:, 0]

    def batch(self, clips: Sequence[Clip]) -> LayerBatch:
        """Return the features of some clips."""
        started = time.monotonic()
        rows: list[Tensor] = []
        for part in self.portions(clips, range(len(clips))):
            waves = [torch.from_numpy(read_clip(clips[row], self.source.sample_rate)) for row in part]
            hidden, frames = self._hidden(waves)
            for place, count in enumerate(frames.tolist()):
                row = torch.stack([layer[place, :count] for layer in hidden]).float()
                rows.append(row.mean(1, keepdim=True) if self.pooled else row)
        self._check(clips, rows)
        self.seconds_taken += time.monotonic() - started
        return pad_layers(rows)

    def portions(self, clips: Sequence[Clip], rows: Sequence[int]) -> Iterator[list[int]]:
        """Split a batch into parts of one forward pass each."""
        part: list[int] = []
        for row in rows:
            longest = max([clips[row].seconds, *(clips[other].seconds for other in part)])
            if part and longest * (len(part) + 1) > self._batch_seconds:
                yield part
                part = []
            part.append(row)
        yield part

    def _check(self, clips: Sequence[Clip], rows: Sequence[Tensor]) -> None:
        for clip, row in zip(clips, rows, strict=True):
            if not bool(row.isfinite().all()):
                raise UserError(f"the features of `{clip.id}` are not finite", where=self.source.name)

    def _hidden(self, waves: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        lengths = torch.tensor([len(wave) for wave in waves])
        return self.source(torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True), lengths)


class TunedBank(LiveBank):
    """Features of a model that is trained beside the head.

    Parameters
    ----------
    source
        A model; a copy of it is trained.
    pooled
        Give the mean frame only.
    settings
        Learning rate, adapters, freezing.
    like
        A bank of the same clips, which then need not be read again.
    seed
        Of the first weights of adapters.
    """

    def __init__(self, source: ModelSource, pooled: bool, settings: FineTuning, like: LiveBank, seed: int = 0) -> None:
        super().__init__(source, pooled)
        self._samples = like._samples
        self.settings, self._batch_seconds = settings, settings.batch_seconds
        self.model: SSLModel = copy.deepcopy(source.model)
        self._adapted: AdaptedModel | None = None
        if settings.lora is not None:
            self._adapted = AdaptedModel(self.model, settings.lora, seed, frontend=not settings.freeze_frontend)
        elif settings.freeze_frontend:
            self.model.frontend.requires_grad_(False)
        self.model.to(source.device)
        self._learning = False

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained of the model."""
        return list(self._trained().values())

    def rates(self) -> list[tuple[float, list[nn.Parameter]]]:
        """Return what is trained by its learning rate."""
        shares = rate_shares(self.model, self.settings.layer_decay)
        found: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self._trained().items():
            found.setdefault(shares[name], []).append(parameter)
        return [(self.settings.rate * share, part) for share, part in found.items()]

    def learn(self, learning: bool) -> None:
        """Switch gradients on or off."""
        self._learning = learning
        self.model.train(learning)
        for module in self.model.modules():
            # Stored statistics stay those of pretraining: a few clips say less.
            if isinstance(module, BatchNorm):
                module.eval()

    def state(self) -> dict[str, Tensor]:
        """Return a copy of what is trained of the model, on the CPU: a sweep keeps many of them."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self._trained().items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Take weights that `state` gave."""
        for name, parameter in self._trained().items():
            parameter.copy_(state[name])
        self.learn(False)

    def save(self, folder: Path) -> None:
        """Write the model to ``folder/model``, or of an adapted one the adapters alone to ``folder/adapter``."""
        self.model.cpu().eval()
        if self._adapted is None:
            self.model.save_pretrained(folder / MODEL_FOLDER)
        else:
            name = take_point(self.source.name)[0]
            place = path_of(parse_name(name)[0])
            self._adapted.save(folder / ADAPTER_FOLDER, name, place if place.exists() else None)

    def _check(self, clips: Sequence[Clip], rows: Sequence[Tensor]) -> None:
        """Accept features that are not finite: a model may diverge, and the loss then shows it."""

    def _hidden(self, waves: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        lengths = torch.tensor([len(wave) for wave in waves])
        padded = torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True)
        with torch.set_grad_enabled(self._learning):
            output = self.model(padded.to(self.source.device), lengths.to(self.source.device))
        return list(output.hidden), output.lengths.cpu()


def tuned_bank(source: FeatureSource, pooled: bool, settings: FineTuning, like: LiveBank, seed: int) -> TunedBank:
    """Return a bank whose model is trained; UserError for a source that has none."""
    check_tuning(source, settings)
    return TunedBank(cast(ModelSource, source), pooled, settings, like, seed)


def check_tuning(source: FeatureSource, settings: FineTuning) -> None:
    """Raise UserError for a source without weights, layers that it does not have, and where peft is missing."""
    if not isinstance(source, ModelSource):
        raise UserError(f"`{source.name}` has no weights to train", where="$.finetune")
    plain, point = take_point(source.name)
    if point != "output":
        raise UserError(
            f"a model that is trained gives each layer's output, but the point `{point}` was given",
            where="$.finetune",
            remedy=f"name the model {plain}, or leave finetune out",
        )
    if settings.lora is not None:
        targets_of(source.model, settings.lora, "$.finetune.lora")
        need_peft("$.finetune.lora")
