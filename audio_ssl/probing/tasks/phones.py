"""Phone recognition: the phones of a clip in their order (SUPERB's PR, Yang et al. 2021, arXiv 2105.01051).

Phones are in the column ``phones`` with spaces between, ``HH AH0 L OW1``, from a dictionary or an aligner. Where there
are none, the letters of the transcript stand in for them: nearly phones in Czech or Spanish, hardly in English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.texts import get_normaliser
from audio_ssl.probing.task import Output
from audio_ssl.probing.tasks._text import Symbols

_STRESS = re.compile(r"(?<=[A-Za-z])[0-2]$")


@dataclass(frozen=True)
class Config:
    """What is recognised."""

    units: str = "phones"
    """``phones``, from the column of that name; or ``characters``: the transcript's letters, spaces left out."""

    stress: bool = True
    """Keep the digits of stress in ARPAbet's vowels, ``AH0`` (SUPERB keeps them); with `units` phones."""


class Phones:
    """Phones, or letters, one after another."""

    kind = "phones"
    output: Output = "tokens"
    metrics: tuple[str, ...] = ("per",)

    def __init__(self, config: Config) -> None:
        self._config = config
        self._normalise = get_normaliser("basic")
        self._units = Symbols(words=True)

    @property
    def signature(self) -> str:
        """Return what counts as a phone."""
        if self._config.units == "characters":
            return f"characters of the transcript without spaces|{self._normalise.signature}"
        return f"phones as given|stress marks {'kept' if self._config.stress else 'removed'}"

    @property
    def classes(self) -> list[str]:
        """Return the phones."""
        return self._units.names

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if self._config.units == "characters":
            if clip.text is None:
                return "no transcript"
            return None if self.reference(clip) else "empty transcript"
        phones = clip.extra.get("phones")
        if phones is None:
            return "no phones"
        if not isinstance(phones, str):
            return f"`phones` must be text with spaces between phones, but is {phones!r}"
        return None if phones.split() else "empty phones"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the phones of the training clips."""
        texts = [self.reference(clip) for clip in clips]
        if not any(texts):
            raise UserError(f"no training clip has {self._config.units}")
        self._units.learn(texts)

    def unseen(self, clips: Sequence[Clip]) -> dict[str, int]:
        """Count the phones of some clips that training lacks, the most frequent first."""
        known = set(self.classes)
        counts = Counter(phone for clip in clips for phone in self.reference(clip).split())
        return {phone: count for phone, count in counts.most_common() if phone not in known}

    def target(self, clip: Clip) -> Int[Tensor, " token"]:
        """Return the ids of the phones."""
        return torch.tensor(self._units.encode(self.reference(clip)), dtype=torch.long)

    def reference(self, clip: Clip) -> str:
        """Return the phones with spaces between."""
        if self._config.units == "characters":
            return " ".join(self._normalise(clip.text or "").replace(" ", ""))
        phones = str(clip.extra.get("phones") or "").split()
        return " ".join(phones if self._config.stress else (_STRESS.sub("", phone) for phone in phones))

    def hypothesis(self, prediction: Int[Tensor, " token"]) -> str:
        """Return the phones with spaces between."""
        return self._units.decode(prediction.tolist())


def build(config: Config) -> Phones:
    """Make the task; UserError for other units."""
    if config.units not in ("phones", "characters"):
        raise UserError(f"`units` must be phones or characters, but is `{config.units}`")
    return Phones(config)
