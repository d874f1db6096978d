"""Hidden states of a frozen model as targets: distillation, or an iteration that regresses the model before.

Two ways to make a target of several layers:

- ``mean``: each channel of each layer has zero mean and unit variance over the corpus, and the layers are averaged.
  data2vec (Baevski et al. 2022, arXiv 2202.03555) averages normalised layers as well, but normalises by the clip, which
  would take away what lasts for all of it: the speaker, the instrument, the key.
- ``concat``: layers side by side, each of which an objective may predict by a head of its own, as DistilHuBERT does
  (Chang et al. 2022, arXiv 2110.01900), whose layers are not normalised (`normalize`).

The statistics are fitted in one pass over the clips; the state is a safetensors file. Several models are several
teachers of a recipe. Each may be for a sample rate and have a frame rate of its own (`hop_samples`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.base.versions import added
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
    read_state,
)
from audio_ssl.targets.teachers._model_layers import ChosenLayers, LayersOf, pooled_grid, resampled_grid

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
    """Hidden states of the model, 0 being the first layer's input; empty: the last."""

    point: Point = "output"
    """Where in a layer its state is taken: ``output`` or ``feed_forward``, before its last residual sum."""

    pool_frames: int = 1
    """Frames of the model whose mean is one target: 2 lets 50 frames a second teach 25."""

    combine: Literal["mean", "concat"] = added("mean")
    """What is made of several layers: their ``mean``, or ``concat``, layers side by side, which `l1_cosine` predicts by
    a head for each (DistilHuBERT)."""

    normalize: bool = added(True)
    """Give each channel of each layer zero mean and unit variance over the corpus; false: states as they are, and
    nothing has to be fitted (DistilHuBERT)."""

    hop_samples: int | None = added(None)
    """Samples from one target to the next at the recipe's rate, equal to the frontend's: the model's frames are
    interpolated there, so that 75 frames a second can teach 50; null: the model's own frames."""


def _layers_of(
    config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None
) -> tuple[LayersOf, TargetSpec]:
    """Return what hears the layers, and what the teacher makes of them."""
    check_choice("combine", config.combine, ("mean", "concat"))
    chosen = ChosenLayers(config.model, config.layers, config.point, config.pool_frames, config.hop_samples)
    layers = LayersOf(chosen, "hidden", sample_rate, device, load_model)
    return layers, _spec(config, len(layers.layers), layers.dim, layers.grid)


def _spec(config: Config, layers: int, dim: int, grid: FrameGrid) -> TargetSpec:
    blocks = layers if config.combine == "concat" else 1
    return TargetSpec("values", blocks * dim, None, grid, blocks)


class HiddenTeacher:
    """Gives a frozen model's layers, averaged or side by side."""

    def __init__(
        self,
        config: Config,
        layers: LayersOf,
        spec: TargetSpec,
        state: dict[str, Tensor] | None,
        device: torch.device,
    ) -> None:
        self._layers, self._concat = layers, config.combine == "concat"
        self.spec = spec
        self._scaling: tuple[Tensor, Tensor] | None = None
        if state is None:
            # Without statistics, which tell models apart, their weights do.
            state = {"model": layers.fingerprint}
        else:
            self._scaling = state["mean"].to(device)[:, None], state["scale"].to(device)[:, None]
        self.fingerprint = fingerprint_of(config, state)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, dim]`` of one whole clip."""
        states = self._layers(waveform)
        if self._scaling is not None:
            states = (states - self._scaling[0]) * self._scaling[1]
        return states.transpose(0, 1).flatten(1) if self._concat else states.mean(0)


def target_spec(
    config: Config,
    sample_rate: int,
    device: torch.device,
    load_model: LoadModel | None = None,
) -> TargetSpec:
    """Return what the teacher will give once it is fitted."""
    return _layers_of(config, sample_rate, device, load_model)[1]


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
    layers, _ = _layers_of(config, sample_rate, device or torch.device("cpu"), load_model)
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
    heard = pooled_grid(grid, config.pool_frames)
    grid = resampled_grid(heard, grid.sample_rate, config.hop_samples, "the model of the iteration before")
    return _spec(config, len(config.layers) or 1, previous.dim, grid)


def fitted(config: Config) -> bool:
    """Return whether a config needs statistics of the corpus."""
    return config.normalize


TRAITS = TeacherTraits(
    path=True, fit=fit, fitted=fitted, spec_before_fit=target_spec, spec_of_previous=spec_of_previous
)


def build(
    config: Config,
    sample_rate: int,
    device: torch.device,
    load_model: LoadModel | None = None,
) -> HiddenTeacher:
    """Make the teacher from its fitted statistics; UserError where there are none or they are damaged."""
    if not config.normalize:
        if config.path is not None:
            raise UserError(
                "`path` has statistics of the corpus, which `normalize: false` does not use",
                where=".path",
                remedy="leave one of them out",
            )
        layers, spec = _layers_of(config, sample_rate, device, load_model)
        return HiddenTeacher(config, layers, spec, None, device)
    if config.path is None:
        raise UserError(
            "the hidden teacher has not been fitted: `path` is null",
            remedy="`audio-ssl pretrain` fits it first; or give the hidden.safetensors of an earlier run",
        )
    path = Path(config.path)
    state = read_state(path / STATE_FILE if path.is_dir() else path, ("mean", "scale"))
    layers, spec = _layers_of(config, sample_rate, device, load_model)
    expected = (len(layers.layers), layers.dim)
    if tuple(state["mean"].shape) != expected or tuple(state["scale"].shape) != expected:
        raise UserError(
            f"the statistics are of {list(state['mean'].shape)} layers and channels, the model has {list(expected)}",
            where=str(path),
            remedy="give those that were fitted to this model and these layers",
        )
    return HiddenTeacher(config, layers, spec, state, device)
