"""Running blocks one after the other: layer drop, and activations computed anew in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from audio_ssl.encoders._attention import Context
from audio_ssl.encoders._points import Point


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Float[Tensor, "batch frame dim"],
    context: Context,
    layer_drop: float,
    recompute: bool,
    point: Point = "output",
) -> list[Float[Tensor, "batch frame dim"]]:
    """Return the first block's input and every block's state.

    Parameters
    ----------
    blocks
        Called with the frames and the context; with True after them they also return what their feed-forward part gave.
    x
        Input of the first.
    context
        What they share.
    layer_drop
        Chance that a block is skipped; its output is then its input, so the number of states stays.
    recompute
        Keep only each block's input for the backward pass and compute the rest again, with the same dropout.
    point
        Where a block's state is taken. A skipped block has added nothing, so at ``feed_forward`` it gives zeros.
    """
    states = [x]
    asked = () if point == "output" else (True,)
    for block in blocks:
        skipped = layer_drop > 0 and bool(torch.rand(()) < layer_drop)
        if skipped:
            given: Any = (x, torch.zeros_like(x)) if asked else x
        elif recompute and torch.is_grad_enabled():
            given = checkpoint(block, x, context, *asked, use_reentrant=False)
        else:
            given = block(x, context, *asked)
        x, state = given if asked else (given, given)
        states.append(state)
    return states


def cut(states: list[Tensor], context: Context) -> list[Tensor]:
    """Return the states with zeros past each clip's frames."""
    inside = context.inside
    return states if inside is None else [torch.where(inside, state, 0.0) for state in states]
