"""Sizes of a convolutional frontend and a transformer, read from the shapes of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from audio_ssl.encoders._checks import Relative
from audio_ssl.errors import UserError
from audio_ssl.frontends import conv

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
) -> conv.Config:
    """Return the frontend's config.

    Parameters
    ----------
    state
        All weights.
    name
        To the file's names.
    strides
        Which no weight tells; None: those of wav2vec 2.0, if the kernels are.
    group_norm
        Whether there is one norm only.
    where
        The file, for errors.

    Raises
    ------
    UserError
        If there are no convolutions, or their strides are not known.
    """
    weights: list[Tensor] = []
    while (key := name(f"feature_extractor.conv_layers.{len(weights)}.conv.weight")) in state:
        weights.append(state[key])
    if not weights:
        raise UserError("there is no convolutional feature extractor among the weights", where=str(where))
    kernels, default = tuple(weight.shape[2] for weight in weights), conv.Config()
    if strides is None and kernels != default.kernels:
        raise UserError(f"the strides of convolutions with the kernels {list(kernels)} are not known", where=str(where))
    return conv.Config(
        channels=tuple(weight.shape[0] for weight in weights),
        kernels=kernels,
        strides=default.strides if strides is None else tuple(strides),
        norm="group" if group_norm else "layer",
        bias=name("feature_extractor.conv_layers.0.conv.bias") in state,
    )


def encoder_sizes(state: Mapping[str, Tensor], name: Name, where: Path | str) -> dict[str, Any]:
    """Return layers, widths and positions, as keyword arguments of the transformer's config.

    Raises
    ------
    UserError
        If the weights are those of no such transformer.
    """
    layers = 0
    while name(f"encoder.layers.{layers}.feed_forward.intermediate_dense.weight") in state:
        layers += 1
    if not layers:
        raise UserError("there are no layers of a transformer among the weights", where=str(where))
    ffn_dim, dim = state[name("encoder.layers.0.feed_forward.intermediate_dense.weight")].shape
    kernel, groups, stacked = _positions(state, name, dim, where)
    return {
        "layers": layers,
        "dim": dim,
        "ffn_dim": ffn_dim,
        "position_kernel_frames": kernel,
        "position_groups": groups,
        "position_layers": stacked,
    }


def relative_positions(
    state: Mapping[str, Tensor], name: Name, max_distance: int | None, where: Path | str
) -> Relative | None:
    """Return WavLM's relative positions, if there are any.

    Raises
    ------
    UserError
        If `max_distance`, which no weight tells, is None and the buckets are not those of the published models.
    """
    table = state.get(name("encoder.layers.0.attention.rel_attn_embed.weight"))
    if table is None:
        return None
    if max_distance is None:
        max_distance = _DISTANCES.get(table.shape[0])
    if max_distance is None:
        raise UserError(
            f"the largest distance of {table.shape[0]} buckets of relative positions is not known", where=str(where)
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
