"""A linear layer trained with CTC, several times as fast on a core as through autograd and torch's loss.

The gradient of CTC by a linear layer's scores is the softmax less the share of each symbol among the paths (Graves et
al. 2006, equation 16). So it takes no more than a forward-backward pass in probabilities, scaled frame by frame
(Rabiner 1989). A test holds it to `torch.nn.functional.ctc_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt
import torch
from _linear_layer import LinearLayer, fit_layer  # type: ignore[import-not-found]
from torch import Tensor

Array = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

BATCH = 16


def read(layer: LinearLayer, frames: Tensor) -> list[int]:
    """Return the symbols of a clip, the likeliest of each frame, without repeats and blanks (number 0)."""
    best = torch.unique_consecutive(layer(frames).argmax(-1)).tolist()
    return [number for number in best if number]


def fit(frames: Sequence[Tensor], texts: Sequence[Sequence[int]], symbols: int, steps: int, seed: int) -> LinearLayer:
    """Train a layer with batches of clips of like length in random order.

    Parameters
    ----------
    frames
        ``[frame, dim]`` of each clip. Clips with hardly more frames than symbols are left out.
    texts
        The symbols of each clip, numbers from 1.
    symbols
        How many there are, the blank included.
    steps
        Updates.
    seed
        Of the first weights and the order.
    """
    usable = [i for i, (one, text) in enumerate(zip(frames, texts, strict=True)) if len(one) > 1.2 * len(text) + 2]
    usable.sort(key=lambda i: len(frames[i]))
    batches = [_Packed([frames[i] for i in part], [texts[i] for i in part]) for part in _cut(usable, BATCH)]
    rng = np.random.default_rng(seed)

    def batch(layer: LinearLayer) -> tuple[Tensor, Tensor]:
        chosen = batches[int(rng.integers(len(batches)))]
        return chosen.frames, chosen.loss(layer(chosen.frames))[1]

    return fit_layer(frames[usable[0]].shape[1], symbols, steps, seed, batch)


def _cut(items: Sequence[int], size: int) -> list[Sequence[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


class _Packed:
    """Clips one after another, without padding."""

    def __init__(self, frames: Sequence[Tensor], texts: Sequence[Sequence[int]]) -> None:
        self.frames = torch.cat(list(frames))
        self.frame_ends = np.cumsum([len(one) for one in frames])
        self.text_ends = np.cumsum([len(one) for one in texts])
        self.symbols = np.array([number for text in texts for number in text], np.int64)

    def loss(self, scores: Tensor) -> tuple[float, Tensor]:
        """Return torch's ``ctc_loss`` (mean over clips of each loss by its symbols) and its gradient by the scores."""
        found = scores.softmax(-1).numpy()
        loss = float(_occupancy(found, self.frame_ends, self.symbols, self.text_ends))
        return loss, torch.from_numpy(found)


@numba.njit(cache=True, fastmath=True)  # type: ignore[untyped-decorator]
def _occupancy(found: Array, frame_ends: Numbers, symbols: Numbers, text_ends: Numbers) -> float:  # pragma: no cover
    """Turn probabilities ``[frame, symbol]`` into the gradient by the scores, in place; return the loss.

    Rows of states have two zeros at each end, so that the inner loops have no branches.
    """
    clips, total = len(frame_ends), 0.0
    for clip in range(clips):
        first = frame_ends[clip - 1] if clip else 0
        begin = text_ends[clip - 1] if clip else 0
        frames, length = frame_ends[clip] - first, text_ends[clip] - begin
        states, share = 2 * length + 1, 1.0 / (clips * max(1, length))
        symbol, skips = np.zeros(states, np.int64), np.zeros(states + 4)
        for i in range(length):
            symbol[2 * i + 1] = symbols[begin + i]
            skips[2 * i + 3] = i > 0 and symbols[begin + i] != symbols[begin + i - 1]
        given, ahead = np.zeros((frames, states + 4)), np.zeros((frames + 1, states + 4))
        scale = np.zeros(frames)
        # A state before the first frame: its two followers are the first blank and the first symbol.
        ahead[0, 2] = 1.0
        for t in range(frames):
            for s in range(states):
                given[t, s + 2] = found[first + t, symbol[s]]
            old, new, now = ahead[t], ahead[t + 1], given[t]
            norm = 0.0
            for s in range(2, states + 2):
                one = (old[s] + old[s - 1] + skips[s] * old[s - 2]) * now[s]
                new[s] = one
                norm += one
            scale[t] = norm
            if norm <= 0.0:
                break
            for s in range(2, states + 2):
                new[s] /= norm
        ends = ahead[frames, states + 1] + (ahead[frames, states] if states > 1 else 0.0)
        if scale[frames - 1] <= 0.0 or ends <= 0.0:
            # No path, as torch's `zero_infinity`.
            found[first : first + frames] = 0.0
            continue
        total -= share * (np.log(scale).sum() + np.log(ends))
        behind, earlier = np.zeros(states + 4), np.zeros(states + 4)
        behind[states + 1] = behind[states] = 1.0 / ends
        behind[0] = behind[1] = 0.0
        for t in range(frames - 1, -1, -1):
            new, now = ahead[t + 1], given[t]
            for k in range(found.shape[1]):
                found[first + t, k] *= share
            for s in range(states):
                found[first + t, symbol[s]] -= share * new[s + 2] * behind[s + 2]
            for s in range(2, states + 2):
                now[s] *= behind[s] / scale[t]
            for s in range(2, states + 2):
                earlier[s] = now[s] + now[s + 1] + skips[s + 2] * now[s + 2]
            behind, earlier = earlier, behind
    return total
