"""Residual quantiser of log-mel patches, MuQ's teacher: several codes a frame without a codec.

Zhu et al. 2025 (arXiv 2501.01108, section 3.1): patches of log-mel frames, 8 codebooks of 1024 codes of 16 dimensions,
each with a linear projection in and out; what one codebook leaves over goes to the next. MuQ trains projections and
codebooks by gradient descent. Here they are fitted stage by stage, which needs no learning rate and cannot collapse:
the projection holds the principal directions of what is left over, the codes are its k-means centroids (residual
vector quantisation as of Chen, Guan and Wang 2010), and the way out is the projection's transpose. Each stage can
only lower the error on the frames it is fitted to.

Patches are standardised by the mean and variance of the whole corpus, not of the clip.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.teachers._base import fingerprint_of, read_state
from audio_ssl.teachers._kmeans_fit import Reservoir, cluster
from audio_ssl.teachers._kmeans_nearest import half_squares, nearest
from audio_ssl.teachers._mel import LogMel, check_bands

logger = logging.getLogger(__name__)

STATE_FILE = "mel_rvq.safetensors"


@dataclass(frozen=True)
class Config:
    """Patches, codebooks, and where the fitted state is; the defaults are MuQ's."""

    path: str | None = None
    """Fitted state: the file, or the folder it lies in. None: the run fits it first."""

    n_mels: int = 128
    """Mel bands (MuQ, MusicFM: 128)."""

    hop_seconds: float = 0.01
    """From one spectrogram frame to the next (MuQ: 240 samples at 24 kHz)."""

    window_seconds: float = 0.0853333
    """Length of the analysis window (MuQ: 2048 samples at 24 kHz)."""

    stack: int = 4
    """Spectrogram frames of one patch; equal to the mel frontend's (MuQ: 4, so 25 patches/s)."""

    codebooks: int = 8
    """Stages (MuQ: 8)."""

    codebook_size: int = 1024
    """Codes of a stage (MuQ: 1024)."""

    code_dim: int = 16
    """Dimension after the projection (MuQ: 16)."""

    fit_frames: int = 100_000
    """Patches that the stages are fitted to, drawn uniformly from the whole corpus."""

    batch_frames: int = 10_000
    """Patches of a mini-batch."""


class MelRVQTeacher:
    """Codes of one clip, and what they stand for."""

    def __init__(self, config: Config, state: dict[str, Tensor], sample_rate: int, device: torch.device) -> None:
        self._mel = _patches(config, sample_rate)
        self._device = device
        self._mean, self._scale = state["mean"], state["scale"]
        self._projection, self._codes = state["projection"].to(device), state["codes"].to(device)
        codebooks, size, _ = self._codes.shape
        self.spec = TargetSpec("codes", codebooks, size, self._mel.grid)
        self.fingerprint = fingerprint_of(config, state)

    def patches(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the standardised log-mel patches of one clip."""
        return ((self._mel(waveform.cpu().float()) - self._mean) * self._scale).to(self._device)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of one whole clip."""
        return self.quantize(self.patches(waveform))

    @torch.no_grad()
    def quantize(self, patches: Float[Tensor, "frame dim"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of standardised patches on the teacher's device."""
        rest, labels = patches, []
        for projection, codes in zip(self._projection, self._codes, strict=True):
            found, rest = _stage(rest, projection, codes)
            labels.append(found)
        return torch.stack(labels, dim=1)

    def decode(self, codes: Int[Tensor, "frame codebook"]) -> Float[Tensor, "frame dim"]:
        """Return the standardised patches that codes stand for; the first few codebooks alone give a coarse one."""
        total = torch.zeros(len(codes), self._projection.shape[1], device=self._device)
        for index in range(codes.shape[1]):
            total += self._codes[index][codes[:, index]] @ self._projection[index].T
        return total


def _patches(config: Config, sample_rate: int) -> LogMel:
    hop, window = round(config.hop_seconds * sample_rate), round(config.window_seconds * sample_rate)
    for name, samples in (("hop_seconds", hop), ("window_seconds", window)):
        if samples < 1:
            raise UserError(f"`{name}` must last at least a sample, but is {getattr(config, name)}")
    for name in ("n_mels", "stack", "codebooks", "codebook_size", "code_dim"):
        if getattr(config, name) < 1:
            raise UserError(f"`{name}` must be at least 1, but is {getattr(config, name)}")
    check_bands(config.n_mels, window, sample_rate)
    mel = LogMel(sample_rate, hop, window, config.n_mels, config.stack, normalize=False)
    if config.code_dim > mel.dim:
        raise UserError(f"`code_dim` must be at most the {mel.dim} dimensions of a patch, but is {config.code_dim}")
    return mel


def _stage(rest: Tensor, projection: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest code of each frame and what it leaves over."""
    labels, _ = nearest(rest @ projection, codes, half_squares(codes))
    return labels, rest - codes[labels] @ projection.T


def target_spec(config: Config, sample_rate: int, device: torch.device) -> TargetSpec:
    """Return what the teacher will give once it is fitted."""
    return TargetSpec("codes", config.codebooks, config.codebook_size, _patches(config, sample_rate).grid)


def fit(
    config: Config,
    waveforms: Iterable[Tensor],
    sample_rate: int,
    generator: torch.Generator,
    device: torch.device | None = None,
) -> dict[str, Tensor]:
    """Fit projections and codebooks to a stream of clips.

    Parameters
    ----------
    config
        Patches and codebooks.
    waveforms
        Clips, ``[sample]`` each; read once, none is kept.
    sample_rate
        Of the clips, in Hz.
    generator
        Decides which patches are used and where codes start.
    device
        Where patches are clustered.

    Returns
    -------
    ``mean [dim]``, ``scale [dim]``, ``projection [codebook, dim, code_dim]`` with orthonormal columns, and ``codes
    [codebook, code, code_dim]``, all float32.

    Raises
    ------
    UserError
        If there are fewer patches than codes.
    """
    mel = _patches(config, sample_rate)
    reservoir = Reservoir(config.fit_frames, generator)
    for waveform in waveforms:
        reservoir.add(mel(waveform.cpu().float()))
    available = min(reservoir.count, config.fit_frames)
    if available < config.codebook_size:
        raise UserError(
            f"mel_rvq needs at least as many patches as `codebook_size` {config.codebook_size}, but has {available}",
            remedy="give more audio, more `fit_frames` or smaller codebooks",
        )
    mean, scale = reservoir.mean, (reservoir.variance + 1e-8).rsqrt()
    rest = reservoir.rows().sub_(mean).mul_(scale).to(device or torch.device("cpu"))
    whole = float(rest.square().mean())
    projections, books = [], []
    for stage in range(config.codebooks):
        # eigh sorts upwards: the last columns are the principal directions.
        projection = torch.linalg.eigh((rest.T @ rest).double()).eigenvectors[:, -config.code_dim :].float()
        codes = cluster(rest @ projection, config.codebook_size, generator, config.batch_frames, tries=1)
        _, rest = _stage(rest, projection, codes)
        projections.append(projection.cpu())
        books.append(codes.cpu())
        left = float(rest.square().mean()) / max(whole, 1e-12)
        logger.info("codebook %d of %d leaves %.1f %% of the variance", stage + 1, config.codebooks, 100 * left)
    return {"mean": mean, "scale": scale, "projection": torch.stack(projections), "codes": torch.stack(books)}


def build(config: Config, sample_rate: int, device: torch.device) -> MelRVQTeacher:
    """Make the teacher from its fitted state; UserError where there is none, or of other patches."""
    if config.path is None:
        raise UserError(
            "the mel_rvq teacher has not been fitted: `path` is null",
            remedy=f"`audio-ssl pretrain` fits it first; or give the {STATE_FILE} of an earlier run",
        )
    path = Path(config.path)
    state = read_state(path / STATE_FILE if path.is_dir() else path, ("mean", "scale", "projection", "codes"))
    expected = (config.codebooks, config.codebook_size, config.code_dim)
    if tuple(state["codes"].shape) != expected:
        raise UserError(
            f"the state has codebooks, codes and dimensions {tuple(state['codes'].shape)}, the config {expected}",
            where=str(path),
            remedy="give `codebooks`, `codebook_size` and `code_dim` that it was fitted with",
        )
    dim = _patches(config, sample_rate).dim
    if len(state["mean"]) != dim:
        raise UserError(
            f"the state is of patches of {len(state['mean'])} dimensions, but these have {dim}",
            where=str(path),
            remedy="give `n_mels` and `stack` that it was fitted with",
        )
    return MelRVQTeacher(config, state, sample_rate, device)
