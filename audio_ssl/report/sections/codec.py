"""A codec on clips it was not trained on: its numbers, how its codes are used, and what a few clips sound like."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from audio_ssl.artifacts.reconstructions import RECONSTRUCTIONS_FOLDER, Reconstruction
from audio_ssl.artifacts.run import RunFolder
from audio_ssl.report.figures.grids import bar_chart
from audio_ssl.report.figures.lines import Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.language.training import (
    CODEC,
    CURVES,
    MEASURED,
    MEASURES,
    NO_FILE,
    NOT_HELD_OUT,
    PERPLEXITY,
    PLAYER_COLUMNS,
    PLAYERS,
    USED,
    codec_lead,
    curve_words,
    decibels,
    too_large,
    usage_words,
)
from audio_ssl.report.numbers import number, score
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.run_summary import RunSummary

_MOST_CLIPS = 4
_MOST_BYTES = 1 << 20
"""Of one file: 4 s at 48 kHz and 16 bits are 0.4 MB before FLAC packs them."""


def codec_section(runs: Sequence[RunFolder], summaries: Sequence[RunSummary]) -> list[Section]:
    """Show every codec among runs and their teachers; an empty list where there is none.

    Parameters
    ----------
    runs
        As read: their folders hold the audio.
    summaries
        Of the same runs.
    """
    codecs = list(_codecs(runs, summaries, ""))
    if not codecs:
        return []
    blocks = [_block(run, about, name, f"codec-{index}") for index, (run, about, name) in enumerate(codecs)]
    return [Section("codec", CODEC, tuple(blocks))]


def _codecs(
    runs: Sequence[RunFolder], summaries: Sequence[RunSummary], owner: str
) -> Iterator[tuple[RunFolder, RunSummary, str]]:
    for run, about in zip(runs, summaries, strict=True):
        if about.kind == "codec" and (run.reconstructions.clips or _usage(about)):
            yield run, about, f"{about.name} of {owner}" if owner else about.name
        yield from _codecs(run.teachers, about.teachers, about.name)


def _block(run: RunFolder, about: RunSummary, name: str, prefix: str) -> Block:
    clips = run.reconstructions.clips[:_MOST_CLIPS]
    tables = [table for table in (_players(run, clips), _measures(about)) if table is not None]
    figures = [figure for figure in (_bars(about, prefix), *_curves(about, prefix)) if figure is not None]
    warnings = (NOT_HELD_OUT,) if clips and not run.reconstructions.held_out else ()
    lead = codec_lead(about, _usage(about), run.recipe.codec.codebook_size if run.recipe.codec is not None else None)
    return Block(id=prefix, heading=name, lead=lead, warnings=warnings, figures=tuple(figures), tables=tuple(tables))


def _usage(about: RunSummary) -> list[float]:
    """Return the share of codes in use on held-out audio, codebook by codebook."""
    return _by_codebook(about, "valid_code_usage")


def _by_codebook(about: RunSummary, name: str) -> list[float]:
    values: list[float] = []
    while (value := about.last.get(f"{name}_{len(values)}")) is not None:
        values.append(value)
    return values


def _measures(about: RunSummary) -> Table | None:
    rows = [
        (label, f"{number(about.last[key])}{f' {unit}' if unit else ''}")
        for key, label, unit in MEASURES
        if key in about.last
    ]
    perplexities = _by_codebook(about, "valid_code_perplexity")
    if perplexities:
        ends = f"{number(min(perplexities))} to {number(max(perplexities))}"
        rows.append((PERPLEXITY, ends))
    return make_table(MEASURED, ("Measure", "Value"), rows) if rows else None


def _players(run: RunFolder, clips: Sequence[Reconstruction]) -> Table | None:
    if not clips:
        return None
    folder = run.path / RECONSTRUCTIONS_FOLDER
    rows = []
    for clip in clips:
        files = (("original", clip.original), ("reconstruction", clip.reconstruction))
        players = [_player(folder, file, f"{what} of {clip.id}") for what, file in files]
        rows.append((clip.id, *players, decibels(clip.si_sdr), decibels(clip.mel_distance)))
    return make_table(PLAYERS, PLAYER_COLUMNS, rows, text_columns=(1, 2))


def _player(folder: Path, name: str, label: str) -> str | Markup:
    """Return an audio element that holds the file, or why there is none."""
    path = folder / Path(name).name
    if not path.is_file():
        return NO_FILE
    if path.stat().st_size > _MOST_BYTES:
        return too_large(path.name)
    packed = base64.b64encode(path.read_bytes()).decode("ascii")
    audio = Markup('<audio controls preload="metadata" aria-label="{}" src="data:audio/flac;base64,{}"></audio>')
    return audio.format(label, packed)


def _bars(about: RunSummary, prefix: str) -> Figure | None:
    usage = [100 * value for value in _usage(about)]
    if not usage:
        return None
    labels = [str(book) for book in range(len(usage))]
    words = usage_words(usage)
    svg = bar_chart(f"{prefix}-usage", USED, words, labels, usage, "codebook")
    perplexities = _by_codebook(about, "valid_code_perplexity")
    rows = [
        (label, score(value, "%"), number(perplexities[index] if index < len(perplexities) else None))
        for index, (label, value) in enumerate(zip(labels, usage, strict=True))
    ]
    return Figure(f"{prefix}-usage-box", svg, f"{USED}.", make_table(USED, ("Codebook", "Used", "Perplexity"), rows))


def _curves(about: RunSummary, prefix: str) -> Iterator[Figure]:
    for key, title in CURVES:
        curve = about.curves.get(key)
        if curve is None or len(curve.steps) < 2:
            continue
        series = Series("validation", curve.steps, curve.mean, style=1, markers=len(curve.steps) < 30)
        figure_id = f"{prefix}-{key.replace('_', '-')}"
        words = curve_words(series)
        rows = [(number(x), number(y)) for x, y in zip(series.x, series.y, strict=True)]
        every = max(1, len(rows) // 8)
        numbers = make_table(title, ("Step", "Value"), rows[::-1][::every][::-1])
        svg = line_chart(figure_id, title, words, [series], x_label="step")
        yield Figure(f"{figure_id}-box", svg, f"{title}.", numbers)


def _codecs_of(page: ReportPage) -> list[Section]:
    return codec_section(page.inputs.runs, page.summary.runs)


SECTIONS = (PlacedSection(ReportPage, 40, _codecs_of),)
