"""Weights of other libraries: reading their files, matching their names to ours, and sizes read from their shapes.

Files are safetensors, in one file or in shards, and pickles of torch, which are read without running anything.

Every weight of a table is used, left out by the name of a known part, or reported as an error.
"""

from __future__ import annotations

import logging
import tarfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError
from audio_ssl.interop import pickle_reader
from audio_ssl.interop.settings import invalid_settings
from audio_ssl.models.attention import Relative
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel

logger = logging.getLogger(__name__)

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
    raise UserError(
        "the folder contains no weights", where=str(folder), remedy=f"{_SAFE[0]} or {_BIN[0]} must be in it"
    )


def has_weights(folder: Path) -> bool:
    """Return whether `read_folder` finds weights in a folder."""
    return any((folder / name).is_file() for name in (*_SAFE, *_BIN))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of one file that holds nothing else."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return checked_table(read_pickle(path), path)


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
                return torch.load(file, "cpu", pickle_reader, weights_only=False)
    # A damaged pickle may raise anything.
    except Exception as error:
        raise UserError(f"weights cannot be read: {error or type(error).__name__}", where=str(path)) from error


def checked_table(content: object, path: Path) -> dict[str, Tensor]:
    """Return a pickle's content as a table of weights; UserError if it is none."""
    if not isinstance(content, dict) or not content:
        raise UserError("the file contains no table of weights", where=str(path))
    table = {str(name): value for name, value in dict.items(content)}
    others = sorted(name for name, value in table.items() if not isinstance(value, Tensor))
    if others:
        raise UserError(f"the file contains more than a table of weights: {', '.join(others[:5])}", where=str(path))
    return table


def _check_kind(file: BinaryIO) -> None:
    """Accept only the two formats of `torch.save`, so that torch does not open the file in another way."""
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


MASK, PROJECTION = "encoder.mask_embedding", "encoder.projection"
_NEW_NORM, _OLD_NORM = (
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    (
        "weight_g",
        "weight_v",
    ),
)
"""Names of a weight norm's length and direction, since torch 2.1 and before."""


def build_from(
    config: ModelConfig,
    state: Mapping[str, Tensor],
    name: Callable[[str], str],
    *,
    heads: tuple[str, ...] = (),
    defaults: Mapping[str, Tensor] | None = None,
    where: Path | str | None = None,
    say: bool = True,
) -> SSLModel:
    """Return a model with the weights of a file, float32 and ready for inference.

    Parameters
    ----------
    config
        Of the model.
    state
        The other library's weights.
    name
        From our name of a weight to theirs.
    heads
        What their names of known other parts begin with: these are left out, and named in the log.
    defaults
        Weights, under our names, that the file may lack.
    where
        The file, for errors.
    say
        Whether the log names what is left out.

    Raises
    ------
    UserError
        If a weight is missing, unexpected or of another shape; it is named.
    """
    # On the meta device no weight is drawn or allocated: all come from the file.
    with invalid_settings(where), torch.device("meta"), warnings.catch_warnings():
        # About layers of width 0, which the comparison of shapes below reports.
        warnings.simplefilter("ignore")
        model = SSLModel(config)
    weights = matched(model.state_dict(), state, name, heads=heads, defaults=defaults, where=where, say=say)
    if any(buffer.is_meta for buffer in model.buffers()):
        with torch.random.fork_rng(devices=[]):
            model = SSLModel(config)
        model.load_state_dict(weights)
    else:
        model.load_state_dict(weights, assign=True)
    return model.eval()


def matched(
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    name: Callable[[str], str],
    *,
    heads: tuple[str, ...] = (),
    defaults: Mapping[str, Tensor] | None = None,
    where: Path | str | None = None,
    say: bool = True,
) -> dict[str, Tensor]:
    """Return the weights under our names, in the types of `expected`; parameters as of `build_from`."""
    place = None if where is None else str(where)
    names = {ours: _spelled(name(ours), state) for ours in expected}
    given = {ours: value for ours, value in (defaults or {}).items() if names[ours] not in state}
    missing = {other for ours, other in names.items() if ours not in given} - state.keys()
    rest = state.keys() - set(names.values())
    left_out = {other for other in rest if other.startswith(heads)} if heads else set()
    for thing, found in (("missing", missing), ("unexpected", rest - left_out)):
        if found:
            raise UserError(f"{thing} weights: {', '.join(sorted(found))}", where=place)
    weights = {}
    for ours, other in names.items():
        value = given[ours] if ours in given else state[other]
        if value.shape != expected[ours].shape:
            shapes = f"{list(expected[ours].shape)}, but has {list(value.shape)}"
            raise UserError(f"the weight `{other}` must have the shape {shapes}", where=place)
        weights[ours] = value.detach().to(expected[ours].dtype).contiguous()
    if left_out and say:
        parts = sorted({next(head for head in heads if other.startswith(head)).strip(".") for other in left_out})
        logger.info("%s: left out, as they are not part of the encoder: %s", place or "weights", ", ".join(parts))
    return weights


def not_taken(state: Mapping[str, Tensor], heads: tuple[str, ...]) -> list[str]:
    """Return the names of the known other parts of a table."""
    return [name for name in state if name.startswith(heads)]


def no_mask(dim: int) -> dict[str, Tensor]:
    """Return the mask embedding of a model whose file has none: zeros, the same at every reading."""
    return {MASK: torch.zeros(dim)}


def identity(dim: int) -> dict[str, Tensor]:
    """Return an identity projection, for libraries that have none where the widths are equal."""
    return {f"{PROJECTION}.weight": torch.eye(dim), f"{PROJECTION}.bias": torch.zeros(dim)}


def _spelled(name: str, state: Mapping[str, Tensor]) -> str:
    if name not in state:
        for new, old in zip(_NEW_NORM, _OLD_NORM, strict=True):
            other = name.removesuffix(new) + old
            if name.endswith(new) and other in state:
                return other
    return name


_DISTANCES = {320: 800}
"""Buckets to the largest distance of every published WavLM."""

Name = Callable[[str], str]
"""From a common name (that of transformers) to the file's."""


def frontend_sizes(
    state: Mapping[str, Tensor],
    name: Name,
    strides: Sequence[int] | None,
    group_norm: bool,
    where: Path | str,
    remedy: str | None = None,
) -> conv.Config:
    """Return the frontend's config.

    Parameters
    ----------
    state
        All weights.
    name
        To the file's names.
    strides
        The weights do not contain them; None: those of wav2vec 2.0, if the kernels are those of wav2vec 2.0.
    group_norm
        Whether the frontend has a group norm, and no other norm.
    where
        The file, for errors.
    remedy
        What to do where the strides are not known.

    Raises
    ------
    UserError
        If there are no convolutions, or their strides are unknown.
    """
    weights: list[Tensor] = []
    while (key := name(f"feature_extractor.conv_layers.{len(weights)}.conv.weight")) in state:
        weights.append(state[key])
    if not weights:
        raise UserError("there is no convolutional feature extractor among the weights", where=str(where))
    kernels, default = tuple(weight.shape[2] for weight in weights), conv.Config()
    if strides is None and kernels != default.kernels:
        raise UserError(
            f"the strides of convolutions with the kernels {list(kernels)} are unknown",
            where=str(where),
            remedy=remedy,
        )
    return conv.Config(
        channels=tuple(weight.shape[0] for weight in weights),
        kernels=kernels,
        strides=default.strides if strides is None else tuple(strides),
        norm="group" if group_norm else "layer",
        bias=name("feature_extractor.conv_layers.0.conv.bias") in state,
    )


class TransformerSizes(NamedTuple):
    """Layers, widths and convolutional positions of a transformer, as its config names them."""

    layers: int
    dim: int
    ffn_dim: int
    position_kernel_frames: int
    position_groups: int
    position_layers: int


def encoder_sizes(state: Mapping[str, Tensor], name: Name, where: Path | str) -> TransformerSizes:
    """Return the sizes of a transformer.

    Raises
    ------
    UserError
        If the weights are not those of such a transformer.
    """
    layers = 0
    while name(f"encoder.layers.{layers}.feed_forward.intermediate_dense.weight") in state:
        layers += 1
    if not layers:
        raise UserError("there are no layers of a transformer among the weights", where=str(where))
    ffn_dim, dim = state[name("encoder.layers.0.feed_forward.intermediate_dense.weight")].shape
    kernel, groups, stacked = _positions(state, name, dim, where)
    return TransformerSizes(layers, dim, ffn_dim, kernel, groups, stacked)


def relative_positions(
    state: Mapping[str, Tensor], name: Name, max_distance: int | None, where: Path | str
) -> Relative | None:
    """Return WavLM's relative positions, if there are any.

    Raises
    ------
    UserError
        If `max_distance`, which the weights do not contain, is None and the buckets are not those of the published
        models.
    """
    table = state.get(name("encoder.layers.0.attention.rel_attn_embed.weight"))
    if table is None:
        return None
    if max_distance is None:
        max_distance = _DISTANCES.get(table.shape[0])
    if max_distance is None:
        raise UserError(
            f"the largest distance of {table.shape[0]} buckets of relative positions is unknown", where=str(where)
        )
    return Relative(table.shape[0], max_distance)


def _positions(state: Mapping[str, Tensor], name: Name, dim: int, where: Path | str) -> tuple[int, int, int]:
    """Return kernel, groups and number of the positions' convolutions."""
    single = name("encoder.pos_conv_embed.conv.parametrizations.weight.original1")
    old = single.replace("parametrizations.weight.original1", "weight_v")
    for key in (single, old):
        if key in state:
            return state[key].shape[2], dim // state[key].shape[1], 1
    stacked = 0
    while name(f"encoder.pos_conv_embed.layers.{stacked}.conv.weight") in state:
        stacked += 1
    if not stacked:
        raise UserError("there are no convolutional positions among the weights", where=str(where))
    first = state[name("encoder.pos_conv_embed.layers.0.conv.weight")]
    return first.shape[2], dim // first.shape[1], stacked
