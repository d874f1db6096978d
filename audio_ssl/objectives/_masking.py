"""Span masks of wav2vec 2.0, HuBERT and MERT (fairseq's ``compute_mask_indices``, static lengths, overlaps allowed).

``int(prob * frames / length + U[0, 1))`` spans, at least `min_masks`, start at places drawn without replacement; with
``prob`` 0.8 and ``length`` 10 about 55 % of the frames are masked, as spans overlap.
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
        Length of a span. A clip too short for it is masked with spans of half its frames (at least one stays visible).
    min_masks
        Fewest spans of a clip.
    generator
        Where the chance comes from.
    """
    mask = torch.zeros(len(frames), total_frames, dtype=torch.bool)
    for row, count in enumerate(frames.tolist()):
        if count < 2:
            continue
        length = length_frames if count > length_frames else count // 2
        wanted = max(min_masks, int(prob * count / length_frames + float(torch.rand((), generator=generator))))
        starts = torch.randperm(count - length, generator=generator)[:wanted] if count > length else torch.zeros(1)
        mask[row, (starts[:, None].long() + torch.arange(length)).flatten()] = True
        if bool(mask[row, :count].all()):
            # Something must be left to predict from.
            mask[row, int(torch.randint(count, (), generator=generator))] = False
    return mask
