"""k-means labels of acoustic features or of a model's hidden layer: HuBERT's teacher, and MERT's first.

HuBERT: Hsu et al. 2021 (arXiv 2106.07447, section II-B), 39 MFCCs, then a hidden layer. MERT v0: Li et al. 2023 (arXiv
2306.00107, section 3.2), 300 clusters of 229 log-mel bands beside 200 of 264 chroma bins: two teachers of one recipe;
here also both as one frame (`audio_ssl.targets.acoustic`).

Fitted in one pass over the clips and in memory that does not grow with them (`audio_ssl.targets.clustering`). Features
are clustered as they are, as in fairseq's ``learn_kmeans.py``: standardised MFCCs tell phones apart less well
(`docs/benchmarks.md`). The state is a safetensors file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.base.versions import added
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Encoder
from audio_ssl.models.points import Point
from audio_ssl.models.spectra import check_bands
from audio_ssl.targets.acoustic import Blocks, CenteredLogMel, Chroma, FramesOf, KaldiMfcc39, Mfcc39, scaling
from audio_ssl.targets.clustering import Reservoir, cluster, half_squares, nearest
from audio_ssl.targets.code_books import STATE_FILE, read_code_book
from audio_ssl.targets.spec import (
    LoadModel,
    TargetSpec,
    TeacherTraits,
    check_previous_layer,
    fingerprint_of,
    open_model,
    read_state,
)
from audio_ssl.targets.teachers import cqt

FeatureKind = Literal["mfcc", "kaldi_mfcc", "logmel", "chroma", "cqt", "logmel+chroma", "logmel+cqt", "hidden"]

_WINDOW_SECONDS = {"mfcc": 0.025, "kaldi_mfcc": 0.025, "logmel": 0.128, "chroma": 0.256}


@dataclass(frozen=True)
class Config:
    """Features, clusters, and where the fitted state is."""

    path: str | None = None
    """Fitted state: the file, or the folder it lies in; or a code book of scikit-learn, fairseq or textlesslib, of
    which nothing is run. None: the run fits it first."""

    features: FeatureKind | None = None
    """What is clustered: kaldi_mfcc (HuBERT: 39 a frame, differences over 50 ms), mfcc (of any hop, differences over
    five hops), logmel, chroma, cqt (logarithms of constant-Q magnitudes), logmel+chroma or logmel+cqt (both as one
    frame) or hidden; None: hidden where there is a `model`, else mfcc."""

    standardize: bool = added(False, earlier=True)
    """Whether a fit first gives each feature zero mean and unit variance over the corpus (HuBERT: no); a fitted state
    brings its own. Chroma, which has unit length, never is."""

    clusters: int = 100
    """Number of clusters (HuBERT: 100 on MFCC, 500 on a hidden layer; MERT v0: 300 on log-mel, 200 on chroma)."""

    hop_samples: int = 320
    """From one label to the next, equal to the frontend's; a model has its own."""

    window_seconds: float | None = None
    """Analysis window; None: 0.025 for MFCCs (HuBERT), 0.128 for logmel and 0.256 for chroma, which need fine pitch."""

    n_mels: int = 229
    """Bands of logmel (MERT v0: 229)."""

    fft_samples: int | None = added(None)
    """Length of the Fourier transform of logmel, where many bands need a longer one than the window; null: the
    window's."""

    chroma_bins: int = 264
    """Pitch classes of chroma (MERT v0: 264, 22 per semitone)."""

    n_bins: int = added(84)
    """Bins of cqt, from C1 upwards (7 octaves of 12)."""

    bins_per_octave: int = added(12)
    """Of cqt."""

    second_share: float = added(0.5)
    """Where two features are one frame: the second's share of their variance, and so of the distances."""

    model: str | None = None
    """A model of any library whose hidden layer is clustered, named as for ``audio-ssl extract``."""

    layer: int = 6
    """Which hidden state of the model (HuBERT iteration 2: 6); 0 is the first layer's input."""

    point: Point = added("output")
    """Where in the layer it is taken: ``output`` (fairseq's ``dump_hubert_feature.py``, transformers, torchaudio,
    s3prl), or ``feed_forward``, before the layer's last residual sum (SpidR). Centroids of the one are wrong on the
    other."""

    fit_frames: int = 200_000
    """Frames that are clustered, drawn uniformly from the whole corpus (HuBERT: 10 % of 960 h)."""

    batch_frames: int = 10_000
    """Frames of a mini-batch (HuBERT: 10,000)."""

    init_tries: int = 3
    """Starts of k-means++, of which the best is kept (HuBERT: 20)."""


class ClusteredFeatures:
    """Frames that are clustered, always of a whole clip."""

    def __init__(self, config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None) -> None:
        self._device, self._layer, self._point = device, config.layer, config.point
        self._acoustic: FramesOf | None = None
        self.kind = feature_kind(config)
        if self.kind != "hidden":
            self._acoustic = _frames_of(config, self.kind, sample_rate)
            self.grid, self.dim = self._acoustic.grid, self._acoustic.dim
            self.dims = self._acoustic.dims if isinstance(self._acoustic, Blocks) else [self.dim]
            return
        assert config.model is not None, "refused by feature_kind"
        self._model = open_model(config.model, "k-means", sample_rate, load_model)
        self.grid, self.dim = self._model.grid, self._model.dim
        self.dims = [self.dim]
        if not 0 <= self._layer <= self._model.num_layers:
            raise UserError(
                f"`layer` must be 0 to {self._model.num_layers}, but is {self._layer}",
                where=config.model,
            )

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the frames of one clip on the CPU, float32."""
        if self._acoustic is not None:
            return self._acoustic(waveform.cpu().float())
        output = self._model(waveform[None].to(self._device), layers=self._layer, point=self._point)
        state: Tensor = output.hidden[self._layer]
        return state[0].float().cpu()


def feature_kind(config: Config) -> FeatureKind:
    """Return what a config clusters; UserError where `features` and `model` contradict each other."""
    kind = config.features or ("mfcc" if config.model is None else "hidden")
    if kind == "hidden" and config.model is None:
        raise UserError("`features` hidden needs a `model`, but it is null", remedy="give the folder of a model")
    if kind != "hidden" and config.model is not None:
        raise UserError(
            f"`features` is {kind}, but there is a `model`",
            remedy="give `features: hidden` to cluster the model's hidden layer, or `model: null`",
        )
    return kind


def _frames_of(config: Config, kind: FeatureKind, sample_rate: int) -> FramesOf:
    first, *second = (_acoustic(config, one, sample_rate) for one in kind.split("+"))
    if second and not 0 < config.second_share < 1:
        raise UserError(f"`second_share` must be above 0 and below 1, but is {config.second_share:g}")
    return Blocks([first, *second]) if second else first


def _acoustic(config: Config, kind: str, sample_rate: int) -> FramesOf:
    if kind == "cqt":
        check_at_least(config, 1, "hop_samples", "n_bins", "bins_per_octave")
        return LogCQT(sample_rate, config.hop_samples, config.n_bins, config.bins_per_octave)
    seconds = _WINDOW_SECONDS[kind] if config.window_seconds is None else config.window_seconds
    window = round(seconds * sample_rate)
    for name, value in (("hop_samples", config.hop_samples), ("window_seconds", window)):
        if value < 1:
            raise UserError(f"`{name}` must last at least a sample, but is {getattr(config, name)}")
    if kind in ("mfcc", "kaldi_mfcc"):
        return (Mfcc39 if kind == "mfcc" else KaldiMfcc39)(sample_rate, config.hop_samples, window)
    if kind == "logmel":
        check_bands(config.n_mels, window, sample_rate, config.fft_samples)
        return CenteredLogMel(sample_rate, config.hop_samples, window, config.n_mels, config.fft_samples)
    if config.chroma_bins < 12 or config.chroma_bins % 12:
        raise UserError(f"`chroma_bins` must be a multiple of 12, but is {config.chroma_bins}")
    return Chroma(sample_rate, config.hop_samples, window, config.chroma_bins)


class KMeansTeacher:
    """Labels one clip with the nearest centroid of each frame."""

    def __init__(
        self, config: Config, features: ClusteredFeatures, state: dict[str, Tensor], device: torch.device
    ) -> None:
        self._features, self._device = features, device
        self._mean, self._scale = state["mean"], state["scale"]
        self._centroids = state["centroids"].to(device)
        self._bias = half_squares(self._centroids)
        self.spec = TargetSpec("codes", 1, len(self._centroids), features.grid)
        # `features` that are left out and the same ones given are one teacher; how they are scaled is in the state.
        settings = dataclasses.replace(config, features=features.kind)
        self.fingerprint = fingerprint_of(settings, state, ignored=("standardize",))

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, 1]`` of one whole clip."""
        return self.label(self._features(waveform))

    def label(self, frames: Float[Tensor, "frame dim"]) -> Int[Tensor, "frame codebook"]:
        """Return the labels of a clip's features, ``[frame, 1]``."""
        scaled = ((frames - self._mean) * self._scale).to(self._device)
        return nearest(scaled, self._centroids, self._bias)[0][:, None]


def target_spec(
    config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None = None
) -> TargetSpec:
    """Return what the teacher will give once it is fitted."""
    return TargetSpec("codes", 1, config.clusters, ClusteredFeatures(config, sample_rate, device, load_model).grid)


def fit(
    config: Config,
    waveforms: Iterable[Tensor],
    sample_rate: int,
    generator: torch.Generator,
    device: torch.device | None = None,
    load_model: LoadModel | None = None,
) -> dict[str, Tensor]:
    """Fit centroids to a stream of clips; see `TeacherTraits.fit`.

    Returns
    -------
    ``centroids [cluster, dim]``, ``mean [dim]`` and ``scale [dim]``, all float32; the latter are 0 and 1 where features
    are clustered as they are.

    Raises
    ------
    UserError
        If there are fewer frames than clusters.
    """
    device = device or torch.device("cpu")
    features = ClusteredFeatures(config, sample_rate, device, load_model)
    return fit_frames(config, features, map(features, waveforms), generator, device)


def fit_frames(
    config: Config,
    features: ClusteredFeatures,
    frames: Iterable[Tensor],
    generator: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """Fit centroids to what `features` made of a stream of clips, ``[frame, dim]`` each; see `fit`."""
    if config.fit_frames < config.clusters:
        raise UserError(
            f"`fit_frames` must be at least `clusters` {config.clusters}, but is {config.fit_frames}",
        )
    reservoir = Reservoir(config.fit_frames, generator)
    for rows in frames:
        reservoir.add(rows)
    if reservoir.count < config.clusters:
        raise UserError(
            f"k-means needs at least as many frames as `clusters` {config.clusters}, but has {reservoir.count}",
            remedy="give more audio or fewer clusters",
        )
    mean, scale = scaling(
        features.kind.split("+"),
        features.dims,
        *(reservoir.mean, reservoir.variance),
        config.standardize,
        config.second_share,
    )
    kept = reservoir.rows().sub_(mean).mul_(scale).to(device)
    centroids = cluster(kept, config.clusters, generator, config.batch_frames, config.init_tries)
    return {"centroids": centroids.cpu(), "mean": mean, "scale": scale}


def spec_of_previous(config: Config, grid: FrameGrid, previous: Encoder) -> TargetSpec:
    """Return what the teacher will give of the model before; UserError for a layer that it does not have."""
    check_previous_layer("layer", config.layer, previous)
    return TargetSpec("codes", 1, config.clusters, grid)


TRAITS = TeacherTraits(path=True, fit=fit, spec_before_fit=target_spec, spec_of_previous=spec_of_previous)


def build(config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None = None) -> KMeansTeacher:
    """Make the teacher from its fitted state; UserError where there is none or it is damaged."""
    if config.path is None:
        raise UserError(
            "the k-means teacher has not been fitted: `path` is null",
            remedy="`audio-ssl pretrain` fits it first; or give the kmeans.safetensors of an earlier run",
        )
    path = Path(config.path)
    # A code book of other libraries has centroids alone.
    own = path.is_dir() or path.suffix == ".safetensors" or not path.exists()
    names = ("centroids", "mean", "scale")
    state = read_state(path / STATE_FILE if path.is_dir() else path, names) if own else read_code_book(path).tensors()
    features = ClusteredFeatures(config, sample_rate, device, load_model)
    if state["centroids"].shape[1] != features.dim:
        raise UserError(
            f"centroids have {state['centroids'].shape[1]} dimensions, but {features.kind} frames have {features.dim}",
            where=str(path),
            remedy="give the state that was fitted to these features",
        )
    return KMeansTeacher(config, features, state, device)


class LogCQT:
    """Logarithms of constant-Q magnitudes, those of the `cqt` teacher with ``log: true``.

    Parameters
    ----------
    sample_rate
        Of the clips, in Hz.
    hop_samples
        From one frame to the next.
    bins, bins_per_octave
        From C1 (32.7 Hz) upwards.
    """

    def __init__(self, sample_rate: int, hop_samples: int, bins: int, bins_per_octave: int) -> None:
        config = cqt.Config(n_bins=bins, bins_per_octave=bins_per_octave, hop_samples=hop_samples, log=True)
        self._teacher = cqt.build(config, sample_rate, torch.device("cpu"))
        self.dim, self.grid = bins, self._teacher.spec.grid

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return ``[frame, bin]``."""
        return self._teacher(waveform)
