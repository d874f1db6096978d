"""Which frames are hidden from the encoder: one mask a clip or several (clones), each drawn from the crop's own key.

Span masks of wav2vec 2.0, HuBERT and MERT (fairseq's ``compute_mask_indices``, static lengths, overlaps allowed).

``int(prob * frames / length + U[0, 1))`` spans, at least `min_masks`, start at places drawn without replacement; with
``prob`` 0.8 and ``length`` 10 about 55 % of the frames are masked, as spans overlap.

fairseq then trims all masks of a batch to the smallest (``require_same_masks``): frames drawn at random are given back,
so fewer are masked and runs are shorter than a span. The batch is a GPU's, of clips of one length. Here a clip draws
the other masks of such a batch from its own generator and is trimmed to the smallest of them, so its mask has the
published statistics and still depends on no neighbour.

data2vec 2.0 (Baevski et al. 2022, arXiv 2212.07525; fairseq's ``compute_block_mask_1d``) masks a share exactly. Its
options of inverse masks, of masks that grow at their edges and of dropped ones, which its audio models leave off, are
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import derive_seed
from audio_ssl.base.versions import added
from audio_ssl.models.padding import HiddenNoise


@dataclass(frozen=True)
class Mask:
    """Which frames are hidden from the encoder."""

    prob: float = 0.8
    """Share of frames that spans would mask if none overlapped (MERT, HuBERT: 0.8, which masks 54 to 57 %); the chance
    of a block with `blocks`, and the share itself with `adjust`."""

    length_frames: int = 5
    """Length of a span or block, in frames (MERT: 5 at 75 Hz; HuBERT: 10 at 50 Hz)."""

    min_masks: int = 2
    """Fewest spans of a clip (MERT, HuBERT)."""

    trim_frames: int | None = added(None)
    """Frames of a batch (HuBERT: 87.5 s, so 4375). fairseq trims all masks of a GPU's batch to the smallest, by giving
    back frames at random (`require_same_masks`). Here a clip's mask is trimmed to the smallest of as many masks as
    clips of its length fill such a batch, all drawn from its own key. null: not trimmed."""

    adjust: float | None = None
    """Mask exactly the share `prob`: spans are drawn for `prob` + `adjust`, single frames make up the difference
    (data2vec 2.0: 0.05), so that clips of one length need no padding; null: as many frames as the spans cover."""

    blocks: bool = added(False)
    """Cut the clip into blocks of `length_frames` and hide each with the chance `prob` (MusicFM, MuQ); false: draw the
    starts of spans that may overlap."""

    clones: int = 1
    """Masks of a clip; frontend and teachers run once for all of them (data2vec 2.0: 8)."""

    fill: Literal["embedding", "waveform_noise", "feature_noise"] = added("embedding")
    """What replaces hidden frames: a learnt embedding at the encoder's input (HuBERT, MERT), noise in the waveform
    (MusicFM, MuQ), or noise in the frontend's spectrogram (BEST-RQ in SpeechBrain)."""

    noise_std: float = added(0.1)
    """Standard deviation of the noise, whose mean is 0 (BEST-RQ, MusicFM, MuQ: 0.1)."""

    def check(self, where: str) -> None:
        """Raise UserError where a value makes no sense."""
        if not 0 < self.prob <= 1:
            raise UserError(f"`prob` must be a share above 0 and at most 1, but is {self.prob}", where=f"{where}.prob")
        for name in ("length_frames", "min_masks", "clones"):
            if getattr(self, name) < 1:
                raise UserError(f"must be at least 1, but is {getattr(self, name)}", where=f"{where}.{name}")
        if self.adjust is not None and not (self.prob < 1 and self.prob + self.adjust >= 0):
            raise UserError(
                f"with `adjust`, `prob` must be below 1 and the sum of both at least 0, but `prob` is {self.prob} and "
                f"`adjust` {self.adjust}",
                where=f"{where}.adjust",
            )
        if self.trim_frames is not None and self.trim_frames < 1:
            raise UserError(f"must be at least 1, but is {self.trim_frames}", where=f"{where}.trim_frames")
        if self.trim_frames is not None and (self.blocks or self.adjust is not None):
            name = "blocks" if self.blocks else "adjust"
            raise UserError(
                f"`trim_frames` trims spans, which `{name}` does not draw: they exclude each other",
                where=f"{where}.trim_frames",
                remedy="leave one of them out",
            )
        if self.blocks and self.adjust is not None:
            raise UserError(
                "`adjust` adds frames to spans, and `blocks` draws no spans: they exclude each other",
                where=f"{where}.blocks",
                remedy="leave one of them out",
            )
        if self.fill != "embedding" and self.clones > 1:
            raise UserError(
                f"`clones` must be 1 where `fill` is {self.fill}, as clones share what the frontend gives, but is "
                f"{self.clones}",
                where=f"{where}.clones",
            )
        if not self.noise_std >= 0:
            raise UserError(f"must not be negative, but is {self.noise_std}", where=f"{where}.noise_std")


def draw_masks(
    frames: Int[Tensor, " row"], total_frames: int, mask: Mask, keys: Sequence[int]
) -> Bool[Tensor, "row frame"]:
    """Draw each row's mask from its own key, so that it is the same in whatever batch the crop lands.

    Parameters
    ----------
    frames
        Of each row; a crop with clones has several.
    total_frames
        Width of the batch.
    mask
        What is masked.
    keys
        Of each row, see `clone_keys`.
    """
    return torch.cat([_row(frames[row : row + 1].cpu(), total_frames, mask, key) for row, key in enumerate(keys)])


def _row(frames: Tensor, total_frames: int, mask: Mask, key: int) -> Tensor:
    generator = torch.Generator().manual_seed(key)
    if mask.blocks:
        return block_mask(frames, total_frames, mask.prob, mask.length_frames, generator)
    if mask.adjust is not None:
        return exact_mask(frames, total_frames, mask.prob, mask.length_frames, mask.adjust, generator)
    return span_mask(frames, total_frames, mask.prob, mask.length_frames, mask.min_masks, generator, mask.trim_frames)


def clone_keys(keys: Sequence[int], clones: int) -> tuple[int, ...]:
    """Return a key for each clone of each crop, a crop's clones one after the other; the first has the crop's own.

    Examples
    --------
    >>> clone_keys((7, 9), 2) == (7, derive_seed(7, "clone", 1), 9, derive_seed(9, "clone", 1))
    True
    """
    return tuple(derive_seed(key, "clone", number) if number else key for key in keys for number in range(clones))


def hidden_noise(mask: Bool[Tensor, "row frame"], width: int, std: float, keys: Sequence[int]) -> HiddenNoise:
    """Draw normal noise for the hidden frames, each row's from its own key; a GPU draws other numbers than a CPU.

    Parameters
    ----------
    mask
        What is hidden.
    width
        Numbers of a frame.
    std
        Standard deviation.
    keys
        Of each row.
    """
    values = torch.zeros(*mask.shape, width, device=mask.device)
    values[mask] = noise_frames(mask, width, keys) * std
    return HiddenNoise(mask, values)


def noise_frames(mask: Bool[Tensor, "row frame"], width: int, keys: Sequence[int]) -> Float[Tensor, "hidden width"]:
    """Draw standard normal numbers for every hidden frame, row after row, each row's from its own key."""
    rows = []
    for count, key in zip(mask.sum(1).tolist(), keys, strict=True):
        generator = torch.Generator(mask.device).manual_seed(derive_seed(key, "noise"))
        rows.append(torch.randn(count, width, generator=generator, device=mask.device))
    return torch.cat(rows)


def span_mask(
    frames: Int[Tensor, " batch"],
    total_frames: int,
    prob: float,
    length_frames: int,
    min_masks: int,
    generator: torch.Generator,
    trim_frames: int | None = None,
) -> Bool[Tensor, "batch frame"]:
    """Draw masks on the CPU.

    Parameters
    ----------
    frames
        Frames of each clip; nothing past them is masked.
    total_frames
        Width of the batch.
    prob
        Masked share if no spans overlapped.
    length_frames
        Length of a span. A clip too short for it is masked with spans of half its frames. No span reaches a clip's last
        frame, as in fairseq, so something is always left to predict from.
    min_masks
        Fewest spans of a clip.
    generator
        Where the chance comes from.
    trim_frames
        Frames of the batch whose smallest mask each is trimmed to; None: not trimmed.
    """
    mask = torch.zeros(len(frames), total_frames, dtype=torch.bool)
    for row, count in enumerate(frames.tolist()):
        if count < 2:
            continue
        length = _span_length(count, length_frames)
        wanted = max(min_masks, int(prob * count / length_frames + float(torch.rand((), generator=generator))))
        starts = torch.randperm(count - length, generator=generator)[:wanted]
        mask[row, (starts[:, None] + torch.arange(length)).flatten()] = True
        others = 0 if trim_frames is None else trim_frames // count - 1
        if others > 0:
            fewest = int(masked_counts(others, count, prob, length_frames, min_masks, generator).min())
            masked = mask[row].nonzero()[:, 0]
            given_back = torch.randperm(len(masked), generator=generator)[: max(0, len(masked) - fewest)]
            mask[row, masked[given_back]] = False
    return mask


def masked_counts(
    rows: int, frames: int, prob: float, length_frames: int, min_masks: int, generator: torch.Generator
) -> Int[Tensor, " row"]:
    """Return how many frames each of `rows` masks of `span_mask` would hide, without making the masks.

    Parameters
    ----------
    rows
        Masks to draw.
    frames
        Frames of the clip, at least 2.
    prob, length_frames, min_masks, generator
        As of `span_mask`.
    """
    length = _span_length(frames, length_frames)
    wanted = (prob * frames / length_frames + torch.rand(rows, generator=generator)).long().clamp(min=min_masks)
    # The places of the highest of random numbers are starts; a frame is hidden where a span has begun but not ended.
    places = (
        torch.rand(rows, frames - length, generator=generator).topk(min(int(wanted.max()), frames - length)).indices
    )
    change = torch.zeros(rows, frames, dtype=torch.int32)
    begins = (torch.arange(places.shape[1]) < wanted[:, None]).int()
    change.scatter_add_(1, places, begins).scatter_add_(1, places + length, -begins)
    begun = change.cumsum(1)
    return (begun > 0).sum(1)


def _span_length(frames: int, length_frames: int) -> int:
    """Return the length of the spans of a clip; one too short for whole ones gets spans of half its frames."""
    return length_frames if frames > length_frames else frames // 2


def exact_mask(
    frames: Int[Tensor, " batch"],
    total_frames: int,
    share: float,
    length_frames: int,
    adjust: float,
    generator: torch.Generator,
) -> Bool[Tensor, "batch frame"]:
    """Draw masks of exactly ``int(share * frames)`` frames of each clip, on the CPU.

    Parameters
    ----------
    frames
        Frames of each clip; nothing past them is masked. Of two frames or more, one at least is masked and one is not.
    total_frames
        Width of the batch.
    share
        Masked share of the frames.
    length_frames
        Length of a span; spans may overlap, and those at an edge are cut.
    adjust
        Spans are drawn for ``share + adjust``; frames drawn one by one are then masked, or unmasked, until the number
        is right.
    generator
        Where the chance comes from.
    """
    mask = torch.zeros(len(frames), total_frames, dtype=torch.bool)
    around = torch.arange(length_frames) - length_frames // 2
    for row, count in enumerate(frames.tolist()):
        if count < 2:
            continue
        wanted = min(max(1, int(share * count)), count - 1)
        spans = int(count * (share + adjust) / length_frames)
        centres = torch.randint(count, (spans, 1), generator=generator)
        mask[row, (centres + around).flatten().clamp(0, count - 1)] = True
        extra = int(mask[row].sum()) - wanted
        chosen = (mask[row, :count] == (extra > 0)).nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[: abs(extra)]]
        mask[row, chosen] = extra < 0
    return mask


def block_mask(
    frames: Int[Tensor, " batch"], total_frames: int, prob: float, length_frames: int, generator: torch.Generator
) -> Bool[Tensor, "batch frame"]:
    """Hide whole blocks by chance, on the CPU (MusicFM, Won et al. 2023, arXiv 2311.03318; MuQ).

    Parameters
    ----------
    frames
        Frames of each clip; what is left of it after the last whole block stays visible.
    total_frames
        Width of the batch.
    prob
        Chance of each block; where none or all of several would be hidden, one of them is turned over.
    length_frames
        Length of a block. A clip of fewer than two blocks is cut into two halves.
    generator
        Where the chance comes from.
    """
    mask = torch.zeros(len(frames), total_frames, dtype=torch.bool)
    for row, count in enumerate(frames.tolist()):
        if count < 2:
            continue
        length = min(length_frames, count // 2)
        hidden = torch.rand(count // length, generator=generator) < prob
        if bool(hidden.all()) or not bool(hidden.any()):
            # Something must be hidden, and something visible.
            one = int(torch.randint(len(hidden), (), generator=generator))
            hidden[one] = ~hidden[one]
        mask[row, : len(hidden) * length] = hidden.repeat_interleave(length)
    return mask
