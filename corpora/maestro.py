"""MAESTRO: 199 hours of a piano competition, recorded with the sensors of keys and pedals.

1276 performances on Disklaviers over ten years, aligned to about 3 ms (Hawthorne et al. 2019). The column `notes` is
`start end midi; ...` in seconds. Notes end when neither key nor sustain pedal holds them, as is usual in transcription
since Hawthorne et al. 2018: the pedal is down if controller 64 is 64 or more, and a repeated key ends the note before.

The split is the published one, in which no work is in two splits. Years and versions (v1, v2, v3) have one layout.

Options: `--option seconds=30` for pieces of equal length up to this (the default; 0 for whole performances).

Layout below the root, as the archive unpacks::

    maestro-v3.0.0.csv, or maestro-v3.0.0.json     composer, title, split, year, MIDI file, audio file, duration
    2018/MIDI-Unprocessed_....wav
    2018/MIDI-Unprocessed_....midi
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    UserError,
    annotation_rows,
    check_split,
    expected,
    layout,
    midi,
    notes_column,
    optional_package,
    read_object,
    require_folder,
    whole_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="maestro",
    title="MAESTRO",
    description=(
        "Notes of real piano, for transcription. One kind of instrument, in a hall, and classical works. Pieces of one "
        "performance share the column `track`."
    ),
    licence="CC-BY-NC-SA-4.0",
    citation=(
        "Hawthorne, Stasyuk, Roberts, Simon, Huang, Dieleman, Elsen, Engel and Eck 2019, Enabling factorized piano "
        "music modeling and generation with the MAESTRO dataset, ICLR, arXiv 1810.12247."
    ),
    size="v3.0.0 is 120 GB of WAV; 1276 performances, 199 h",
    layout="maestro-v3.0.0.csv (or .json) and YEAR/*.wav with a .midi beside each",
    splits={"train": "its own, 962 performances", "valid": "its own, 137", "test": "its own, 177"},
    labels=("notes", "composer", "title", "year", "track"),
    requires=("pip:pretty_midi",),
)

_NEEDED = ("canonical_composer", "canonical_title", "split", "year", "midi_filename", "audio_filename")
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_MAX_TABLE_BYTES = 1 << 26


def read(root: Path, split: str | None = None, *, left_out: LeftOut, seconds: str = "30") -> Iterator[Clip]:
    """Yield the pieces of each performance.

    Parameters
    ----------
    root
        The folder of the archive, or the one above it.
    split
        Only this split.
    seconds
        Performances are cut into pieces of equal length up to this; 0 for whole ones.

    Raises
    ------
    UserError
        If the table is missing or lacks a column, `seconds` is no number, or pretty_midi is not installed.
    """
    check_split(CORPUS, split)
    longest = layout.piece_seconds(seconds, CORPUS.name)
    require_folder(root, CORPUS)
    table = _table(root)
    pretty_midi = optional_package("pretty_midi", CORPUS)
    for where, row in _rows(table, left_out):
        own = _SPLITS.get(row["split"])
        if own is None:
            left_out.add(where, f"its split is `{row['split']}`, which is none of {', '.join(_SPLITS)}")
            continue
        if split not in (None, own):
            continue
        name = row["audio_filename"].rpartition(".")[0]
        try:
            clip = whole_file(table.parent / row["audio_filename"], name)
            notes = midi.midi_notes(table.parent / row["midi_filename"], pretty_midi)
        except AudioError as error:
            left_out.add(name, error.reason)
            continue
        extra = {"composer": row["canonical_composer"], "title": row["canonical_title"], "year": row["year"]}
        for piece, begin in layout.pieces(clip, longest):
            inside = notes_column(midi.notes_within(notes, begin, begin + piece.seconds))
            yield replace(piece, split=own, extra={"notes": inside, **extra, "track": name})


def _table(root: Path) -> Path:
    """Return the table, of the newest version where there are several; CSV before JSON."""
    for suffix in ("csv", "json"):
        found = sorted(p for folder in (root, *root.glob("maestro*")) for p in folder.glob(f"maestro-v*.{suffix}"))
        if found:
            return found[-1]
    raise expected(CORPUS, root, "there is no maestro-v3.0.0.csv")


def _rows(table: Path, left_out: LeftOut) -> Iterator[tuple[str, dict[str, str]]]:
    if table.suffix == ".csv":
        yield from annotation_rows(table, _NEEDED, left_out)
        return
    # An object of columns, each of them an object of rows by number.
    columns = read_object(table, _MAX_TABLE_BYTES)
    if missing := [name for name in _NEEDED if not isinstance(columns.get(name), dict)]:
        raise UserError(f"the columns {', '.join(missing)} are missing", where=str(table))
    for number in columns["audio_filename"]:
        row = {name: columns[name].get(number) for name in _NEEDED}
        if None in row.values():
            left_out.add(f"{table}:{number}", "a column lacks this row")
            continue
        yield f"{table}:{number}", {name: str(value) for name, value in row.items()}
