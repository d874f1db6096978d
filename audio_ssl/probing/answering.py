"""What a trained head says of clips of any length: batches of short ones, windows of long ones.

A clip as long as those of the probe, or shorter, is answered as a whole, like the probe's test clips, together with
others. A longer one comes in pieces of frames, and is answered in windows where the whole would not fit into memory, or
is longer than all that the head has been trained on (``data.max_seconds``):

- a head on the mean frame sees the mean over the whole clip;
- a head whose frames depend on some neighbours alone sees a window with as many on either side: the numbers of the
  whole;
- a recurrent CTC head sees windows with `context_seconds` on either side; the windows' log-probabilities are put
  together before tokens are searched;
- a head that answers once a clip sees windows without context; the mean of its scores, values or vectors by the
  windows' lengths is the answer;
- an encoder-decoder sees windows without context, whose texts follow one another.

Windows of a clip are of one length, so none is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.errors import AudioError
from audio_ssl.data.manifest import Clip
from audio_ssl.features.clips import ClipToExtract
from audio_ssl.features.pieces import Chunk, OnRefused, Piece
from audio_ssl.features.pooling import MeanPool
from audio_ssl.features.settings import Settings
from audio_ssl.probing.features import MOST_FRAMES, LayerBatch, to_half
from audio_ssl.probing.head import CTCHeadBase, HeadBatch, greedy
from audio_ssl.probing.layer_heads import LayerStatistics
from audio_ssl.probing.task import HeadOutput
from audio_ssl.probing.trained import TrainedProbe

_BATCH_CLIPS = 32
"""Short clips that a head sees together."""


class ClipAnswer(NamedTuple):
    """What the head gives for one clip."""

    item: ClipToExtract
    clip: Clip
    output: HeadOutput


@dataclass(frozen=True)
class Windows:
    """How long clips are cut; numbers are frames."""

    whole: int
    """Clips up to this length are not cut."""

    inner: int
    """Longest part of a window that counts."""

    context: int
    """Frames on either side of it that the head sees, too."""

    def of(self, total: int) -> list[Chunk]:
        """Return the windows of a clip of `total` frames.

        Examples
        --------
        >>> Windows(whole=10, inner=6, context=2).of(11)
        [Chunk(first=0, last=5, start=0, stop=7), Chunk(first=5, last=11, start=3, stop=11)]
        """
        count = 1 if total <= self.whole else -(-total // self.inner)
        edges = [total * number // count for number in range(count + 1)]
        return [Chunk(a, b, max(0, a - self.context), min(total, b + self.context)) for a, b in pairwise(edges)]


def windows_of(probe: TrainedProbe, settings: Settings) -> Windows:
    """Return how the head of a probe is shown long clips."""
    rate, reach = probe.source.grid.frame_rate_hz, probe.system.head.reach_frames
    if reach is not None:
        # The same numbers as of the whole, in less memory.
        return Windows(MOST_FRAMES, max(1, MOST_FRAMES - 2 * reach), reach)
    most = max(1, int(probe.question.data.max_seconds * rate) + 1)
    several = isinstance(probe.system.head, CTCHeadBase)
    context = min(round(settings.context_seconds * rate), most // 4) if several else 0
    return Windows(most, most - 2 * context, context)


def answer_pieces(
    found: Iterable[Piece], probe: TrainedProbe, refuse: OnRefused, settings: Settings
) -> Iterator[ClipAnswer]:
    """Yield the answer of every clip.

    Parameters
    ----------
    found
        Pieces of frames of the layers `TrainedProbe.layers`; those of a clip follow one another.
    probe
        The head, on the device of the frames.
    refuse
        Called with a clip whose frames are not finite, and the reason.
    settings
        Context of windows.
    """
    windows = windows_of(probe, settings)
    held: list[tuple[Piece, Tensor]] = []
    reader: _ClipReader | None = None
    for piece in found:
        if piece.first == 0:
            reader = _ClipReader(probe, windows, piece)
        # A later piece of a clip that was refused is skipped.
        if reader is None:
            continue
        try:
            whole = reader.add(piece)
        except AudioError as error:
            refuse(piece.clip, error.reason)
            reader = None
            continue
        if not piece.last:
            continue
        if whole is None:
            yield ClipAnswer(piece.item, piece.clip, reader.result())
            continue
        if held and not _fits(held, len(whole)):
            yield from _answer_together(held, probe)
            held = []
        held.append((piece, whole))
    if held:
        yield from _answer_together(held, probe)


def _fits(held: Sequence[tuple[Piece, Tensor]], frames: int) -> bool:
    longest = max(frames, *(len(one) for _, one in held))
    return len(held) < _BATCH_CLIPS and longest * (len(held) + 1) <= MOST_FRAMES


def _answer_together(held: Sequence[tuple[Piece, Tensor]], probe: TrainedProbe) -> Iterator[ClipAnswer]:
    frames = torch.tensor([len(one) for _, one in held], device=held[0][1].device)
    padded = torch.nn.utils.rnn.pad_sequence([one for _, one in held], batch_first=True)
    outputs = _answers(probe, HeadBatch(padded, frames))
    for (piece, _), output in zip(held, outputs, strict=True):
        yield ClipAnswer(piece.item, piece.clip, output)


class _ClipReader:
    """Takes the pieces of one clip: its mixed frames, or for the answer of a long one its windows."""

    def __init__(self, probe: TrainedProbe, windows: Windows, first: Piece) -> None:
        self._probe = probe
        self._pool = MeanPool() if probe.pooled else None
        self._total = first.total
        self._windows = windows.of(1 if probe.pooled else first.total)
        self._parts: list[Tensor] = []
        self._base = 0
        self._held: Tensor | None = None

    def add(self, piece: Piece) -> Float[Tensor, "frame dim"] | None:
        """Return all frames with the last piece of a short clip; else None.

        Raises
        ------
        AudioError
            If a frame is not finite.
        """
        layers = torch.stack(piece.layers)
        if not bool(layers.isfinite().all()):
            raise AudioError("the model's features are not finite")
        if self._pool is not None:
            # One piece is averaged as the probe averages a clip.
            if piece.first == 0 and piece.last:
                return self._mixed(layers.float().mean(1, keepdim=True))
            self._pool.add(layers)
            return self._mixed(self._pool.result()[:, None]) if piece.last else None
        mixed = self._mixed(to_half(piece.layers).float() if self._probe.rounded else layers.float())
        self._held = mixed if self._held is None else torch.cat([self._held, mixed])
        if len(self._windows) == 1 and self._base == 0:
            return self._held if piece.last else None
        self._answer_windows()
        return None

    def result(self) -> HeadOutput:
        """Return the answer of a clip whose windows have been answered."""
        probe, joined = self._probe, torch.cat(self._parts)
        head = probe.system.head
        if isinstance(head, CTCHeadBase):
            (output,) = _searched(probe, [joined])
            return output
        if probe.task.output in ("frames", "tokens"):
            return HeadOutput(joined, probe.source.grid, sharpness=head.sharpness)
        return HeadOutput(joined.sum(0), probe.source.grid, sharpness=head.sharpness)

    def _mixed(self, layers: Float[Tensor, "layer frame dim"]) -> Float[Tensor, "frame dim"]:
        system = self._probe.system
        batch = LayerBatch(layers[:, None], torch.tensor([layers.shape[1]]))
        with torch.no_grad():
            return system.batch(LayerStatistics(system.mean, system.scale).standardise(batch)).features[0]

    def _answer_windows(self) -> None:
        """Answer the windows whose frames are there, and forget what no later one needs."""
        while self._windows:
            assert self._held is not None
            window = self._windows[0]
            if window.stop > self._base + len(self._held):
                return
            seen = self._held[window.start - self._base : window.stop - self._base]
            self._parts.append(self._of_window(seen, window))
            self._windows = self._windows[1:]
            if self._windows:
                self._held = self._held[self._windows[0].start - self._base :].clone()
                self._base = self._windows[0].start

    def _of_window(self, seen: Tensor, window: Chunk) -> Tensor:
        """Return what a window adds: numbers of its frames, token ids, or its share of the clip's numbers."""
        probe, head, task = self._probe, self._probe.system.head, self._probe.task
        batch = HeadBatch(seen[None], torch.tensor([len(seen)], device=seen.device))
        inner = slice(window.first - window.start, window.last - window.start)
        if isinstance(head, CTCHeadBase):
            return head.log_probabilities(batch)[0][inner].cpu()
        (given,) = _answers(probe, batch)
        if task.output == "frames":
            return given.prediction[inner]
        if task.output == "tokens":
            # Texts of windows are words of their own.
            space = [task.classes.index(" ")] if " " in task.classes and window.first > 0 else []
            return torch.cat([torch.tensor(space, dtype=torch.long), given.prediction])
        share = (window.last - window.first) / self._total
        return given.prediction[None] * share


def _answers(probe: TrainedProbe, batch: HeadBatch) -> list[HeadOutput]:
    """Return what the head, or the search, says of some whole clips or windows."""
    head, grid = probe.system.head, probe.source.grid
    with torch.no_grad():
        if isinstance(head, CTCHeadBase):
            return _searched(probe, [row.cpu() for row in head.log_probabilities(batch)])
        found = head.predict(batch) if probe.decoder is None else probe.decoder.decode(head, batch)
    return [HeadOutput(one.cpu(), grid, sharpness=head.sharpness) for one in found]


def _searched(probe: TrainedProbe, rows: Sequence[Float[Tensor, "frame class"]]) -> list[HeadOutput]:
    """Return the tokens of clips by the log-probabilities of a CTC head."""
    found = [greedy(row.argmax(-1)) for row in rows] if probe.decoder is None else probe.decoder.search(rows)
    return [HeadOutput(one, probe.source.grid, row) for one, row in zip(found, rows, strict=True)]
