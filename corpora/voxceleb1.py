"""VoxCeleb1: celebrities in interviews on the web, for identification and for verification of speakers.

153 516 utterances of 1251 speakers from 22 496 videos, 352 h, 16 kHz (Nagrani et al. 2017). Get the audio and the lists
from https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html. Clips are named by their path below ``wav``, as in the
trial lists (``1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav``: 1 is the same speaker), so a trial list
needs no translation.

Layout below the root::

    wav/SPEAKER/VIDEO/NNNNN.wav    or the same below dev/ and test/, or below vox1_dev_wav/ and vox1_test_wav/
    iden_split.txt                 `1 SPEAKER/VIDEO/NNNNN.wav`: 1 is train, 2 valid, 3 test, of identification
    veri_test.txt                  trials; their speakers are the test of verification
    vox1_meta.csv                  `ID, VGGFace1 ID, Gender, Nationality, Set` between tabs; optional

Identification has every speaker in every split, by video; verification tests speakers never heard before. A recording
has therefore two splits: ``split`` is that of identification, the column ``verification`` that of verification. With
the split ``verification`` all clips are read, and their ``split`` is that of verification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    check_split,
    expected,
    hash_split,
    list_lines,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="voxceleb1",
    title="VoxCeleb1",
    description=(
        "Speech of celebrities from videos, most of it English, with the speaker, recorded gender and nationality: for "
        "identification, verification, and tests over many speakers of either gender. There are no transcripts."
    ),
    licence="CC-BY-4.0 for the lists and the selection; the sound is its owners'",
    citation=(
        "Nagrani, Chung and Zisserman 2017, VoxCeleb: a large-scale speaker identification dataset, Interspeech. "
        "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
    ),
    size="about 36 GB to download, 153516 utterances of 1251 speakers, 352 h",
    layout="wav/SPEAKER/VIDEO/NNNNN.wav, iden_split.txt, veri_test.txt and, for genders, vox1_meta.csv",
    splits={
        "train": "identification, the corpus's own (iden_split.txt), by video; all speakers in all splits",
        "valid": "identification",
        "test": "identification",
        "verification": (
            "all clips, with the splits of verification as theirs: test is the speakers of veri_test.txt, the corpus's "
            "own; valid is about 5 % of the other speakers by a hash of the name, train the rest"
        ),
    },
    labels=("label", "speaker", "gender", "split", "nationality", "video", "verification"),
)

_FOLDERS = ("wav", "dev/wav", "test/wav", "vox1_dev_wav/wav", "vox1_test_wav/wav", "vox1_dev_wav", "vox1_test_wav")
_IDENTIFICATION = {"1": "train", "2": "valid", "3": "test"}


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip an utterance; its label is the speaker.

    Raises
    ------
    UserError
        If there are no recordings below `root`, or the list of the splits asked for is missing.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    folders = [root / name for name in _FOLDERS if any((root / name).glob("id*"))]
    if not folders:
        raise expected(CORPUS, root, "there is no folder like wav/id10270")
    verify = split == "verification"
    identification = {
        name: _IDENTIFICATION[part] for part, name in _rows(root / "iden_split.txt", 2, not verify, left_out)
    }
    tested = {name.split("/")[0] for row in _rows(root / "veri_test.txt", 3, verify, left_out) for name in row[1:]}
    people = _people(root / "vox1_meta.csv", left_out)
    for path in (path for folder in folders for path in sorted(folder.glob("id*/*/*.wav"))):
        speaker, video = path.parts[-3:-1]
        name = "/".join(path.parts[-3:])
        verification = _verification(speaker, tested) if tested else None
        part = verification if verify else identification.get(name)
        if split not in (None, "verification", part):
            continue
        if (clip := usable_file(path, name, left_out)) is None:
            continue
        gender, nationality = people.get(speaker, (None, None))
        extra = {"nationality": nationality, "video": video, "verification": verification}
        yield replace(clip, label=speaker, speaker=speaker, gender=gender, split=part, extra=extra)


def _verification(speaker: str, tested: set[str]) -> str:
    return "test" if speaker in tested else hash_split(CORPUS.name, speaker, valid=0.05, test=0.0)


def _rows(path: Path, width: int, needed: bool, left_out: LeftOut) -> list[list[str]]:
    """Return the words of each line of a list; none if it is missing and not needed."""
    if not path.is_file():
        if not needed:
            return []
        raise UserError(
            f"a list of {CORPUS.title}'s splits was expected here, but there is no such file",
            where=str(path),
            remedy=f"layout: {CORPUS.layout}",
        )
    rows: list[list[str]] = []
    first = _IDENTIFICATION if width == 2 else ("0", "1")
    for where, line in list_lines(path):
        row = line.split()
        if len(row) == width and row[0] in first:
            rows.append(row)
        else:
            form = " ".join([f"{'|'.join(first)}", *["SPEAKER/VIDEO/NNNNN.wav"] * (width - 1)])
            left_out.add(where, f"a line must be `{form}`, but is `{line[:80]}`")
    return rows


def _people(path: Path, left_out: LeftOut) -> dict[str, tuple[str | None, str | None]]:
    """Return speaker -> gender and nationality, for those that the file lists."""
    if not path.is_file():
        return {}
    people: dict[str, tuple[str | None, str | None]] = {}
    for where, line in list(list_lines(path))[1:]:
        row = [cell.strip() for cell in line.split("\t")]
        if len(row) >= 4:
            people[row[0]] = (row[2] or None, row[3] or None)
        else:
            left_out.add(where, f"the row has {len(row)} cells, fewer than 4")
    return people
