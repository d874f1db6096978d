"""Phone recognition: the phones of a clip in their order (SUPERB's PR, Yang et al. 2021, arXiv 2105.01051).

Phones are in the column ``phones`` with spaces between, ``HH AH0 L OW1``, from a dictionary or an aligner. Where there
are none, the letters of the transcript stand in for them: nearly phones in Czech or Spanish, hardly in English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.base.errors import check_choice
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.texts import get_normaliser
from audio_ssl.probing.alignment import TokenFrames
from audio_ssl.probing.tasks._text import Symbols, TokenTask

_STRESS = re.compile(r"(?<=[A-Za-z])[0-2]$")


@dataclass(frozen=True)
class Config:
    """What is recognised."""

    units: str = "phones"
    """``phones``, from the column of that name; or ``characters``: the transcript's letters, spaces left out."""

    stress: bool = True
    """Keep the digits of stress in ARPAbet's vowels, ``AH0`` (SUPERB keeps them); with `units` phones."""


class Phones(TokenTask):
    """Phones, or letters, one after another."""

    kind = "phones"
    metrics: tuple[str, ...] = ("per",)

    def __init__(self, config: Config) -> None:
        super().__init__(Symbols(words=True), config.units)
        self._config = config
        self._normalise = get_normaliser("basic")
        self.signature = f"phones as given|stress marks {'kept' if config.stress else 'removed'}"
        if config.units == "characters":
            self.signature = f"characters of the transcript without spaces|{self._normalise.signature}"

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if self._config.units == "characters":
            if clip.text is None:
                return "no transcript"
            return None if self.text(clip) else "empty transcript"
        phones = clip.extra.get("phones")
        if phones is None:
            return "no phones"
        if not isinstance(phones, str):
            return f"`phones` must be text with spaces between phones, but is {phones!r}"
        return None if phones.split() else "empty phones"

    def text(self, clip: Clip) -> str:
        """Return the phones with spaces between."""
        if self._config.units == "characters":
            return " ".join(self._normalise(clip.text or "").replace(" ", ""))
        phones = str(clip.extra.get("phones") or "").split()
        return " ".join(phones if self._config.stress else (_STRESS.sub("", phone) for phone in phones))

    def symbols(self, text: str) -> list[str]:
        """Return the phones."""
        return text.split()

    def answered(self, times: bool) -> tuple[str, ...]:
        """Return that phones with times are segments."""
        return ("text", "segments") if times else ("text",)

    def timed(
        self, said: ClipPrediction, ids: Sequence[int], found: Sequence[TokenFrames], grid: FrameGrid
    ) -> ClipPrediction:
        """Return a record whose segments are the phones; there are no words."""
        return replace(said, segments=self.timed_tokens(ids, found, grid, said.seconds))


def build(config: Config) -> Phones:
    """Make the task; UserError for other units."""
    check_choice("units", config.units, ("phones", "characters"))
    return Phones(config)
