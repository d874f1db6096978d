"""Codes of the model's own running average, from codebooks that follow it: DinoSR (Liu et al. 2023, arXiv 2305.10005).

The teacher hears the clean, unmasked waveform, as `ema` does. Each of its last layers has a codebook. The code of a
frame is the nearest to the layer's state, normalised over the clip's frames. Codes are moving averages of the frames
that the loss counts, the masked ones (`OnlineCodebooks`). All of it follows the model after each update, so targets
cannot be stored. It lives in the learner: in checkpoints, and never in the optimiser or a saved model.

SpidR (Poli et al. 2025, arXiv 2512.20308) has this teacher with an `exponential` decay; its student learns layer by
layer (`layer_by_layer` of the objective `masked_codes`).

A code is the sum of the frames nearest to it over their number, both moving averages: with n frames of sum s in an
update, ``sum = decay * sum + (1 - decay) * s`` and ``number = decay * number + (1 - decay) * n``. A code that has no
frame in an update stays as it is, and none is ever drawn anew. First codes are normal noise, of zero mean and unit
variance over the codes of a codebook, each with a number of one.

Statistics are added up over the micro-batches of an update and over processes, and taken in after it. So codes do not
depend on how an update is split, and a skipped update leaves them, as it leaves the statistics of `BatchNorm`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.models.model import SSLModel
from audio_ssl.models.points import Point
from audio_ssl.targets.clustering import half_squares, nearest
from audio_ssl.targets.spec import TargetSpec, TeacherTraits
from audio_ssl.targets.teachers import ema


@dataclass(frozen=True)
class Config(ema.Config):
    """Layers, average and codebooks; the defaults are DinoSR's, and those that `ema` has are data2vec's as well."""

    # The teacher is as young as these keys of `ema`, so no earlier run did without them.
    point: Point = "feed_forward"
    """Where in a layer its state is taken: its ``feed_forward`` part, before the last residual sum (DinoSR, SpidR), or
    the layer's ``output``."""

    average: ema.Average = "layers"
    """What of the encoder is averaged, the rest being the model's own: its ``layers`` and all else after the positions
    (DinoSR, SpidR), the ``transformer``, with the positions, or the whole ``encoder``, with the projection."""

    schedule: ema.Schedule = "linear"
    """How the decay rises: ``linear`` (DinoSR), or ``exponential`` towards `decay_end` (SpidR)."""

    freeze_after: int | None = 200_000
    """Updates of the model after which the average stands still (DinoSR: 200,000); null: it follows to the end. The
    codebooks follow to the end."""

    codebook_size: int = 256
    """Codes of each layer (DinoSR, SpidR: 256)."""

    codebook_decay: float = 0.9
    """Share of a code's average that stays with each update in which it has frames (DinoSR, SpidR: 0.9)."""


class OnlineClustering(ema.EmaTeacher):
    """Follows a model and gives codes of its last layers.

    Parameters
    ----------
    config
        Layers, decays and codebooks.
    model
        The model that is trained; see `EmaTeacher`.
    """

    def __init__(self, config: Config, model: SSLModel) -> None:
        super().__init__(config, model)
        self.spec = TargetSpec("codes", config.layers, config.codebook_size, model.grid)
        self.codebooks = OnlineCodebooks(config.layers, config.codebook_size, model.dim, config.codebook_decay)

    @torch.no_grad()
    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        features: tuple[Tensor, Tensor] | None = None,
        counted: Int[Tensor, "batch frame"] | None = None,
    ) -> Int[Tensor, "batch frame layer"]:
        """Return the codes of a batch; codebooks learn from the frames that are `counted`, of any number of frames."""
        states = self.states(waveform, lengths, features)
        weights = torch.zeros(states[0].shape[:2], device=waveform.device)
        if counted is not None:
            width = min(counted.shape[1], weights.shape[1])
            weights[:, :width] = counted[:, :width]
        codes: Tensor = self.codebooks(states, weights)
        return codes

    def metrics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the share of each codebook's codes that had frames in the update before, as sums and counts."""
        usage = self.codebooks.usage.clone()
        if not usage.any():
            # Before the first update there is none.
            return {}
        return {f"code_usage_{book}": (share, torch.ones_like(share)) for book, share in enumerate(usage)}

    @torch.no_grad()
    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the codebooks take in an update; every process calls this."""
        self.codebooks.follow(sum_over_processes)


def build_online(config: Config, model: SSLModel) -> OnlineClustering:
    """Make the teacher of a model; UserError for what `ema` refuses, or codebooks that cannot be."""
    ema.check_settings(config, model)
    check_at_least(config, 1, "codebook_size")
    if not 0 <= config.codebook_decay <= 1:
        raise UserError(f"`codebook_decay` must be a share between 0 and 1, but is {config.codebook_decay}")
    return OnlineClustering(config, model)


TRAITS = TeacherTraits(follow=build_online)


def build(config: Config, sample_rate: int, device: torch.device) -> OnlineClustering:
    """Refuse: the teacher is made of the model that is trained, by `build_online`."""
    raise UserError(
        "the online_clustering teacher follows the model while it is trained; it cannot be used without one",
        remedy="name it in a recipe's `teachers`, for a masked_codes objective",
    )


class OnlineCodebooks(nn.Module):
    """One codebook a layer.

    Parameters
    ----------
    codebooks, codebook_size, dim
        Sizes.
    decay
        Share of a code's average that stays with each update in which it has frames; at 1 codes never move.
    """

    sums: Tensor
    sizes: Tensor
    usage: Tensor
    _totals: Tensor
    _counts: Tensor

    def __init__(self, codebooks: int, codebook_size: int, dim: int, decay: float) -> None:
        super().__init__()
        self._decay = decay
        first = torch.randn(codebooks, dim, codebook_size)
        if codebook_size > 1:
            first = F.instance_norm(first)
        self.register_buffer("sums", first.transpose(1, 2).contiguous())
        self.register_buffer("sizes", torch.ones(codebooks, codebook_size))
        # Share of the codes that had frames in the update before; for the log alone.
        self.register_buffer("usage", torch.zeros(codebooks))
        # Of the update under way; between updates they are zero, so no checkpoint needs them.
        self.register_buffer("_totals", torch.zeros(codebooks, codebook_size, dim), persistent=False)
        self.register_buffer("_counts", torch.zeros(codebooks, codebook_size), persistent=False)

    @property
    def codes(self) -> Float[Tensor, "codebook code dim"]:
        """The codes: averages of the frames that they were nearest to."""
        return self.sums / self.sizes[..., None]

    @torch.no_grad()
    def forward(
        self, states: Sequence[Float[Tensor, "batch frame dim"]], counted: Int[Tensor, "batch frame"]
    ) -> Int[Tensor, "batch frame codebook"]:
        """Return the nearest code of every frame of each layer; in training, count what codes are used for.

        Parameters
        ----------
        states
            Of the layers, float32, one for each codebook.
        counted
            How often each frame counts for the averages.
        """
        # Distances need float32 whatever the model runs in.
        with torch.autocast(states[0].device.type, enabled=False):
            return torch.stack([self._label(state, book, counted) for book, state in enumerate(states)], -1)

    def _label(self, state: Tensor, book: int, counted: Tensor) -> Int[Tensor, "batch frame"]:
        codes = self.sums[book] / self.sizes[book][:, None]
        frames = state.flatten(0, 1)
        index, _ = nearest(frames, codes, half_squares(codes))
        if self.training:
            weights = counted.flatten().to(frames.dtype)
            rows = weights.nonzero()[:, 0]
            weights, found = weights[rows], index[rows]
            self._counts[book].index_add_(0, found, weights)
            self._totals[book].index_add_(0, found, frames[rows] * weights[:, None])
        return index.reshape(state.shape[:2])

    @torch.no_grad()
    def follow(self, sum_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Let the codes take in the frames counted since the last call.

        Parameters
        ----------
        sum_over_processes
            Adds a tensor up over the processes that share the update; every one of them calls this.
        """
        # One sum for both: each is a word with every other process.
        gathered = sum_over_processes(torch.cat([self._totals, self._counts[..., None]], -1))
        totals, counts = gathered[..., :-1], gathered[..., -1]
        used = counts > 0
        keep = torch.where(used, self._decay, 1.0)
        self.sums.mul_(keep[..., None]).add_((1 - keep)[..., None] * totals)
        self.sizes.mul_(keep).add_((1 - keep) * counts)
        self.usage.copy_(used.float().mean(1))
        self._totals.zero_()
        self._counts.zero_()
