"""Hidden states of a frozen model as targets: distillation, or an iteration that regresses the model before.

A target is the mean of the named layers' states, each channel of each layer with zero mean and unit variance over the
corpus. Learners of `reconstruction` or `distillation` then predict what a larger model, or the one of the iteration
before, hears in the whole clip. DistilHuBERT (Chang et al. 2022, arXiv 2110.01900) predicts several layers by a head
each; data2vec (Baevski et al. 2022, arXiv 2202.03555) averages normalised layers as here, but normalises by the clip,
which would take away what lasts for all of it: the speaker, the instrument, the key.

The statistics are fitted in one pass over the clips; the state is a safetensors file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Encoder
from audio_ssl.models.points import Point
from audio_ssl.targets.clustering import RunningVariance
from audio_ssl.targets.spec import (
    LoadModel,
    TargetSpec,
    TeacherTraits,
    check_previous_layer,
    fingerprint_of,
    open_model,
    read_state,
)

STATE_FILE = "hidden.safetensors"

_EPSILON = 1e-5
"""Added to a channel's variance, which may be zero."""


@dataclass(frozen=True)
class Config:
    """The model, its layers, and where the fitted statistics are."""

    path: str | None = None
    """Fitted statistics: the file, or the folder it lies in. None: the run fits them first."""

    model: str | None = None
    """A model of any library, named as for ``audio-ssl extract``; must be given."""

    layers: tuple[int, ...] = ()
    """Hidden states of the model that are averaged, 0 being the first layer's input; empty: the last."""

    point: Point = "output"
    """Where in a layer its state is taken: ``output`` or ``feed_forward``, before its last residual sum."""

    pool_frames: int = 1
    """Frames of the model whose mean is one target: 2 lets 50 frames a second teach 25."""


class LayersOf:
    """The chosen hidden states of whole clips, not yet normalised."""

    def __init__(
        self,
        config: Config,
        sample_rate: int,
        device: torch.device,
        load_model: LoadModel | None,
    ) -> None:
        if config.model is None:
            raise UserError(
                "`model` must be given: whose hidden states are the targets", remedy="give a model's folder"
            )
        check_at_least(config, 1, "pool_frames")
        self._model = open_model(config.model, "hidden", sample_rate, load_model)
        self._device, self._point, self._pool = device, config.point, config.pool_frames
        highest = self._model.num_layers
        self.layers = config.layers or (highest,)
        for layer in self.layers:
            if not 0 <= layer <= highest:
                raise UserError(f"`layers` must lie between 0 and {highest}, but has {layer}", where=config.model)
        self.dim, self.grid = self._model.dim, pooled_grid(self._model.grid, config.pool_frames)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "layer frame dim"]:
        """Return the states of one clip, float32, on the device."""
        if self.grid.num_frames(len(waveform)) == 0:
            return torch.zeros(len(self.layers), 0, self.dim, device=self._device)
        batch = waveform[None].to(self._device)
        hidden = self._model(batch, layers=max(self.layers), point=self._point).hidden
        states = torch.stack([hidden[layer][0].float() for layer in self.layers])
        frames = states.shape[1] // self._pool
        return states[:, : frames * self._pool].reshape(len(states), frames, self._pool, self.dim).mean(2)


class HiddenTeacher:
    """Gives the mean of a frozen model's normalised layers."""

    def __init__(self, config: Config, layers: LayersOf, state: dict[str, Tensor], device: torch.device) -> None:
        self._layers = layers
        self._mean, self._scale = (state[name].to(device)[:, None] for name in ("mean", "scale"))
        self.spec = TargetSpec("values", layers.dim, None, layers.grid)
        self.fingerprint = fingerprint_of(config, state)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, dim]`` of one whole clip."""
        return ((self._layers(waveform) - self._mean) * self._scale).mean(0)


def pooled_grid(grid: FrameGrid, pool: int) -> FrameGrid:
    """Return the grid of means of `pool` frames of a grid; what is left over at a clip's end has no frame.

    Examples
    --------
    >>> pooled_grid(FrameGrid(16000, 320, 400), 2)
    FrameGrid(sample_rate=16000, hop_samples=640, window_samples=720, edge='valid')
    """
    if pool == 1:
        return grid
    # Samples that a clip must have before its first frame.
    first = {"valid": grid.window_samples, "floor": grid.hop_samples, "ceil": 1, "center": 0}[grid.edge]
    return FrameGrid(grid.sample_rate, pool * grid.hop_samples, (pool - 1) * grid.hop_samples + first)


def target_spec(
    config: Config,
    sample_rate: int,
    device: torch.device,
    load_model: LoadModel | None = None,
) -> TargetSpec:
    """Return what the teacher will give once it is fitted."""
    layers = LayersOf(config, sample_rate, device, load_model)
    return TargetSpec("values", layers.dim, None, layers.grid)


def fit(
    config: Config,
    waveforms: Iterable[Tensor],
    sample_rate: int,
    generator: torch.Generator,
    device: torch.device | None = None,
    load_model: LoadModel | None = None,
) -> dict[str, Tensor]:
    """Measure mean and deviation of each channel of each layer over a stream of clips; see `TeacherTraits.fit`.

    Returns
    -------
    ``mean`` and ``scale``, one over the deviation, ``[layer, dim]`` each, float32.

    Raises
    ------
    UserError
        If no clip has a frame.
    """
    layers = LayersOf(config, sample_rate, device or torch.device("cpu"), load_model)
    found = RunningVariance()
    for waveform in waveforms:
        states = layers(waveform).double().cpu()
        if states.shape[1]:
            found.add(states)
    if found.count == 0:
        raise UserError("no clip is long enough for a frame of the model", remedy="give longer clips")
    return {"mean": found.mean.float(), "scale": (found.variance + _EPSILON).rsqrt().float()}


def spec_of_previous(config: Config, grid: FrameGrid, previous: Encoder) -> TargetSpec:
    """Return what the teacher will give of the model before; UserError for a layer that it does not have."""
    for layer in config.layers:
        check_previous_layer("layers", layer, previous)
    return TargetSpec("values", previous.dim, None, pooled_grid(grid, config.pool_frames))


TRAITS = TeacherTraits(path=True, fit=fit, spec_before_fit=target_spec, spec_of_previous=spec_of_previous)


def build(
    config: Config,
    sample_rate: int,
    device: torch.device,
    load_model: LoadModel | None = None,
) -> HiddenTeacher:
    """Make the teacher from its fitted statistics; UserError where there are none or they are damaged."""
    if config.path is None:
        raise UserError(
            "the hidden teacher has not been fitted: `path` is null",
            remedy="`audio-ssl pretrain` fits it first; or give the hidden.safetensors of an earlier run",
        )
    path = Path(config.path)
    state = read_state(path / STATE_FILE if path.is_dir() else path, ("mean", "scale"))
    layers = LayersOf(config, sample_rate, device, load_model)
    expected = (len(layers.layers), layers.dim)
    if tuple(state["mean"].shape) != expected or tuple(state["scale"].shape) != expected:
        raise UserError(
            f"the statistics are of {list(state['mean'].shape)} layers and channels, the model has {list(expected)}",
            where=str(path),
            remedy="give those that were fitted to this model and these layers",
        )
    return HiddenTeacher(config, layers, state, device)
