"""Targets and teachers: the description of targets (`TargetSpec`), and what a teacher must give.

What targets are: their shape, their meaning, and the check that they keep what they promise.

Teachers make targets and objectives consume them; neither needs to know the other, both know this.

What a teacher is: targets of one whole clip, and a description of them.

Targets of a clip are always those of the whole clip (a row of the manifest); crops are sliced from them. A stored
target and one made on the fly are therefore the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.base.catalog import load_part
from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.versions import hashed
from audio_ssl.data.frames import FrameGrid
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


def needs_fit(config: Any) -> bool:
    """Tell whether a teacher has to be fitted to audio before it can be built."""
    module = load_part("teachers", kind_of(config))
    return hasattr(module, "fit") and config.path is None


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
