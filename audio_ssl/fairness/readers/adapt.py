"""Tables under our names: columns that the user named, and ids where there are none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from audio_ssl.data.rows import PATHS
from audio_ssl.data.segments import segment_id
from audio_ssl.errors import unknown_name
from audio_ssl.fairness.readers.source import Numbered, Refuse, Row, Source, join_notes

_STARTS = ("offset", "start")


def rename(source: Source, columns: Mapping[str, str]) -> Source:
    """Return the table with columns under the names that the user gave.

    A column that has one of these names already is out of the way, as ``table_NAME``.

    Parameters
    ----------
    source
        The table.
    columns
        Our name -> the table's.

    Raises
    ------
    UserError
        If a column is not in the table.
    """
    for theirs in columns.values():
        if theirs not in source.columns:
            raise unknown_name("column", theirs, source.columns, str(source.files[0]))
    if not columns:
        return source
    # A column may serve twice, as the speaker and as a group.
    moved = {name: f"table_{name}" for name in columns if name in source.columns and columns[name] != name}

    def renamed(row: Row) -> Row:
        plain = {moved.get(name, name): value for name, value in row.items()}
        return plain | {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        back = {renamed: name for name, renamed in moved.items()}
        theirs = [columns.get(name, back.get(name, name)) for name in wanted]
        return ((number, renamed(row)) for number, row in source.rows(theirs, refuse))

    names = [*(moved.get(name, name) for name in source.columns), *columns]
    said = ", ".join(f"{ours} = {theirs}" for ours, theirs in columns.items())
    return replace(source, columns=tuple(dict.fromkeys(names)), rows=rows, note=join_notes(source.note, said))


def with_ids(source: Source) -> Source:
    """Return the table with ids: its own, or of the audio file and where in it a segment begins, or row numbers."""
    if "id" in source.columns or not source.columns:
        return source
    path = next((name for name in PATHS if name in source.columns), None)
    return _numbered(source) if path is None else _of_paths(source, path)


def _of_paths(source: Source, path: str) -> Source:
    start = next((name for name in _STARTS if name in source.columns), None)

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        more = [name for name in (path, start) if name is not None and name not in wanted]
        for number, row in source.rows([*wanted, *more], refuse):
            try:
                named = segment_id(str(row[path]), row[start] if start else None) if row.get(path) else None
            except ValueError as error:
                refuse(number, f"`{start}`: {error}")
                continue
            yield number, {**row, "id": named}

    note = join_notes(source.note, f"ids: {path}" + (f" and {start}" if start else ""))
    return replace(source, columns=("id", *source.columns), rows=rows, path_column=path, note=note)


def _numbered(source: Source) -> Source:
    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        count = 0

        def refused(number: int, reason: str) -> None:
            nonlocal count
            count += 1
            refuse(number, reason)

        for number, row in source.rows(wanted, refused):
            count += 1
            yield number, {**row, "id": f"row {count}"}

    note = join_notes(source.note, "ids: row numbers, as there is no column `id`")
    return replace(source, columns=("id", *source.columns), rows=rows, note=note, numbered=True)
