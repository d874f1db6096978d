"""EmoMusic (1000 songs for emotional analysis): 744 clips of 45 s with valence and arousal.

Songs of the Free Music Archive, each rated on two scales from 1 to 9 by at least ten people (Soleymani et al. 2013).
The means of the ratings of whole clips are the values. The test is MediaEval 2013's evaluation set; JukeMIR (Castellon,
Donahue and Liang 2021, arXiv 2107.05677) and MARBLE divide the rest by a SHA-1 of the artist's name, 2 of 10 for
validation, as does this reader. They scale the values by the training set; this reader does not.

Layout below the root; tables and clips may also lie in folders of the archives, `annotations` and `clips_45sec`::

    static_annotations.csv      song_id, mean_arousal, std_arousal, mean_valence, std_valence
    songs_info.csv              song_id, Artist, Song title, Genre, Mediaeval 2013 set ...
    clips_45seconds/ID.mp3      (or wav, flac)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    annotation_rows,
    check_split,
    first_file,
    require_file,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="emomusic",
    title="EmoMusic",
    description=(
        "Valence and arousal of music, 1 to 9, means of at least ten listeners. Small: intervals of R2 are wide. The "
        "standard deviations among listeners are kept."
    ),
    licence="annotations for research, without a stated licence; songs under Creative Commons licences of each artist",
    citation=(
        "Soleymani, Caro, Schmidt, Sha and Yang 2013, 1000 songs for emotional analysis of music, CrowdMM. "
        "https://cvml.unige.ch/databases/emoMusic/"
    ),
    size="744 clips of 45 s, 9.3 h",
    layout="static_annotations.csv, songs_info.csv and clips_45seconds/ID.mp3, as unpacked",
    splits={
        "train": "8 of 10 artists of the development set",
        "valid": "2 of 10 artists of the development set",
        "test": "MediaEval 2013's evaluation set",
    },
    labels=("valence", "arousal", "valence_std", "arousal_std", "artist", "genre", "track"),
)

_SET = "Mediaeval 2013 set"
_MEANS = ("mean_valence", "mean_arousal", "std_valence", "std_arousal")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a rated song.

    Raises
    ------
    UserError
        If a table or the clips are missing, or a table has other columns.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    tables = root / "annotations" if (root / "annotations").is_dir() else root
    info = tables / "songs_info.csv"
    songs = {row["song_id"]: row for _, row in _rows(info, left_out, "Artist", "Genre", _SET)}
    folders = [root / name for name in ("clips_45seconds", "clips_45sec/clips_45seconds", "clips_45sec")]
    clips = require_folder(next((f for f in folders if f.is_dir()), folders[0]), CORPUS)
    for where, row in _rows(tables / "static_annotations.csv", left_out, *_MEANS):
        song = songs.get(row["song_id"])
        if song is None:
            left_out.add(where, "not in songs_info.csv")
            continue
        own = "test" if song[_SET] == "evaluation" else artist_split(song["Artist"])
        if split in (None, own):
            yield from _clip(clips, row, song, own, left_out, where)


def artist_split(artist: str) -> str:
    """Return train or valid for an artist of the development set: letters without accents, single spaces, SHA-1.

    Examples
    --------
    >>> artist_split("The  Kyoto Connection!") == artist_split("the kyoto connection")
    True
    """
    plain = "".join(c for c in artist.lower() if c.isascii() and (c.isalpha() or c.isspace()))
    digest = hashlib.sha1(" ".join(plain.split()).encode(), usedforsecurity=False).hexdigest()
    return "train" if int(digest, 16) % 10 < 8 else "valid"


def _clip(
    folder: Path, row: dict[str, str], song: dict[str, str], own: str, left_out: LeftOut, where: str
) -> Iterator[Clip]:
    number = row["song_id"]
    found = [folder / f"{number}{suffix}" for suffix in (".mp3", ".wav", ".flac")]
    path = first_file(*found)
    try:
        valence, arousal, valence_std, arousal_std = (float(row[name]) for name in _MEANS)
    except ValueError:
        left_out.add(where, f"a rating of song {number} is not a number")
        return
    if (clip := usable_file(path, number, left_out)) is None:
        return
    yield replace(
        clip,
        split=own,
        extra={
            "valence": valence,
            "arousal": arousal,
            "valence_std": valence_std,
            "arousal_std": arousal_std,
            "artist": song["Artist"],
            "genre": song["Genre"],
            "track": number,
        },
    )


def _rows(path: Path, left_out: LeftOut, *needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    return annotation_rows(require_file(path, CORPUS), ("song_id", *needed), left_out, delimiter=",")
