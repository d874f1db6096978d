"""GTZAN: a thousand half-minutes of music in ten genres, in the fault-filtered split.

100 excerpts a genre (Tzanetakis and Cook 2002). Sturm (2013, "The GTZAN dataset: its contents, its faults, their
effects on evaluation, and its future use", arXiv 1306.1461) found repetitions, mislabellings and distortions in it;
Kereliuk, Sturm and Larsen (2015, "Deep learning and music adversaries") published a split without them and with no
artist on two sides: 443 excerpts for training, 197 for validation, 290 for the test. Its three lists must lie below the
root.

Layout below the root, which may be the folder `genres` or the one that holds it::

    genres/GENRE/GENRE.NNNNN.wav (or au)
    train_filtered.txt, valid_filtered.txt, test_filtered.txt    a line a file: `blues/blues.00029.wav`; also in genres/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    check_split,
    first_file,
    list_lines,
    require_file,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")

CORPUS = Corpus(
    name="gtzan",
    title="GTZAN",
    description=(
        "The usual corpus of musical genres. Small, old and recorded from radio and records without permission; "
        "what a genre is here is what one person said. The fault-filtered split has no artist on two sides."
    ),
    licence="none stated; excerpts of commercial records",
    citation=(
        "Tzanetakis and Cook 2002, Musical genre classification of audio signals, IEEE Transactions on Speech and "
        "Audio Processing 10 (5). Split: Kereliuk, Sturm and Larsen 2015, Deep learning and music adversaries, IEEE "
        "Transactions on Multimedia 17 (11)."
    ),
    size="1.2 GB; 930 of the 1000 excerpts of 30 s are in the split",
    layout="genres/GENRE/GENRE.NNNNN.wav or .au, and train_filtered.txt, valid_filtered.txt and test_filtered.txt",
    splits={
        "train": "443 excerpts of train_filtered.txt",
        "valid": "197 of valid_filtered.txt",
        "test": "290 of test_filtered.txt",
    },
    labels=("label", "track"),
)

LISTS = (
    "get the lists, which their authors publish in gtzan/ of https://github.com/coreyker/dnn-mgr: train_filtered.txt, "
    "valid_filtered.txt and test_filtered.txt; put them beside genres/"
)


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip an excerpt of the lists.

    Raises
    ------
    UserError
        If the genres or the lists are missing below `root`.
    """
    check_split(CORPUS, split)
    genres = root / "genres" if (root / "genres").is_dir() else root
    require_folder(genres, CORPUS)
    if not any((genres / genre).is_dir() for genre in GENRES):
        raise UserError(
            f"none of {CORPUS.title}'s genres was found here: {', '.join(GENRES)}",
            where=str(genres),
            remedy=f"layout: {CORPUS.layout}",
        )
    for part in CORPUS.splits if split is None else [split]:
        name = f"{part}_filtered.txt"
        listed = next((f / name for f in (root, genres) if (f / name).is_file()), root / name)
        for where, line in list_lines(require_file(listed, CORPUS, LISTS)):
            yield from _clip(genres, line.strip(), part, where, left_out)


def _clip(genres: Path, line: str, part: str, where: str, left_out: LeftOut) -> Iterator[Clip]:
    name = PurePosixPath(line).stem
    genre = name.split(".")[0]
    if genre not in GENRES:
        left_out.add(where, f"a line must be like blues/blues.00029.wav, but is `{line[:80]}`")
        return
    # The archive has .au, copies have .wav; a list may name the other.
    found = [genres / genre / f"{name}{suffix}" for suffix in (".wav", ".au")]
    path = first_file(*found)
    if (clip := usable_file(path, name, left_out)) is None:
        return
    yield replace(clip, label=genre, split=part, extra={"track": name})
