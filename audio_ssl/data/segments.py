"""Names of parts of audio files, the same wherever a segment is met: in manifests, in predictions, in a join."""

from __future__ import annotations

import math


def segment_id(path: str, start: object = None) -> str:
    """Return the id of the part of a file that begins at `start`: the path alone where that is the file's beginning.

    Parameters
    ----------
    path
        The audio file, as a table names it.
    start
        In seconds, a number or text of one; None where a table does not say. Microseconds tell two segments apart.

    Raises
    ------
    ValueError
        If `start` is not a number of seconds from 0.

    Examples
    --------
    >>> segment_id("a.wav"), segment_id("a.wav", 0.0), segment_id("a.wav", 12.340000001)
    ('a.wav', 'a.wav', 'a.wav@12.34')
    """
    if start is None or start == "":
        return path
    if isinstance(start, bool) or not isinstance(start, int | float | str):
        raise ValueError(f"{start!r} is not a number of seconds")
    seconds = float(start)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{start!r} is not a number of seconds from 0")
    text = f"{seconds:.6f}".rstrip("0").rstrip(".")
    return path if text == "0" else f"{path}@{text}"
