"""GiantSteps keys: two-minute excerpts of electronic dance music with one key each.

The GiantSteps Key dataset (604 excerpts, Knees et al. 2015) is the test; the excerpts with a manual key in the
GiantSteps MTG Key dataset (Faraldo et al. 2017) are for training and validation, as in Korzeniowski and Widmer (2018,
arXiv 1808.05340) and MARBLE: only those with the highest confidence, 2, and a single key. The split of these is
MARBLE's and JukeMIR's (Castellon, Donahue and Liang 2021, arXiv 2107.05677): by a SHA-1 of the artist's name, 16 of 116
for validation, artists who worked with one of these joining them; it needs the artists, in beatport_metadata.txt.

Keys are spelled as the labels of the probes: C, C#, D, Eb, E, F, F#, G, Ab, A, Bb, B, major or minor.

Layout below the root: the two repositories, each with its audio fetched by its own script; one is enough::

    giantsteps-key-dataset/annotations/key/ID.LOFI.key          `D major`
    giantsteps-key-dataset/audio/ID.LOFI.mp3 (or wav, flac)
    giantsteps-mtg-key-dataset/annotations/annotations.txt      ID, MANUAL KEY, C (confidence 0, 1 or 2), with tabs
    giantsteps-mtg-key-dataset/annotations/beatport_metadata.txt    ID, ARTIST ... with tabs
    giantsteps-mtg-key-dataset/audio/ID.LOFI.mp3 (or wav, flac)

Archives of the repositories end in -master or a commit, which is accepted too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    UserError,
    annotation_rows,
    annotation_text,
    check_split,
    first_file,
    require_file,
    require_folder,
    time_columns,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="giantsteps",
    title="GiantSteps keys",
    description=(
        "The usual corpus of key detection: electronic dance music, mostly in minor. Two-minute previews as MP3 with "
        "one global key each; passages in other keys are not marked."
    ),
    licence="annotations without a stated licence; audio are previews of Beatport, fetched from a backup",
    citation=(
        "Knees, Faraldo, Herrera, Vogl, Boeck, Hoerschlaeger and Le Goff 2015, Two data sets for tempo estimation and "
        "key detection in electronic dance music annotated from user corrections, ISMIR. Faraldo, Jorda and Herrera "
        "2017, A multi-profile method for key estimation in EDM, AES. https://github.com/GiantSteps"
    ),
    size="604 and 1486 excerpts of two minutes",
    layout=(
        "giantsteps-key-dataset/ and giantsteps-mtg-key-dataset/, as cloned, each with annotations/ and "
        "audio/ID.LOFI.mp3"
    ),
    splits={
        "train": "MTG excerpts with confidence 2 and one key, about 84 %, by artist",
        "valid": "the others of these, by artist",
        "test": "the GiantSteps Key dataset",
    },
    labels=("label", "track", "artist", "confidence"),
)

TEST, TRAIN = "giantsteps-key-dataset", "giantsteps-mtg-key-dataset"
_VALID_OF_116 = 16


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip an excerpt of the repositories that are there.

    Raises
    ------
    UserError
        If there is neither repository, the one of `split` is missing, or a table lacks a column.
    """
    check_split(CORPUS, split)
    test, train = _find(root, TEST), _find(root, TRAIN)
    if test is None and train is None:
        require_folder(root, CORPUS)
        raise UserError(
            f"neither repository of {CORPUS.title} was found here: {TEST}, {TRAIN}",
            where=str(root),
            remedy=f"layout: {CORPUS.layout}",
        )
    if split in (None, "train", "valid") and (train is not None or split is not None):
        yield from _training(require_folder(train or root / TRAIN, CORPUS), split, left_out)
    if split in (None, "test") and (test is not None or split is not None):
        yield from _testing(require_folder(test or root / TEST, CORPUS), left_out)


def normal_key(text: str) -> str | None:
    """Return a key as labels spell it, or None for anything that is not one major or minor key.

    Examples
    --------
    >>> normal_key("d# minor"), normal_key("Gb major"), normal_key("A-A# minor")
    ('Eb minor', 'F# major', None)
    """
    words = text.split()
    if len(words) != 2 or words[1].lower() not in ("major", "minor"):
        return None
    letter, accidental = words[0][0].upper(), words[0][1:]
    if letter not in "CDEFGAB" or accidental not in ("", "#", "b"):
        return None
    place = time_columns.ROOTS.index(letter) + {"": 0, "#": 1, "b": -1}[accidental]
    return f"{time_columns.ROOTS[place % 12]} {words[1].lower()}"


def _find(root: Path, name: str) -> Path | None:
    found = [path for path in sorted(root.glob(f"{name}*")) if path.is_dir()]
    return found[0] if found else None


def _testing(folder: Path, left_out: LeftOut) -> Iterator[Clip]:
    keys = require_folder(folder / "annotations" / "key", CORPUS)
    for path in sorted(keys.glob("*.key")):
        try:
            text = annotation_text(path).strip()
        except AudioError as error:
            left_out.add(path, error.reason)
            continue
        key = normal_key(text)
        if key is None:
            said = f"but is `{' '.join(text.split())[:40]}`" if text else "but the file is empty"
            left_out.add(path, f"a key must be like `D# minor`, {said}")
            continue
        yield from _clip(folder, path.stem.split(".")[0], key, "test", {}, left_out)


def _training(folder: Path, split: str | None, left_out: LeftOut) -> Iterator[Clip]:
    annotations = folder / "annotations"
    artists = {
        row["ID"]: _artists(row["ARTIST"])
        for row in _rows(annotations / "beatport_metadata.txt", left_out, "ID", "ARTIST")
    }
    splits = split_artists(list(artists.values()))
    for row in _rows(annotations / "annotations.txt", left_out, "ID", "MANUAL KEY", "C"):
        key = normal_key(row["MANUAL KEY"])
        if row["C"] != "2" or key is None:
            left_out.add(row["ID"], "not of confidence 2" if row["C"] != "2" else "not one major or minor key")
            continue
        names = artists.get(row["ID"])
        if not names:
            left_out.add(row["ID"], "no artist in beatport_metadata.txt")
            continue
        part = splits[names[0]]
        if split in (None, part):
            yield from _clip(folder, row["ID"], key, part, {"artist": ", ".join(names), "confidence": 2}, left_out)


def _clip(
    folder: Path, number: str, key: str, part: str, extra: dict[str, str | int], left_out: LeftOut
) -> Iterator[Clip]:
    found = [folder / "audio" / f"{number}.LOFI{suffix}" for suffix in (".mp3", ".wav", ".flac")]
    path = first_file(*found)
    if (clip := usable_file(path, number, left_out)) is None:
        return
    yield replace(clip, label=key, split=part, extra={"track": number, **extra})


def split_artists(tracks: list[list[str]]) -> dict[str, str]:
    """Return artist -> train or valid, given the artists of each track, as JukeMIR and MARBLE cut it."""
    splits: dict[str, str] = {}
    for names in tracks:
        for name in names:
            place = int(hashlib.sha1(name.lower().encode(), usedforsecurity=False).hexdigest(), 16) % (
                100 + _VALID_OF_116
            )
            splits[name] = "train" if place < 100 else "valid"
    # Twice, as there: who worked with someone who worked with a validation artist is one too.
    for _ in range(2):
        for names in tracks:
            if any(splits[name] == "valid" for name in names):
                splits.update(dict.fromkeys(names, "valid"))
    return splits


def _artists(text: str) -> list[str]:
    return [name.strip() for name in text.strip().split(",")] if text.strip() else []


def _rows(path: Path, left_out: LeftOut, *needed: str) -> Iterator[dict[str, str]]:
    rows = annotation_rows(require_file(path, CORPUS), needed, left_out, delimiter="\t", quotes=False)
    return (row for _, row in rows)
