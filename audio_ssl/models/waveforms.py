"""What a model takes, checked in one place: a padded batch of waveforms and the samples of each.

Shapes and types are looked at on every call, which costs nothing and stays out of compiled graphs. Values are looked at
where a user calls a model, in one answer from the device, and not in training, whose batches come from our loader.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import frame_mask

_MOST_CHANNELS = 8
"""Of a waveform that may have been given with its channels last."""
_UNSCALED = 100.0
"""Samples above this are integers that were not scaled; loud samples are not far above 1."""


def check_shapes(waveform: Tensor, lengths: Tensor | None) -> None:
    """Raise UserError unless these are ``[batch, sample]``, floating, and ``[batch]``, whole numbers."""
    if not isinstance(waveform, Tensor):
        raise UserError(
            f"`waveform` must be a tensor, but is {type(waveform).__name__}", remedy="torch.as_tensor(waveform)"
        )
    shape = list(waveform.shape)
    if waveform.ndim == 3:
        raise UserError(
            f"`waveform` must be [batch, sample], but is {shape}", remedy="mix its channels: waveform.mean(1)"
        )
    if waveform.ndim != 2:
        raise UserError(
            f"`waveform` must be [batch, sample], but is {shape}", remedy="one clip is waveform.reshape(1, -1)"
        )
    if not waveform.is_floating_point():
        scale = f" / {-torch.iinfo(waveform.dtype).min}" if _is_signed(waveform.dtype) else ""
        raise UserError(
            f"`waveform` must have floating samples from -1 to 1, but is {_name(waveform.dtype)}",
            remedy=f"waveform.float(){scale}",
        )
    if 0 in shape:
        raise UserError(f"`waveform` must have at least one clip and one sample, but is {shape}")
    if lengths is None:
        return
    if not isinstance(lengths, Tensor):
        raise UserError(
            f"`lengths` must be a tensor, but is {type(lengths).__name__}", remedy="torch.as_tensor(lengths)"
        )
    if lengths.shape == waveform.shape and shape[1] > 1:
        raise UserError(
            f"`lengths` must be [batch], the samples of each clip, but is {shape} like a mask",
            remedy="count the samples: attention_mask.sum(1)",
        )
    if list(lengths.shape) != shape[:1]:
        raise UserError(f"`lengths` must be [{shape[0]}], one number a clip, but is {list(lengths.shape)}")
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise UserError(
            f"`lengths` must be whole numbers of samples, but is {_name(lengths.dtype)}",
            remedy="of fractions: (lengths * waveform.shape[1]).round().long()",
        )


def checked_batch(
    waveform: Float[Tensor, "*batch sample"],
    lengths: Int[Tensor, " batch"] | Sequence[int] | None,
    *,
    shortest_samples: int,
    like: Tensor,
    normalized: bool = True,
) -> tuple[Float[Tensor, "batch sample"], Int[Tensor, " batch"]]:
    """Return a user's waveforms and lengths in the form that a model takes.

    Parameters
    ----------
    waveform
        ``[batch, sample]``, or ``[sample]``, one clip.
    lengths
        Samples of each clip; None: all are whole.
    shortest_samples
        How many give a frame.
    like
        A weight of the model: the waveform gets its type, and must lie where it lies.
    normalized
        Whether the model scales waveforms itself.

    Raises
    ------
    UserError
        If shape, type, lengths or samples are not what a model can use; it says what to do.
    """
    if isinstance(waveform, Tensor) and waveform.ndim == 1:
        waveform = waveform[None]
    if lengths is not None and not isinstance(lengths, Tensor):
        lengths = torch.as_tensor(lengths)
    if isinstance(lengths, Tensor) and lengths.ndim == 0:
        lengths = lengths[None]
    check_shapes(waveform, lengths)
    if waveform.device != like.device:
        raise UserError(
            f"`waveform` lies on {waveform.device} and the model on {like.device}",
            remedy=f'waveform.to("{like.device}"), or move the model',
        )
    waveform = waveform.to(like.dtype)
    if lengths is None:
        lengths = torch.full((len(waveform),), waveform.shape[1], device=waveform.device)
    lengths = lengths.to(waveform.device, torch.long)
    if not torch.compiler.is_compiling():
        _check_values(waveform, lengths, shortest_samples, normalized)
    return waveform, lengths


def _check_values(waveform: Tensor, lengths: Tensor, shortest: int, normalized: bool) -> None:
    samples = waveform.shape[1]
    inside = frame_mask(lengths, samples)
    # NaN and infinity are above every limit; what lies past a clip's length has no influence.
    peaks = torch.where(inside, waveform.detach(), 0.0).abs().nan_to_num(torch.inf, torch.inf).amax(1).double()
    for clip, (length, peak) in enumerate(torch.stack([lengths.double(), peaks], 1).tolist()):
        if length > samples or length < 0:
            raise UserError(
                f"`lengths` must be at most the {samples} samples of the batch, but is {length:.0f} for clip {clip}",
                remedy="lengths are samples of each clip at the model's rate, before padding",
            )
        if length < shortest:
            channels = waveform.shape[0] > samples <= _MOST_CHANNELS
            raise UserError(
                f"clip {clip} of the batch has {length:.0f} samples, and a frame needs {shortest}",
                remedy="the channels are last: give waveform.mean(-1)" if channels else "pad it or leave it out",
            )
        if peak == float("inf"):
            raise UserError(f"clip {clip} of the batch has NaN or infinite samples", remedy="leave it out")
        if not normalized and peak > _UNSCALED:
            raise UserError(
                f"`waveform` must lie between -1 and 1, but clip {clip} reaches {peak:.0f}",
                remedy="of 16-bit samples: waveform / 32768",
            )


def _is_signed(dtype: torch.dtype) -> bool:
    return dtype in (torch.int8, torch.int16, torch.int32, torch.int64)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
