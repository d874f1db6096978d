"""What targets and teachers are: `TargetSpec` describes targets, `Teacher` and `TeacherTraits` what makes them.

Teachers make targets and objectives consume them; neither knows the other, both know this.

Targets of a clip are always those of the whole clip (a row of the manifest); crops are sliced from them. A stored
target and one made on the fly are therefore the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Int, Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from audio_ssl.base.config import kind_of, traits_of
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.versions import hashed
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Encoder, MelSettings
from audio_ssl.models.model import SSLModel
from audio_ssl.models.points import Point
from audio_ssl.models.weights import hashed_bytes


@dataclass(frozen=True)
class TargetSpec:
    """Shape and meaning of a teacher's targets."""

    kind: Literal["codes", "values"]
    """``codes``: int64 classes; ``values``: float32."""

    width: int
    """Codebooks, or bins."""

    num_classes: int | None
    """Classes of each codebook; None for values."""

    grid: FrameGrid
    """How samples become target frames."""

    blocks: int = 1
    """Equal parts that `width` is made of, side by side: the layers of a teacher that keeps them apart."""


def check_targets(targets: Shaped[Tensor, "frame width"], spec: TargetSpec, samples: int) -> None:
    """Raise AudioError unless the targets of a clip have the count, shape and range their spec promises."""
    frames = spec.grid.num_frames(samples)
    if tuple(targets.shape) != (frames, spec.width):
        raise AudioError(f"targets have the shape {list(targets.shape)}, but {[frames, spec.width]} was expected")
    if spec.kind == "values":
        if not bool(torch.isfinite(targets).all()):
            raise AudioError("targets contain NaN or infinite values")
    elif frames and (int(targets.min()) < 0 or int(targets.max()) >= (spec.num_classes or 0)):
        raise AudioError(f"codes must lie in 0..{(spec.num_classes or 0) - 1}, but reach {int(targets.max())}")


PREVIOUS = "previous"
"""As `model` of a teacher's config: the model of the iteration before."""


@dataclass(frozen=True)
class TeacherTraits:
    """What the file of a teacher says of it; its functions are given here, so that none is looked up by name."""

    path: bool = False
    """The config has `path`, from which the teacher's state is read; None: it has yet to be made."""

    codec: bool = False
    """Where `path` is None, it is the folder of a codec that the run trains first."""

    fit: Callable[..., dict[str, Tensor]] | None = None
    """Where `path` is None, makes the state from audio: ``fit(config, waveforms, sample_rate, generator, device=...)``,
    with ``load_model=...`` where the teacher hears a model. Clips, ``[sample]`` each, are read once, and none is kept;
    the generator decides all that is drawn. Gives the tensors of the state."""

    fitted: Callable[[Any], bool] | None = None
    """Returns whether a config needs what `fit` makes; None: every one does."""

    spec_before_fit: Callable[..., TargetSpec] | None = None
    """Returns what the teacher will give once it is fitted: ``(config, sample_rate, device)``, and `load_model`."""

    spec_of_previous: Callable[[Any, FrameGrid, Encoder], TargetSpec] | None = None
    """The config has `model`, a model that the teacher hears. Where that is `PREVIOUS`, returns what it will give: of
    frames on this grid and the hidden states of this encoder."""

    follow: Callable[[Any, SSLModel], FollowingTeacher] | None = None
    """Makes the teacher of the model that is trained, which it follows; its targets cannot be stored."""

    mel: Callable[[Any], MelSettings] | None = None
    """Returns the mel spectrogram of a config; None: there is none, or one that is checked as it is built."""

    check_frontend: Callable[[Any, object, str], None] | None = None
    """Looks at the frontend's config, and raises UserError where the targets are not in what it hears; the text is the
    key path of the teacher."""

    untrained: Callable[[Any], bool] | None = None
    """Returns whether a config asks for random weights, whose targets mean nothing."""

    sample_rate: Callable[[Any], int | None] | None = None
    """Returns the rate in Hz that a config is for, None where it does not say; None: teachers of any rate."""


class FrozenModel(Protocol):
    """A model whose hidden states a teacher hears."""

    grid: FrameGrid
    dim: int
    num_layers: int

    def __call__(self, waveform: Tensor, *, layers: int, point: Point) -> Any:
        """Return an object with ``hidden``, a list of ``[batch, frame, dim]``."""
        ...


LoadModel = Callable[[str], FrozenModel]


def open_model(name: str, teacher: str, sample_rate: int | None, load_model: LoadModel | None) -> FrozenModel:
    """Open the model that a teacher hears; UserError where it is for another sample rate, unless that is None."""
    if load_model is None:
        raise ValueError(f"`load_model` must be given where the {teacher} teacher hears a model")
    model = load_model(name)
    if sample_rate is not None and model.grid.sample_rate != sample_rate:
        raise UserError(
            f"the model of the {teacher} teacher is for {model.grid.sample_rate} Hz, the recipe for {sample_rate} Hz",
            where=name,
        )
    return model


def check_previous_layer(name: str, layer: int, previous: Encoder) -> None:
    """Raise UserError where the model of the iteration before has no such hidden state; `name` is the setting's."""
    if not 0 <= layer <= previous.num_layers:
        raise UserError(
            f"`{name}` must be 0 to {previous.num_layers}, as the model of the iteration before has, but is {layer}",
            where=f".{name}",
        )


class Teacher(Protocol):
    """Turns one whole clip into targets."""

    @property
    def spec(self) -> TargetSpec:
        """Shape and meaning of the targets."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the configuration and the weights."""
        ...

    def __call__(self, waveform: Float[Tensor, " sample"]) -> Shaped[Tensor, "frame width"]:
        """Return the targets of one whole clip."""
        ...


class FollowingTeacher(nn.Module, ABC):
    """A teacher that lives in the learner and follows the model that is trained; without weights of its own here."""

    spec: TargetSpec

    @abstractmethod
    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        features: tuple[Tensor, Tensor] | None = None,
        counted: Int[Tensor, "batch frame"] | None = None,
    ) -> Shaped[Tensor, "batch frame width"]:
        """Return the targets of a padded batch.

        Parameters
        ----------
        waveform, lengths
            Clean: neither mixed nor masked; and the samples of each clip.
        features
            What the model's frontend gives for this waveform, and the frames of each clip; None: not known.
        counted
            How often the loss counts each frame, for a teacher that learns from these; None: it learns nothing.
        """

    def metrics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return metrics of the teacher itself, as sums and counts."""
        return {}

    @abstractmethod
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model after update `step`, counted from 0."""

    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Take in what was counted in an update; every process calls this."""


def teacher_traits(config: object) -> TeacherTraits:
    """Return what a teacher, given by its config, says of itself."""
    return traits_of(config, TeacherTraits)


def is_online(config: object) -> bool:
    """Return whether a teacher, given by its config, follows the model while it is trained."""
    return teacher_traits(config).follow is not None


def hears(config: object) -> bool:
    """Return whether a teacher, given by its config, can hear a model; its config then has `model`."""
    return teacher_traits(config).spec_of_previous is not None


def needs_fit(config: Any) -> bool:
    """Return whether a teacher has to be fitted to audio before it can be built."""
    traits = teacher_traits(config)
    return traits.fit is not None and config.path is None and (traits.fitted is None or traits.fitted(config))


def read_state(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Read these tensors of a fitted teacher's file; UserError where one is missing or the file is damaged."""
    try:
        state: dict[str, Tensor] = load_file(path)
        return {name: state[name] for name in names}
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"not the fitted state of this teacher: {error}",
            where=str(path),
            remedy="give the file or folder that a run wrote to its teachers/",
        ) from error


def fingerprint_of(config: Any, state: dict[str, Tensor], ignored: Sequence[str] = ()) -> str:
    """Return the first 16 hex digits of the SHA-256 over a config and the tensors that go with it.

    Where weights lie does not matter, only what they are: `path` and `model` of a config are left out. So are keys that
    were added and have their earlier value, so that the targets and checkpoints of earlier releases match, and the keys
    `ignored`, whose effect is in the tensors.
    """
    left_out = {"path", "model", *ignored}
    settings = {key: value for key, value in hashed(config).items() if key not in left_out}
    digest = hashlib.sha256(json.dumps([kind_of(config), settings], sort_keys=True).encode())
    for part in hashed_bytes(state):
        digest.update(part)
    return digest.hexdigest()[:16]
