"""Weights on the disk at half their length, for models that travel: float16 or bfloat16, read back to float32.

The rule, by the shape of a tensor alone: floating tensors of two axes and more (matrices, kernels of convolutions) are
rounded to the nearest number of the format; scalars and vectors (biases, norms, running statistics) and integers are
stored as they are. Computing is another matter (`audio_ssl.models.fast.prepared`): a model that was read is float32.

float16 has 11 significant bits and ends at 65504; bfloat16 has 8 and the range of float32. Numbers below 6e-8 become
zero in float16. The file says which it is in its metadata, under ``weights``; a file that does not say is as it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from audio_ssl.base.documents import find, parse_object
from audio_ssl.base.errors import UserError, check_choice

logger = logging.getLogger(__name__)

Storage = Literal["float32", "float16", "bfloat16"]
STORAGES: tuple[str, ...] = get_args(Storage)
_FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_KEY = "weights"


def stored(state: Mapping[str, Tensor], storage: str) -> dict[str, Tensor]:
    """Return a table of weights in the form it is stored in: contiguous, on the CPU, large tensors in the given format.

    Parameters
    ----------
    state
        Weights of a model.
    storage
        ``float32`` (nothing changes), ``float16`` or ``bfloat16``.

    Raises
    ------
    UserError
        If there is no such format, or it cannot hold a weight.

    Examples
    --------
    >>> table = stored({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, "float16")
    >>> table["weight"].dtype, table["bias"].dtype
    (torch.float16, torch.float32)
    """
    check_choice("weights", storage, STORAGES)
    return {name: _lowered(name, value.detach().cpu().contiguous(), storage) for name, value in state.items()}


def metadata(storage: str) -> dict[str, str]:
    """Return the metadata of a safetensors file: that it is torch's, and how its weights are stored."""
    # transformers reads no file that does not name its format.
    return {"format": "pt"} | ({_KEY: storage} if storage != "float32" else {})


def write_stored(table: dict[str, Tensor], path: Path, storage: str) -> None:
    """Write a table of weights as a safetensors file: the same bytes for the same weights.

    Parameters
    ----------
    table
        What `stored` returned.
    path
        The file; nothing else should read it yet.
    storage
        How the table is stored.
    """
    save_file(table, path, metadata=metadata(storage))
    # safetensors writes the metadata in another order every time.
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = parse_object(file.read(length), str(path))
        header[_SAID] = dict(sorted(find(header, _SAID, dict, str(path)).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(_LENGTH_BYTES)
            file.write(text.ljust(length))


_LENGTH_BYTES, _SAID = 8, "__metadata__"
"""Of the format: a header's length, then the header as JSON, padded with spaces."""


def hashed_bytes(state: Mapping[str, Tensor]) -> Iterator[bytes]:
    """Yield what a hash of tensors is made of, by name: names, types, shapes and bytes."""
    for name, value in sorted(state.items()):
        array = value.detach().cpu().contiguous()
        yield f"{name}{array.dtype}{tuple(array.shape)}".encode()
        yield array.reshape(-1).view(torch.uint8).numpy().tobytes()


def _lowered(name: str, value: Tensor, storage: str) -> Tensor:
    if storage not in _FORMATS or value.ndim < 2 or not value.is_floating_point():
        return value
    lowered = value.to(_FORMATS[storage])
    if bool(value.isfinite().all()) and not bool(lowered.isfinite().all()):
        raise UserError(
            f"`weights` must be a format that holds every weight, but `{name}` has values up to "
            f"{float(value.abs().max()):.3g} and {storage} ends at {torch.finfo(_FORMATS[storage]).max:.3g}",
            remedy="give --weights bfloat16" if storage == "float16" else "give --weights float32",
        )
    return lowered


def load_weights(module: nn.Module, path: Path, inside: str | None = None) -> None:
    """Load safetensors weights into a module; a missing, unexpected or misshapen weight is an error that names it.

    Parameters
    ----------
    module
        What the weights are of.
    path
        The file.
    inside
        What their names begin with in a file that has a head beside the module; the log names what is left out.
    """
    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights cannot be read: {error}", where=str(path)) from error
    if inside is not None and any(name.startswith(f"{inside}.") for name in state):
        heads = sorted(name for name in state if not name.startswith(f"{inside}."))
        if heads:
            logger.info("%s: left out, as parts of a head: %s", path, ", ".join(heads))
        state = {name.removeprefix(f"{inside}."): value for name, value in state.items() if name not in heads}
    load_state(module, state, path)


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a table of weights into a module; a missing, unexpected or misshapen weight is an error that names it.

    Weights stored at half their length become those of the module's format, float32.
    """
    expected = module.state_dict()
    for thing, names in (("missing", expected.keys() - state.keys()), ("unexpected", state.keys() - expected.keys())):
        if names:
            raise UserError(f"{thing} weights: {', '.join(sorted(names))}", where=str(path))
    for name, value in state.items():
        if value.shape != expected[name].shape:
            shapes = f"{list(expected[name].shape)}, but has {list(value.shape)}"
            raise UserError(f"the weight `{name}` must have the shape {shapes}", where=str(path))
    module.load_state_dict(state)


CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""What a saved model or codec is."""
