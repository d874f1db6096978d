"""From another library's table of weights to a model of ours: every weight is used, left out by name, or an error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from audio_ssl.errors import UserError
from audio_ssl.interop._settings import sensible
from audio_ssl.model import ModelConfig, SSLModel

logger = logging.getLogger(__name__)

MASK, PROJECTION = "encoder.mask_embedding", "encoder.projection"
_NEW_NORM, _OLD_NORM = (
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    (
        "weight_g",
        "weight_v",
    ),
)
"""Names of a weight norm's length and direction, since torch 2.1 and before."""


def fill(
    config: ModelConfig,
    state: Mapping[str, Tensor],
    name: Callable[[str], str],
    *,
    heads: tuple[str, ...] = (),
    defaults: Mapping[str, Tensor] | None = None,
    where: Path | str | None = None,
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

    Raises
    ------
    UserError
        If a weight is missing, unexpected or of another shape; it is named.
    """
    # On the meta device nothing is drawn or allocated: all weights come from the file.
    with sensible(where), torch.device("meta"), warnings.catch_warnings():
        # Of layers of no width, which the comparison of shapes below finds.
        warnings.simplefilter("ignore")
        model = SSLModel(config)
    weights = match(model.state_dict(), state, name, heads=heads, defaults=defaults, where=where)
    if any(buffer.is_meta for buffer in model.buffers()):
        with torch.random.fork_rng(devices=[]):
            model = SSLModel(config)
        model.load_state_dict(weights)
    else:
        model.load_state_dict(weights, assign=True)
    return model.eval()


def match(
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    name: Callable[[str], str],
    *,
    heads: tuple[str, ...] = (),
    defaults: Mapping[str, Tensor] | None = None,
    where: Path | str | None = None,
) -> dict[str, Tensor]:
    """Return the weights under our names, in the types of `expected`; parameters as of `fill`."""
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
    if left_out:
        parts = sorted({next(head for head in heads if other.startswith(head)).strip(".") for other in left_out})
        logger.info("%s: left out, as they are no part of the encoder: %s", place or "weights", ", ".join(parts))
    return weights


def no_mask(dim: int) -> dict[str, Tensor]:
    """Return the mask embedding of a model whose file has none: zeros, the same at every reading."""
    return {MASK: torch.zeros(dim)}


def identity(dim: int) -> dict[str, Tensor]:
    """Return a projection that changes nothing, for libraries that have none where the widths are the same."""
    return {f"{PROJECTION}.weight": torch.eye(dim), f"{PROJECTION}.bias": torch.zeros(dim)}


def _spelled(name: str, state: Mapping[str, Tensor]) -> str:
    if name not in state:
        for new, old in zip(_NEW_NORM, _OLD_NORM, strict=True):
            other = name.removesuffix(new) + old
            if name.endswith(new) and other in state:
                return other
    return name
