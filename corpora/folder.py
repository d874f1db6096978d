"""Any plain folder of audio, without labels: the shortest corpus, and the one to copy for a corpus of your own.

Every file that can be read becomes a clip, of any size and provenance. Where the folders directly below the root are
named train, valid or test, they are the splits; other files have none.

Layout below the root::

    [train|valid|test/]**/*.wav (or any other format that libsndfile or PyAV reads)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import Corpus, LeftOut, check_split, require_folder
from audio_ssl.data.manifest import Clip, scan_folder

CORPUS = Corpus(
    name="folder",
    title="A folder of audio",
    description="Audio files of your own, for pretraining or extraction; only their lengths are known.",
    licence="that of the files",
    citation="that of the files",
    size="that of the folder",
    layout="audio files in any subfolders; train/, valid/ and test/ directly below the root are splits",
    splits={
        "train": "the subfolder of this name",
        "valid": "the subfolder of this name",
        "test": "the subfolder of this name",
    },
    labels=("split",),
)


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a readable file, sorted by path.

    Raises
    ------
    UserError
        If there is no folder `root`.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    clips = scan_folder(root, left_out)
    for clip in clips:
        top = clip.id.split("/")[0] if "/" in clip.id else None
        own = top if top in CORPUS.splits else None
        if split in (None, own):
            yield replace(clip, split=own)
