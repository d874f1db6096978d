"""What a manifest says about a clip, asked for by the column's name."""

from __future__ import annotations

from collections.abc import Iterable

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError, unknown_name

_OWN = ("text", "translation", "label", "speaker", "gender", "language", "split")
_NO_GROUP = ("id", "path", "start", "seconds", "tags")


def attribute(clip: Clip, column: str) -> str | None:
    """Return the value of a column as the corpus records it, or None where the clip has none or an empty one.

    Examples
    --------
    >>> clip = Clip("a", "a.wav", 0.0, 1.0, 16000, gender="F", extra={"age": 31, "accent": " "})
    >>> attribute(clip, "gender"), attribute(clip, "age"), attribute(clip, "accent"), attribute(clip, "language")
    ('F', '31', None, None)
    """
    value = getattr(clip, column) if column in _OWN or column == "sample_rate" else clip.extra.get(column)
    return None if value is None else str(value).strip() or None


def check_column(clips: Iterable[Clip], column: str) -> None:
    """Raise UserError where `column` cannot name groups, or no clip has it; the error names the columns there are."""
    if column in _NO_GROUP:
        raise UserError(f"`{column}` names no groups of clips", remedy="give a column such as gender, language, age")
    found: set[str] = set()
    for clip in clips:
        if attribute(clip, column) is not None:
            return
        found.update(name for name in _OWN if getattr(clip, name) is not None)
        found.update(name for name, value in clip.extra.items() if value is not None)
    raise unknown_name("column", column, found, where="no clip has it")
