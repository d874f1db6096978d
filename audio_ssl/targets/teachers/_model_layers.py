"""Hidden states of a frozen model on the frames of another: whole clips in, one row a frame out.

The model may be for another sample rate than the recipe: the clip is then resampled as files are when they are read.
It may give other frames: they are then interpolated onto the recipe's, see `between_frames`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import soxr
import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.model import fingerprint
from audio_ssl.models.points import Point
from audio_ssl.targets.spec import LoadModel, open_model


@dataclass(frozen=True)
class ChosenLayers:
    """Which states of which model, and on which frames: keys of the teachers that hear layers."""

    model: str | None
    """As a teacher's key `model`; None is refused."""

    layers: tuple[int, ...]
    """Hidden states, 0 being the first layer's input; empty: the last."""

    point: Point
    """Where in a layer its state is taken."""

    pool_frames: int
    """Frames of the model whose mean is one frame."""

    hop_samples: int | None
    """From one frame to the next, in samples of the recipe's rate; None: the model's own frames."""


class LayersOf:
    """The chosen hidden states of whole clips, not yet normalised.

    Parameters
    ----------
    chosen
        Model, layers and frames.
    teacher
        Its kind, for errors.
    sample_rate
        Of the clips, in Hz.
    device
        Where the model is.
    load_model
        Opens it.

    Raises
    ------
    UserError
        If there is no model, it lacks a layer, or its frames cannot be counted at this sample rate.
    """

    def __init__(
        self,
        chosen: ChosenLayers,
        teacher: str,
        sample_rate: int,
        device: torch.device,
        load_model: LoadModel | None,
    ) -> None:
        if chosen.model is None:
            raise UserError(
                "`model` must be given: whose hidden states are the targets", remedy="give a model's folder"
            )
        check_at_least(chosen, 1, "pool_frames", *(("hop_samples",) if chosen.hop_samples is not None else ()))
        self._model = open_model(chosen.model, teacher, None, load_model)
        self._device, self._point, self._pool = device, chosen.point, chosen.pool_frames
        self._rate = sample_rate
        highest = self._model.num_layers
        self.layers = chosen.layers or (highest,)
        for layer in self.layers:
            if not 0 <= layer <= highest:
                raise UserError(f"`layers` must lie between 0 and {highest}, but has {layer}", where=chosen.model)
        self.dim, self._heard = self._model.dim, pooled_grid(self._model.grid, chosen.pool_frames)
        self.grid = resampled_grid(self._heard, sample_rate, chosen.hop_samples, chosen.model)

    @property
    def fingerprint(self) -> Tensor:
        """Hash of the model's weights, as bytes."""
        return torch.tensor(list(bytes.fromhex(fingerprint(cast(nn.Module, self._model)))), dtype=torch.uint8)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "layer frame dim"]:
        """Return the states of one clip, float32, on the device."""
        wanted = self.grid.num_frames(len(waveform))
        if wanted == 0:
            return torch.zeros(len(self.layers), 0, self.dim, device=self._device)
        batch = resampled(waveform, self._rate, self._heard.sample_rate)[None].to(self._device)
        hidden = self._model(batch, layers=max(self.layers), point=self._point).hidden
        states = torch.stack([hidden[layer][0].float() for layer in self.layers])
        frames = states.shape[1] // self._pool
        states = states[:, : frames * self._pool].reshape(len(states), frames, self._pool, self.dim).mean(2)
        if self.grid is self._heard:
            return states
        return between_frames(states, self._heard, self.grid, wanted)


def resampled(waveform: Float[Tensor, " sample"], rate: int, wanted: int) -> Float[Tensor, " sample"]:
    """Return a clip at another sample rate, by the resampler that files are read with."""
    if rate == wanted:
        return waveform
    return torch.from_numpy(np.ascontiguousarray(soxr.resample(waveform.cpu().numpy(), rate, wanted, quality="HQ")))


def between_frames(
    states: Float[Tensor, "layer frame dim"], heard: FrameGrid, wanted: FrameGrid, frames: int
) -> Float[Tensor, "layer frame dim"]:
    """Interpolate states linearly onto the frames of another grid.

    Frame *i* of a grid is taken to be at the centre of its own hop, ``(i + 1/2) * hop / sample_rate`` seconds, as grids
    are aligned by index everywhere else: with equal frame rates nothing changes, and with half of them a frame is the
    mean of two. Frames before the first centre or past the last one are equal to that state.

    Parameters
    ----------
    states
        Of a whole clip, at least one frame.
    heard, wanted
        The grid of `states`, and that of the result.
    frames
        Frames of the result.
    """
    ratio = wanted.hop_samples * heard.sample_rate / (wanted.sample_rate * heard.hop_samples)
    places = (torch.arange(frames, dtype=torch.float64) + 0.5) * ratio - 0.5
    places = places.clamp(0, states.shape[1] - 1)
    before = places.long()
    after = (before + 1).clamp(max=states.shape[1] - 1)
    share = (places - before).to(states.dtype)[:, None].to(states.device)
    before, after = before.to(states.device), after.to(states.device)
    return states[:, before] * (1 - share) + states[:, after] * share


def pooled_grid(grid: FrameGrid, pool: int) -> FrameGrid:
    """Return the grid of means of `pool` frames of a grid; what is left over at a clip's end has no frame.

    Examples
    --------
    >>> pooled_grid(FrameGrid(16000, 320, 400), 2)
    FrameGrid(sample_rate=16000, hop_samples=640, window_samples=720, edge='valid')
    """
    if pool == 1:
        return grid
    return FrameGrid(grid.sample_rate, pool * grid.hop_samples, (pool - 1) * grid.hop_samples + _first(grid))


def resampled_grid(grid: FrameGrid, sample_rate: int, hop_samples: int | None, model: str) -> FrameGrid:
    """Return the grid of frames that are interpolated from those of a model, or its own where nothing is changed.

    A clip has a frame as soon as the model has one.

    Parameters
    ----------
    grid
        The model's.
    sample_rate
        Of the clips, in Hz.
    hop_samples
        Between the frames of the result, at that rate; None: the model's frame rate.
    model
        Its name, for errors.

    Raises
    ------
    UserError
        If `hop_samples` is left out and a hop of the model is no whole number of samples.

    Examples
    --------
    >>> resampled_grid(FrameGrid(24000, 320, 400), 16000, 320, "a model")
    FrameGrid(sample_rate=16000, hop_samples=320, window_samples=267, edge='valid')
    """
    if hop_samples is None:
        if grid.sample_rate == sample_rate:
            return grid
        hop_samples, rest = divmod(grid.hop_samples * sample_rate, grid.sample_rate)
        if rest:
            raise UserError(
                f"`hop_samples` must be given, as the model has {grid.frame_rate_hz:g} frames/s, no whole number of "
                f"samples at {sample_rate} Hz",
                where=model,
                remedy="give the samples between two frames of the student: 320 at 16 kHz are 50 frames/s",
            )
    elif (grid.sample_rate, grid.hop_samples) == (sample_rate, hop_samples):
        return grid
    window = -(-_first(grid) * sample_rate // grid.sample_rate)
    return FrameGrid(sample_rate, hop_samples, max(window, 1))


def _first(grid: FrameGrid) -> int:
    """Return the samples that a clip must have before its first frame."""
    return {"valid": grid.window_samples, "floor": grid.hop_samples, "ceil": 1, "center": 0}[grid.edge]
