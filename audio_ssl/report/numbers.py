"""Numbers as a reader wants them: a few digits, a real minus sign, the unit, and a dash where there is none.

Scores are printed with three significant digits or one decimal of a percent, because an interval from a test set of
hundreds of clips does not support more. Nothing here computes a score.
"""

from __future__ import annotations

import math
import re
from typing import Any

MISSING = "–"
_MINUS = "−"
HARD_SPACE = "\u00a0"


def is_number(value: Any) -> bool:
    """Say whether `value` is a finite number (bool is not one)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def defined(value: float) -> bool:
    """Say whether a score of a record is defined; where it is not, it is NaN or infinite."""
    return math.isfinite(value)


def finite(value: Any) -> float | None:
    """Return `value` as a float, or None where it is missing, not a number, NaN or infinite."""
    return float(value) if is_number(value) else None


def number(value: Any, digits: int = 3) -> str:
    """Format with `digits` significant digits and thousands separators.

    Examples
    --------
    >>> number(0.06251), number(-12.345), number(48213.7), number(None), number(100)
    ('0.0625', '−12.3', '48,214', '–', '100')
    """
    amount = finite(value)
    if amount is None:
        return MISSING
    if amount == 0:
        return "0"
    size = math.floor(math.log10(abs(amount)))
    if size < -4:
        mantissa, exponent = f"{amount:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)
    if float(amount).is_integer() and size < 15:
        return f"{int(amount):,}".replace("-", _MINUS)
    return f"{amount:,.{max(digits - 1 - size, 0)}f}".replace("-", _MINUS)


def score(value: Any, unit: str = "") -> str:
    r"""Format a score: one decimal for percentages and other scores up to 100, three decimals for shares up to 1.

    Examples
    --------
    >>> score(34.125, "%"), score(0.71249, ""), score(None, "%"), score(12.31, "BLEU")
    ('34.1\xa0%', '0.712', '–', '12.3')
    """
    amount = finite(value)
    if amount is None:
        return MISSING
    text = f"{amount:.1f}" if unit else f"{amount:.3f}"
    if text.startswith("-"):
        text = text.replace("-", _MINUS) if float(text) != 0 else text[1:]
    return f"{text}{HARD_SPACE}%" if unit == "%" else text


def signed(value: Any, unit: str = "") -> str:
    r"""Format a difference with its sign; percentages become percentage points.

    Examples
    --------
    >>> signed(3.14, "%"), signed(-0.5), signed(0.0)
    ('+3.1\xa0points', '−0.500', '0.000')
    """
    amount = finite(value)
    if amount is None:
        return MISSING
    text = score(amount, "points" if unit else "")
    if float(text.replace(_MINUS, "-")) > 0:
        text = f"+{text}"
    return f"{text}{HARD_SPACE}points" if unit == "%" else text


def percent(value: Any) -> str:
    r"""Format a relative difference in percent with its sign.

    Examples
    --------
    >>> percent(11.93), percent(None)
    ('+11.9\xa0%', '–')
    """
    return MISSING if finite(value) is None else f"{signed(value, 'percent')}{HARD_SPACE}%"


def interval(low: Any, high: Any, unit: str = "") -> str:
    """Format an interval without repeating the unit; a dash where either end is missing.

    Examples
    --------
    >>> interval(30.04, 38.2, "%"), interval(None, 1.0)
    ('30.0 to 38.2', '–')
    """
    if finite(low) is None or finite(high) is None:
        return MISSING
    plain = "points" if unit else ""
    return f"{score(low, plain)} to {score(high, plain)}"


def signed_interval(low: Any, high: Any, unit: str = "") -> str:
    """Format the interval of a difference, in points where the score has a unit; a dash where either end is missing.

    Examples
    --------
    >>> signed_interval(-3.04, 1.2, "%"), signed_interval(None, 1.0)
    ('−3.0 to +1.2', '–')
    """
    if finite(low) is None or finite(high) is None:
        return MISSING
    plain = "points" if unit else ""
    return f"{signed(low, plain)} to {signed(high, plain)}"


def p_value(value: Any) -> str:
    """Format a p-value; small ones as a bound.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.00002), p_value(None)
    ('0.031', '< 0.001', '–')
    """
    amount = finite(value)
    if amount is None:
        return MISSING
    return "< 0.001" if amount < 0.001 else f"{amount:.3f}"


def duration(seconds: Any) -> str:
    """Format a time span in its natural unit.

    Examples
    --------
    >>> duration(4.2), duration(95), duration(7260), duration(None)
    ('4.2 s', '1 min 35 s', '2 h 1 min', '–')
    """
    amount = finite(seconds)
    if amount is None:
        return MISSING
    if amount < 60:
        return f"{amount:.1f} s"
    minutes, rest = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def gigabytes(amount: int) -> str:
    """Write an amount of memory in bytes; a dash where it is not recorded.

    Examples
    --------
    >>> gigabytes(1_234_000_000), gigabytes(0)
    ('1.23 GB', '–')
    """
    return f"{amount / 1e9:.2f} GB" if amount else MISSING


def count(value: int, noun: str) -> str:
    """Write a count with its noun, the noun in the plural where needed.

    Examples
    --------
    >>> count(1, "clip"), count(1200, "clip")
    ('1 clip', '1,200 clips')
    """
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def shortened(words: str, most: int) -> str:
    """Cut words to `most` characters, the last of them an ellipsis.

    Examples
    --------
    >>> shortened("wav2vec2", 8), shortened("wav2vec2", 5)
    ('wav2vec2', 'wav2…')
    """
    return words if len(words) <= most else f"{words[: most - 1]}…"


def hard_spaces(text: str) -> str:
    r"""Keep a number and its percent sign on one line, and "95 % CI".

    Examples
    --------
    >>> hard_spaces("95 % of 100 clips")
    '95\xa0% of 100 clips'
    """
    return re.sub(r"(?<=\d) (?=%)|(?<=%) (?=CI\b)", HARD_SPACE, text)


def slug(text: str) -> str:
    """Turn a name into something an HTML id may hold.

    Examples
    --------
    >>> slug("demo_asr / F–M"), slug("日本")
    ('demo-asr-f-m', 'x')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
