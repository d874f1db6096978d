"""Residual quantiser of mel patches, MuQ's teacher: several codes a frame without a codec.

Zhu et al. 2025 (arXiv 2501.01108, section 3.1): patches of mel frames in decibels by the mean and deviation of the
corpus, 8 codebooks of 1024 codes of 16 dimensions, each with a linear projection in and out; what one codebook leaves
over goes to the next. Two forms:

- ``muq``: projections and codes are learnt by gradient descent, and a frame takes the code that points most nearly the
  same way, see `audio_ssl.targets.teachers._learnt_rvq`;
- ``stages``: fitted stage by stage, which needs no learning rate and cannot collapse. The projection holds the
  principal directions of what is left over, the codes are its k-means centroids (Chen, Guan and Wang 2010), and the way
  out is the projection's transpose. Each stage can only lower the error on the frames it is fitted to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base.config import kind_of, traits_of
from audio_ssl.base.errors import UserError, check_at_least, check_choice, shown
from audio_ssl.base.versions import added
from audio_ssl.models.interfaces import FrontendTraits
from audio_ssl.models.normalisation import check_statistics
from audio_ssl.models.spectra import check_bands, hop_and_window
from audio_ssl.targets.acoustic import DecibelPatches, StackedLogMel
from audio_ssl.targets.clustering import Reservoir, cluster, half_squares, nearest
from audio_ssl.targets.spec import TargetSpec, TeacherTraits, fingerprint_of, read_state
from audio_ssl.targets.teachers._learnt_rvq import learn

logger = logging.getLogger(__name__)

STATE_FILE = "mel_rvq.safetensors"
_FORMS = {
    "muq": ("inward", "inward_bias", "codes", "outward", "outward_bias"),
    "stages": ("projection", "codes"),
}
"""Tensors of the fitted state of each form, besides ``mean`` and ``scale`` where the config has no statistics."""


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

    mean: float | None = added(6.768444971712967, earlier=None)
    """Mean of all mel values of the corpus, in dB, as of the `mel_res2d` frontend (MuQ's); null: natural logarithms
    of windows that are not centred, each place of a patch by the mean and variance that fitting finds."""

    std: float | None = added(18.417922652295623, earlier=None)
    """Standard deviation of all mel values of the corpus, in dB, with `mean` (MuQ's)."""

    stack: int = 4
    """Spectrogram frames of one patch; equal to the mel frontend's (MuQ: 4, so 25 patches/s)."""

    form: str = added("muq", earlier="stages")
    """How codes are found: ``muq``, learnt by gradient descent, or ``stages``, principal directions and k-means."""

    codebooks: int = 8
    """Stages (MuQ: 8)."""

    codebook_size: int = 1024
    """Codes of a stage (MuQ: 1024)."""

    code_dim: int = 16
    """Dimension after the projection (MuQ: 16)."""

    fit_frames: int = 100_000
    """Patches that the stages are fitted to, drawn uniformly from the whole corpus."""

    fit_steps: int = added(4000)
    """Steps of gradient descent of the form ``muq`` (its authors: 4000)."""

    batch_frames: int = 10_000
    """Patches of a mini-batch."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform: longer than the window where many bands would have no spectral line between
    them; null: the window's."""


class MelRVQTeacher:
    """Codes of one clip, and what they stand for."""

    def __init__(self, config: Config, state: dict[str, Tensor], sample_rate: int, device: torch.device) -> None:
        self._mel = _patches(config, sample_rate)
        self._device = device
        self._statistics = (state["mean"], state["scale"]) if config.mean is None else None
        self._quantiser = _Quantiser({name: value.to(device) for name, value in state.items()}, config.form == "muq")
        self.spec = TargetSpec("codes", config.codebooks, config.codebook_size, self._mel.grid)
        self.fingerprint = fingerprint_of(config, state)

    def patches(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the standardised patches of one clip."""
        patches = self._mel(waveform.cpu().float())
        if self._statistics is not None:
            patches = (patches - self._statistics[0]) * self._statistics[1]
        return patches.to(self._device)

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of one whole clip."""
        return self.quantize(self.patches(waveform))

    @torch.no_grad()
    def quantize(self, patches: Float[Tensor, "frame dim"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, codebook]`` of standardised patches on the teacher's device."""
        return self._quantiser.quantize(patches)


class _Quantiser:
    """The fitted stages of either form, all on one device."""

    def __init__(self, state: dict[str, Tensor], by_direction: bool) -> None:
        self._codes = state["codes"]
        # The nearest by direction is the nearest of unit length; a frame's own length changes nothing.
        self._compared = F.normalize(self._codes, dim=-1) if by_direction else self._codes
        self._bias = [None if by_direction else half_squares(codes) for codes in self._codes]
        self._inward = state["inward"] if by_direction else state["projection"]
        self._outward = state["outward"] if by_direction else state["projection"].transpose(1, 2)
        self._offsets = (state["inward_bias"], state["outward_bias"]) if by_direction else None

    def quantize(self, rest: Tensor) -> Tensor:
        labels = []
        for number in range(len(self._codes)):
            found, rest = self.stage(rest, number)
            labels.append(found)
        return torch.stack(labels, dim=1)

    def stage(self, rest: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Return the code of each frame and what it leaves over."""
        projected = rest @ self._inward[number]
        if self._offsets is not None:
            projected = projected + self._offsets[0][number]
        labels, _ = nearest(projected, self._compared[number], self._bias[number])
        return labels, rest - self._value(labels, number)

    def _value(self, labels: Tensor, number: int) -> Tensor:
        value = self._codes[number][labels] @ self._outward[number]
        return value if self._offsets is None else value + self._offsets[1][number]


def _patches(config: Config, sample_rate: int) -> StackedLogMel | DecibelPatches:
    hop, window = hop_and_window(sample_rate, config.hop_seconds, config.window_seconds)
    check_at_least(config, 1, "n_mels", "stack", "codebooks", "codebook_size", "code_dim", "fit_steps")
    check_choice("form", config.form, _FORMS)
    check_bands(config.n_mels, window, sample_rate, config.fft_samples)
    check_statistics(False, config.mean, config.std)
    mel: StackedLogMel | DecibelPatches
    sizes = (sample_rate, hop, window, config.n_mels, config.stack)
    if config.mean is None or config.std is None:
        mel = StackedLogMel(*sizes, normalize=False, fft_samples=config.fft_samples)
    else:
        mel = DecibelPatches(*sizes, config.mean, config.std, config.fft_samples)
    if config.code_dim > mel.dim:
        raise UserError(f"`code_dim` must be at most the {mel.dim} dimensions of a patch, but is {config.code_dim}")
    return mel


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
    """Fit projections and codebooks to a stream of clips; see `TeacherTraits.fit`.

    Returns
    -------
    Of the form ``muq``: ``inward [codebook, dim, code_dim]``, ``inward_bias``, ``codes [codebook, code, code_dim]``,
    ``outward [codebook, code_dim, dim]`` and ``outward_bias``. Of ``stages``: ``projection [codebook, dim, code_dim]``
    with orthonormal columns, and ``codes``. Without `mean` and `std` also ``mean [dim]`` and ``scale [dim]``. All are
    float32.

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
    rows, state = reservoir.rows(), {}
    if config.mean is None or config.std is None:
        state = {"mean": reservoir.mean, "scale": (reservoir.variance + 1e-8).rsqrt()}
        rows = rows.sub_(state["mean"]).mul_(state["scale"])
    else:
        _tell_statistics(config.mean, config.std, reservoir)
    rows = rows.to(device or torch.device("cpu"))
    sizes = (config.codebooks, config.codebook_size, config.code_dim)
    if config.form == "muq":
        state |= learn(rows, sizes, config.fit_steps, min(config.batch_frames, len(rows)), generator).state()
        found = _Quantiser({name: value.to(rows.device) for name, value in state.items()}, by_direction=True)
        whole = _spread(rows)
        for number in range(config.codebooks):
            _, rows = found.stage(rows, number)
            _tell_rest(number, config.codebooks, _spread(rows) / whole)
        return state
    return state | _fit_stages(config, rows, generator)


def _fit_stages(config: Config, rest: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    whole = _spread(rest)
    projections, books = [], []
    for number in range(config.codebooks):
        # eigh sorts upwards: the last columns are the principal directions.
        projection = torch.linalg.eigh((rest.T @ rest).double()).eigenvectors[:, -config.code_dim :].float()
        codes = cluster(rest @ projection, config.codebook_size, generator, config.batch_frames, tries=1)
        _, rest = _Quantiser({"projection": projection[None], "codes": codes[None]}, False).stage(rest, 0)
        projections.append(projection.cpu())
        books.append(codes.cpu())
        _tell_rest(number, config.codebooks, _spread(rest) / whole)
    return {"projection": torch.stack(projections), "codes": torch.stack(books)}


def _spread(rows: Tensor) -> float:
    return max(float(rows.square().mean()), 1e-12)


def _tell_rest(number: int, codebooks: int, left: float) -> None:
    logger.info("codebook %d of %d leaves %.1f %% of the variance", number + 1, codebooks, 100 * left)


def _tell_statistics(mean: float, std: float, reservoir: Reservoir) -> None:
    """Log mean and deviation of the corpus, as they differ from corpus to corpus."""
    centre = float(reservoir.mean.mean())
    deviation = float((reservoir.variance + (reservoir.mean - centre).square()).mean().sqrt())
    logger.info(
        "mel values of this corpus: mean %.3f dB, deviation %.3f dB; in use: %.3f and %.3f "
        "(`mean` and `std` of frontend and teacher)",
        *(mean + std * centre, std * deviation, mean, std),
    )


def check_frontend(config: Config, frontend: object, where: str) -> None:
    """Raise UserError where the frontend's spectrogram in decibels is another one: its targets are not in there.

    Parameters
    ----------
    config
        Of the teacher.
    frontend
        The frontend's config.
    where
        Key path of the teacher.
    """
    settings_of = traits_of(frontend, FrontendTraits).mel
    if settings_of is None:
        return
    theirs = settings_of(frontend)
    if theirs.normalize:
        logger.warning(
            "%s predicts levels that the %s frontend normalises away clip by clip: much of it cannot be learnt; take "
            "the mel_res2d frontend, or frontend.normalize=false with frontend.mean and frontend.std",
            where,
            kind_of(frontend),
        )
    if not theirs.decibels:
        return
    for name in ("n_mels", "hop_seconds", "window_seconds", "fft_samples", "mean", "std"):
        wanted, mine = getattr(theirs, name), getattr(config, name)
        if wanted != mine:
            raise UserError(
                f"`{name}` must be that of the frontend, {shown(wanted)}, as the model predicts what it hears, but is "
                f"{shown(mine)}",
                where=f"{where}.{name}",
                remedy="give frontend and teacher the same value",
            )


TRAITS = TeacherTraits(path=True, fit=fit, spec_before_fit=target_spec, check_frontend=check_frontend)


def build(config: Config, sample_rate: int, device: torch.device) -> MelRVQTeacher:
    """Make the teacher from its fitted state; UserError where there is none, or it is for other patches."""
    if config.path is None:
        raise UserError(
            "the mel_rvq teacher has not been fitted: `path` is null",
            remedy=f"`audio-ssl pretrain` fits it first; or give the {STATE_FILE} of an earlier run",
        )
    dim = _patches(config, sample_rate).dim
    path = Path(config.path)
    names = (*_FORMS[config.form], *(("mean", "scale") if config.mean is None else ()))
    state = read_state(path / STATE_FILE if path.is_dir() else path, names)
    expected = (config.codebooks, config.codebook_size, config.code_dim)
    if tuple(state["codes"].shape) != expected:
        raise UserError(
            f"the state has codebooks, codes and dimensions {tuple(state['codes'].shape)}, the config {expected}",
            where=str(path),
            remedy="give `codebooks`, `codebook_size` and `code_dim` that it was fitted with",
        )
    fitted = state["inward" if config.form == "muq" else "projection"].shape[1]
    if fitted != dim:
        raise UserError(
            f"the state is of patches of {fitted} dimensions, but these have {dim}",
            where=str(path),
            remedy="give `n_mels` and `stack` that it was fitted with",
        )
    return MelRVQTeacher(config, state, sample_rate, device)
