"""MuQ's residual quantiser, learnt by gradient descent (Zhu et al. 2025, arXiv 2501.01108; the DAC's quantiser).

A stage projects what the stages before left over to a few dimensions, takes the code that points most nearly the same
way, and projects it back (factorised and normalised codes, Yu et al. 2021, arXiv 2110.04627). The projections are under
weight norm; gradients pass the choice of a code straight through. The loss is the mean absolute error of the sum of all
stages, plus over the stages the squared distance of codes to projections (codebook), and a quarter of that of
projections to codes (commitment). A code that nothing was nearest to for `STALE` steps becomes one of the projections.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from audio_ssl.targets.clustering import nearest

COMMITMENT = 0.25
"""Weight of the commitment in the loss (MuQ: 0.25)."""

STALE = 100
"""Steps without a frame after which a code is replaced (MuQ: 100)."""

LEARNING_RATE = 3e-3
"""Of Adam; it falls to zero in a straight line. Ours: MuQ's was not at hand."""


class LearntCodes(NamedTuple):
    """What quantising gives."""

    values: Float[Tensor, "frame dim"]
    """What the codes stand for; gradients pass straight through."""

    codes: Int[Tensor, "frame codebook"]
    """Index of the code, stage by stage."""

    codebook: Tensor
    """Sum over stages of the mean square of projections (fixed) minus codes."""

    commitment: Tensor
    """The same, for projections minus codes (fixed)."""

    def loss(self, patches: Float[Tensor, "frame dim"]) -> Tensor:
        """Return what training makes small."""
        return F.l1_loss(self.values, patches) + self.codebook + COMMITMENT * self.commitment


class CodeStage(nn.Module):
    """One codebook and its projections in and out."""

    idle: Tensor

    def __init__(self, dim: int, size: int, code_dim: int) -> None:
        super().__init__()
        self.inward = parametrizations.weight_norm(nn.Linear(dim, code_dim), dim=0)
        self.outward = parametrizations.weight_norm(nn.Linear(code_dim, dim), dim=0)
        self.codes = nn.Parameter(torch.randn(size, code_dim))
        self.register_buffer("idle", torch.zeros(size))

    def forward(self, rest: Float[Tensor, "frame dim"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return value and code of each frame, and the losses of codebook and commitment."""
        projected = self.inward(rest)
        index, _ = nearest(projected.detach(), F.normalize(self.codes.detach(), dim=1))
        chosen = self.codes[index]
        codebook, commitment = F.mse_loss(chosen, projected.detach()), F.mse_loss(projected, chosen.detach())
        straight = projected + (chosen - projected).detach()
        return self.outward(straight), index, codebook, commitment

    @torch.no_grad()
    def revive(self, rest: Float[Tensor, "frame dim"], index: Int[Tensor, " frame"], generator: torch.Generator) -> int:
        """Replace codes that have been idle for `STALE` steps by projections of these frames; return how many.

        Parameters
        ----------
        rest
            What the stages before left over.
        index
            The codes that these frames took.
        generator
            On the CPU; draws the frames that take a code's place.
        """
        used = torch.bincount(index, minlength=len(self.codes)) > 0
        self.idle.add_(1).masked_fill_(used, 0)
        (stale,) = torch.nonzero(self.idle >= STALE, as_tuple=True)
        if len(stale):
            drawn = torch.randint(len(rest), (len(stale),), generator=generator).to(rest.device)
            self.codes[stale] = F.normalize(self.inward(rest[drawn]), dim=1)
            self.idle[stale] = 0
        return len(stale)


class LearntRVQ(nn.Module):
    """Stages one after the other.

    Parameters
    ----------
    dim
        Of a patch.
    codebooks, size, code_dim
        Stages, codes of each and their dimension.
    """

    def __init__(self, dim: int, codebooks: int, size: int, code_dim: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(CodeStage(dim, size, code_dim) for _ in range(codebooks))

    def forward(self, patches: Float[Tensor, "frame dim"], generator: torch.Generator | None = None) -> LearntCodes:
        """Quantise patches; with a generator, replace codes that nothing is near to."""
        rest, values = patches, torch.zeros_like(patches)
        codebook = commitment = patches.new_zeros(())
        codes = []
        for stage in self.stages:
            value, index, from_codes, from_frames = stage(rest)
            if generator is not None:
                stage.revive(rest, index, generator)  # type: ignore[operator]
            values, rest = values + value, rest - value
            codebook, commitment = codebook + from_codes, commitment + from_frames
            codes.append(index)
        return LearntCodes(values, torch.stack(codes, 1), codebook, commitment)

    @torch.no_grad()
    def state(self) -> dict[str, Tensor]:
        """Return what a teacher needs: ``inward [codebook, dim, code_dim]`` and ``outward``, their biases, codes."""
        parts: dict[str, list[Tensor]] = {}
        for stage in self.stages:
            assert isinstance(stage, CodeStage)
            for name, value in (
                ("inward", stage.inward.weight.T),
                ("inward_bias", stage.inward.bias),
                ("codes", stage.codes),
                ("outward", stage.outward.weight.T),
                ("outward_bias", stage.outward.bias),
            ):
                parts.setdefault(name, []).append(value.detach().cpu())
        return {name: torch.stack(values).contiguous() for name, values in parts.items()}


def learn(
    patches: Float[Tensor, "frame dim"],
    sizes: tuple[int, int, int],
    steps: int,
    batch: int,
    generator: torch.Generator,
) -> LearntRVQ:
    """Fit a quantiser to patches, on their device.

    Parameters
    ----------
    patches
        Drawn from the whole corpus.
    sizes
        Codebooks, codes of each, and their dimension.
    steps, batch
        Of gradient descent, and patches of each, drawn with replacement.
    generator
        On the CPU; decides where weights start and which patches are drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        model = LearntRVQ(patches.shape[1], *sizes).to(patches.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / steps)
        drawn = patches[torch.randint(len(patches), (batch,), generator=generator).to(patches.device)]
        optimizer.zero_grad(set_to_none=True)
        model(drawn, generator).loss(drawn).backward()
        optimizer.step()
    return model
