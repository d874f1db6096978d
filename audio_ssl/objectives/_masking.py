"""Span masks of wav2vec 2.0, HuBERT and MERT (fairseq's ``compute_mask_indices``, static lengths, overlaps allowed).

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

import torch
from jaxtyping import Bool, Int
from torch import Tensor


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
    """Return how many frames each of `rows` masks of `span_mask` hides, without making the masks.

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
            # Something must be left to predict, and something to predict it from.
            one = int(torch.randint(len(hidden), (), generator=generator))
            hidden[one] = ~hidden[one]
        mask[row, : len(hidden) * length] = hidden.repeat_interleave(length)
    return mask
