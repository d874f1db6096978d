"""ASAP: classical piano with the time of every beat and downbeat, the audio from MAESTRO.

236 scores and 1068 performances of 15 composers, with beats aligned from the scores (Foscarin et al. 2020); 519 of the
performances are in MAESTRO v2 (Hawthorne et al. 2018, arXiv 1810.12247), whose audio is used. The times are those of
the piano's own sensors, so they are exact. The tempo is as free as the performance, which is hard for beat trackers.

The column `beats` is "0.512/1 1.024/2 ...": seconds in the clip and the number in the bar, counted from each downbeat.
Beats before the first downbeat have no number. Neither have beats of incomplete bars (bR) and those after them up to
the next downbeat. No split is published; here a hash of the title decides, so all performances of a title are in the
same split.

Options: `--option seconds=30` for pieces of equal length up to this (the default; 0 for whole performances), and
`--option maestro=DIR` if the folder of MAESTRO is not below the root.

Layout below the root, which may be the repository with the audio put in by its own script::

    metadata.csv, or in asap-dataset/       composer, title, folder, annotations, recordings ...
    COMPOSER/.../NAME_annotations.txt       beside it: `time, time, b | db | bR[,more]` with tabs
    COMPOSER/.../NAME.wav                   beside it, made by the script; or
    maestro-v2.0.0/YEAR/NAME.wav            named in metadata.csv as {maestro}/YEAR/NAME.wav
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    annotation_rows,
    annotation_text,
    check_split,
    expected,
    hash_split,
    layout,
    require_folder,
    whole_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="asap",
    title="ASAP",
    description=(
        "Beats and downbeats of classical piano, for beat tracking. One instrument, in a hall, and much rubato. Pieces "
        "of one performance share the column `track`."
    ),
    licence="CC-BY-NC-SA-4.0, ASAP and MAESTRO",
    citation=(
        "Foscarin, McLeod, Rigaux, Jacquemard and Sakai 2020, ASAP: a dataset of aligned scores and performances for "
        "piano transcription, ISMIR. https://github.com/fosfrancesco/asap-dataset. Audio: Hawthorne et al. 2019, "
        "Enabling factorized piano music modeling and generation with the MAESTRO dataset, ICLR."
    ),
    size="519 performances with audio; MAESTRO v2.0.0 is 120 GB of WAV",
    layout="metadata.csv and COMPOSER/.../*_annotations.txt of the repository, and maestro-v2.0.0/YEAR/*.wav",
    splits={
        "train": "about 80 % of the titles, by a hash",
        "valid": "about 10 % of the titles",
        "test": "about 10 % of the titles",
    },
    labels=("beats", "composer", "title", "track"),
)

_NEEDED = ("composer", "title", "performance_annotations", "maestro_audio_performance", "audio_performance")
_KINDS = ("b", "db", "bR")

Beat = tuple[float, int | None]
"""Seconds from the performance's start, number in the bar."""


def read(
    root: Path, split: str | None = None, *, left_out: LeftOut, seconds: str = "30", maestro: str = ""
) -> Iterator[Clip]:
    """Yield the pieces of each performance that has audio and beats.

    Parameters
    ----------
    root
        The repository, or the folder that holds it and MAESTRO.
    split
        Only this split.
    seconds
        Performances are cut into pieces of equal length up to this; 0 for whole ones.
    maestro
        Folder of MAESTRO, if not below `root`.

    Raises
    ------
    UserError
        If the table is missing or lacks a column, or `seconds` is no number.
    """
    check_split(CORPUS, split)
    longest = layout.piece_seconds(seconds, CORPUS.name)
    require_folder(root, CORPUS)
    folder = next((f for f in (root, root / "asap-dataset") if (f / "metadata.csv").is_file()), None)
    if folder is None:
        raise expected(CORPUS, root, "there is no metadata.csv")
    recordings = [Path(maestro)] if maestro else sorted(p for p in root.glob("maestro*") if p.is_dir())
    for _, row in annotation_rows(folder / "metadata.csv", _NEEDED, left_out):
        own = hash_split(CORPUS.name, f"{row['composer']}/{row['title']}")
        if split not in (None, own):
            continue
        name = row["performance_annotations"].removesuffix("_annotations.txt")
        try:
            clip = _performance(row, name, folder, recordings)
            beats = read_beats(folder / row["performance_annotations"])
        except AudioError as error:
            left_out.add(name, error.reason)
            continue
        extra = {"composer": row["composer"], "title": row["title"], "track": name}
        yield from (replace(c, split=own, extra={**extra, **c.extra}) for c in _cut(clip, beats, longest))


def read_beats(path: Path) -> list[Beat]:
    """Return the beats of an annotation file; lines of other kinds (key and time signatures) are not looked at.

    Raises
    ------
    AudioError
        If the file is missing, or a line has no time.
    """
    beats: list[Beat] = []
    number: int | None = None
    for line_number, line in enumerate(annotation_text(path).splitlines(), 1):
        cells = line.split("\t")
        kind = cells[2].split(",")[0].strip() if len(cells) > 2 else ""
        if kind not in _KINDS:
            continue
        try:
            time = float(cells[0])
        except ValueError as error:
            raise AudioError(
                f"line {line_number} of {path.name}: the time `{cells[0][:40]}` is not a number"
            ) from error
        if kind == "db":
            number = 1
        elif kind == "bR" or number is None:
            number = None
        else:
            number += 1
        beats.append((time, number))
    return beats


def _performance(row: dict[str, str], name: str, folder: Path, recordings: list[Path]) -> Clip:
    """Return the clip of a whole performance; AudioError if there is none."""
    made = folder / row["audio_performance"]
    if row["audio_performance"] and made.is_file():
        return whole_file(made, name)
    if not row["maestro_audio_performance"]:
        raise AudioError("no audio: only MIDI")
    inside = row["maestro_audio_performance"].removeprefix("{maestro}/")
    found = [recording / inside for recording in recordings]
    path = next((p for p in found if p.is_file()), None)
    if path is None:
        raise AudioError("its recording is not in MAESTRO's folder" if recordings else "no folder of MAESTRO")
    clip = whole_file(path, name)
    # The performance may be a part of what MAESTRO has.
    try:
        start, end = (float(row[key]) if row.get(key) else None for key in ("start", "end"))
    except ValueError as error:
        raise AudioError("its start or end is no number") from error
    start = start or 0.0
    end = min(end or clip.seconds, clip.seconds)
    if not 0 <= start < end:
        raise AudioError("its start does not lie before its end")
    return replace(clip, start=start, seconds=end - start)


def _cut(clip: Clip, beats: list[Beat], longest: float) -> Iterator[Clip]:
    for piece, begin in layout.pieces(clip, longest):
        inside = [(time - begin, number) for time, number in beats if begin <= time < begin + piece.seconds]
        text = " ".join(f"{time:.3f}" + (f"/{number}" if number else "") for time, number in inside)
        yield replace(piece, extra={"beats": text})
