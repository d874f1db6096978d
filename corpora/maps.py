"""MAPS: piano with the time of every note, seven sampled pianos and a Disklavier recorded close and in a room.

238 pieces (MUS), and single notes (ISOL), random chords (RAND) and usual ones (UCHO), of nine recording conditions
(Emiya et al. 2010). The column `notes` is that of the text beside each recording, `start end midi; ...` in seconds; the
ends are those of the text, which are the times of damping.

The split is that of transcription since Sigtia et al. 2016 and Hawthorne et al. 2018: the two conditions of the real
Disklavier (ENSTDkAm, ENSTDkCl) are the test, the sampled pianos are for training, without the pieces of the test. A
tenth of the training pieces, by a hash of their title, is for validation. Other files have no title; those of sampled
pianos are for training, those of the Disklavier for the test.

Options: `--option seconds=30` for pieces of equal length up to this (the default; 0 for whole recordings), `--option
sets=MUS,UCHO` for other sets than the pieces.

Layout below the root, as the archives unpack::

    MAPS/ENSTDkCl/MUS/MAPS_MUS-bor_ps6_ENSTDkCl.wav
    MAPS/ENSTDkCl/MUS/MAPS_MUS-bor_ps6_ENSTDkCl.txt    OnsetTime, OffsetTime, MidiPitch with tabs, a line a note
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    UserError,
    annotation_text,
    check_split,
    hash_split,
    layout,
    midi,
    named_files,
    notes_column,
    require_folder,
    whole_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="maps",
    title="MAPS",
    description=(
        "Notes of piano, for transcription. The test is a real piano, close and in a room, on pieces that training "
        "lacks. Parts of one recording share the column `track`."
    ),
    licence="CC-BY-NC-SA-2.0-FR",
    citation=(
        "Emiya, Badeau and David 2010, Multipitch estimation of piano sounds using a new probabilistic spectral "
        "smoothness principle, IEEE TASLP 18(6). Split: Sigtia, Benetos and Dixon 2016; Hawthorne et al. 2018, arXiv "
        "1710.11153."
    ),
    size="40 GB for all sets; 270 pieces, 18 h",
    layout="CONDITION/SET/.../MAPS_SET-NAME_CONDITION.wav with a .txt beside it",
    splits={
        "train": "sampled pianos, without the pieces of the test; about 90 % of the titles",
        "valid": "about 10 % of these titles, by a hash",
        "test": "the Disklavier, ENSTDkAm and ENSTDkCl",
    },
    labels=("notes", "title", "condition", "track"),
)

REAL = ("ENSTDkAm", "ENSTDkCl")
"""Conditions of a real piano."""

SETS = ("MUS", "ISOL", "RAND", "UCHO")

_NAME = re.compile(r"MAPS_(?P<set>[A-Z]+)[-_](?P<piece>.+)_(?P<condition>[A-Za-z0-9]+)$")


def read(
    root: Path, split: str | None = None, *, left_out: LeftOut, seconds: str = "30", sets: str = "MUS"
) -> Iterator[Clip]:
    """Yield the parts of each recording that has a text.

    Parameters
    ----------
    root
        The folder MAPS, or the one above it.
    split
        Only this split.
    seconds
        Recordings are cut into parts of equal length up to this; 0 for whole ones.
    sets
        Names of `SETS`, with commas between.

    Raises
    ------
    UserError
        If no recording is there, or an option is none.
    """
    check_split(CORPUS, split)
    longest = layout.piece_seconds(seconds, CORPUS.name)
    wanted = [name.strip() for name in sets.split(",")]
    if unknown := [name for name in wanted if name not in SETS]:
        raise UserError(f"`sets` must be of {', '.join(SETS)}, but has `{unknown[0]}`", where=f"corpus {CORPUS.name}")
    require_folder(root, CORPUS)
    found = named_files(sorted(root.rglob("*.wav")), _NAME, CORPUS, root, "MAPS_MUS-bor_ps6_ENSTDkCl.wav", left_out)
    tested = {name["piece"] for _, name in found if name["set"] == "MUS" and name["condition"] in REAL}
    for path, name in found:
        if name["set"] not in wanted:
            continue
        own = _split(name["set"], name["piece"], name["condition"], tested)
        if own is None:
            left_out.add(path, "the test has its piece, too")
            continue
        if split not in (None, own):
            continue
        try:
            clip = whole_file(path, path.stem)
            notes = read_text_notes(path.with_suffix(".txt"))
        except AudioError as error:
            left_out.add(path, error.reason)
            continue
        for piece, begin in layout.pieces(clip, longest):
            inside = notes_column(midi.notes_within(notes, begin, begin + piece.seconds))
            extra = {"notes": inside, "title": name["piece"], "condition": name["condition"], "track": path.stem}
            yield replace(piece, split=own, extra=extra)


def read_text_notes(path: Path) -> list[tuple[float, float, int]]:
    """Return start and end seconds and MIDI pitch of each line below the header; empty lines are passed over.

    Raises
    ------
    AudioError
        If the file is missing, or a line is no note.
    """
    found = []
    for number, line in enumerate(annotation_text(path).splitlines(), 1):
        cells = line.split()
        if not cells or cells[0] == "OnsetTime":
            continue
        try:
            start, end, pitch = float(cells[0]), float(cells[1]), int(float(cells[2]))
        except (ValueError, IndexError) as error:
            raise AudioError(f"line {number} of {path.name} is no note: `{line[:40]}`") from error
        found.append((start, end, pitch))
    return found


def _split(kind: str, piece: str, condition: str, tested: set[str]) -> str | None:
    """Return the split of a recording; None if its piece is one of the test's on another piano."""
    if condition in REAL:
        return "test"
    if kind != "MUS":
        return "train"
    return None if piece in tested else hash_split(CORPUS.name, piece, valid=0.1, test=0.0)
