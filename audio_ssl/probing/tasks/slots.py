"""Slot filling: the transcript with its slots marked (SUPERB's SF on SNIPS, Yang et al. 2021, arXiv 2105.01051).

The column ``slots`` has ``play <artist>queen</artist> now``. A head says characters, and marks as tokens of their own;
the metrics look at the marked slots alone: which kinds there are, and how well their values are spelled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.texts import Normaliser, get_normaliser
from audio_ssl.probing.alignment import TokenFrames
from audio_ssl.probing.tasks._text import Symbols, TokenTask, grouped, timed_label

_MARK = re.compile(r"(</?[^\s<>/]+>)")


@dataclass(frozen=True)
class Config:
    """How text is normalised."""

    normaliser: str = "basic"
    """``basic``: lower case, no punctuation; ``none``: as written; or another of `audio_ssl.metrics.texts`."""


class MarkedText(Symbols):
    """Characters, and marks as units of their own."""

    def __init__(self, normalise: Normaliser) -> None:
        super().__init__(words=False)
        self._normalise = normalise

    def cut(self, text: str) -> list[str]:
        """Return the characters and marks of a text; single spaces between words, none at its ends."""
        units: list[str] = []
        for part in _MARK.split(text):
            if _MARK.fullmatch(part):
                units.append(part)
            elif part:
                words = self._normalise(part)
                # A space, or something that is left out, parts a word from the mark beside it.
                before, after = (" " if not self._normalise(edge) else "" for edge in (part[0], part[-1]))
                units += f"{before}{words}{after}" if words else " "
        return _single_spaces(units)

    def words(self, ids: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Return the words without marks, which part words as spaces do."""
        names = [" " if _MARK.fullmatch(name) else name for name in self._vocabulary.decode(ids)]
        return grouped(names, lambda name: name == " ")


class Slots(TokenTask):
    """Characters and marks."""

    kind = "slots"
    metrics: tuple[str, ...] = ("slot_f1", "slot_cer")
    _units: MarkedText

    def __init__(self, config: Config) -> None:
        normalise = get_normaliser(config.normaliser)
        super().__init__(MarkedText(normalise), "slots")
        self.signature = normalise.signature

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        text = clip.extra.get("slots")
        if text is None:
            return "no slots"
        if not isinstance(text, str):
            return f"`slots` must be text with marks, but is {text!r}"
        open_mark: str | None = None
        for mark in _MARK.findall(text):
            name = mark.strip("</>")
            closes = mark.startswith("</")
            if closes != (open_mark is not None) or (closes and name != open_mark):
                return f"the mark {mark} has no partner, or is within another slot: `{text}`"
            open_mark = None if closes else name
        if open_mark is not None:
            return f"the slot <{open_mark}> has no end: `{text}`"
        return None if any(not _MARK.fullmatch(unit) for unit in self._units.cut(text)) else "empty transcript"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take characters and marks of the training clips; UserError where none is marked."""
        super().learn(clips)
        if not any(_MARK.fullmatch(unit) for unit in self.classes):
            raise UserError("no training clip has a marked slot, as in `play <artist>queen</artist>`")

    def text(self, clip: Clip) -> str:
        """Return the marked text as it is written."""
        return str(clip.extra.get("slots") or "")

    def symbols(self, text: str) -> list[str]:
        """Return characters and marks."""
        return self._units.cut(text)

    def reference(self, clip: Clip) -> str:
        """Return the marked, normalised text."""
        return "".join(self._units.cut(self.text(clip)))

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return that slots with times are segments."""
        return (*super().answered(times), *(("segments",) if times else ()))

    def timed(
        self, said: ClipPrediction, ids: Sequence[int], found: Sequence[TokenFrames], grid: FrameGrid
    ) -> ClipPrediction:
        """Return a record with the words, and with the slots as segments: what lies between a mark and its partner."""
        slots: list[TimedLabel] = []
        names = [self.classes[token] for token in ids]
        opened: int | None = None
        for place, name in enumerate(names):
            if not _MARK.fullmatch(name):
                continue
            if not name.startswith("</"):
                opened = place
            elif opened is not None and names[opened].strip("<>") == name.strip("</>"):
                inside = [one for one in range(opened + 1, place) if names[one] != " "]
                if inside:
                    text = " ".join("".join(names[opened + 1 : place]).split())
                    slot = timed_label(name.strip("</>"), [found[one] for one in inside], grid, said.seconds)
                    slots.append(replace(slot, text=text))
                opened = None
        return replace(super().timed(said, ids, found, grid), segments=tuple(slots))


def _single_spaces(units: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for unit in units:
        if unit != " " or (kept and kept[-1] != " "):
            kept.append(unit)
    return kept[:-1] if kept and kept[-1] == " " else kept


def build(config: Config) -> Slots:
    """Make the task; UserError for another normaliser."""
    return Slots(config)
