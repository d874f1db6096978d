"""Running blocks one after the other: layer drop, and activations computed anew in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from audio_ssl.encoders._attention import Context


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Float[Tensor, "batch frame dim"],
    context: Context,
    layer_drop: float,
    recompute: bool,
) -> list[Float[Tensor, "batch frame dim"]]:
    """Return the input and the output of every block.

    Parameters
    ----------
    blocks
        Called with the frames and the context.
    x
        Input of the first.
    context
        What they share.
    layer_drop
        Chance that a block is skipped; its output is then its input, so the number of states stays.
    recompute
        Keep only each block's input for the backward pass and compute the rest again, with the same dropout.
    """
    states = [x]
    for block in blocks:
        if not (layer_drop > 0 and torch.rand(()) < layer_drop):
            if recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, context, use_reentrant=False)
            else:
                x = block(x, context)
        states.append(x)
    return states


def cut(states: list[Tensor], context: Context) -> list[Tensor]:
    """Return the states with zeros past each clip's frames."""
    inside = context.inside
    return states if inside is None else [torch.where(inside, state, 0.0) for state in states]
