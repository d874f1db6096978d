"""What is trained: a mix of layers, standardised, and a head.

Layers are mixed by a softmax over learned weights, uniform at the start (SUPERB, Yang et al. 2021, arXiv 2105.01051).
Each layer's dimensions are first standardised by the training clips, so that sources of any scale train with the same
settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.probing.dataset import Example
from audio_ssl.probing.heads._base import Batch, Head


class System(nn.Module):
    """Layer mix and head.

    Parameters
    ----------
    head
        The trainable answer.
    mean, scale
        Of each dimension of each layer, ``[layer, 1, dim]``.
    layer
        Use this layer only; None mixes all.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: Head, mean: Tensor, scale: Tensor, layer: int | None) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.layer = layer
        self.mix = nn.Parameter(torch.zeros(len(mean))) if layer is None and len(mean) > 1 else None

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Return mixed, standardised and padded features."""
        frames = torch.tensor([example.features.shape[1] for example in examples])
        rows = [self._mixed(example.features) for example in examples]
        return Batch(nn.utils.rnn.pad_sequence(rows, batch_first=True), frames)

    def loss(self, examples: Sequence[Example]) -> Float[Tensor, ""]:
        """Return the head's mean loss."""
        return self.head.loss(self.batch(examples), [example.target for example in examples])

    def predict(self, examples: Sequence[Example], batch_clips: int = 32) -> list[Tensor]:
        """Return the head's predictions, clips in the order given."""
        self.eval()
        out: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(examples), batch_clips):
                out += self.head.predict(self.batch(examples[start : start + batch_clips]))
        return out

    def layer_weights(self) -> list[float] | None:
        """Return the learned weights of the layers, or None where there is nothing to mix."""
        return None if self.mix is None else cast(list[float], self.mix.detach().softmax(0).tolist())

    def _mixed(self, features: Tensor) -> Float[Tensor, "frame dim"]:
        if self.layer is not None or len(features) == 1:
            index = self.layer or 0
            return (features[index].float() - self.mean[index]) * self.scale[index]
        standardised = (features.float() - self.mean) * self.scale
        weights = cast(Tensor, self.mix).softmax(0)
        return torch.einsum("l,lfd->fd", weights, standardised)


def statistics(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return mean and inverse deviation of each dimension of each layer over all frames, ``[layer, 1, dim]``."""
    total = sum(example.features.shape[1] for example in examples)
    sums = torch.stack([example.features.double().sum(1) for example in examples]).sum(0)
    mean = (sums / total)[:, None]
    squares = [(example.features.double() - mean).square().sum(1) for example in examples]
    variance = (torch.stack(squares).sum(0) / total)[:, None]
    return mean.float(), (variance + 1e-6).rsqrt().float()
