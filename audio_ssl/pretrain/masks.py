"""Which frames are hidden from the encoder: one mask a clip or several (clones), each drawn from the crop's own key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from audio_ssl.earlier import added
from audio_ssl.errors import UserError
from audio_ssl.frontends._noise import HiddenNoise
from audio_ssl.objectives._masking import block_mask, exact_mask, span_mask
from audio_ssl.pretrain.seeds import derive_seed


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
    """What stands in the place of hidden frames: a learnt embedding at the encoder's input (HuBERT, MERT), noise in the
    waveform (MusicFM, MuQ), or noise in the frontend's spectrogram (BEST-RQ in SpeechBrain)."""

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


def masks(frames: Int[Tensor, " row"], total_frames: int, mask: Mask, keys: Sequence[int]) -> Bool[Tensor, "row frame"]:
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


def noise_for(mask: Bool[Tensor, "row frame"], width: int, std: float, keys: Sequence[int]) -> HiddenNoise:
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
    rows = []
    for count, key in zip(mask.sum(1).tolist(), keys, strict=True):
        generator = torch.Generator(mask.device).manual_seed(derive_seed(key, "noise"))
        rows.append(torch.randn(count, width, generator=generator, device=mask.device))
    values = torch.zeros(*mask.shape, width, device=mask.device)
    values[mask] = torch.cat(rows) * std
    return HiddenNoise(mask, values)
