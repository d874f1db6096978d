"""FrameGrid: the conversions between samples, frames and seconds.

Frame *i* of every grid belongs to the samples from ``i * hop_samples`` on. Grids differ in the number of frames at the
end of a clip (`edge`). A 24 kHz clip of 120,000 samples has 374 frames from a convolutional frontend
(``valid``), 375 from EnCodec (``ceil``), 376 from a centred CQT (``center``) and 375 from a centred spectrogram without
its last frame (``floor``). Targets and model frames are aligned by index, and the longer sequence is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from audio_ssl.base.errors import UserError

Edge = Literal["valid", "ceil", "center", "floor"]


@dataclass(frozen=True)
class FrameGrid:
    """How samples are divided into frames.

    Examples
    --------
    >>> FrameGrid(24000, 320, 400).num_frames(120_000)
    374
    >>> FrameGrid(24000, 320, 320, "ceil").num_frames(120_000)
    375
    >>> FrameGrid(24000, 320, 400).frame_rate_hz
    75.0
    """

    sample_rate: int
    """Samples per second."""

    hop_samples: int
    """Samples between the starts of consecutive frames."""

    window_samples: int
    """Samples of the receptive field of a frame."""

    edge: Edge = "valid"
    """``valid``: whole windows only; ``ceil``: one frame per started hop; ``center``: windows centred on hops;
    ``floor``: centred windows, one per whole hop."""

    def __post_init__(self) -> None:
        for name in ("sample_rate", "hop_samples", "window_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}")

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_samples

    @overload
    def num_frames(self, samples: int) -> int: ...
    @overload
    def num_frames(self, samples: Tensor) -> Tensor: ...
    def num_frames(self, samples: int | Tensor) -> int | Tensor:
        """Return the number of frames of `samples` samples; 0 for less than one window (``valid``)."""
        if self.edge == "valid":
            frames = (samples - self.window_samples) // self.hop_samples + 1
            if isinstance(frames, Tensor):
                return frames.clamp(min=0)
            # Not `max`, which stays in the shapes of a captured graph even where it is known to do nothing.
            return frames if frames > 0 else 0
        if self.edge == "ceil":
            return (samples + self.hop_samples - 1) // self.hop_samples
        if self.edge == "floor":
            return samples // self.hop_samples
        return samples // self.hop_samples + 1

    def num_samples(self, frames: int) -> int:
        """Return the minimum number of samples that give `frames` frames."""
        if frames <= 0:
            return 0
        if self.edge == "valid":
            return (frames - 1) * self.hop_samples + self.window_samples
        if self.edge == "ceil":
            return (frames - 1) * self.hop_samples + 1
        if self.edge == "floor":
            return frames * self.hop_samples
        return (frames - 1) * self.hop_samples

    def frame_start_samples(self, frame: int) -> int:
        """Return the first sample of a frame."""
        return frame * self.hop_samples

    def frame_center_seconds(self, frame: int) -> float:
        """Return the centre of the window of a frame, in seconds from the clip's start."""
        start = frame * self.hop_samples
        middle = start if self.edge in ("center", "floor") else start + self.window_samples / 2
        return middle / self.sample_rate

    def require_same_rate(self, other: FrameGrid, mine: str, theirs: str) -> None:
        """Raise UserError, with both rates, unless both grids have the same sample rate and hop."""
        if (self.sample_rate, self.hop_samples) != (other.sample_rate, other.hop_samples):
            raise UserError(
                f"{mine} gives {self.frame_rate_hz:g} frames/s (hop {self.hop_samples} at {self.sample_rate} Hz) but "
                f"{theirs} gives {other.frame_rate_hz:g} frames/s (hop {other.hop_samples} at {other.sample_rate} Hz)",
                remedy="give both the same sample rate and hop",
            )


def frame_mask(frames: Shaped[Tensor, " batch"], total: int) -> Bool[Tensor, "batch frame"]:
    """Return ``[batch, frame]``, True where a frame (or a sample) belongs to its clip.

    Examples
    --------
    >>> frame_mask(torch.tensor([1, 2]), 2).tolist()
    [[True, False], [True, True]]
    """
    return torch.arange(total, device=frames.device) < frames[:, None]
