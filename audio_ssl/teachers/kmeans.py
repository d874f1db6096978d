"""k-means labels of MFCCs or of a model's hidden layer, HuBERT's teacher.

Hsu et al. 2021 (arXiv 2106.07447, section II-B).

Fitted by scikit-learn's MiniBatchKMeans over a stream of clips, so that the memory does not grow with the corpus:
centroids start by k-means++ on a reservoir of frames and are refined chunk by chunk. Frames are standardised by the
mean and variance of that reservoir. The fitted state is a safetensors file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.teachers._base import fingerprint_of
from audio_ssl.teachers._mel import Mfcc39

Frames = npt.NDArray[np.float32]

STATE_FILE = "kmeans.safetensors"


class HiddenStates(Protocol):
    """What a model must be for its hidden layers to be clustered."""

    grid: FrameGrid

    def __call__(self, waveform: Tensor) -> object:
        """Return an object with ``hidden``, a list of ``[batch, frame, dim]``."""
        ...


LoadModel = Callable[[str], HiddenStates]


@dataclass(frozen=True)
class Config:
    """Features, clusters, and where the fitted state is."""

    path: str | None = None
    """Fitted state: the file, or the folder it lies in. None: the run fits it first."""

    clusters: int = 100
    """Number of clusters (HuBERT: 100 on MFCC, 500 on a hidden layer)."""

    hop_samples: int = 320
    """From one label to the next, for MFCC; equal to the frontend's."""

    window_seconds: float = 0.025
    """Analysis window of the MFCC."""

    model: str | None = None
    """Folder of a model whose hidden layer is clustered; None: MFCC."""

    layer: int = 6
    """Which hidden state of the model (HuBERT iteration 2: 6)."""

    fit_frames: int = 200_000
    """Frames that centroids start from (HuBERT: 10 % of 960 h)."""

    batch_frames: int = 10_000
    """Frames of a mini-batch (HuBERT: 10,000)."""

    init_tries: int = 5
    """Starts of k-means++, of which the best is kept (HuBERT: 20)."""


class Features:
    """Frames that are clustered: MFCC, or a hidden state of a model."""

    def __init__(self, config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None) -> None:
        self._device, self._layer = device, config.layer
        self._mfcc: Mfcc39 | None = None
        if config.model is None:
            self._mfcc = Mfcc39(sample_rate, config.hop_samples, round(config.window_seconds * sample_rate))
            self.grid = self._mfcc.grid
            return
        if load_model is None:
            raise ValueError("`load_model` must be given where the features are a model's")
        self._model = load_model(config.model)
        self.grid = self._model.grid
        if self.grid.sample_rate != sample_rate:
            raise UserError(
                f"the model of the k-means teacher is for {self.grid.sample_rate} Hz, the recipe for {sample_rate} Hz",
                where=config.model,
            )

    @torch.no_grad()
    def __call__(self, waveform: Float[Tensor, " sample"]) -> Float[Tensor, "frame dim"]:
        """Return the frames of one clip on the CPU."""
        if self._mfcc is not None:
            return self._mfcc(waveform.cpu().float())
        hidden: list[Tensor] = self._model(waveform[None].to(self._device)).hidden  # type: ignore[attr-defined]
        if not 0 <= self._layer < len(hidden):
            raise UserError(f"`layer` must be 0 to {len(hidden) - 1}, but is {self._layer}")
        return hidden[self._layer][0].float().cpu()


class KMeansTeacher:
    """Labels one clip with the nearest centroid of each frame."""

    def __init__(self, config: Config, features: Features, state: dict[str, Tensor], device: torch.device) -> None:
        self._features, self._device = features, device
        self._mean, self._scale = state["mean"], state["scale"]
        self._centroids = state["centroids"].to(device)
        self.spec = TargetSpec("codes", 1, len(self._centroids), features.grid)
        self.fingerprint = fingerprint_of(config, state)

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame codebook"]:
        """Return ``[frame, 1]`` of one whole clip."""
        frames = ((self._features(waveform) - self._mean) * self._scale).to(self._device)
        # argmin |x - c|^2 without the x^2 that is the same for every centroid.
        scores = frames @ self._centroids.T - 0.5 * self._centroids.square().sum(1)
        return scores.argmax(-1, keepdim=True)


def fit(
    config: Config,
    waveforms: Iterable[Tensor],
    sample_rate: int,
    generator: torch.Generator,
    device: torch.device | None = None,
    load_model: LoadModel | None = None,
) -> dict[str, Tensor]:
    """Fit centroids to a stream of clips.

    Parameters
    ----------
    config
        Clusters and features.
    waveforms
        Clips, ``[sample]`` each; read once.
    sample_rate
        Of the clips, in Hz.
    generator
        Seeds k-means++.
    device
        Where a model's hidden states are computed.
    load_model
        Opens `config.model`.

    Returns
    -------
    ``centroids [cluster, dim]``, ``mean [dim]`` and ``scale [dim]``, all float32.

    Raises
    ------
    UserError
        If there are fewer frames than clusters.
    """
    features = Features(config, sample_rate, device or torch.device("cpu"), load_model)
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    model: MiniBatchKMeans | None = None
    mean: Frames = np.zeros(0, np.float32)
    scale = mean
    pending: list[Frames] = []
    count = 0
    for waveform in waveforms:
        pending.append(features(waveform).numpy())
        count += len(pending[-1])
        if model is None and count >= config.fit_frames:
            model, mean, scale = _start(config, np.concatenate(pending), seed)
            pending, count = [], 0
        elif model is not None and count >= config.batch_frames:
            model.partial_fit((np.concatenate(pending) - mean) * scale)
            pending, count = [], 0
    if model is None:
        frames = np.concatenate(pending) if pending else np.zeros((0, 1), np.float32)
        if len(frames) < config.clusters:
            raise UserError(
                f"k-means needs at least as many frames as `clusters` {config.clusters}, but has {len(frames)}",
                remedy="give more audio or fewer clusters",
            )
        model, mean, scale = _start(config, frames, seed)
    elif count >= config.clusters:
        model.partial_fit((np.concatenate(pending) - mean) * scale)
    state = {"centroids": model.cluster_centers_, "mean": mean, "scale": scale}
    return {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in state.items()}


def _start(config: Config, frames: Frames, seed: int) -> tuple[MiniBatchKMeans, Frames, Frames]:
    mean = frames.mean(0)
    scale = 1.0 / np.sqrt(frames.var(0) + 1e-8)
    model = MiniBatchKMeans(
        config.clusters,
        batch_size=config.batch_frames,
        n_init=config.init_tries,
        max_iter=100,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        random_state=seed,
    )
    return model.fit((frames - mean) * scale), mean, scale


def build(config: Config, sample_rate: int, device: torch.device, load_model: LoadModel | None = None) -> KMeansTeacher:
    """Make the teacher from its fitted state; UserError where there is none or it is damaged."""
    if config.path is None:
        raise UserError(
            "the k-means teacher has not been fitted: `path` is null",
            remedy="`audio-ssl pretrain` fits it first; or give the kmeans.safetensors of an earlier run",
        )
    path = Path(config.path)
    path = path / STATE_FILE if path.is_dir() else path
    try:
        state: dict[str, Tensor] = load_file(path)
        state = {name: state[name] for name in ("centroids", "mean", "scale")}
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"not a fitted k-means state: {error}", where=str(path)) from error
    return KMeansTeacher(config, Features(config, sample_rate, device, load_model), state, device)
