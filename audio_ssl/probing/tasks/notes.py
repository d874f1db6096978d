"""Notes: which of the 88 keys of a piano sound in every frame (multi-pitch estimation, transcription).

A sigmoid a key and frame, as in the transcription of MAPS, MAESTRO and MusicNet. The main score is the average
precision of the activations over all frames and keys, which needs no threshold. Runs of frames above the threshold are
notes, and so have an F-measure of notes, too; with `onsets` a second sigmoid says where a key is struck, so that a
repeated note is two (Hawthorne et al. 2018, arXiv 1710.11153).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.clip_predictions import ClipPrediction, NoteEvent
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.data.time_columns import notes_column
from audio_ssl.metrics.families.music import activation_counts, read_notes
from audio_ssl.metrics.metric import Array
from audio_ssl.probing.task import HeadOutput, TimesTask

LOWEST_KEY, KEYS = 21, 88
"""MIDI pitch of a piano's lowest key, and how many there are."""

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Config:
    """What a frame's target is, and how activations become notes."""

    onsets: bool = False
    """Predict onsets as well: 88 more activations."""

    threshold: float = 0.5
    """Probability above which a key sounds (Hawthorne et al.: 0.5)."""

    shortest_seconds: float = 0.05
    """Notes that are shorter are left out; 0: none."""


class Notes(TimesTask):
    """Notes of the column ``notes``."""

    kind = "notes"
    metrics: tuple[str, ...] = ("frame_ap", "frame_f1", "note_f1")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        shown = f"threshold {config.threshold:g}|shortest {config.shortest_seconds:g} s"
        self.signature = f"{KEYS} keys{' and onsets' if config.onsets else ''}|{shown}"

    @property
    def classes(self) -> list[str]:
        """Return the keys, then their onsets where these are targets."""
        keys = [f"{_NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in range(LOWEST_KEY, LOWEST_KEY + KEYS)]
        return keys + [f"{key} struck" for key in keys] if self._config.onsets else keys

    def why_not_text(self, text: str) -> str | None:
        """Return why notes cannot be used, or None."""
        _, pitches = read_notes(text)
        inside = (pitches >= LOWEST_KEY) & (pitches < LOWEST_KEY + KEYS)
        return None if inside.any() else "no note that a piano has a key for"

    def frame_target(self, clip: Clip, frames: int, grid: FrameGrid) -> Float[Tensor, "frame class"]:
        """Return 1 where a key sounds at the middle of a frame, and with `onsets` in the frame in which it is struck.

        A note that begins and ends between two middles sounds in the nearest frame.
        """
        target = np.zeros((frames, len(self.classes)), np.float32)
        if frames == 0:
            return torch.from_numpy(target)
        # Frame i is the first whose middle is not before a time.
        intervals, pitches = read_notes(self.reference(clip))
        place = (intervals - grid.frame_center_seconds(0)) * grid.frame_rate_hz
        first, last = np.ceil(np.round(place, 6)).astype(int).T
        nearest = np.rint(place.mean(1)).astype(int)
        for key, begin, end, middle in zip(pitches - LOWEST_KEY, first, last, nearest, strict=True):
            if not 0 <= key < KEYS:
                continue
            if begin == end:
                begin, end = middle, middle + 1
            target[max(begin, 0) : max(end, 0), key] = 1
            if self._config.onsets and begin < frames:
                target[max(begin, 0), KEYS + key] = 1
        return torch.from_numpy(target)

    def hypothesis(self, prediction: Float[Tensor, "frame class"]) -> str:
        """Return the notes of a clip's logits as ``start end midi; start end midi``, in seconds."""
        activation = prediction.double().sigmoid().cpu().numpy()
        hop = 1 / self.grid.frame_rate_hz
        # A frame whose middle is the first in a note began to hear it half a hop before, on average.
        zero = self.grid.frame_center_seconds(0) - hop / 2
        found = []
        for key, begin, end in _runs(activation, self._config.threshold):
            start = max(zero + begin * hop, 0.0)
            if (end - begin) * hop >= self._config.shortest_seconds - 1e-9:
                found.append((start, zero + end * hop, LOWEST_KEY + key))
        return notes_column(found)

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return the field of notes."""
        return ("notes",)

    def describe(self, empty: ClipPrediction, given: HeadOutput) -> ClipPrediction:
        """Return the notes of the hypothesis."""
        intervals, pitches = read_notes(self.hypothesis(given.prediction))
        activation = given.prediction[:, :KEYS].detach().double().sigmoid().cpu().numpy()
        place = (intervals - self.grid.frame_center_seconds(0)) * self.grid.frame_rate_hz
        found = []
        for (start, end), (first, last), pitch in zip(
            intervals.tolist(), np.ceil(np.round(place, 3)).astype(int).tolist(), pitches.tolist(), strict=True
        ):
            first = min(max(first, 0), len(activation) - 1)
            sounding = activation[first : max(last, first + 1), pitch - LOWEST_KEY]
            found.append(NoteEvent(start, end, pitch, probability=round(float(sounding.mean()), 4)))
        return replace(empty, notes=tuple(found))

    def statistics(self, name: str, clip: Clip, prediction: Float[Tensor, "frame class"]) -> Array | None:
        """Return a clip's statistics of a metric of activations, or None where the metric takes answers."""
        if name != "frame_ap":
            return None
        sounding = self.frame_target(clip, len(prediction), self.grid)[:, :KEYS] > 0
        return activation_counts(prediction[:, :KEYS].float().cpu().numpy(), sounding.numpy())


def _runs(activation: Array, threshold: float) -> list[tuple[int, int, int]]:
    """Return key, first frame and the one after the last of each note of ``[frame, class]``."""
    sounds = np.pad(activation[:, :KEYS] > threshold, ((1, 1), (0, 0)))
    begins, goes_on = sounds[1:-1] & ~sounds[:-2], sounds[1:-1]
    if activation.shape[1] > KEYS:
        struck = _peaks(activation[:, KEYS:], threshold)
        goes_on = goes_on | struck
        begins = struck
    found = []
    for key in range(KEYS):
        firsts = np.flatnonzero(begins[:, key])
        # A note ends at the first frame after its own that is silent or begins another one, or after the last frame.
        stops = np.append(np.flatnonzero(~goes_on[:, key] | begins[:, key]), len(goes_on))
        ends = stops[np.searchsorted(stops, firsts + 1)]
        found += [(key, first, end) for first, end in zip(firsts.tolist(), ends.tolist(), strict=True)]
    return found


def _peaks(activation: Array, threshold: float) -> Flags:
    """Return where ``[frame, key]`` is above the threshold and higher than before, and no lower than after."""
    padded = np.pad(activation, ((1, 1), (0, 0)))
    return (activation > threshold) & (activation > padded[:-2]) & (activation >= padded[2:])


def build(config: Config) -> Notes:
    """Make the task; UserError for a threshold that is not a probability, or a negative length."""
    if not 0 < config.threshold < 1:
        raise UserError(f"must be between 0 and 1, but is {config.threshold:g}", where="$.task.threshold")
    if config.shortest_seconds < 0:
        raise UserError(f"must not be below 0, but is {config.shortest_seconds:g}", where="$.task.shortest_seconds")
    return Notes(config)
