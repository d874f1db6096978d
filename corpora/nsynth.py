"""NSynth: single notes of 1006 instruments, four seconds each, with family and pitch.

305,979 notes at 16 kHz from commercial sample libraries (Engel et al. 2017, arXiv 1704.01279). The published split has
the instruments of training in training only; validation and test share theirs.

Layout below the root: the unpacked archives, those that are there; each::

    nsynth-{train,valid,test}/examples.json     note -> its row
    nsynth-{train,valid,test}/audio/NOTE.wav
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    UserError,
    check_split,
    read_object,
    require_file,
    require_folder,
    track,
    whole_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="nsynth",
    title="NSynth",
    description=(
        "Isolated notes for instrument family (11) and pitch (128 MIDI notes). Clean and always alike in length: held "
        "three seconds, released for one. The column `track` is the instrument, so intervals are over instruments."
    ),
    licence="CC-BY-4.0",
    citation=(
        "Engel, Resnick, Roberts, Dieleman, Norouzi, Eck and Simonyan 2017, Neural audio synthesis of musical notes "
        "with WaveNet autoencoders, ICML. https://magenta.tensorflow.org/datasets/nsynth"
    ),
    size="305,979 notes of 4 s, 340 h; 12,678 in valid and 4,096 in test",
    layout="nsynth-train/, nsynth-valid/ and nsynth-test/, each with examples.json and audio/, as unpacked",
    splits={
        "train": "nsynth-train, instruments that are in no other",
        "valid": "nsynth-valid",
        "test": "nsynth-test",
    },
    labels=("label", "tags", "pitch", "velocity", "source", "instrument", "track"),
)

_NEEDED = ("instrument_str", "instrument_family_str", "instrument_source_str", "pitch", "velocity")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a note of the archives that are there; tags are its qualities (bright, distortion ...).

    Raises
    ------
    UserError
        If there is no archive below `root`, the one of `split` is missing, or its rows are others.
    """
    check_split(CORPUS, split)
    there = [part for part in CORPUS.splits if (root / f"nsynth-{part}").is_dir()]
    if not there:
        require_folder(root, CORPUS)
        raise UserError(
            f"none of {CORPUS.title}'s folders was found here: nsynth-train, nsynth-valid, nsynth-test",
            where=str(root),
            remedy=f"layout: {CORPUS.layout}",
        )
    for part in there if split is None else [split]:
        folder = require_folder(root / f"nsynth-{part}", CORPUS)
        notes = _notes(require_file(folder / "examples.json", CORPUS))
        for name, row in track(notes.items(), f"read {part}"):
            yield from _clip(folder, name, row, part, left_out)


def _notes(path: Path) -> dict[str, dict[str, Any]]:
    return read_object(path, most_bytes=1 << 30)


def _clip(folder: Path, name: str, row: dict[str, Any], part: str, left_out: LeftOut) -> Iterator[Clip]:
    path = folder / "audio" / f"{name}.wav"
    missing = [key for key in _NEEDED if not isinstance(row, dict) or key not in row]
    if missing:
        left_out.add(path, f"examples.json has no {', '.join(missing)} of it")
        return
    try:
        clip = whole_file(path, name)
        pitch, velocity = int(row["pitch"]), int(row["velocity"])
    except AudioError as error:
        left_out.add(path, error.reason)
        return
    except (TypeError, ValueError):
        left_out.add(path, "its pitch or velocity is not a number")
        return
    yield replace(
        clip,
        label=row["instrument_family_str"],
        tags=tuple(row.get("qualities_str", ())),
        split=part,
        extra={
            "pitch": pitch,
            "velocity": velocity,
            "source": row["instrument_source_str"],
            "instrument": row["instrument_str"],
            "track": row["instrument_str"],
        },
    )
