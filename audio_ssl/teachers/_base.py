"""What a teacher is: targets of one whole clip, and a description of them.

Targets of a clip are always those of the whole clip (a row of the manifest); crops are sliced from them. A stored
target and one made on the fly are therefore the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import Float, Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.catalog import load_part
from audio_ssl.config import kind_of
from audio_ssl.data.targets import TargetSpec, check_targets
from audio_ssl.earlier import hashed
from audio_ssl.errors import UserError
from audio_ssl.storage import hashed_bytes

__all__ = ["TargetSpec", "Teacher", "check_targets", "fingerprint_of", "needs_fit", "read_state"]


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
