"""What a manifest says about a clip, asked for by the column's name."""

from __future__ import annotations

from audio_ssl.data.manifest import Clip
from audio_ssl.data.spellings import read_value
from audio_ssl.errors import UserError

_OWN = ("text", "translation", "label", "speaker", "gender", "language", "split")
_NO_GROUP = ("id", "path", "start", "seconds", "tags")


def value_text(value: object) -> str:
    """Return a value of a row as text: whole numbers without a point, ``true`` and ``false``.

    Examples
    --------
    >>> value_text(31.0), value_text(" a "), value_text(True)
    ('31', 'a', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def recorded(clip: Clip, column: str) -> str | None:
    """Return the value of a column as the manifest writes it, None where it is empty.

    Examples
    --------
    >>> recorded(Clip("a", "a.wav", 0.0, 1.0, 16000, gender="female_feminine"), "gender")
    'female_feminine'
    """
    value = getattr(clip, column) if column in _OWN or column == "sample_rate" else clip.extra.get(column)
    return None if value is None else value_text(value) or None


def attribute(clip: Clip, column: str) -> str | None:
    """Return the group that a clip belongs to by a column, or None where it is empty or a word for unknown.

    Examples
    --------
    >>> clip = Clip("a", "a.wav", 0.0, 1.0, 16000, gender="female", extra={"age": 31.0, "accent": "Unknown"})
    >>> attribute(clip, "gender"), attribute(clip, "age"), attribute(clip, "accent"), attribute(clip, "language")
    ('F', '30–39', None, None)
    """
    written = recorded(clip, column)
    return None if written is None else read_value(column, written)


def note_columns(clip: Clip, found: set[str]) -> None:
    """Add the names of the columns that can name groups and that this clip has to `found`."""
    # Most clips of a manifest have the same columns, so there is little to look at.
    for name in _OWN:
        if name not in found and getattr(clip, name) is not None:
            found.add(name)
    if not clip.extra.keys() <= found:
        found.update(name for name, value in clip.extra.items() if value is not None)


def check_names_groups(column: str) -> None:
    """Raise UserError where `column` cannot name groups."""
    if column in _NO_GROUP:
        raise UserError(f"`{column}` names no groups of clips", remedy="give a column such as gender, language, age")
