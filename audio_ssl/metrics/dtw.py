"""Dynamic time warping of many pairs at once.

Steps go to the next frame of one side or of both, each costs the distance of the frames it reaches, and the cost is
divided by the number of steps (Sakoe & Chiba 1978, without slope weights). Of equal predecessors the diagonal comes
first, then the one that stays at the same `x` frame, as in the evaluation of ZeroSpeech.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import UserError, unknown_name

Kind = Literal["cosine", "angular", "euclidean"]
KINDS = ("cosine", "angular", "euclidean")
"""Distances of frames: 1 − cosine (0 to 2), angle over π (0 to 1; what ZeroSpeech calls cosine), euclidean. A frame of
zeros is at a right angle to all."""
_BATCH_ELEMENTS = 1 << 16
_COPIED_ELEMENTS = 1 << 24
"""Numbers of frames that a batch copies, 64 MB."""


def _prepared(frames: Tensor, kind: str) -> Tensor:
    return frames if kind == "euclidean" else torch.nn.functional.normalize(frames, dim=-1)


def _between(x: Tensor, y: Tensor, kind: str) -> Tensor:
    if kind == "euclidean":
        return torch.cdist(x, y)
    cosine = (x @ y.mT).clamp(-1, 1)
    return 1 - cosine if kind == "cosine" else cosine.acos() / math.pi


def dtw(
    distances: Float[Tensor, "pair x_frame y_frame"],
    x_frames: Int[Tensor, " pair"],
    y_frames: Int[Tensor, " pair"],
    subsequence: bool = False,
    normalised: bool = True,
) -> Float[Tensor, " pair"]:
    """Return the cost of the cheapest path of each pair, over its number of steps.

    Parameters
    ----------
    distances
        Of frames; anything past a pair's frames.
    x_frames, y_frames
        Frames of both sides, at least 1.
    subsequence
        Whether the path may start and end anywhere in `y`; of all ends the one of least (divided) cost counts.
    normalised
        Whether to divide by the number of steps.
    """
    pairs, rows, columns = distances.shape
    infinite = torch.full((pairs, rows + 1), torch.inf, dtype=distances.dtype, device=distances.device)
    # A diagonal holds the cells (i, k - i), stored at i + 1; place 0 is the border.
    cost, older_cost = infinite, infinite
    steps = older_steps = torch.zeros_like(infinite)
    at = torch.arange(rows, device=distances.device)
    result = infinite[:, 0].clone()
    last = x_frames - 1
    for diagonal in range(rows + columns - 1):
        column = diagonal - at
        here = distances[:, at, column.clamp(0, columns - 1)]
        both, same_x, same_y = older_cost[:, :-1], cost[:, 1:], cost[:, :-1]
        from_both = (both <= same_x) & (both <= same_y)
        from_same_x = ~from_both & (same_x <= same_y)
        before = torch.where(from_both, both, torch.where(from_same_x, same_x, same_y))
        taken = torch.where(from_both, older_steps[:, :-1], torch.where(from_same_x, steps[:, 1:], steps[:, :-1]))
        starts = (at == 0) & ((column >= 0) if subsequence else (column == 0))
        before, taken = before.masked_fill(starts, 0.0), taken.masked_fill(starts, 0.0)
        now = torch.where((column >= 0) & (column < columns), here + before, torch.inf)
        older_cost, older_steps = cost, steps
        cost = torch.cat([infinite[:, :1], now], 1)
        steps = torch.cat([infinite[:, :1].clone().zero_(), taken + 1], 1)
        end = cost.gather(1, (last + 1)[:, None])[:, 0]
        if normalised:
            end = end / steps.gather(1, (last + 1)[:, None])[:, 0]
        end_column = diagonal - last
        ends = (end_column >= 0) & ((end_column < y_frames) if subsequence else (end_column == y_frames - 1))
        result = torch.where(ends, torch.minimum(result, end), result)
    return result


def dtw_pairs(
    xs: Sequence[Float[Tensor, "frame dim"]],
    ys: Sequence[Float[Tensor, "frame dim"]],
    pairs: Sequence[tuple[int, int]],
    kind: str = "angular",
    subsequence: bool = False,
    batch_elements: int = _BATCH_ELEMENTS,
) -> Float[Tensor, " pair"]:
    """Return the distance by dynamic time warping of pairs of sequences, in batches of similar lengths.

    Parameters
    ----------
    xs, ys
        Frames of each sequence.
    pairs
        Positions in `xs` and in `ys`.
    kind
        See `KINDS`.
    subsequence
        Whether `x` is looked for inside `y`.
    batch_elements
        Distances of frames held at once. Small batches suit a CPU's cache; a GPU takes many more.

    Raises
    ------
    UserError
        If a sequence has no frames or its frames are not finite, or for an unknown kind.
    """
    _check(kind)
    for side in (xs, ys):
        for index, frames in enumerate(side):
            if frames.shape[0] == 0 or not torch.isfinite(frames).all():
                raise UserError(
                    f"sequence {index} has " + ("frames that are not finite" if len(frames) else "no frames")
                )
        if side is xs is ys:
            break
    device = xs[0].device if xs else torch.device("cpu")
    result = torch.zeros(len(pairs), device=device)
    if not pairs:
        return result
    table = np.array(pairs, np.int64).reshape(-1, 2)
    x_frames = np.array([len(frames) for frames in xs])[table[:, 0]]
    y_frames = np.array([len(frames) for frames in ys])[table[:, 1]]
    order = np.lexsort((y_frames, x_frames))
    # Each sequence is in many pairs: its frames are scaled once.
    ready = [_prepared(frames, kind) for frames in xs]
    ready_y = ready if ys is xs else [_prepared(frames, kind) for frames in ys]
    start = 0
    while start < len(order):
        end = start + _batch_pairs(x_frames, y_frames, order[start:], batch_elements, ready[0].shape[-1])
        chosen = order[start:end]
        x = _padded([ready[index] for index in table[chosen, 0].tolist()])
        y = _padded([ready_y[index] for index in table[chosen, 1].tolist()])
        lengths = [torch.as_tensor(frames[chosen], device=device) for frames in (x_frames, y_frames)]
        found = dtw(_between(x, y, kind), lengths[0], lengths[1], subsequence)
        result[torch.as_tensor(chosen, device=device)] = found.to(result.dtype)
        start = end
    return result


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise unknown_name("distance", kind, KINDS)


def _batch_pairs(x_frames: np.ndarray, y_frames: np.ndarray, order: np.ndarray, elements: int, dim: int) -> int:
    """Return how many of the next pairs fit a batch: their padded distances, and their padded frames."""
    # No pair is smaller than one distance; looking further ahead would cost the square of the pairs.
    ahead = order[:elements]
    longest_x, longest_y = (np.maximum.accumulate(frames[ahead]) for frames in (x_frames, y_frames))
    count = np.arange(1, len(ahead) + 1)
    fits = (longest_x * longest_y * count <= elements) & ((longest_x + longest_y) * count * dim <= _COPIED_ELEMENTS)
    return max(1, int(fits.sum()))


def _padded(sequences: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
