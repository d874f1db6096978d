"""MTG-Jamendo: full tracks with tags of genre, instrument, mood and theme, in the published split 0.

More than 55,000 tracks as MP3 by artists who put them on Jamendo under Creative Commons licences, with 195 tags their
uploaders chose (Bogdanov et al. 2019). The five published splits keep an artist on one side; MARBLE uses split 0.

Options: `--option subset=genre` for `genre`, `instrument`, `moodtheme`, `top50tags` (the default), or `all` tags;
`--option splits=1` for another of the published splits, 0 to 4.

Layout below the root, which may be the repository, or its folder `data`::

    data/splits/split-0/autotagging_SUBSET-{train,validation,test}.tsv      without _SUBSET for all
    audio/NN/TRACK.mp3 (or audio-low/NN/TRACK.low.mp3, or NN/ itself)       also in data/

The lines have TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION and any number of TAGS such as genre---rock, with tabs.
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
    unknown_name,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="mtg_jamendo",
    title="MTG-Jamendo",
    description=(
        "Music tagging on whole tracks of good quality, with an artist on one side of the split only. Tags are those "
        "that uploaders chose: what is not tagged may be there all the same."
    ),
    licence="audio under Creative Commons licences, each track its own; metadata CC-BY-NC-SA-4.0; research only",
    citation=(
        "Bogdanov, Won, Tovstogan, Porter and Serra 2019, The MTG-Jamendo dataset for automatic music tagging, Machine "
        "Learning for Music Discovery Workshop, ICML. https://github.com/MTG/mtg-jamendo-dataset"
    ),
    size="more than 55,000 tracks; 508 GB of MP3, 156 GB in low quality",
    layout="data/splits/split-0/autotagging_SUBSET-*.tsv of the repository and audio/NN/TRACK.mp3",
    splits={
        "train": "autotagging_SUBSET-train.tsv of the split, by artist",
        "valid": "autotagging_SUBSET-validation.tsv",
        "test": "autotagging_SUBSET-test.tsv",
    },
    labels=("tags", "track", "artist", "album"),
)

SUBSETS = {
    "genre": "_genre",
    "instrument": "_instrument",
    "moodtheme": "_moodtheme",
    "top50tags": "_top50tags",
    "all": "",
}
_FILES = {"train": "train", "valid": "validation", "test": "test"}
_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


def read(
    root: Path, split: str | None = None, *, left_out: LeftOut, subset: str = "top50tags", splits: str = "0"
) -> Iterator[Clip]:
    """Yield one clip a track.

    Parameters
    ----------
    root
        The repository, with the audio in it.
    split
        Only this split.
    subset
        Which tags: genre, instrument, moodtheme, top50tags or all.
    splits
        Which of the published splits, 0 to 4.

    Raises
    ------
    UserError
        If a table is missing or of another form, or an option is unknown.
    """
    check_split(CORPUS, split)
    if subset not in SUBSETS:
        raise unknown_name("subset", subset, SUBSETS, f"corpus {CORPUS.name}")
    require_folder(root, CORPUS)
    data = root / "data" if (root / "data").is_dir() else root
    for own in CORPUS.splits if split is None else [split]:
        name = f"autotagging{SUBSETS[subset]}-{_FILES[own]}.tsv"
        table = require_file(data / "splits" / f"split-{splits}" / name, CORPUS)
        lines = list_lines(table)
        if next(lines, ("", ""))[1].split("\t") != _HEADER:
            raise UserError(f"the first line must name {', '.join(_HEADER)}, with tabs", where=f"{table}:1")
        for where, line in lines:
            cells = line.split("\t")
            if len(cells) < len(_HEADER):
                left_out.add(where, f"the line has {len(cells)} cells, fewer than {len(_HEADER)}")
            else:
                yield from _clip((root, data), cells, own, left_out)


def _clip(roots: tuple[Path, Path], cells: list[str], own: str, left_out: LeftOut) -> Iterator[Clip]:
    track, artist, album, name = cells[:4]
    low = str(PurePosixPath(name).with_suffix(".low.mp3"))
    found = [root / part for root in roots for part in (f"audio/{name}", f"audio-low/{low}", name, low)]
    path = first_file(*found)
    if (clip := usable_file(path, track, left_out)) is None:
        return
    tags = tuple(tag for tag in cells[5:] if tag)
    yield replace(clip, tags=tags, split=own, extra={"track": track, "artist": artist, "album": album})
