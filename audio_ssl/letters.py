"""Letters that look alike are alike: é as one code point or as two (Unicode's composed form, NFC).

Whatever compares texts or names people by text composes it first, here.
"""

from __future__ import annotations

import unicodedata


def composed(text: str) -> str:
    r"""Return text in Unicode's composed form.

    Examples
    --------
    >>> composed("Jose\u0301") == "Jos\u00e9"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_composed(text: str) -> bool:
    """Return whether `composed` leaves a text as it is."""
    return text.isascii() or unicodedata.is_normalized("NFC", text)
