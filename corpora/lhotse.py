"""Cuts of lhotse: spans of recordings with what is said in them, JSON Lines, plain or gzipped.

`audio-ssl manifest lhotse --root cuts_train.jsonl.gz --out M.jsonl` reads each cut's id, its place in the recording,
and the text, speaker, gender and language of its supervisions; custom values are kept. Cuts that are mixed, padded or
of one channel of several are not a span of a file; they are left out and named.

Layout below the root, which may be the cuts themselves, or a folder with one or more such files directly in it::

    NAME.jsonl[.gz]    cuts; a name with train, valid, validation, dev, val or test in it is of that split
    ...                the audio; relative paths start at the working directory, as for lhotse, or `--option folder=DIR`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    Rows,
    UserError,
    check_split,
    cut_row,
    is_lhotse,
    split_named,
    table_files,
    table_rows,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="lhotse",
    title="Cuts of lhotse",
    description=(
        "Clips of your own as lhotse's cuts list them: spans of recordings with transcripts, speakers, genders and "
        "languages. Custom values are kept. Cuts that are mixed or padded are left out and named."
    ),
    licence="that of the recordings",
    citation="that of the recordings; the format: Żelasko et al. 2021, arXiv:2110.12561",
    size="that of the cuts",
    layout="a .jsonl or .jsonl.gz file of cuts, as the root or directly below it; audio as the cuts name it",
    splits={
        "train": "the file with this in its name",
        "valid": "the file with valid, validation, dev or val in its name",
        "test": "the file with this in its name",
    },
    # Whatever the cuts' own: `mul` is ISO 639-2 for several languages.
    languages=("mul",),
    labels=("text", "speaker", "gender", "language", "split"),
)

SUFFIXES = (".jsonl", ".gz")


def read(root: Path, split: str | None = None, *, left_out: LeftOut, folder: str | None = None) -> Iterator[Clip]:
    """Yield one clip a cut; cuts that are no span of a usable file are left out.

    Parameters
    ----------
    root
        The cuts, or a folder of such files.
    split
        Only files of this split.
    folder
        Where relative paths of recordings start; None: at the working directory, or where there is no such file,
        at that of the cuts.

    Raises
    ------
    UserError
        If there are no cuts, or a line is no cut.
    """
    check_split(CORPUS, split)
    for cuts in table_files(root, SUFFIXES, CORPUS, ".jsonl or .jsonl.gz"):
        own = split_named(cuts.name)
        if split not in (None, own):
            continue
        rows = Rows({}, Path())
        for number, row in table_rows(cuts, left_out):
            where = f"{cuts}:{number}"
            if not is_lhotse(row):
                raise UserError("a cut needs `start`, `duration`, `recording` and `supervisions`", where=where)
            try:
                named = _named(row, cuts.parent, folder)
                rows.names = {name: name for name in named}
                yield rows.clip(named, where, own)
            except AudioError as error:
                left_out.add(where, error.reason)


def _named(row: Mapping[str, Any], beside: Path, folder: str | None) -> dict[str, Any]:
    """Return a cut under the manifest's names, with a path that leads to its file."""
    try:
        found = cut_row(row)
    except (ValueError, TypeError) as error:
        raise AudioError(str(error)) from error
    channels = row["recording"].get("channel_ids") if isinstance(row.get("recording"), Mapping) else None
    if isinstance(channels, list) and len(channels) > 1 and isinstance(row.get("channel"), int):
        raise AudioError(f"the cut is one channel of {len(channels)}")
    if "path" in found:
        path = Path(found["path"])
        start = Path(folder) if folder is not None else Path() if path.exists() else beside
        found["path"] = str(start / path)
    return found
