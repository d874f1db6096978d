"""Predictions of one system, to be audited: a probe's result folder, or a table from elsewhere.

A table (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``) has the columns ``reference, hypothesis, speaker``, optionally
``id``, and any attributes. NeMo's JSON Lines, lhotse's cuts, sclite's transcripts and Kaldi's folders are read as they
are. Rows are counted in batches and then dropped, so a million rows fit into memory. A row that cannot be counted is
excluded by name, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.artifacts.fairness import ALL, CROSSED, UNKNOWN
from audio_ssl.artifacts.result import is_result, read_scores
from audio_ssl.base.checksums import require_whole
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.columns import is_gender
from audio_ssl.fairness.counting import NUMBERS, ClipCodes, PredictionTable
from audio_ssl.fairness.measures import choose_metrics, columns_to_read, get_measure, look_at
from audio_ssl.fairness.tables.formats import open_source
from audio_ssl.fairness.tables.join import Manifest, first_rows
from audio_ssl.fairness.tables.source import Source, batches, nowhere
from audio_ssl.fairness.tallies import BadClip, Exclusion, Exclusions, GroupCounter, GroupCounts
from audio_ssl.metrics.metric import Array
from audio_ssl.metrics.texts import USUAL, get_normaliser

__all__ = ["ClipCodes", "Exclusion", "Predictions", "read_predictions"]

REQUIRED = ("id", "reference", "hypothesis", "speaker")


class Unanswered(NamedTuple):
    """Numbers of empty and of missing hypotheses of a group."""

    empty: int
    missing: int


@dataclass(frozen=True)
class Predictions:
    """The counted predictions of one system; arrays are ``[clip]``."""

    name: str
    """Name of the result in the report."""

    path: Path
    """Path of the result."""

    task: str | None
    """Task of a result folder; None for a table from elsewhere."""

    sha256: str
    """SHA-256 of the file, or of Kaldi's files one after the other."""

    statistics: dict[str, Array]
    """Metric -> ``[clip, column]``, the main metric first; `get_measure` returns the metric."""

    speakers: ClipCodes
    """Speakers; no clip has -1."""

    attributes: dict[str, ClipCodes]
    """For every name of `by`, and ``category`` with MuST-SHE's terms."""

    seconds: Array
    """NaN where not recorded."""

    words: Array
    """Number of words of the normalised reference."""

    level_dbfs: Array
    """NaN where not recorded."""

    keys: npt.NDArray[np.uint64]
    """Hash of id and normalised reference, equal for the same clip of two systems."""

    empty_references: npt.NDArray[np.bool_]
    """True where the reference has no word."""

    empty_hypotheses: npt.NDArray[np.bool_]
    """True where the reference has words and the hypothesis has none."""

    empty_names: tuple[str, ...]
    """Ids of the first clips with an empty hypothesis."""

    missing: GroupCounts
    """Excluded clips without a hypothesis."""

    empty_left_out: GroupCounts
    """Excluded clips with an empty hypothesis."""

    exclusions: list[Exclusion]
    """What was excluded."""

    examples: list[BadClip]
    """The worst clips of each group."""

    signature: str
    """How it was read: normaliser, join, and merged spellings of values."""

    files: tuple[Path, ...] = ()
    """Files that were read."""

    with_empty: Predictions | None = None
    """The predictions with empty hypotheses, if these are excluded here."""

    tokenizer: str = USUAL
    """BLEU's tokeniser."""

    warnings: tuple[str, ...] = ()
    """Warnings about the scores, in sentences."""

    def unanswered(self, by: Sequence[str], group: str, members: npt.NDArray[np.bool_]) -> Unanswered:
        """Return the numbers of empty hypotheses (counted or excluded) and of missing ones in a group.

        `members` is the mask of its clips, ``[clip]``.
        """

        def more(counts: GroupCounts) -> int:
            if group == ALL:
                return counts.total
            return counts.unknown(by) if group == UNKNOWN else counts.of(by, group.split(CROSSED))

        return Unanswered(int(self.empty_hypotheses[members].sum()) + more(self.empty_left_out), more(self.missing))

    def without_empty(self) -> Predictions:
        """Return the predictions without clips whose hypothesis is empty; these are among the exclusions."""
        kept = ~self.empty_hypotheses
        if kept.all():
            return self
        if not kept.any():
            raise UserError("no row can be used: all hypotheses are empty", where=str(self.path))
        left_out = Exclusion("empty hypothesis", int(self.empty_hypotheses.sum()), self.empty_names)
        empty = GroupCounter(self.missing.attributes)
        codes = [self.attributes[name] for name in self.missing.attributes]
        for clip in np.flatnonzero(~kept).tolist():
            empty.add([one.names[place] if (place := one.index[clip]) >= 0 else None for one in codes])
        return replace(
            self,
            statistics={name: values[kept] for name, values in self.statistics.items()},
            speakers=ClipCodes(self.speakers.names, self.speakers.index[kept]),
            attributes={name: ClipCodes(codes.names, codes.index[kept]) for name, codes in self.attributes.items()},
            **{name: getattr(self, name)[kept] for name in _OF_CLIPS},
            empty_left_out=empty.found(),
            exclusions=[*self.exclusions, left_out],
            examples=[one for one in self.examples if not one.empty],
            with_empty=self,
        )

    def other_way(self) -> Predictions | None:
        """Return the predictions with empty hypotheses excluded if they are counted here, and the other way round.

        None if there are none, or if nothing else remains.
        """
        if self.with_empty is not None:
            return self.with_empty
        return self.without_empty() if 0 < self.empty_hypotheses.sum() < len(self.empty_hypotheses) else None


_OF_CLIPS = ("seconds", "words", "level_dbfs", "keys", "empty_references", "empty_hypotheses")


def read_predictions(
    path: Path,
    by: Sequence[str] = ("gender",),
    metrics: Sequence[str] = (),
    manifest: Path | None = None,
    normaliser: str = "none",
    columns: Mapping[str, str] | None = None,
    tokenizer: str | None = None,
) -> Predictions:
    """Read and count a result.

    Parameters
    ----------
    path
        A result folder, a table, or a Kaldi folder.
    by
        Attributes that make the groups.
    metrics
        Metrics; if empty, those of the task, else word and character error rates.
    manifest
        Supplies columns that the predictions lack. The reference is its ``text``, or its ``translation`` if translation
        is scored.
    normaliser
        Normalisation of texts before they are compared; see `get_normaliser`.
    columns
        Our name -> the table's column, where they differ: ``{"reference": "sentence"}``.
    tokenizer
        BLEU's tokeniser, see `audio_ssl.metrics.texts`; None chooses it by the target language.

    Raises
    ------
    UserError
        If there is nothing to read, a column or an attribute is missing, the file is broken, no row can be used, or an
        id appears twice with different content.
    """
    source = open_source(path, columns)
    task = _task(path) or source.task
    normalise = get_normaliser(normaliser)
    left_out = Exclusions()
    found = dict.fromkeys(source.columns)
    if not found:
        raise UserError("the table has no rows", where=str(path))
    joined = None
    if manifest is not None:
        joined = _join(source, manifest)
        found |= joined.columns
    has_terms = "terms" in found and "category" in found
    measures = {name: get_measure(name) for name in choose_metrics(task, metrics, has_terms, str(path))}
    scores_terms = any(one.reference == "terms" for one in measures.values())
    translated = task == "st" or (next(iter(measures.values())).translation and task is None)
    reference = "translation" if translated else "text"
    if joined is not None and (reference in joined.columns or "reference" in joined.columns):
        found["reference"] = None
    attributes = list(dict.fromkeys([*by, *(["category"] if scores_terms and "category" in found else [])]))
    required = [*REQUIRED, *(["terms"] if scores_terms else [])]
    told = [name for name in found if name != "id" or not source.numbered]
    _require([name for name in required if name not in found], told, path, manifest)
    if source.complete:
        _require_attributes([name for name in attributes if name not in found], found, path, manifest)

    wanted = list(
        dict.fromkeys(
            [
                *required,
                *attributes,
                *NUMBERS,
                *([source.path_column] if source.path_column else []),
                *columns_to_read(source.columns, measures),
            ]
        )
    )
    table = PredictionTable(measures, attributes, normalise, left_out, str(path))
    rows = source.rows(wanted, lambda number, reason: left_out.add(reason, [f"line {number}"]))
    if joined is not None:
        rows = joined.fill(rows, reference, left_out, table.absent)
    writing, rows = look_at(rows, measures, bool(metrics), tokenizer, str(path))
    table.count_with(writing.measures)
    with Progress(f"count {path.name}", source.total) as progress:
        for batch in batches(rows):
            if not source.complete:
                found |= {name: None for _, row in batch for name in row}
            table.add(batch, wanted)
            progress.advance(len(batch))
    _require_attributes([name for name in attributes if name not in found], found, path, manifest)
    return replace(
        _finish(table, path, task, source, joined, normalise.signature),
        tokenizer=writing.tokenizer,
        warnings=writing.notes,
    )


def _finish(
    table: PredictionTable, path: Path, task: str | None, source: Source, joined: Manifest | None, normalised: str
) -> Predictions:
    left_out = table.left_out
    if table.rows == 0 and not left_out.all():
        raise UserError("the table has no rows", where=str(path))
    kept = _without_ambiguous(table) if table.clips else np.zeros(0, np.bool_)
    if not kept.any():
        raise UserError(f"no row can be used: {left_out}", where=str(path))
    counted = table.columns(kept, source.commas_between)
    names = set(counted.speakers.names)
    of_texts = [name for name, measure in table.measures.items() if measure.prose]
    notes = [
        f"{', '.join(of_texts)}: {normalised}" if of_texts else "",
        source.note,
        source.noticed(),
        *([] if joined is None else joined.notes()),
        *table.notes(source.commas_between),
        *(spelling.note() for spelling in table.spellings),
    ]
    return Predictions(
        name=path.stem or path.resolve().name,
        path=path,
        task=task,
        sha256=digest(source.files),
        statistics=counted.statistics,
        speakers=counted.speakers,
        attributes=counted.attributes,
        seconds=counted.numbers["seconds"],
        words=counted.words,
        level_dbfs=counted.numbers["level_dbfs"],
        keys=counted.keys,
        empty_references=counted.empty_references,
        empty_hypotheses=counted.empty_hypotheses,
        empty_names=counted.empty_names,
        missing=table.missing.found(),
        empty_left_out=GroupCounts(tuple(counted.attributes)),
        exclusions=left_out.all(),
        examples=table.worst.found({name: coder.names for name, coder in table.groups.items()}, names.__contains__),
        signature="; ".join(note for note in notes if note),
        files=tuple(source.files),
    )


def _without_ambiguous(table: PredictionTable) -> npt.NDArray[np.bool_]:
    """Return the mask of clips to keep. Clips of speakers recorded with two genders are excluded.

    Other attributes may differ between clips of a speaker.
    """
    kept = np.ones(table.clips, np.bool_)
    speaker = table.speakers.index()
    for name in filter(is_gender, table.groups):
        code = table.groups[name].index()
        pairs = np.unique(np.stack([speaker, code])[:, code >= 0], axis=1)
        people, values = np.unique(pairs[0], return_counts=True)
        ids = table.ids()
        several = people[values > 1]
        clips = np.flatnonzero(np.isin(speaker, several) & kept)
        # Speakers are not named, because reports are passed on.
        who = "1 speaker is" if len(several) == 1 else f"{len(several):,} speakers are"
        reason = f"{who} recorded with several values of {name}"
        table.left_out.add(reason, (ids[clip].as_py() for clip in clips.tolist()))
        kept &= ~np.isin(speaker, several)
    return kept


def _task(path: Path) -> str | None:
    if not is_result(path):
        return None
    require_whole(path, "run the same probe into this folder again: it answers what is damaged again")
    return read_scores(path).task


def _join(source: Source, manifest: Path) -> Manifest:
    if source.numbered:
        raise UserError(
            f"rows of {manifest.name} cannot be found without a column `id`",
            where=str(source.files[0]),
            remedy="name it: --column id=NAME",
        )
    columns = ["id", *([source.path_column] if source.path_column else [])]
    folder = source.files[0].parent
    return Manifest(manifest, first_rows(source.rows(columns, nowhere)), folder, source.path_column)


def _require(missing: Sequence[str], found: Iterable[str], path: Path, manifest: Path | None) -> None:
    if missing:
        columns = ", ".join(sorted(map(str, found))) or "none"
        raise UserError(
            f"the columns {', '.join(missing)} are missing; found: {columns}", where=str(path), remedy=_hint(manifest)
        )


def _require_attributes(missing: Sequence[str], found: Iterable[str], path: Path, manifest: Path | None) -> None:
    if missing:
        columns = ", ".join(sorted(map(str, found)))
        raise UserError(f"no column `{missing[0]}`; found: {columns}", where=str(path), remedy=_hint(manifest))


def _hint(manifest: Path | None) -> str | None:
    named = "`--column OURS=THEIRS` names a column"
    return f"{named}; `--manifest M.jsonl` joins columns by id" if manifest is None else named


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of files, one after the other."""
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                found.update(chunk)
    return found.hexdigest()
