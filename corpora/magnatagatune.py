"""MagnaTagATune: half-minutes of music with tags from a game, in the usual split by folder.

25,863 clips of 29 s of Magnatune's records, tagged by the players of TagATune with 188 words (Law et al. 2009). As
usual (Dieleman and Schrauwen 2014; MARBLE) the folders 0 to b are for training, c for validation and d, e, f for the
test, and the 50 tags that most clips have are used: they are counted in the table over all clips. Clips with none of
these stay, with no tag; only files that cannot be read are left out.

Options: `--option tags=188` for so many of the most frequent tags.

Layout below the root::

    annotations_final.csv   clip_id, a column of 0 and 1 a tag, mp3_path, with tabs
    clip_info_final.csv     clip_id, track_number, title, artist, album ... mp3_path, with tabs
    mp3/F/NAME.mp3          F is 0 to f; the folders may also lie directly below the root
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    annotation_rows,
    check_split,
    require_file,
    require_folder,
    track,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="magnatagatune",
    title="MagnaTagATune",
    description=(
        "Music tagging with weak labels: players agreed on the tags that are there, and said nothing of most that are "
        "not. Several clips come from one track; the usual split does not promise that artists stay on one side."
    ),
    licence="CC-BY-NC-SA, as Magnatune's records",
    citation=(
        "Law, West, Mandel, Bay and Downie 2009, Evaluation of algorithms using games: the case of music tagging, "
        "ISMIR. https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
    ),
    size="about 3 GB in three parts; 25,863 clips of 29 s, three of which are empty files",
    layout="annotations_final.csv, clip_info_final.csv and mp3/0 to mp3/f, as unpacked",
    splits={
        "train": "folders 0 to 9, a and b",
        "valid": "folder c",
        "test": "folders d, e and f",
    },
    labels=("tags", "track", "artist"),
)


def read(root: Path, split: str | None = None, *, left_out: LeftOut, tags: str = "50") -> Iterator[Clip]:
    """Yield one clip a line of the table.

    Parameters
    ----------
    root
        Folder of the corpus.
    split
        Only this split.
    tags
        How many of the most frequent tags are used.

    Raises
    ------
    UserError
        If a table is missing or has other columns, or `tags` is no number.
    """
    check_split(CORPUS, split)
    if not (tags.isdecimal() and int(tags) > 0):
        raise UserError(f"`tags` must be a number above 0, but is `{tags}`", where=f"corpus {CORPUS.name}")
    require_folder(root, CORPUS)
    table = require_file(root / "annotations_final.csv", CORPUS)
    infos = {
        row["clip_id"]: row
        for _, row in _rows(require_file(root / "clip_info_final.csv", CORPUS), left_out, "artist", "title")
    }
    rows = list(_rows(table, left_out, "mp3_path"))
    used = frequent_tags([row for _, row in rows], int(tags))
    folder = root / "mp3" if (root / "mp3").is_dir() else root
    for where, row in track(rows, "read clips"):
        own = _split(row["mp3_path"])
        if own is None:
            left_out.add(where, f"`mp3_path` must begin with a folder 0 to f, but is `{row['mp3_path'][:80]}`")
        elif split in (None, own):
            yield from _clip(folder, row, own, used, infos.get(row["clip_id"], {}), left_out)


def frequent_tags(rows: list[dict[str, str]], count: int) -> list[str]:
    """Return the tags that most rows have, the most frequent first; of equals the one of the earlier column."""
    names = [name for name in (rows[0] if rows else {}) if name not in ("clip_id", "mp3_path")]
    counts = {name: sum(row[name] == "1" for row in rows) for name in names}
    return sorted(names, key=lambda name: -counts[name])[:count]


def _split(mp3_path: str) -> str | None:
    place = "0123456789abcdef".find(mp3_path[:1].lower()) if mp3_path[1:2] == "/" else -1
    return None if place < 0 else "train" if place < 12 else "valid" if place == 12 else "test"


def _clip(
    folder: Path, row: dict[str, str], own: str, used: list[str], info: dict[str, str], left_out: LeftOut
) -> Iterator[Clip]:
    path = folder / row["mp3_path"]
    if (clip := usable_file(path, row["clip_id"], left_out)) is None:
        return
    parts = [info.get(name, "") for name in ("artist", "album", "track_number", "title")]
    # Without a line in clip_info the clip is its own track.
    extra = {"track": "/".join(parts), "artist": parts[0]} if info else {"track": row["clip_id"]}
    yield replace(clip, tags=tuple(name for name in used if row[name] == "1"), split=own, extra=extra)


def _rows(path: Path, left_out: LeftOut, *needed: str) -> Iterator[tuple[str, dict[str, str]]]:
    return annotation_rows(path, ("clip_id", *needed), left_out, delimiter="\t")
