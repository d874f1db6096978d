"""Sources of features turn a padded batch of waveforms into layers of frames: models, untrained models, baselines.

Probes and extraction use this interface alone.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Self, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.catalog import parts
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.features.baselines import baselines, is_baseline, open_baseline
from audio_ssl.features.encoder_file import FOLDER as ENCODER_FILES
from audio_ssl.features.encoder_file import is_encoder_file, open_encoder_file
from audio_ssl.interop.read import ACCEPTED, read_model
from audio_ssl.interop.settings import MissingSettingError, take_point, with_remedy
from audio_ssl.models.fast.prepared import Precision, prepare
from audio_ssl.models.interfaces import check_point
from audio_ssl.models.model import ClipStatistics, ModelOutput, SSLModel, build_model, fingerprint
from audio_ssl.models.points import Point

UNTRAINED_PREFIX = "untrained:"
_UNTRAINED_SEED = 20_240_601


class FeatureSource(Protocol):
    """Waveforms to layers of frames."""

    name: str
    """As given."""
    sample_rate: int
    """Of the waveforms, in Hz."""
    num_layers: int
    """Hidden states, layer 0 included."""
    dim: int
    """Width of a frame."""
    grid: FrameGrid
    """How samples become frames."""
    fingerprint: str
    """Hash of the weights, or of the settings of a baseline."""
    device: torch.device
    """Where it computes, and where its layers lie."""

    def __call__(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        *,
        top: int | None = None,
        statistics: object | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Return layers and each clip's frames.

        Parameters
        ----------
        waveform, lengths
            A padded batch, and the samples of each clip.
        top
            The highest layer wanted; layers above it may be missing. None: all.
        statistics
            What `statistics` gave, where the rows are parts of one clip.

        Returns
        -------
        ``[batch, frame, dim]`` of each layer, zero past a clip's frames, and the frames of each clip, on the CPU.
        """
        ...

    def statistics(self, blocks: Iterable[Tensor]) -> object | None:
        """Return the statistics of a whole clip that its parts are computed with; None: the source needs none."""
        ...

    def at(self, device: torch.device, precision: str) -> Self:
        """Return the source on a device, computing in a precision (float32, bfloat16, float16)."""
        ...


def open_source(name: str) -> FeatureSource:
    """Open a source of features.

    Parameters
    ----------
    name
        What `read_model` takes: a shipped model's name, a run folder, a saved model, a model of another library, each
        with its settings if they must be given (``MODEL?normalize=false``), and with ``point=feed_forward`` where
        hidden states are to be taken before each layer's last residual sum; ``untrained:MODEL``, the same
        configuration with fresh weights from a fixed seed; a baseline (``logmel``, ``cqt``, ``librosa``,
        ``librosa:mfcc+chroma``); a file with an encoder, which is run (``my_encoder.py``), or such a file of the
        package (``whisper:openai/whisper-base``).

    Raises
    ------
    UserError
        If it is none of these.
    """
    if is_baseline(name):
        return open_baseline(name)
    asked = name.removeprefix(UNTRAINED_PREFIX)
    if is_encoder_file(asked):
        if asked != name:
            raise UserError(
                f"`{asked}` has no untrained twin: its network is not known here",
                remedy="leave it out, or write a file whose `load` does not read weights",
            )
        return open_encoder_file(name)
    plain, point = take_point(asked)
    try:
        model = read_model(plain)
    except MissingSettingError as error:
        raise with_remedy(error, name) from error
    except UserError as error:
        if not (error.remedy or "").endswith(ACCEPTED) or Path(plain).exists():
            raise
        others = ", ".join((*baselines(), *(f"{kind}:MODEL" for kind in parts(ENCODER_FILES))))
        known = f"{error.remedy}; or untrained:MODEL, {others}, a file of your own with an encoder (.py)"
        raise UserError(error.what, where=error.where, remedy=known) from error
    if asked != name:
        model = build_model(model.config, torch.Generator().manual_seed(_UNTRAINED_SEED)).eval()
    return ModelSource(name, model, point=point)


class ModelSource:
    """All hidden states of a model."""

    def __init__(self, name: str, model: SSLModel, point: Point = "output") -> None:
        check_point(point, model.config.encoder)
        self.name, self.model, self.point = name, model, point
        self.sample_rate = model.config.sample_rate
        self.num_layers, self.dim = model.num_layers + 1, model.dim
        self.grid, self.fingerprint = model.grid, fingerprint(model)
        if point != "output":
            self.fingerprint = hashlib.sha256(f"{self.fingerprint} {point}".encode()).hexdigest()[:16]
        self.device = torch.device("cpu")
        self._run: Callable[..., ModelOutput] = model

    def at(self, device: torch.device, precision: str) -> ModelSource:
        """Return the source on a device, computing in a precision; the model itself stays as it is."""
        other = copy.copy(self)
        other.device, other._run = device, prepare(self.model, cast(Precision, precision), device)
        return other

    @torch.inference_mode()
    def statistics(self, blocks: Iterable[Tensor]) -> ClipStatistics | None:
        """Return the statistics of a whole clip."""
        return self.model.statistics(blocks)

    @torch.inference_mode()
    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the hidden states and the frames of each clip."""
        waveform = waveform.to(self.device, non_blocking=True)
        output = self._run(waveform, lengths, layers=top, statistics=statistics, point=self.point)
        return output.hidden, output.lengths.cpu()
