"""The folder of clips that ``extract.py`` measures on: 0.3 to 30 s and a long file, of real clips, FLAC, 16 kHz."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from audio_ssl.data.audio import read_clip
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import iterate_manifest, scan_folder

RATE = 16_000
SHORTEST, LONGEST = 0.3, 30.0
LONG_NAME = "long.flac"


def make(source: Path, out: Path, clips: int, long_seconds: float) -> list[Path]:
    """Write the folder unless it is there; return its files.

    Lengths are even on a logarithmic scale, in a fixed order of chance; each clip is the next stretch of the source's
    clips, one after the other, so that no two are alike.

    Parameters
    ----------
    source
        A manifest or a folder of audio.
    out
        What to write; the numbers are part of the name of a folder in it.
    clips
        Number of short clips.
    long_seconds
        Length of the long file; 0: none.
    """
    folder = out / f"{clips}_clips_{long_seconds:.0f}_s"
    steps = np.linspace(0, 1, clips)
    lengths = (SHORTEST * (LONGEST / SHORTEST) ** steps * RATE).astype(int)
    np.random.default_rng(0).shuffle(lengths)
    wanted = [(f"{number:04d}.flac", int(length)) for number, length in enumerate(lengths)]
    if long_seconds:
        wanted.append((LONG_NAME, int(long_seconds * RATE)))
    if not all((folder / name).is_file() for name, _ in wanted):
        folder.mkdir(parents=True, exist_ok=True)
        audio, rest = _source_clips(source), np.empty(0, np.float32)
        for name, length in wanted:
            with soundfile.SoundFile(folder / name, "w", RATE, 1, "PCM_16") as file:
                while length:
                    if not len(rest):
                        rest = next(audio)
                    piece, rest = rest[:length], rest[length:]
                    file.write(piece)
                    length -= len(piece)
    return [folder / name for name, _ in wanted]


def _source_clips(source: Path) -> Iterator[npt.NDArray[np.float32]]:
    if source.suffix == ".jsonl":
        clips = list(iterate_manifest(source))
    else:
        with tempfile.TemporaryDirectory() as folder:
            ledger = ErrorLedger(Path(folder) / "errors.jsonl")
            clips = scan_folder(source, ledger)
    while True:
        for number in np.random.default_rng(1).permutation(len(clips)):
            yield read_clip(clips[number], RATE)
