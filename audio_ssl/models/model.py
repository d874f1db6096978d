"""SSLModel: a frontend and an encoder, saved as ``config.json`` and ``model.safetensors``.

Waveforms of any lengths go in as one padded batch; each clip's hidden states equal those it has alone, and are zero
past its frames. Teachers, heads and losses are not part of a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from audio_ssl.artifacts.run import MODEL_TYPE
from audio_ssl.base.checksums import write_seals
from audio_ssl.base.config import PartOf, build, structure, unstructure
from audio_ssl.base.documents import JsonObject, read_object
from audio_ssl.base.errors import UserError, shown
from audio_ssl.base.files import atomic_write, write_json
from audio_ssl.base.versions import hashed
from audio_ssl.data.frames import FrameGrid, frame_mask
from audio_ssl.models.interfaces import Encoder, Frontend, check_point
from audio_ssl.models.normalisation import Collector, Moments
from audio_ssl.models.padding import HiddenNoise
from audio_ssl.models.points import Point
from audio_ssl.models.waveforms import check_shapes
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE, hashed_bytes, load_weights, stored, write_stored

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelConfig:
    """What makes a model: rate, frontend, encoder, input normalisation."""

    frontend: Annotated[object, PartOf("frontends")]
    """Waveform to frames."""

    encoder: Annotated[object, PartOf("encoders")]
    """Frames to hidden layers."""

    sample_rate: int = 24000
    """Of the waveforms, in Hz (MERT: 24000; speech: 16000)."""

    normalize: bool = False
    """Zero mean and unit variance of each clip's waveform (MERT and HuBERT base: no; large speech models: yes)."""

    normalize_epsilon: float = 1e-7
    """Added to the variance (transformers: 1e-7; fairseq, torchaudio: 1e-5, which is heard in quiet clips)."""


class ModelOutput(NamedTuple):
    """Hidden states of a batch."""

    hidden: list[Tensor]
    """``[0]`` the encoder's input, ``[n]`` the state of block n, its output unless another point was asked for; each
    ``[batch, frame, dim]``."""

    lengths: Tensor
    """Frames of each clip, ``[batch]``."""

    features: Tensor
    """The frontend's output before projection, ``[batch, frame, feature]``."""


class ClipStatistics(NamedTuple):
    """Statistics of a whole clip, for computing a part of it."""

    waveform: Moments | None
    """Of the samples, for models that normalise them; None: they are not normalised."""

    frontend: Moments | tuple[Moments | None, ...] | None
    """Of what the frontend, or each of its parts, normalises; None: its frames do not look at the whole clip."""


class SSLModel(nn.Module):
    """A waveform model.

    Parameters
    ----------
    config
        What to build.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend: Frontend = build(config.frontend, config.sample_rate)
        self.encoder: Encoder = build(config.encoder, self.frontend.dim)

    @property
    def grid(self) -> FrameGrid:
        """How samples become frames."""
        return self.frontend.grid

    @property
    def num_layers(self) -> int:
        """Number of blocks; there is one more hidden state."""
        return self.encoder.num_layers

    @property
    def dim(self) -> int:
        """Width of the hidden states."""
        return self.encoder.dim

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"] | None = None,
        mask: Bool[Tensor, "batch frame"] | None = None,
        layers: int | None = None,
        statistics: ClipStatistics | None = None,
        point: Point = "output",
    ) -> ModelOutput:
        """Encode a padded batch.

        Parameters
        ----------
        waveform
            ``[batch, sample]``; what lies past a clip's length has no influence.
        lengths
            Samples of each clip; None means all are whole.
        mask
            Frames to replace by the mask embedding.
        layers
            Blocks to run, from the first: there are ``layers + 1`` hidden states. None: all.
        statistics
            Of the clip that every row is a part of; parts begin at multiples of the hop. None: rows are whole clips.
        point
            Where in a layer its hidden state is taken: at its ``output``, or its ``feed_forward`` part's before the
            last residual sum (`audio_ssl.models.points`).

        Raises
        ------
        UserError
            If a shape or a type is not that, or the encoder has no such point. `audio_ssl.load` gives a model that
            looks at the values, too.
        """
        check_shapes(waveform, lengths)
        if layers is not None and not 0 <= layers <= self.num_layers:
            raise UserError(f"`layers` must be 0 to {self.num_layers}, but is {layers}")
        if lengths is None:
            lengths = torch.full((len(waveform),), waveform.shape[1], device=waveform.device)
        check_point(point, self.config.encoder)
        features, frames = self.features_of(waveform, lengths, statistics)
        return ModelOutput(self.encoder(features, frames, mask, layers=layers, point=point), frames, features)

    def statistics(self, blocks: Iterable[Float[Tensor, " sample"]]) -> ClipStatistics | None:
        """Return the statistics of a clip that its parts need, without the clip in memory.

        A cqt frontend looks further than a chunk's context and so has none. A mel frontend's statistics are known
        only where the waveform itself is not normalised; elsewhere each part is normalised by itself.

        Parameters
        ----------
        blocks
            The waveform in pieces of any size, in order; read once, and only where the model needs statistics.
        """
        samples = Collector(1, 1) if self.config.normalize else None
        frontend = self.frontend.collector()
        if samples is None and frontend is None:
            return None
        for block in blocks:
            for collector in (samples, frontend):
                if collector is not None:
                    collector.add(block)
        waveform = None if samples is None else samples.result()
        found = None if frontend is None else frontend.result_of(waveform, self.config.normalize_epsilon)
        return ClipStatistics(waveform, found)

    def features_of(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: ClipStatistics | None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame feature"], Int[Tensor, " batch"]]:
        """Return the frontend's output and the frames of each clip, for those who call the encoder themselves.

        Parameters
        ----------
        waveform, lengths
            A padded batch.
        statistics
            Of the clip that every row is a part of; None: rows are whole clips.
        noise
            What hidden frames hold in the frontend's spectrogram, for frontends with a `noise_width`; None: nothing is
            hidden.
        """
        samples, found = (None, None) if statistics is None else statistics
        waveform = clean(waveform, lengths, self.config, samples)
        features, frames = self.frontend(waveform, lengths, found, noise)
        return features, frames

    def save_pretrained(self, folder: str | Path, weights: str = "float32") -> None:
        """Write ``config.json`` and ``model.safetensors``, each whole or not at all.

        Parameters
        ----------
        folder
            Where to write.
        weights
            How they are stored: ``float32``, or ``float16`` or ``bfloat16`` at half the length
            (`audio_ssl.models.weights`).
        """
        folder = Path(folder)
        state = stored(self.state_dict(), weights)
        size = sum(value.nbytes for value in state.values())
        with atomic_write(folder / WEIGHTS_FILE, needed_bytes=size) as partial:
            write_stored(state, partial, weights)
        write_seals(folder, [WEIGHTS_FILE])
        write_json(folder / CONFIG_FILE, config_data(self.config))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a saved model.

        Raises
        ------
        UserError
            If the folder is no saved model, or a weight is missing, unexpected or of the wrong shape.
        """
        folder = Path(folder)
        config = read_model_config(folder)
        with _UnsetWeights():
            model = cls(config)
        load_weights(model, folder / WEIGHTS_FILE, inside=MODEL_TYPE)
        return model.eval()


class _UnsetWeights(TorchFunctionMode):
    """Leave out the drawing of weights, which costs more than reading those that take their place."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _DRAWS and given.get("generator") is None:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


_DRAWS = (Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)
"""What draws weights, or is asked for instead of what it calls."""


def build_model(config: ModelConfig, generator: torch.Generator | None = None) -> SSLModel:
    """Make a model with fresh weights; the same generator state gives the same weights, torch's own stays untouched."""
    if generator is None:
        return SSLModel(config)
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SSLModel(config)


def config_data(config: ModelConfig) -> JsonObject:
    """Return what a saved model's ``config.json`` says."""
    return {"format_version": FORMAT_VERSION, "model_type": MODEL_TYPE, **unstructure(config)}


def read_model_config(folder: Path) -> ModelConfig:
    """Read a saved model's ``config.json``."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"not a saved model: {CONFIG_FILE} is missing", where=str(folder))
    return config_from(read_object(path), str(path))


def config_from(data: JsonObject, where: str) -> ModelConfig:
    """Return the config that a saved model's ``config.json`` describes.

    Parameters
    ----------
    data
        Its content. Where it names its type to transformers, keys that transformers has added are left out.
    where
        The file, for errors.
    """
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"`format_version` must be {FORMAT_VERSION}, but is {shown(version)}", where=where)
    ours = {field.name for field in fields(ModelConfig)}
    kept = (lambda key: key in ours) if data.get("model_type") == MODEL_TYPE else (lambda key: key != "format_version")
    return structure(ModelConfig, {key: value for key, value in data.items() if kept(key)})


def fingerprint(module: nn.Module) -> str:
    """Return 16 hex digits of the SHA-256 over a model's configuration and its weights' names, shapes and bytes."""
    digest = hashlib.sha256()
    if isinstance(module, SSLModel):
        # The same weights give other features where waveforms are normalised or come at another rate.
        digest.update(json.dumps(hashed(module.config), sort_keys=True).encode())
    for part in hashed_bytes(module.state_dict()):
        digest.update(part)
    return digest.hexdigest()[:16]


def clean(waveform: Tensor, lengths: Tensor, config: ModelConfig, whole: Moments | None) -> Tensor:
    """Return waveforms, zero past each clip, standardised if the model wants it, by a whole clip's moments if given."""
    inside = frame_mask(lengths, waveform.shape[1])
    waveform = torch.where(inside, waveform, 0.0)
    if not config.normalize:
        return waveform
    if whole is not None:
        mean, factor = float(whole.mean), float((whole.variance + config.normalize_epsilon).rsqrt())
        return torch.where(inside, (waveform - mean) * factor, 0.0)
    # Sums in float64: their order, which padding changes, then does not show.
    count = lengths.clamp(min=1)[:, None]
    wide = waveform.double()
    centred = torch.where(inside, wide - wide.sum(1, keepdim=True) / count, 0.0)
    scaled = centred * (centred.square().sum(1, keepdim=True) / count + config.normalize_epsilon).rsqrt()
    return scaled.to(waveform.dtype)
