"""Codes of a frozen model's layer from several codebooks: fine-grained targets of masked prediction, as in SPEAR.

SPEAR (Yang et al. 2025, arXiv 2510.25955) makes discrete tokens of a speech and of an audio model's states by
multi-codebook vector quantisation (Guo et al. 2022, arXiv 2211.00508): a state is the sum of one code from each of
several codebooks of 256, which have no order. `masked_codes` predicts all of them, one head each.

The codes are of the same kind here and the way to them is another one: theirs are learnt by gradient descent and looked
for pair by pair, ours are fitted by k-means and least squares, without a learning rate, and looked for by beam search
(`audio_ssl.targets.teachers._additive_codes`). One codebook is a k-means.

Fitted in one pass over the clips; the state is a safetensors file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Encoder
from audio_ssl.models.points import Point
from audio_ssl.targets.clustering import Reservoir
from audio_ssl.targets.spec import (
    LoadModel,
    TargetSpec,
    TeacherTraits,
    check_previous_layer,
    fingerprint_of,
    read_state,
)
from audio_ssl.targets.teachers._additive_codes import AdditiveCodes, fit_codes
from audio_ssl.targets.teachers._model_layers import ChosenLayers, LayersOf, pooled_grid, resampled_grid

STATE_FILE = "mvq.safetensors"


@dataclass(frozen=True)
class Config:
    """The model, its layer, the codebooks, and where the fitted state is."""

    path: str | None = None
    """Fitted state: the file, or the folder it lies in. None: the run fits it first."""

    model: str | None = None
    """A model of any library, named as for ``audio-ssl extract``; must be given."""

    layer: int | None = None
    """Hidden state of the model, 0 being the first layer's input; null: the last."""

    point: Point = "output"
    """Where in the layer its state is taken: ``output`` or ``feed_forward``, before its last residual sum."""

    pool_frames: int = 1
    """Frames of the model whose mean is quantised: 2 lets 50 frames a second teach 25."""

    hop_samples: int | None = None
    """Samples from one target to the next at the recipe's rate, equal to the frontend's: the model's frames are
    interpolated there before they are quantised; null: the model's own frames."""

    codebooks: int = 16
    """Codes of a frame."""

    codebook_size: int = 256
    """Codes of a codebook (Guo et al.: 256)."""

    standardize: bool = False
    """Give each channel unit variance over the corpus before it is quantised, so that all channels count alike
    (Guo et al.: no)."""

    fit_frames: int = 100_000
    """Frames that the codebooks are fitted to, drawn uniformly from the whole corpus."""

    fit_rounds: int = 5
    """Rounds of improving codes and codebooks in turns; fewer where nothing is gained any more."""

    beam: int = 8
    """Sums of a frame that are kept from codebook to codebook while its codes are looked for; 1: residual
    quantisation."""

    batch_frames: int = 10_000
    """Frames of a mini-batch of the k-means that the codebooks start with."""


def _layer_of(config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None) -> LayersOf:
    check_at_least(config, 1, "codebooks", "codebook_size", "fit_frames", "batch_frames", "beam")
    check_at_least(config, 0, "fit_rounds")
    layers = () if config.layer is None else (config.layer,)
    chosen = ChosenLayers(config.model, layers, config.point, config.pool_frames, config.hop_samples)
    return LayersOf(chosen, "mvq", sample_rate, device, load_model)


class MVQTeacher:
    """Codes of one clip."""

    def __init__(self, config: Config, layer: LayersOf, state: dict[str, Tensor], device: torch.device) -> None:
        self._layer, self._beam = layer, config.beam
        self._mean, self._scale = state["mean"].to(device), state["scale"].to(device)
        self._codes = AdditiveCodes(state["codes"].to(device))
        self.spec = TargetSpec("codes", config.codebooks, config.codebook_size, layer.grid)
        self.fingerprint = fingerprint_of(config, state)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of one whole clip."""
        return self._codes.encode((self._layer(waveform)[0] - self._mean) * self._scale, self._beam)


def target_spec(
    config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None = None
) -> TargetSpec:
    """Return what the teacher will give once it is fitted."""
    grid = _layer_of(config, sample_rate, device, load_model).grid
    return TargetSpec("codes", config.codebooks, config.codebook_size, grid)


def fit(
    config: Config,
    waveforms: Iterable[Tensor],
    sample_rate: int,
    generator: torch.Generator,
    device: torch.device | None = None,
    load_model: LoadModel | None = None,
) -> dict[str, Tensor]:
    """Fit codebooks to a stream of clips; see `TeacherTraits.fit`.

    Returns
    -------
    ``codes [codebook, code, dim]``, ``mean [dim]`` and ``scale [dim]``, float32.

    Raises
    ------
    UserError
        If there are fewer frames than codes of a codebook.
    """
    device = device or torch.device("cpu")
    layer = _layer_of(config, sample_rate, device, load_model)
    reservoir = Reservoir(config.fit_frames, generator)
    for waveform in waveforms:
        reservoir.add(layer(waveform)[0].cpu())
    available = min(reservoir.count, config.fit_frames)
    if available < config.codebook_size:
        raise UserError(
            f"mvq needs at least as many frames as `codebook_size` {config.codebook_size}, but has {available}",
            remedy="give more audio, more `fit_frames` or smaller codebooks",
        )
    mean = reservoir.mean
    scale = (reservoir.variance + 1e-8).rsqrt() if config.standardize else torch.ones_like(mean)
    frames = reservoir.rows().sub_(mean).mul_(scale).to(device)
    sizes = (config.codebooks, config.codebook_size)
    codes = fit_codes(frames, sizes, config.fit_rounds, config.beam, generator, config.batch_frames)
    return {"codes": codes.cpu().contiguous(), "mean": mean, "scale": scale}


def spec_of_previous(config: Config, grid: FrameGrid, previous: Encoder) -> TargetSpec:
    """Return what the teacher will give of the model before; UserError for a layer that it does not have."""
    if config.layer is not None:
        check_previous_layer("layer", config.layer, previous)
    heard = pooled_grid(grid, config.pool_frames)
    grid = resampled_grid(heard, grid.sample_rate, config.hop_samples, "the model of the iteration before")
    return TargetSpec("codes", config.codebooks, config.codebook_size, grid)


TRAITS = TeacherTraits(path=True, fit=fit, spec_before_fit=target_spec, spec_of_previous=spec_of_previous)


def build(config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None = None) -> MVQTeacher:
    """Make the teacher from its fitted state; UserError where there is none, or it is of another layer's size."""
    if config.path is None:
        raise UserError(
            "the mvq teacher has not been fitted: `path` is null",
            remedy=f"`audio-ssl pretrain` fits it first; or give the {STATE_FILE} of an earlier run",
        )
    path = Path(config.path)
    state = read_state(path / STATE_FILE if path.is_dir() else path, ("codes", "mean", "scale"))
    layer = _layer_of(config, sample_rate, device, load_model)
    expected = [config.codebooks, config.codebook_size, layer.dim]
    if list(state["codes"].shape) != expected:
        raise UserError(
            f"the state has codebooks, codes and dimensions {list(state['codes'].shape)}, config and model {expected}",
            where=str(path),
            remedy="give `codebooks`, `codebook_size` and the model that it was fitted with",
        )
    return MVQTeacher(config, layer, state, device)
