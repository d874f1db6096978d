"""The `manifest` stage: a folder or a corpus becomes a manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl import catalog
from audio_ssl.data.corpus import LoadedCorpus, load_corpus
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import scan_folder, write_manifest
from audio_ssl.errors import UserError, unknown_name

logger = logging.getLogger(__name__)


def make_manifest(
    source: str,
    out: Path,
    *,
    root: Path | None = None,
    split: str | None = None,
    fetch: bool = False,
    max_seconds: float | None = None,
    columns: Sequence[str] = (),
    options: Sequence[str] = (),
) -> tuple[int, int]:
    """Write the manifest of a folder, an audio file, or a corpus.

    Parameters
    ----------
    source
        Folder or file of audio; or a corpus by name or by the path of its ``.py`` file.
    out
        The manifest to write; unusable files go to ``out`` with the suffix ``.errors.jsonl``.
    root
        Where the corpus lies (``data/<name>`` if None); not for folders.
    split
        Only this split; not for folders.
    fetch
        Fetch the corpus first.
    max_seconds
        Cut longer files of a folder into rows of equal length up to this.
    columns
        ``text=sentence``: what of the manifest is which column of the corpus; for corpora that are tables.
    options
        ``name=value``: what a corpus's reader takes besides.

    Returns
    -------
    Numbers of clips and of unusable files.

    Raises
    ------
    UserError
        If there is no such source, an option does not apply to it, or nothing in it is usable.
    """
    # The ledger is this manifest's own: an older one beside it speaks of other files.
    ledger_path = out.with_suffix(".errors.jsonl")
    ledger_path.unlink(missing_ok=True)
    ledger = ErrorLedger(ledger_path)
    is_corpus = source in catalog.names("corpora") or source.endswith(".py")
    if is_corpus:
        if max_seconds is not None:
            raise UserError("`--max-seconds` is for folders; a corpus reader cuts its own clips")
        corpus = load_corpus(source)
        where = root or Path("data") / corpus.card.name
        if fetch:
            if corpus.fetch is None:
                raise UserError(f"the corpus `{corpus.card.name}` cannot be fetched", remedy=corpus.card.layout)
            corpus.fetch(where)
        clips = list(corpus.read(where, split, **_options(corpus, columns, options, out)))
    else:
        flags = {"--root": root, "--split": split, "--fetch": fetch, "--column": columns, "--option": options}
        given = [name for name, value in flags.items() if value]
        if given:
            raise UserError(
                f"`{given[0]}` is for corpora, and `{source}` is not one", remedy="see audio-ssl list corpora"
            )
        if not Path(source).exists():
            known = ", ".join(catalog.names("corpora"))
            raise UserError(f"`{source}` is neither a folder nor a corpus; corpora: {known}")
        clips = scan_folder(Path(source), ledger, max_seconds)
    if not clips:
        reason = f"{ledger.count} unusable files are listed in {ledger_path}" if ledger.count else "no audio files"
        raise UserError(f"no usable clip: {reason}", where=source)
    return write_manifest(out, clips), ledger.count


def _options(corpus: LoadedCorpus, columns: Sequence[str], options: Sequence[str], out: Path) -> dict[str, Any]:
    """Return what the reader gets by keyword."""
    where = f"corpus {corpus.card.name}"
    given: dict[str, Any] = dict(_pairs("--option", options))
    texts = [name for name in corpus.options if name not in ("columns", "written")]
    for name in given:
        if name not in texts:
            raise unknown_name("option", name, texts, where)
    if columns:
        if "columns" not in corpus.options:
            raise UserError("`--column` is for corpora that are tables, and this one knows its own", where=where)
        given["columns"] = _pairs("--column", columns)
    if "written" in corpus.options:
        given["written"] = out.with_suffix("") / "audio"
    return given


def _pairs(flag: str, given: Sequence[str]) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not (mark and name and value):
            raise UserError(
                f"`{flag}` must be NAME=VALUE, but is `{text}`", remedy="for example --column text=sentence"
            )
        if name in pairs:
            raise UserError(f"`{flag}` names `{name}` twice")
        pairs[name] = value
    return pairs
