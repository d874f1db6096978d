"""How good units are: what they say of phones, what they cost, and whether phones can be told by them (ABX).

Only the folder of units and a manifest with the times of phones are needed, no model and no audio. Phones are compared
as by the probe ``abx``: triphones between the same neighbours. Their frames are codes as one-hot vectors, or the
centroids that the codes stand for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.artifacts.unit_records import QualityRow, UnitQuality, UnitsRecord, read_units_record, write_quality
from audio_ssl.base.errors import UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.metrics.families.units import phone_terms, unit_bits
from audio_ssl.metrics.families.zero_resource import MODES, abx
from audio_ssl.metrics.metric import ratio, share
from audio_ssl.metrics.registry import described_metric
from audio_ssl.metrics.resampling import Clusters, Interval, bootstrap_sums, choose_clusters, cluster_sums
from audio_ssl.metrics.spans import (
    SILENCES,
    abx_items,
    enough_speakers,
    labels_of_frames,
    pieces_of,
    spans_of,
    why_no_spans,
)
from audio_ssl.targets.code_books import CODE_BOOK_FILE, read_code_book
from audio_ssl.units.tables import Codes, iterate_codes, runs_of

_ABX_CLIPS = 1000
"""Clips whose phones are compared at most: some two hours, and their frames as one-hot vectors fit into memory."""

_RATE = 1_000_000
"""Samples a second of a grid that says when frames begin, to a microsecond."""


Labels = list[str | None]
"""The phone of each frame of a clip."""


class CodedClip(NamedTuple):
    """A clip of the manifest, and its codes."""

    clip: Clip
    codes: Codes
    """``[frame, codebook]``."""


def measure_units(folder: Path, manifest: Path, times: str = "phone_times", with_abx: bool = True) -> UnitQuality:
    """Measure the units of a folder, and write ``quality.json`` into it.

    Parameters
    ----------
    folder
        Of finished units.
    manifest
        Of the same clips, by id, with speakers and the times of phones. Those that the folder lacks are passed over.
    times
        Column with the times: ``start end phone; start end phone``.
    with_abx
        Whether ABX errors are computed, which takes the longest.

    Raises
    ------
    UserError
        If the folder is not finished, or has no clip of the manifest with phones.
    """
    record = read_units_record(folder)
    clips = {clip.id: clip for clip in read_manifest(manifest)}
    coded = [CodedClip(clips[row.id], codes) for row, codes in iterate_codes(folder) if row.id in clips]
    if not coded:
        raise UserError(
            f"the units have no clip of the manifest: their ids are like `{next(iterate_codes(folder))[0].id}`, the "
            f"manifest's like `{next(iter(clips))}`",
            where=str(manifest),
            remedy=f"make units of the manifest: audio-ssl units {manifest} MODEL --out U",
        )
    reasons = {one.clip.id: why_no_spans(one.clip, times) for one in coded}
    spoken = [one for one in coded if reasons[one.clip.id] is None]
    if not spoken:
        raise UserError(
            f"no clip has phones: {next(iter(reasons.values()))}",
            where=str(manifest),
            remedy="name the column with --times; it is like `0.1 0.25 AH0; 0.25 0.4 S`",
        )
    grid = _grid(record)
    groups = choose_clusters([one.clip.id for one in coded], lambda column: [_value(one, column) for one in coded])
    labels = [_labels(one, times, grid) for one in coded]
    rows = [*_phone_rows(coded, labels, groups, record), *_cost_rows(coded, groups, record)]
    compared = sorted(spoken, key=lambda one: hashlib.blake2b(one.clip.id.encode("utf-8", "replace")).digest())
    compared = compared[:_ABX_CLIPS] if with_abx else []
    rows += _abx_rows(folder, compared, times, grid, record) if with_abx else []
    quality = UnitQuality(
        manifest=str(manifest),
        times=times,
        clips=len(coded),
        clips_with_phones=len(spoken),
        frames=sum(len(one.codes) for one in coded),
        frames_with_phones=sum(phone is not None for row in labels for phone in row),
        phones=len({phone for row in labels for phone in row if phone is not None}),
        seconds=round(sum(one.clip.seconds for one in coded), 3),
        clusters=len(set(groups.names)),
        resampled=groups.noun,
        abx_clips=len(compared),
        rows=tuple(rows),
        left_out=dict(Counter(reason for reason in reasons.values() if reason is not None)),
    )
    write_quality(folder, quality)
    return quality


def _grid(record: UnitsRecord) -> FrameGrid:
    hop, middle = round(record.hop_seconds * _RATE), round(record.center_seconds * _RATE)
    return FrameGrid(_RATE, hop, max(1, 2 * middle), "valid" if middle else "floor")


def _value(one: CodedClip, column: str) -> object:
    return one.clip.id if column == "id" else getattr(one.clip, column, None) or one.clip.extra.get(column)


def _phone_rows(
    coded: Sequence[CodedClip], labels: Sequence[Labels], groups: Clusters, record: UnitsRecord
) -> Iterator[QualityRow]:
    """Yield what the codes of each codebook say of phones."""
    phones = {name: place for place, name in enumerate(sorted({p for row in labels for p in row if p is not None}))}
    said = [np.array([-1 if phone is None else phones[phone] for phone in label], np.int64) for label in labels]
    for book in range(record.codebooks):
        joint = np.zeros((len(phones), record.codes))
        pairs = [(one.codes[own >= 0, book], own[own >= 0]) for one, own in zip(coded, said, strict=True)]
        for codes, own in pairs:
            np.add.at(joint, (own, codes), 1)
        for terms in phone_terms(joint):
            sums = np.array([(terms.above[own, codes].sum(), terms.below[own, codes].sum()) for codes, own in pairs])
            score = bootstrap_sums(cluster_sums(sums, groups.names)[0], share)
            yield _row(terms.metric, "frames", book + 1 if record.codebooks > 1 else None, score)


def _cost_rows(coded: Sequence[CodedClip], groups: Clusters, record: UnitsRecord) -> Iterator[QualityRow]:
    """Yield units and bits a second, of frames and of merged units."""
    seconds = [one.clip.seconds for one in coded]
    for what in ("frames", "merged units"):
        units = [runs_of(one.codes, merge=what != "frames").units for one in coded]
        counts = [np.zeros(record.codes) for _ in range(record.codebooks)]
        for own in units:
            for book, count in enumerate(counts):
                count += np.bincount(own[:, book], minlength=record.codes)
        bits = [unit_bits(count) for count in counts]
        costs = [sum(float(of[own[:, book]].sum()) for book, of in enumerate(bits)) for own in units]
        for metric, amounts in (("unit_rate", [float(len(own)) for own in units]), ("unit_bitrate", costs)):
            sums = cluster_sums(np.stack([amounts, seconds], 1), groups.names)[0]
            yield _row(metric, what, None, bootstrap_sums(sums, lambda total: ratio(total[..., 0], total[..., 1])))


def _labels(one: CodedClip, times: str, grid: FrameGrid) -> Labels:
    if why_no_spans(one.clip, times) is not None:
        return [None] * len(one.codes)
    return labels_of_frames(spans_of(str(one.clip.extra[times]), times), grid, len(one.codes))


def _abx_rows(
    folder: Path, coded: Sequence[CodedClip], times: str, grid: FrameGrid, record: UnitsRecord
) -> list[QualityRow]:
    """Return ABX errors within and across speakers, of codes as one-hot vectors and of their centroids."""
    codes = {one.clip.id: torch.from_numpy(one.codes).long() for one in coded}

    def one_hot(clip: Clip) -> Tensor:
        return F.one_hot(codes[clip.id], record.codes).flatten(1).float()

    kinds: dict[str, Callable[[Clip], Tensor]] = {"one-hot codes": one_hot}
    if (folder / CODE_BOOK_FILE).is_file():
        centroids = read_code_book(folder / CODE_BOOK_FILE).centroids
        kinds["centroids"] = lambda clip: centroids[codes[clip.id][:, 0]]
    rows = []
    clips = [one.clip for one in coded]
    with Progress("ABX", total=len(kinds) * len(MODES)) as progress:
        for kind, frames in kinds.items():
            pieces = list(pieces_of(clips, times, frames, grid, lambda span: span.label not in SILENCES, wide=True))
            items = abx_items(pieces)
            for mode in MODES:
                result = abx(items, mode)
                limits = result.interval() if enough_speakers(pieces) else Interval(result.value, np.nan, np.nan)
                rows.append(_row(f"abx_{mode}", kind, None, limits))
                progress.advance()
    return rows


def _row(metric: str, of: str, codebook: int | None, score: Interval) -> QualityRow:
    value, low, high = map(float, score)
    return QualityRow(metric, of, codebook, value, low, high, described_metric(metric).unit)


def quality_lines(quality: UnitQuality) -> list[str]:
    """Return the scores as a table for a terminal."""
    cells = [("metric", "of", "value", "95 % interval")]
    for row in quality.rows:
        digits = 2 if row.unit == "1/s" else 1
        book = f" of codebook {row.codebook}" if row.codebook is not None else ""
        limits = f"{row.low:.{digits}f} to {row.high:.{digits}f}" if np.isfinite([row.low, row.high]).all() else "–"
        unit = "" if row.unit == "1/s" else f" {row.unit}"
        value = "–" if np.isnan(row.value) else f"{row.value:.{digits}f}{unit}"
        cells.append((described_metric(row.metric).label, f"{row.of}{book}", value, limits))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    share = quality.frames_with_phones / max(1, quality.frames)
    over = f"{quality.clusters} {quality.resampled}{'s' * (quality.clusters != 1)}"
    first = (
        f"{quality.clips_with_phones:,} of {quality.clips:,} clips have phones, {share:.0%} of the frames; "
        f"{quality.phones} phones; intervals over {over}"
    )
    return [first, *lines]
