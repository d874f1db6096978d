"""Tables of weights on the disk: safetensors, whole or in shards, and torch's pickles, of which nothing is run."""

from __future__ import annotations

import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.documents import read_object
from audio_ssl.errors import UserError
from audio_ssl.interop import _safe_pickle

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_SAFE = ("model.safetensors", "model.safetensors.index.json")
_BIN = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def read_folder(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a transformers folder; safetensors are preferred to pickles.

    Raises
    ------
    UserError
        If there are none, or a shard is missing or points out of the folder.
    """
    for name in (*_SAFE, *_BIN):
        path = folder / name
        if path.is_file():
            return _read_shards(path) if path.suffix == ".json" else read_weights(path)
    raise UserError("the folder holds no weights", where=str(folder), remedy=f"{_SAFE[0]} or {_BIN[0]} must be in it")


def has_weights(folder: Path) -> bool:
    """Return whether `read_folder` finds weights in a folder."""
    return any((folder / name).is_file() for name in (*_SAFE, *_BIN))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of one file that holds nothing else."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return table_of(read_pickle(path), path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the weights of a safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights cannot be read: {error}", where=str(path)) from error


def read_pickle(path: Path) -> Any:
    """Return what a file of `torch.save` holds: tensors and plain values, and inert records of everything else.

    Raises
    ------
    UserError
        If it is no such file, or is damaged.
    """
    try:
        with path.open("rb") as file:
            _check_kind(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(file, "cpu", _safe_pickle, weights_only=False)
    # A damaged file may raise anything: it is read by an interpreter of pickles, if a harmless one.
    except Exception as error:
        raise UserError(f"weights cannot be read: {error or type(error).__name__}", where=str(path)) from error


def table_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return a pickle's content as a table of weights; UserError if it is none."""
    if not isinstance(content, dict) or not content:
        raise UserError("the file holds no table of weights", where=str(path))
    table = {str(name): value for name, value in dict.items(content)}
    others = sorted(name for name, value in table.items() if not isinstance(value, Tensor))
    if others:
        raise UserError(f"the file holds more than a table of weights: {', '.join(others[:5])}", where=str(path))
    return table


def _check_kind(file: BinaryIO) -> None:
    """Let only the two formats of `torch.save` pass, so that torch does not open the file in another way."""
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04":
        names = torch._C.PyTorchFileReader(file).get_all_records()
        if "constants.pkl" in names:
            raise UserError("it is a TorchScript program, not a file of weights")
    elif start[:1] != b"\x80" or tarfile.is_tarfile(file):
        raise UserError("it was not written by `torch.save`")
    file.seek(0)


def _read_shards(index: Path) -> dict[str, Tensor]:
    names = read_object(index).get("weight_map")
    if not isinstance(names, Mapping):
        raise UserError("`weight_map` is missing", where=str(index))
    state: dict[str, Tensor] = {}
    for name in sorted({str(value) for value in names.values()}):
        if Path(name).name != name:
            raise UserError(f"a shard must lie beside the index, but is `{name}`", where=str(index))
        if not (index.parent / name).is_file():
            raise UserError(f"the shard {name} is missing", where=str(index.parent))
        state.update(read_weights(index.parent / name))
    return state
