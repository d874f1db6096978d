"""The `audit` stage: describes manifests in one self-contained page and a JSON file beside it.

The same manifests give the same bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np

from audio_ssl.artifacts.composition import AuditedManifest, AuditReport, CompositionOrigin, SharedSpeakers
from audio_ssl.artifacts.draws import DRAW_SUFFIX, DrawRecord
from audio_ssl.artifacts.records import read_record, to_json, write_record
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import locked_file, write_text
from audio_ssl.data.audit import check_columns, columns_needed, describe_manifest, shared_speakers
from audio_ssl.data.audit_columns import AuditColumns, columns_of
from audio_ssl.data.clip_table import read_table
from audio_ssl.data.columns import LEVEL_COLUMN
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import hash_manifest
from audio_ssl.report.html import Page, render
from audio_ssl.report.language.composition import composition_answer, manifest_lines
from audio_ssl.report.numbers import count
from audio_ssl.report.pages import sections_of
from audio_ssl.report.run_summary import relative


def build_composition_report(
    manifests: Sequence[Path], by: Sequence[str] = ("gender",), out: Path = Path("audit.html"), levels: bool = False
) -> Path:
    """Write a page on the composition of manifests.

    Parameters
    ----------
    manifests
        One or more manifests. Speakers in two of them are reported.
    by
        Columns whose values are the groups.
    out
        The page to write, ``.html``; the numbers go into a ``.json`` of the same name beside it.
    levels
        Decode every clip and measure its level. The manifest with the column ``level_dbfs`` is written beside `out`
        (``OUT.MANIFEST.levels.jsonl``, or ``OUT.levels.jsonl`` where both have the same name). Clips that cannot be
        read go to ``OUT.levels.errors.jsonl``. Without it, the column ``level_dbfs`` of the manifest is used if there
        is one.

    Returns
    -------
    `out`.

    Raises
    ------
    UserError
        If `out` does not end in ``.html``, a manifest is missing, empty, damaged or given twice, the manifest with
        levels would replace one that is read, or no manifest has a column of `by`.
    """
    if out.suffix != ".html":
        raise UserError(f"`out` must end in .html, but is {out}", remedy=f"give {out}.html")
    _check_different(manifests)
    with locked_file(out, ".json"):
        return _build(manifests, tuple(dict.fromkeys(by)), out, levels)


def _build(manifests: Sequence[Path], by: Sequence[str], out: Path, levels: bool) -> Path:
    ledger_path = out.with_suffix(".levels.errors.jsonl")
    ledger_path.unlink(missing_ok=True)
    ledger = ErrorLedger(ledger_path)
    levelled = _levelled(out, manifests) if levels else [None] * len(manifests)
    read = [_read(path, by, target, ledger) for path, target in zip(manifests, levelled, strict=True)]
    check_columns([columns for columns, _ in read], by)
    home = out.resolve().parent
    names = _names(manifests)
    described = [
        describe_manifest(
            columns,
            by,
            AuditedManifest(
                name,
                relative(path, home),
                hash_manifest(path),
                None if target is None else relative(target, home),
                unreadable,
                _record_of_draw(path),
            ),
        )
        for name, path, target, (columns, unreadable) in zip(names, manifests, levelled, read, strict=True)
    ]
    pairs = [
        SharedSpeakers(names[a], names[b], **vars(shared_speakers(read[a][0], read[b][0])))
        for a, b in combinations(range(len(names)), 2)
    ]
    versions = {"audio_ssl": version("audio-ssl"), "numpy": np.__version__}
    report = AuditReport(
        manifests=tuple(described),
        shared_speakers=tuple(pair for pair in pairs if pair.count),
        provenance=CompositionOrigin(tuple(by), levels, versions, _command(manifests, by, out, levels)),
    )
    write_record(out.with_suffix(".json"), report)
    write_text(out, render(_page(report, out.with_suffix(".json").name)))
    return out


def composition_report_lines(out: Path) -> list[str]:
    """Return an audit, given its page or its JSON, as lines for a terminal."""
    report = read_record(AuditReport, out.with_suffix(".json"))
    lines = [line for manifest in report.manifests for line in manifest_lines(manifest)]
    lines += [
        f"{one.a} and {one.b} share {count(one.count, 'speaker')}: {', '.join(one.names)}"
        + (" …" if one.count > len(one.names) else "")
        for one in report.shared_speakers
    ]
    lines += [
        f"{manifest.name} with levels: {out.parent / manifest.levelled}"
        for manifest in report.manifests
        if manifest.levelled
    ]
    unreadable = sum(manifest.unreadable for manifest in report.manifests)
    if unreadable:
        lines.append(f"{count(unreadable, 'clip')} could not be read, see {out.with_suffix('.levels.errors.jsonl')}")
    return lines


def _check_different(manifests: Sequence[Path]) -> None:
    if not manifests:
        raise UserError("no manifest is given", remedy="audio-ssl audit MANIFEST.jsonl --out page.html")
    seen: set[Path] = set()
    for path in manifests:
        if path.resolve() in seen:
            raise UserError("the manifest is given twice", where=str(path))
        seen.add(path.resolve())


def _levelled(out: Path, manifests: Sequence[Path]) -> list[Path | None]:
    """Return the path of each manifest with levels; UserError where one would replace a manifest that is read."""
    named: list[Path | None] = []
    for manifest in manifests:
        own = "" if out.stem == manifest.stem else f".{manifest.stem}"
        path, number = out.with_name(f"{out.stem}{own}.levels.jsonl"), 1
        while path in named:
            number += 1
            path = out.with_name(f"{out.stem}.{manifest.stem}-{number}.levels.jsonl")
        named.append(path)
        if path.resolve() in [one.resolve() for one in manifests]:
            raise UserError(
                "the manifest with levels would replace this one", where=str(path), remedy="another `--out`"
            )
    return named


def _read(path: Path, by: Sequence[str], levelled: Path | None, ledger: ErrorLedger) -> tuple[AuditColumns, int]:
    """Return a manifest's columns and how many of its clips could not be decoded."""
    try:
        needed = columns_needed(by)
        table = read_table(path, ["speaker", *needed], [LEVEL_COLUMN])
        if levelled is None:
            return columns_of(table, needed), 0
        # Decoding imports torch, which an audit without levels does not need.
        from audio_ssl.data.levels import measure_levels, write_levels

        measured = measure_levels(table, ledger)
        write_levels(levelled, table, measured)
        return columns_of(table, needed, measured), measured.count(None)
    except UserError as error:
        raise error if error.where else UserError(error.what, where=str(path), remedy=error.remedy) from error


def _record_of_draw(path: Path) -> DrawRecord | None:
    """Return how a manifest was drawn; None where no record lies beside it, or one of another manifest."""
    try:
        record = read_record(DrawRecord, path.with_suffix(DRAW_SUFFIX))
    except UserError:
        return None
    return record if record.manifest_hash == hash_manifest(path) else None


def _names(manifests: Sequence[Path]) -> list[str]:
    """Name manifests by their files, or by the given paths where two files have the same name."""
    names = [path.name for path in manifests]
    return names if len(set(names)) == len(names) else [str(path) for path in manifests]


def _command(manifests: Sequence[Path], by: Sequence[str], out: Path, levels: bool) -> str:
    groups = [word for name in by for word in ("--by", name)]
    flags = ["--levels"] if levels else []
    return shlex.join(["audio-ssl", "audit", *map(str, manifests), *groups, "--out", str(out), *flags])


def _page(report: AuditReport, json_name: str) -> Page:
    manifests = report.manifests
    title = f"Composition of {manifests[0].name}" if len(manifests) == 1 else "Composition of the manifests"
    about = f"Made by audio_ssl from {count(len(manifests), 'manifest')}."
    return Page(title, composition_answer(report), sections_of(report), about, json_name, to_json(report))
