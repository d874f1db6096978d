"""Cuts of lhotse (Żelasko et al. 2021, arXiv 2110.12561) as rows: one JSON object a line, plain or gzipped.

A ``MonoCut`` is a span of a recording, with what was said in ``supervisions``. What is left out on purpose: cuts that
are mixed or padded, which are no span of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEPT = ("speaker", "gender", "language")


def is_lhotse(row: Mapping[str, Any]) -> bool:
    """Tell by the keys.

    Examples
    --------
    >>> is_lhotse({"id": "c", "start": 0.0, "duration": 2.0, "supervisions": []}), is_lhotse({"id": "c", "start": 0.0})
    (True, False)
    """
    return "supervisions" in row or "tracks" in row or ("recording_id" in row and "duration" in row)


def cut_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``id, start, seconds``, and of what is there ``path, text, speaker, gender, language`` and custom values.

    A line of a ``SupervisionSet`` has no path. Of several supervisions the texts follow one another; a speaker, gender
    or language is that of all of them, or none.

    Raises
    ------
    ValueError
        If the cut is not a part of one file.

    Examples
    --------
    >>> said = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 2.0, "text": "yes", "speaker": "a"}
    >>> cut_row({"id": "c", "start": 1.5, "duration": 2.0, "channel": 0, "supervisions": [said]})
    {'id': 'c', 'start': 1.5, 'seconds': 2.0, 'text': 'yes', 'speaker': 'a'}
    """
    kind = row.get("type", "MonoCut")
    if "tracks" in row or kind not in ("MonoCut", "MultiCut"):
        raise ValueError(f"a {kind if isinstance(kind, str) else 'cut'} is not a part of one file")
    found: dict[str, Any] = {"id": row.get("id"), "start": row.get("start"), "seconds": row.get("duration")}
    path = _path(row.get("recording"))
    if path is not None:
        found["path"] = path
    supervisions = row.get("supervisions", [row])
    if not isinstance(supervisions, list) or not all(isinstance(one, Mapping) for one in supervisions):
        raise ValueError("`supervisions` is not a list of objects")
    ordered = sorted(supervisions, key=lambda one: float(one.get("start") or 0))
    texts = [one["text"] for one in ordered if isinstance(one.get("text"), str)]
    if texts:
        found["text"] = " ".join(texts)
    for name in _KEPT:
        values = {one.get(name) for one in ordered}
        if len(values) == 1 and None not in values:
            found[name] = values.pop()
    for one in (*ordered, row):
        custom = one.get("custom")
        if isinstance(custom, Mapping):
            found.update(
                (k, v) for k, v in custom.items() if isinstance(v, str | int | float | bool) and k not in found
            )
    return found


def _path(recording: object) -> str | None:
    """Return the file of a recording, None where none is told."""
    if not isinstance(recording, Mapping):
        return None
    sources = recording.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], Mapping):
        raise ValueError("the recording lies in several files")
    kind, name = sources[0].get("type"), sources[0].get("source")
    if kind != "file" or not isinstance(name, str):
        raise ValueError(f"the recording is not a file, but of the type `{str(kind)[:40]}`")
    return name
