"""Product quantiser with Gumbel softmax: the targets of wav2vec 2.0.

Baevski et al. 2020 (arXiv 2006.11477, section 2); Gumbel softmax: Jang et al. 2016 (arXiv 1611.01144).
A frame gets one code from each codebook; the vectors of the codes stand side by side. In training the code is the
largest of logits and noise, and the gradient that of the softmax (straight through).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class GumbelQuantized:
    """What becomes of frames."""

    vectors: Float[Tensor, "row dim"]
    """The chosen codes' vectors, side by side."""

    codes: Int[Tensor, "row codebook"]
    """The chosen codes."""

    use: Float[Tensor, "codebook code"]
    """Mean probability of each code over the frames, by the softmax of the logits."""


class GumbelQuantizer(nn.Module):
    """Chooses codes for frames.

    Parameters
    ----------
    input_dim
        Width of the frames.
    codebooks, codebook_size
        wav2vec 2.0: 2 and 320.
    dim
        Width of a quantised frame; a code is ``dim / codebooks`` wide.
    """

    def __init__(self, input_dim: int, codebooks: int, codebook_size: int, dim: int) -> None:
        super().__init__()
        self.choice = nn.Linear(input_dim, codebooks * codebook_size)
        nn.init.normal_(self.choice.weight, std=1.0)
        nn.init.zeros_(self.choice.bias)
        self.vectors = nn.Parameter(torch.empty(codebooks, codebook_size, dim // codebooks).uniform_())

    def forward(
        self, frames: Float[Tensor, "row dim"], temperature: float, noise: Float[Tensor, "row codebook code"] | None
    ) -> GumbelQuantized:
        """Quantise frames.

        Parameters
        ----------
        frames
            One frame a row.
        temperature
            Of the Gumbel softmax.
        noise
            Exponential noise; its negative logarithm is added to the logits. None: the largest logit wins, and no
            gradient reaches the choice.
        """
        logits = self.choice(frames).float().unflatten(-1, self.vectors.shape[:2])
        # float32 also under autocast: probabilities near one would lose their gradient.
        with torch.autocast(frames.device.type, enabled=False):
            if noise is None:
                codes = logits.argmax(-1)
                chosen = F.one_hot(codes, logits.shape[-1]).to(logits)
            else:
                soft = ((logits - noise.log()) / temperature).softmax(-1)
                codes = soft.argmax(-1)
                chosen = F.one_hot(codes, logits.shape[-1]) - soft.detach() + soft
            vectors = torch.einsum("ngv,gvd->ngd", chosen, self.vectors.float()).flatten(1)
            return GumbelQuantized(vectors, codes, logits.softmax(-1).sum(0) / max(1, len(frames)))


def perplexity(use: Float[Tensor, "codebook code"]) -> Float[Tensor, " codebook"]:
    """Return the exponential of each codebook's entropy: how many codes would be used if all equally."""
    return torch.exp(-(use * torch.log(use + 1e-7)).sum(-1))
