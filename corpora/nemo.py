"""NeMo's manifests: JSON Lines with an audio file, its text, and which part of the file it is.

`audio-ssl manifest nemo --root train_manifest.json --out M.jsonl` reads `audio_filepath`, `offset` and `duration` (of a
part of a longer file), `text`, and further keys as they are. Ids are the path, with `@OFFSET` behind it where a row
begins later in the file. Where `source_lang` and `target_lang` differ, as in manifests of Canary, `answer`, or else
`text`, is the translation.

Layout below the root, which may be the manifest itself, or a folder with one or more of them directly in it::

    NAME.json (or jsonl)    a manifest whose name has train, valid, validation, dev, val or test in it is of that split
    ...                     the audio; relative paths start at the manifest's folder, or `--option folder=clips` in it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_ssl.data.corpus import AudioError, Corpus, LeftOut, Rows, check_split, split_named, table_files, table_rows
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="nemo",
    title="A manifest of NeMo",
    description=(
        "Clips of your own as NeMo's manifests list them: whole files or parts of longer ones, with transcripts, or "
        "translations where source and target language differ. Further keys are kept."
    ),
    licence="that of the files",
    citation="that of the files; the format: https://docs.nvidia.com/nemo/speech/latest/asr/datasets.html",
    size="that of the manifest",
    layout="a .json or .jsonl file of one object a line, as the root or directly below it; audio relative to it",
    splits={
        "train": "the manifest with this in its name",
        "valid": "the manifest with valid, validation, dev or val in its name",
        "test": "the manifest with this in its name",
    },
    # Whatever the table's own: `mul` is ISO 639-2 for several languages.
    languages=("mul",),
    labels=("text", "translation", "speaker", "language", "split"),
)

SUFFIXES = (".json", ".jsonl", ".gz")
_NAMES = {"audio_filepath": "path", "offset": "start", "duration": "seconds", "speaker_id": "speaker"}


def read(root: Path, split: str | None = None, *, left_out: LeftOut, folder: str = ".") -> Iterator[Clip]:
    """Yield one clip a row; rows without a usable file are left out.

    Parameters
    ----------
    root
        The manifest, or a folder of manifests.
    split
        Only manifests of this split.
    folder
        Where relative audio paths start, from the manifest's folder.

    Raises
    ------
    UserError
        If there is no manifest, or a line is no object.
    """
    check_split(CORPUS, split)
    for manifest in table_files(root, SUFFIXES, CORPUS, ".json or .jsonl"):
        own = split_named(manifest.name)
        if split not in (None, own):
            continue
        rows = Rows({}, manifest.parent / folder)
        for number, row in table_rows(manifest, left_out):
            named = _named(row)
            rows.names = {name: name for name in named}
            where = f"{manifest}:{number}"
            try:
                yield rows.clip(named, where, own)
            except AudioError as error:
                left_out.add(where, error.reason)


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row under the manifest's names."""
    found = {_NAMES.get(name, name) if _NAMES.get(name) not in row else name: value for name, value in row.items()}
    source, target, answer = (row.get(name) for name in ("source_lang", "target_lang", "answer"))
    if source:
        found.setdefault("language", source)
    if not isinstance(answer, str) or answer in ("", "na"):
        answer = None
    if source and target and source != target:
        found["translation"] = answer or found.pop("text", None)
    elif answer:
        found["text"] = answer
    return found
