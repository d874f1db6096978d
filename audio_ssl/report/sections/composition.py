"""The page of an audit: hours, speakers, clip lengths and levels of each group, by manifest, split and language.

Made from `AuditReport` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.artifacts.composition import AttributeAmounts, AuditReport, GroupAmounts, ManifestAudit, Quantiles
from audio_ssl.artifacts.records import to_json
from audio_ssl.base.documents import JsonObject
from audio_ssl.report.figures.intervals import Bar, Dot, interval_chart, lying_bars
from audio_ssl.report.figures.lines import Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.language.composition import (
    CLIPPED,
    HOLLOW,
    LEVEL_LIMIT,
    LIMITS,
    LORENZ,
    MANIFESTS_APART,
    SPLITS_APART,
    amount_sentences,
    evenness,
    half_words,
    hours_of,
    lengths_caption,
    levels_caption,
    names_of,
    only_largest,
    percent,
    plain_hours,
    tenths,
    time_of,
    warnings,
)
from audio_ssl.report.numbers import MISSING, count, finite
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.sections.provenance import provenance_table
from audio_ssl.report.svg import SHAPES

_MOST_DRAWN, _MOST_LINES = 12, 6
_PERCENTS = ("5 %", "25 %", "Median", "75 %", "95 %")


def composition_sections(report: AuditReport) -> tuple[Section, ...]:
    """Return the sections: every manifest, shared speakers, limitations and provenance."""
    sections = [_manifest(index, manifest) for index, manifest in enumerate(report.manifests)]
    if len(sections) > 1:
        sections.append(_shared(report))
    return (*sections, _limits(report), _provenance(report))


def _manifest(index: int, manifest: ManifestAudit) -> Section:
    prefix = f"composition-{index}"
    blocks = [_overview(manifest, prefix)]
    blocks += [_attribute(manifest, part, f"{prefix}-{place}") for place, part in enumerate(manifest.by)]
    if manifest.splits:
        blocks.append(_splits(manifest, prefix))
    if len(manifest.languages) > 1:
        table = _amounts("Languages", "Language", manifest.languages)
        blocks.append(Block(f"{prefix}-languages", "Languages", tables=(table,)))
    return Section(prefix, manifest.name, tuple(blocks))


def _overview(manifest: ManifestAudit, prefix: str) -> Block:
    total = manifest.total
    lead = amount_sentences(manifest)
    if total.speakers:
        lead.append(f"{evenness(total)}.")
    lead += [f"Spellings merged, {note}." for note in manifest.spellings]
    drawn = manifest.balance
    if drawn:
        asked = drawn.asked
        capped = f", at most {asked.speaker_hours:g} h per speaker" if asked.speaker_hours else ""
        left_out = [f"{count(one.clips, 'clip')} ({reason})" for reason, one in drawn.excluded.items()]
        excluded = f" Excluded from the draw: {', '.join(left_out)}." if left_out else ""
        words = f"{asked.hours:g} h with {asked.balance}, seed {asked.seed}{capped}"
        lead.append(f"Drawn from a larger pool: {words}.{excluded}")
    return Block(f"{prefix}-all", lead=tuple(lead), warnings=tuple(warnings(manifest)))


def _attribute(manifest: ManifestAudit, part: AttributeAmounts, prefix: str) -> Block:
    name, rows = part.attribute, part.rows
    drawn: Sequence[GroupAmounts] = rows
    if len(rows) > _MOST_DRAWN:
        kept = sorted(range(len(rows)), key=lambda place: -rows[place].hours)[:_MOST_DRAWN]
        drawn = [rows[place] for place in sorted(kept)]
    beyond = only_largest(_MOST_DRAWN) if len(rows) > len(drawn) else ""
    figures = [_hours_figure(name, drawn, prefix, beyond), _lengths_figure(name, drawn, prefix, beyond)]
    figures += [figure for figure in (_levels_figure(name, drawn, prefix), _lorenz(name, drawn, prefix)) if figure]
    everything = [*rows, manifest.total]
    tables = [_amounts(f"Hours and speakers by {name}", name.capitalize(), everything), _lengths(name, everything)]
    if manifest.total.level_dbfs:
        tables.append(_levels(name, everything))
    return Block(prefix, f"By {name}", figures=tuple(figures), tables=tuple(tables))


def _hours_figure(name: str, rows: Sequence[GroupAmounts], prefix: str, beyond: str) -> Figure:
    bars = [Bar(row.value, row.hours, f"{hours_of(row)}, {percent(row.share_of_hours)}", row.known) for row in rows]
    said = "; ".join(f"{bar.label} {bar.words}" for bar in bars)
    svg = lying_bars(f"{prefix}-hours", f"Hours by {name}", f"{said}.", bars, "hours")
    hollow = HOLLOW if not all(bar.filled for bar in bars) else ""
    return Figure(f"{prefix}-hours-box", svg, f"Hours by {name}.{hollow}{beyond}")


def _lengths_figure(name: str, rows: Sequence[GroupAmounts], prefix: str, beyond: str) -> Figure:
    dots = [_dot(row, row.clip_seconds, index) for index, row in enumerate(rows)]
    said = "; ".join(f"{dot.label} {tenths(dot.value)} s, {tenths(dot.low)} to {tenths(dot.high)} s" for dot in dots)
    svg = interval_chart(
        f"{prefix}-lengths", f"Clip lengths by {name}", f"{said}.", dots, axis_label="seconds", unit="s"
    )
    return Figure(f"{prefix}-lengths-box", svg, f"{lengths_caption(name)}{beyond}")


def _levels_figure(name: str, rows: Sequence[GroupAmounts], prefix: str) -> Figure | None:
    dots = [
        _dot(row, row.level_dbfs.quantiles, index)
        for index, row in enumerate(rows)
        if row.level_dbfs and finite(row.level_dbfs.p50) is not None
    ]
    if not dots:
        return None
    said = "; ".join(f"{dot.label} {tenths(dot.value)} dBFS" for dot in dots)
    svg = interval_chart(f"{prefix}-levels", f"Levels by {name}", f"{said}.", dots, axis_label="dBFS", unit="dBFS")
    return Figure(f"{prefix}-levels-box", svg, levels_caption(name))


def _dot(row: GroupAmounts, quantiles: Quantiles, index: int) -> Dot:
    shape = SHAPES[index % len(SHAPES)]
    note = count(row.clips, "clip")
    return Dot(row.value, quantiles.p50, quantiles.p5, quantiles.p95, shape, note)


def _lorenz(name: str, rows: Sequence[GroupAmounts], prefix: str) -> Figure | None:
    """Draw Lorenz curves of the hours over speakers."""
    largest = sorted((row for row in rows if row.speakers > 1), key=lambda row: -row.hours)[:_MOST_LINES]
    shown = [row for row in rows if row in largest]
    if not shown:
        return None
    series = [Series("equal hours", (0.0, 100.0), (0.0, 100.0), style=7)]
    for index, row in enumerate(shown):
        x, y = ([100 * point[axis] for point in row.lorenz] for axis in (0, 1))
        # Style 4 is drawn full like style 0, so it comes last.
        series.append(Series(row.value, x, y, style=(0, 1, 2, 3, 5, 6)[index]))
    said = "; ".join(map(half_words, shown))
    svg = line_chart(
        f"{prefix}-spread", f"Hours over speakers by {name}", f"{said}.", series, x_label="% of speakers", legend=True
    )
    return Figure(f"{prefix}-spread-box", svg, LORENZ)


def _amounts(caption: str, what: str, rows: Sequence[GroupAmounts]) -> Table:
    head = (
        what, "Hours", "Share", "Clips", "Speakers", "Effective speakers", "Mean per speaker", "Median", "Maximum",
        "Gini", "Clips without speaker",
    )  # fmt: skip
    cells = [
        (
            row.value,
            plain_hours(row.hours),
            percent(row.share_of_hours),
            f"{row.clips:,}",
            f"{row.speakers:,}",
            tenths(row.effective_speakers) if row.speakers else MISSING,
            *((time_of(each.mean), time_of(each.median), time_of(each.max)) if each else (MISSING,) * 3),
            MISSING if row.gini is None else f"{row.gini:.2f}",
            f"{row.clips_without_speaker:,}",
        )
        for row in rows
        for each in (row.hours_per_speaker,)
    ]
    return make_table(caption, head, cells, sticky=True)


def _lengths(name: str, rows: Sequence[GroupAmounts]) -> Table:
    cells = [(row.value, *_percentiles(row.clip_seconds)) for row in rows]
    return make_table(f"Clip lengths by {name}, seconds", (name.capitalize(), *_PERCENTS), cells, sticky=True)


def _levels(name: str, rows: Sequence[GroupAmounts]) -> Table:
    has_clipped = any(row.level_dbfs and row.level_dbfs.clipped is not None for row in rows)
    cells = []
    for row in rows:
        level = row.level_dbfs
        counts: tuple[int | None, ...] = (
            (0, 0, None) if level is None else (level.measured, level.silent, level.clipped)
        )
        shown = [MISSING if one is None else f"{one:,}" for one in counts[: 3 if has_clipped else 2]]
        cells.append((row.value, *_percentiles(None if level is None else level.quantiles), *shown))
    head = (name.capitalize(), *_PERCENTS, "Measured", "Silent", *(("Clipped",) if has_clipped else ()))
    notes = (CLIPPED,) if has_clipped else ()
    return make_table(f"Levels by {name}, dBFS", head, cells, sticky=True, notes=notes)


def _percentiles(found: Quantiles | None) -> tuple[str, ...]:
    if found is None:
        return (MISSING,) * len(_PERCENTS)
    return tuple(tenths(value) for value in (found.p5, found.p25, found.p50, found.p75, found.p95))


def _splits(manifest: ManifestAudit, prefix: str) -> Block:
    cells = []
    for split in manifest.splits:
        several = [
            (f"{split.split}, {part.attribute} {row.value}", row)
            for part in split.by
            for row in part.rows
            if len(part.rows) > 1 or not row.known
        ]
        for label, row in [(str(split.split), split.total), *several]:
            cells.append(
                (
                    label,
                    plain_hours(row.hours),
                    percent(row.share_of_hours),
                    f"{row.clips:,}",
                    f"{row.speakers:,}",
                    tenths(row.effective_speakers) if row.speakers else MISSING,
                    tenths(row.clip_seconds.p50),
                )
            )
    head = ("Split", "Hours", "Share of split", "Clips", "Speakers", "Effective speakers", "Median length, s")
    table = make_table("Hours and speakers by split", head, cells, sticky=True, folded=len(cells) > 2 * _MOST_DRAWN)
    shared = manifest.shared_speakers
    lead = (SPLITS_APART,) if not shared and manifest.total.speakers else ()
    return Block(f"{prefix}-splits", "Splits", lead=lead, tables=(table,))


def _shared(report: AuditReport) -> Section:
    rows = [(one.a, one.b, f"{one.count:,}", names_of(one).strip(" ()")) for one in report.shared_speakers]
    head = ("First manifest", "Second manifest", "Speakers", "First names")
    table = make_table("Speakers in two manifests", head, rows, text_columns=(1, 3))
    lead = () if rows else (MANIFESTS_APART,)
    return Section("shared", "Shared speakers", (Block("shared-all", lead=lead, tables=(table,) if rows else ()),))


def _limits(report: AuditReport) -> Section:
    has_levels = any(manifest.total.level_dbfs for manifest in report.manifests)
    points = (*LIMITS, LEVEL_LIMIT) if has_levels else LIMITS
    return Section("limits", "How to read it", (Block("limits-all", points=points),))


def _provenance(report: AuditReport) -> Section:
    blocks = []
    for index, manifest in enumerate(report.manifests):
        origin: JsonObject = {"manifest": manifest.path, "manifest_hash": manifest.hash}
        drawn = manifest.balance
        if drawn:
            origin["drawn"] = {**to_json(drawn.asked), "pool_hash": drawn.pool_hash}
        table = provenance_table(f"Manifest {manifest.name}", origin)
        blocks.append(Block(f"origin-{index}", tables=(table,) if table else ()))
    made = report.provenance
    table = provenance_table("This report", to_json(made))
    blocks.append(Block("origin-report", tables=(table,) if table else ()))
    blocks.append(Block("again", "To reproduce this page", commands=(made.command,)))
    return Section("provenance", "Provenance", tuple(blocks))


SECTIONS = (PlacedSection(AuditReport, 10, composition_sections),)
