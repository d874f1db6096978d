"""VocalSet: twenty professional singers, each with the same exercises in many techniques.

10.1 h of scales, arpeggios, long tones and excerpts by 9 women and 11 men (Wilkins et al. 2018). Two questions are
asked of it, `--option task=technique` (the default) and `--option task=singer`.

Technique: ten of the seventeen are used, belt, breathy, inhaled, lip_trill, spoken, straight, trill, trillo, vibrato
and vocal_fry, as by Wilkins et al. and MARBLE, and their five singers are the test: f2, f8, m3, m5 and m10 (if the
lists train_singers_technique.txt and test_singers_technique.txt lie below the root, those are taken). They publish no
singers for validation, and MARBLE takes recordings of the training singers; here it is every third training singer of
either sex, f4, f7, m4 and m8, so that no singer is on two sides.

Singer: all recordings in any technique; a hash of the recording's name puts a fifth in valid and a fifth in test, so
each singer is in all of them. Neither Wilkins et al. nor MARBLE publish theirs.

Layout below the root, which may be the folder `FULL` or `data_by_singer` or the one that holds it::

    {female,male}N/EXERCISE/TECHNIQUE/NAME.wav      EXERCISE is arpeggios, excerpts, long_tones or scales
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    check_split,
    hash_split,
    require_folder,
    unknown_name,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="vocalset",
    title="VocalSet",
    description=(
        "Singing techniques and singers, without accompaniment and dry. Exercises are the same for all, so little but "
        "the voice and the technique differs; twenty singers are few to speak for others."
    ),
    licence="CC-BY-4.0",
    citation=(
        "Wilkins, Seetharaman, Wahl and Pardo 2018, VocalSet: a singing voice dataset, ISMIR. "
        "https://zenodo.org/records/1193957"
    ),
    size="3,560 recordings, 10.1 h",
    layout="FULL/{female,male}N/EXERCISE/TECHNIQUE/NAME.wav, as unpacked",
    splits={
        "train": "technique: eleven singers; singer: 60 % of the recordings",
        "valid": "technique: four singers, every third training singer of either sex; singer: 20 %",
        "test": "technique: the five published singers; singer: 20 %",
    },
    labels=("label", "speaker", "gender", "technique", "exercise"),
)

TECHNIQUES = (
    "belt",
    "breathy",
    "inhaled",
    "lip_trill",
    "spoken",
    "straight",
    "trill",
    "trillo",
    "vibrato",
    "vocal_fry",
)
TEST_SINGERS = ("f2", "f8", "m3", "m5", "m10")
_FOLDER = re.compile(r"(f)emale(\d+)|(m)ale(\d+)")


def read(root: Path, split: str | None = None, *, left_out: LeftOut, task: str = "technique") -> Iterator[Clip]:
    """Yield one clip a recording.

    Parameters
    ----------
    root
        Folder of the corpus.
    split
        Only this split.
    task
        What the label and the split are for: ``technique`` or ``singer``.

    Raises
    ------
    UserError
        If there are no singers below `root`, or `task` is unknown.
    """
    check_split(CORPUS, split)
    if task not in ("technique", "singer"):
        raise unknown_name("task", task, ("technique", "singer"), f"corpus {CORPUS.name}")
    folder = next((root / name for name in ("FULL", "data_by_singer") if (root / name).is_dir()), root)
    require_folder(folder, CORPUS)
    singers = {name: path for path in sorted(folder.iterdir()) if (name := singer_name(path.name)) and path.is_dir()}
    if not singers:
        raise UserError(
            f"no singer of {CORPUS.title} was found here: female1, male1 ...",
            where=str(folder),
            remedy=f"layout: {CORPUS.layout}",
        )
    splits = singer_splits(sorted(singers), _listed_test(root))
    for singer, path in singers.items():
        for file in sorted(path.glob("*/*/*.wav")):
            name = f"{singer}/{file.relative_to(path).with_suffix('').as_posix()}"
            # Copies that a file manager made; archive litter.
            if file.name.startswith("._") or re.search(r"\(\d+\)$", file.stem):
                left_out.add(file, "a copy, or no recording")
            elif task == "technique" and file.parent.name not in TECHNIQUES:
                left_out.add(file, "not one of the ten techniques")
            else:
                own = splits[singer] if task == "technique" else hash_split(CORPUS.name, name, valid=0.2, test=0.2)
                if split in (None, own):
                    yield from _clip(file, name, singer, own, task, left_out)


def singer_name(folder: str) -> str | None:
    """Return the short name of a singer's folder.

    Examples
    --------
    >>> singer_name("female1"), singer_name("male11"), singer_name("__MACOSX")
    ('f1', 'm11', None)
    """
    match = _FOLDER.fullmatch(folder.lower())
    return "".join(part for part in match.groups() if part) if match else None


def singer_splits(singers: list[str], test: tuple[str, ...] = TEST_SINGERS) -> dict[str, str]:
    """Return the split of each singer: of those not in `test`, every third of either sex is for validation."""
    splits = {singer: "test" for singer in singers if singer in test}
    for sex in "fm":
        # All that the corpus has, so that a part of it is cut as the whole is.
        others = [f"{sex}{n}" for n in range(1, 12 if sex == "m" else 10) if f"{sex}{n}" not in test]
        for place, singer in enumerate(others, 1):
            if singer in singers:
                splits[singer] = "valid" if place % 3 == 0 else "train"
    # Singers that the corpus does not have are somebody's own.
    return {singer: splits.get(singer, "train") for singer in singers}


def _listed_test(root: Path) -> tuple[str, ...]:
    path = root / "test_singers_technique.txt"
    if not path.is_file():
        return TEST_SINGERS
    words = path.read_text(encoding="utf-8", errors="replace").replace(",", " ").split()
    found = [word if re.fullmatch(r"[fm]\d+", word) else singer_name(word) for word in words]
    return tuple(name for name in found if name) or TEST_SINGERS


def _clip(file: Path, name: str, singer: str, own: str, task: str, left_out: LeftOut) -> Iterator[Clip]:
    if (clip := usable_file(file, name, left_out)) is None:
        return
    technique = file.parent.name
    yield replace(
        clip,
        label=technique if task == "technique" else singer,
        speaker=singer,
        gender=singer[0].upper(),
        split=own,
        extra={"technique": technique, "exercise": file.parent.parent.name},
    )
