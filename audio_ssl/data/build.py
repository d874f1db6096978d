"""The `manifest` stage: writes the manifest of a folder, a corpus or a mix of corpora, or draws one from a manifest."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audio_ssl.artifacts.draws import DRAW_SUFFIX
from audio_ssl.artifacts.records import write_record
from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.base.files import locked_file
from audio_ssl.data.audio import notes_to
from audio_ssl.data.balance import Balance, parse_balance
from audio_ssl.data.balance import balance as draw
from audio_ssl.data.clip_table import ClipTable, read_table
from audio_ssl.data.corpus import LoadedCorpus, load_corpus
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, hash_manifest, iterate_manifest, scan_folder, write_manifest
from audio_ssl.data.mix import is_mix, make_mix

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
    balance: Balance | str | None = None,
    hours: float | None = None,
    speaker_hours: float | None = None,
    seed: int = 0,
) -> tuple[int, int]:
    """Write the manifest of a folder, an audio file, a corpus or a mix of corpora, or draw one from another.

    Parameters
    ----------
    source
        Folder or file of audio; name or ``.py`` file of a corpus; name or ``.yaml`` file of a mix
        (`audio_ssl.data.mix`); or, with `balance`, a manifest.
    out
        The manifest to write. Unusable files are listed in `out` with the suffix ``.errors.jsonl``.
    root
        Folder of the corpus (default: ``data/<name>``), or the folder of the corpora of a mix (default: ``data``).
    split
        Use only this split; not for folders.
    fetch
        Fetch the corpus first.
    max_seconds
        Cut longer files of a folder into rows of equal length up to this length.
    columns
        ``text=sentence``: the column of a table that a field of the manifest is read from.
    options
        ``name=value``: options of the reader of a corpus. For a mix, ``corpus=folder``: the folder of one corpus.
    balance
        ``gender=F:0.5,M:0.5``: draw these shares of `hours` (`audio_ssl.data.balance`). The record of the draw is
        `out` with the suffix ``.balance.json``.
    hours
        Hours of the set to draw; required with `balance`.
    speaker_hours
        Maximum hours per speaker.
    seed
        Random seed of the draw.

    Returns
    -------
    Numbers of clips and of unusable files.

    Raises
    ------
    UserError
        If `out` is a folder, the source does not exist, an option does not apply to it, it has no usable clip, or the
        balance is not possible.
    """
    if out.is_dir():
        raise UserError("`--out` is a folder", where=str(out), remedy="give the name of a file, M.jsonl")
    if max_seconds is not None and not 0 < max_seconds < math.inf:
        raise UserError(
            f"`--max-seconds` must be above 0, but is {max_seconds:g}", remedy="for example --max-seconds 30"
        )
    shares = _check_draw(source, out, balance, hours, speaker_hours)
    if is_mix(source):
        not_for_mixes = {"--split": split, "--max-seconds": max_seconds, "--column": columns, "--balance": balance}
        if given := [flag for flag, value in not_for_mixes.items() if value]:
            raise UserError(f"`{given[0]}` is not for a mix; its file has these settings", where=source)
        roots = {corpus: Path(folder).expanduser() for corpus, folder in parse_assignments("--option", options).items()}
        return make_mix(source, out, data=root or Path("data"), fetch=fetch, roots=roots)
    with locked_file(out, DRAW_SUFFIX):
        clips, errors = _read_source(
            source, out, root, split, fetch, max_seconds, columns, options, None if shares is None else shares.column
        )
        if shares is None or hours is None:
            out.with_suffix(DRAW_SUFFIX).unlink(missing_ok=True)
            return write_manifest(out, clips), errors
        return _write_drawn(out, clips, shares, hours, speaker_hours, seed), errors


def _read_source(
    source: str,
    out: Path,
    root: Path | None,
    split: str | None,
    fetch: bool,
    max_seconds: float | None,
    columns: Sequence[str],
    options: Sequence[str],
    balanced: str | None,
) -> tuple[Sequence[Clip], int]:
    """Return the clips of a source and the number of unusable files, which the ledger beside `out` lists."""
    # An older ledger beside the manifest is about other files.
    ledger_path = out.with_suffix(".errors.jsonl")
    ledger_path.unlink(missing_ok=True)
    ledger = ErrorLedger(ledger_path, read=False)
    ledger.notes_path.unlink(missing_ok=True)
    only_corpora = {"--root": root, "--fetch": fetch, "--column": columns, "--option": options}
    if source in catalog.names("corpora") or source.endswith(".py"):
        if max_seconds is not None:
            raise UserError("`--max-seconds` is for folders; the reader of a corpus cuts its clips itself")
        clips: Sequence[Clip] = _read_corpus(source, out, ledger, root, split, fetch, columns, options)
    elif _is_manifest(source):
        _refuse_options(source, {**only_corpora, "--max-seconds": max_seconds})
        clips = _read_split(Path(source), split, balanced)
    else:
        _refuse_options(source, {**only_corpora, "--split": split})
        if not Path(source).exists():
            known, mixes = ", ".join(catalog.names("corpora")), ", ".join(catalog.names("recipes/mixes"))
            raise UserError(f"`{source}` is neither a folder nor a corpus; corpora: {known}; mixes of them: {mixes}")
        clips = scan_folder(Path(source), ledger, max_seconds)
    if not clips:
        raise UserError(f"no usable clip: {_why_none(ledger)}", where=source, remedy=_reader_for(source, out))
    return clips, ledger.count


def _why_none(ledger: ErrorLedger) -> str:
    if ledger.count > 1:
        return f"{ledger.count} unusable files are listed in {ledger.path}"
    return next((row.reason for row in ledger.rows()), "no audio files")


def _reader_for(source: str, out: Path) -> str | None:
    """Return the command that reads a table or a manifest of another toolkit, recognised by its suffix."""
    path = Path(source)
    if path.is_dir():
        table = any(next(path.rglob(f"*{suffix}"), None) for suffix in (".parquet", ".arrow"))
        readers = ["hf_dataset"] if table else []
    else:
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        readers = {".csv": ["table"], ".tsv": ["table"], ".json": ["nemo", "lhotse"], ".jsonl": ["nemo", "lhotse"]}.get(
            suffix.lower(), []
        )
    commands = [
        f"`audio-ssl manifest {reader} --root {shlex.quote(source)} --out {shlex.quote(str(out))}`"
        for reader in readers
    ]
    return f"if it is a table or a manifest of another toolkit, {' or '.join(commands)} reads it" if commands else None


def _check_draw(
    source: str, out: Path, balance: Balance | str | None, hours: float | None, speaker_hours: float | None
) -> Balance | None:
    """Return the requested balance; UserError for options that do not go together."""
    if balance is None:
        if hours is not None or speaker_hours is not None:
            given = "--hours" if hours is not None else "--speaker-hours"
            raise UserError(f"`{given}` needs `--balance`", remedy="for example --balance gender=F:0.5,M:0.5")
        if _is_manifest(source) and Path(source).is_file():
            # The first row tells a manifest of another toolkit, which raises an error of its own.
            next(iterate_manifest(Path(source)), None)
            raise UserError(
                "the source is a manifest already", where=source, remedy="give --balance and --hours to draw from it"
            )
        return None
    if hours is None:
        raise UserError("`--balance` needs `--hours`, the hours of the whole set")
    if _is_manifest(source) and Path(source).resolve() == out.resolve():
        raise UserError("`--out` would replace the manifest that is drawn from", where=source)
    return parse_balance(balance) if isinstance(balance, str) else balance


def _is_manifest(source: str) -> bool:
    return source.endswith(".jsonl") and not Path(source).is_dir()


def _refuse_options(source: str, options: Mapping[str, Any]) -> None:
    given = [name for name, value in options.items() if value]
    if given and given[0] == "--max-seconds":
        raise UserError("`--max-seconds` is for folders; the clips of a manifest are cut already", where=source)
    if given:
        raise UserError(
            f"`{given[0]}` is for corpora, but `{source}` is not one", remedy="`audio-ssl list corpora` names them"
        )


def _read_corpus(
    source: str,
    out: Path,
    ledger: ErrorLedger,
    root: Path | None,
    split: str | None,
    fetch: bool,
    columns: Sequence[str],
    options: Sequence[str],
) -> list[Clip]:
    corpus = load_corpus(source)
    where = root or Path("data") / corpus.card.name
    if fetch:
        if corpus.fetch is None:
            raise UserError(f"the corpus `{corpus.card.name}` cannot be fetched", remedy=corpus.card.layout)
        corpus.fetch(where)
    with notes_to(ledger.note):
        return list(corpus.read(where, split, ledger=ledger, **_options(corpus, columns, options, out)))


def _read_split(path: Path, split: str | None, balanced: str | None) -> ClipTable:
    """Return the clips of a manifest, or those of one split."""
    columns = ["speaker", "split", *([] if balanced is None else [balanced])]
    table = read_table(path, list(dict.fromkeys(columns)))
    if split is None:
        return table
    known = table.columns["split"]
    if split not in known.values:
        raise unknown_name("split", split, known.values, where=str(path))
    return table.take(np.flatnonzero(known.index == known.values.index(split)))


def _write_drawn(
    out: Path, clips: Sequence[Clip], shares: Balance, hours: float, speaker_hours: float | None, seed: int
) -> int:
    drawn = draw(clips, shares, hours, speaker_hours=speaker_hours, seed=seed)
    for reason, some in drawn.record.excluded.items():
        logger.warning("excluded from the draw (%s): %d clips, %g h", reason, some.clips, some.hours)
    for note in drawn.record.notes:
        logger.warning("%s", note)
    record = out.with_suffix(DRAW_SUFFIX)
    # A record must never lie beside a manifest that it does not describe.
    record.unlink(missing_ok=True)
    count = write_manifest(out, drawn.clips)
    write_record(record, replace(drawn.record, manifest_hash=hash_manifest(out)))
    return count


def _options(corpus: LoadedCorpus, columns: Sequence[str], options: Sequence[str], out: Path) -> dict[str, Any]:
    """Return the keyword arguments for the reader of a corpus."""
    where = f"corpus {corpus.card.name}"
    given: dict[str, Any] = dict(parse_assignments("--option", options))
    texts = [name for name in corpus.options if name not in ("columns", "written")]
    for name in given:
        if name not in texts:
            raise unknown_name("option", name, texts, where)
    if columns:
        if "columns" not in corpus.options:
            raise UserError("`--column` is for corpora that are tables; this one has fixed columns", where=where)
        given["columns"] = parse_assignments("--column", columns)
    if "written" in corpus.options:
        given["written"] = out.with_suffix("") / "audio"
    return given


def parse_assignments(flag: str, given: Sequence[str]) -> Mapping[str, str]:
    """Return ``NAME=VALUE`` texts as a mapping; UserError for other texts or a name given twice."""
    found: dict[str, str] = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not (mark and name and value):
            raise UserError(
                f"`{flag}` must be NAME=VALUE, but is `{text}`", remedy="for example --column text=sentence"
            )
        if name in found:
            raise UserError(f"`{flag}` names `{name}` twice")
        found[name] = value
    return found
