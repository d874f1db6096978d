"""What is done to text before it is compared: normalisers by name.

A rate means little without its normaliser; the signature belongs beside the number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from audio_ssl.catalog import optional_packages
from audio_ssl.errors import unknown_name

_NOT_SPOKEN = re.compile(r"[^\w\s']|_")
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "´": "'"})


@dataclass(frozen=True)
class Normaliser:
    """A function of a text, with what it does."""

    name: str
    signature: str
    function: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """Return the text to compare, without spaces at its ends and with single ones inside."""
        return " ".join(self.function(text).split())


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()


def _basic(text: str) -> str:
    return _NOT_SPOKEN.sub(" ", _lower(text))


def _librispeech(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    return _NOT_SPOKEN.sub(" ", "".join(c for c in plain if not unicodedata.combining(c))).upper()


def _characters(text: str) -> str:
    return "".join(_basic(text).split())


def _whisper() -> Callable[[str], str]:
    # Imported here: transformers is large, and optional.
    with optional_packages("normaliser `whisper_basic`"):
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer
    function: Callable[[str], str] = BasicTextNormalizer()
    return function


_PLAIN = {
    "none": ("as written", lambda text: text),
    "lower": ("lower|nfc", _lower),
    "basic": ("lower|nfc|punctuation removed, apostrophes kept", _basic),
    "librispeech": ("upper|accents and punctuation removed, apostrophes kept|digits as written", _librispeech),
    "characters": ("lower|nfc|punctuation and spaces removed", _characters),
}
NAMES = (*_PLAIN, "whisper_basic")


def get_normaliser(name: str) -> Normaliser:
    """Return a normaliser by name.

    ``none`` (single spaces only), ``lower``, ``basic`` (what transcripts of probes are given), ``librispeech`` (as its
    transcripts are written, but digits are not spelt out), ``characters`` (``basic`` without spaces, for languages
    written so) or ``whisper_basic`` (Radford et al. 2022, arXiv 2212.04356, appendix C; transformers' code).

    Raises
    ------
    UserError
        For an unknown name. If transformers is not installed, for ``whisper_basic``.

    Examples
    --------
    >>> get_normaliser("librispeech")("It’s a “naïve” test.")
    "IT'S A NAIVE TEST"
    >>> get_normaliser("characters")("今日は、良い 天気。")
    '今日は良い天気'
    """
    if name == "whisper_basic":
        return Normaliser(name, "whisper basic|lower|nfkc|brackets, symbols and punctuation removed", _whisper())
    if name not in _PLAIN:
        raise unknown_name("normaliser", name, NAMES)
    return Normaliser(name, *_PLAIN[name])
