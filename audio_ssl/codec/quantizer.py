"""The encodec package's residual vector quantiser, mended for training.

The package was released for inference, and its training path has three defects. (1) Every layer passes its input's
gradient on, and the residual is taken from that, so that the commitment loss reaches the encoder from the first
codebook only; here residuals are taken from detached codes and gradients go straight through once, as in SoundStream
(Zeghidour et al. 2021, arXiv 2107.03312). (2) Dead codes are replaced in ``embed`` only, which the moving average
overwrites in the same step; here the average is replaced with them. (3) The moving average starts with the mean of
each cluster where it keeps sums, so that codes shrink in the first steps. Inference is the package's own.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from encodec.quantization.core_vq import EuclideanCodebook, ResidualVectorQuantization, sample_vectors
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """What quantising gives."""

    values: Tensor
    """``[batch, dim, frame]``; gradients pass straight through."""

    codes: Tensor
    """``[batch, codebook, frame]``."""

    commitment: Tensor
    """Mean over codebooks of the mean squared distance between residual and code."""


class ResidualQuantizer(nn.Module):
    """Residual quantiser with moving-average codebooks, k-means start and revival of dead codes.

    Parameters
    ----------
    dim, codebooks, codebook_size
        Sizes.
    decay
        Of the moving average.
    dead_below
        A code whose average count per batch falls below this is replaced by a frame of the batch.
    """

    def __init__(self, dim: int, codebooks: int, codebook_size: int, decay: float, dead_below: int) -> None:
        super().__init__()
        self.rvq = ResidualVectorQuantization(
            num_quantizers=codebooks,
            dim=dim,
            codebook_size=codebook_size,
            decay=decay,
            kmeans_init=True,
            kmeans_iters=10,
            threshold_ema_dead_code=dead_below,
        )
        for layer in self.rvq.layers:
            # Same buffers, same inference; only the replacement of dead codes differs.
            layer._codebook.__class__ = _Codebook

    def forward(self, latent: Float[Tensor, "batch dim frame"]) -> Quantized:
        """Quantise; in training, update the codebooks."""
        residual = latent
        total = torch.zeros_like(latent)
        codes, commitment = [], latent.new_zeros(())
        for layer in self.rvq.layers:
            values, indices = layer._codebook(residual.detach().transpose(1, 2))
            values = values.transpose(1, 2).detach()
            commitment = commitment + F.mse_loss(residual, values)
            residual, total = residual - values, total + values
            codes.append(indices)
        straight = latent + (total - latent).detach()
        return Quantized(straight, torch.stack(codes, dim=1), commitment / len(codes))

    def encode(self, latent: Float[Tensor, "batch dim frame"]) -> Int[Tensor, "batch codebook frame"]:
        """Return the codes."""
        return cast(Tensor, self.rvq.encode(latent)).transpose(0, 1)

    def decode(self, codes: Int[Tensor, "batch codebook frame"]) -> Float[Tensor, "batch dim frame"]:
        """Return the sum of the codes' vectors."""
        return cast(Tensor, self.rvq.decode(codes.transpose(0, 1)))


class _Codebook(EuclideanCodebook):  # type: ignore[misc]
    def init_embed_(self, data: Tensor) -> None:
        if not self.inited:
            super().init_embed_(data)
            # The average is a sum over a code's frames; the package starts it with their mean.
            self.embed_avg.data.mul_(self.cluster_size[:, None])

    def replace_(self, samples: Tensor, mask: Tensor) -> None:
        fresh = sample_vectors(samples, self.codebook_size)
        size = float(self.threshold_ema_dead_code)
        self.embed.data[mask] = fresh[mask]
        self.embed_avg.data[mask] = fresh[mask] * size
        self.cluster_size.data[mask] = size
