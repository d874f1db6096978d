"""A codec on clips it was not trained on: its numbers, how its codes are used, and what a few clips sound like."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from audio_ssl.artifacts.reconstructions import RECONSTRUCTIONS_FOLDER, Reconstruction
from audio_ssl.artifacts.run import RunFolder
from audio_ssl.report.figures.grids import bar_chart
from audio_ssl.report.figures.lines import Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.numbers import finite, is_number, number, score
from audio_ssl.report.pages import PlacedSection, ReportPage

_MOST_CLIPS = 4
_MOST_BYTES = 1 << 20
"""Of one file: 4 s at 48 kHz and 16 bits are 0.4 MB before FLAC packs them."""

_MEASURES = (
    ("valid_si_sdr", "SI-SDR ↑", "dB"),
    ("valid_mel_distance", "Mel distance ↓", "dB"),
    ("valid_spectral_loss", "Spectral loss ↓", ""),
    ("valid_waveform_loss", "Waveform L1 ↓", ""),
    ("valid_commitment", "Commitment ↓", ""),
)
_CURVES = (
    ("valid_mel_distance", "Mel distance on held-out audio, in dB (lower is better)"),
    ("valid_si_sdr", "SI-SDR on held-out audio, in dB (higher is better)"),
)


def codec_section(runs: Sequence[RunFolder], described: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Show every codec among runs and their teachers; an empty list where there is none.

    Parameters
    ----------
    runs
        As read: their folders hold the audio.
    described
        The same runs as the report's JSON has them.
    """
    codecs = list(_codecs(runs, described, ""))
    if not codecs:
        return []
    blocks = [_block(run, about, name, f"codec-{index}") for index, (run, about, name) in enumerate(codecs)]
    return [Section("codec", "Codec", tuple(blocks))]


def _codecs(
    runs: Sequence[RunFolder], described: Sequence[Mapping[str, Any]], owner: str
) -> Iterator[tuple[RunFolder, Mapping[str, Any], str]]:
    for run, about in zip(runs, described, strict=True):
        name = str(about["name"])
        if about["kind"] == "codec" and (run.reconstructions or _usage(about)):
            yield run, about, f"{name} of {owner}" if owner else name
        yield from _codecs(run.teachers, about["teachers"], name)


def _block(run: RunFolder, about: Mapping[str, Any], name: str, prefix: str) -> Block:
    clips = run.reconstructions.clips[:_MOST_CLIPS] if run.reconstructions is not None else ()
    tables = [table for table in (_players(run, clips), _measures(about)) if table is not None]
    figures = [figure for figure in (_bars(about, prefix), *_curves(about, prefix)) if figure is not None]
    heard = run.reconstructions is not None and not run.reconstructions.held_out
    warnings = ("no clip was held out, so these are clips the codec was trained on.",) if heard else ()
    return Block(
        id=prefix, heading=name, lead=_lead(about), warnings=warnings, figures=tuple(figures), tables=tuple(tables)
    )


def _usage(about: Mapping[str, Any]) -> list[float]:
    """Return the share of codes in use on held-out audio, codebook by codebook."""
    return _by_codebook(about, "valid_code_usage")


def _by_codebook(about: Mapping[str, Any], name: str) -> list[float]:
    last = about["last"]
    values: list[float] = []
    while is_number(last.get(f"{name}_{len(values)}")):
        values.append(float(last[f"{name}_{len(values)}"]))
    return values


def _lead(about: Mapping[str, Any]) -> tuple[str, ...]:
    last, usage = about["last"], _usage(about)
    parts = []
    if is_number(last.get("valid_si_sdr")) and is_number(last.get("valid_mel_distance")):
        parts.append(
            f"SI-SDR {_decibels(last['valid_si_sdr'])} and mel distance {_decibels(last['valid_mel_distance'])}"
        )
    if usage:
        size = (about["recipe"].get("codec") or {}).get("codebook_size")
        of = f" of its {size:,} codes" if isinstance(size, int) else " of its codes"
        low, high = (f"{100 * value:.0f}" for value in (min(usage), max(usage)))
        between = f"{low} %" if low == high else f"{low} to {high} %"
        parts.append(f"a codebook uses {between}{of}")
    return (f"On held-out audio after {about['steps']:,} steps: {'; '.join(parts)}.",) if parts else ()


def _measures(about: Mapping[str, Any]) -> Table | None:
    last = about["last"]
    rows = [
        (label, f"{number(last[key])}{f' {unit}' if unit else ''}")
        for key, label, unit in _MEASURES
        if is_number(last.get(key))
    ]
    perplexities = _by_codebook(about, "valid_code_perplexity")
    if perplexities:
        ends = f"{number(min(perplexities))} to {number(max(perplexities))}"
        rows.append(("Perplexity of codebooks ↑", ends))
    return make_table("Held-out audio, last validation", ("Measure", "Value"), rows) if rows else None


def _players(run: RunFolder, clips: Sequence[Reconstruction]) -> Table | None:
    if not clips:
        return None
    folder = run.path / RECONSTRUCTIONS_FOLDER
    rows = []
    for clip in clips:
        files = (("original", clip.original), ("reconstruction", clip.reconstruction))
        players = [_player(folder, file, f"{what} of {clip.id}") for what, file in files]
        rows.append((clip.id, *players, _decibels(clip.si_sdr), _decibels(clip.mel_distance)))
    head = ("Clip", "Original", "Reconstruction", "SI-SDR ↑", "Mel distance ↓")
    return make_table("Clips to listen to", head, rows, text_columns=(1, 2))


def _player(folder: Path, name: str, label: str) -> str | Markup:
    """Return an audio element that holds the file, or why there is none."""
    path = folder / Path(name).name
    if not path.is_file():
        return "file is missing"
    if path.stat().st_size > _MOST_BYTES:
        return f"too large for this page: {path.name}"
    packed = base64.b64encode(path.read_bytes()).decode("ascii")
    audio = Markup('<audio controls preload="metadata" aria-label="{}" src="data:audio/flac;base64,{}"></audio>')
    return audio.format(label, packed)


def _bars(about: Mapping[str, Any], prefix: str) -> Figure | None:
    usage = [100 * value for value in _usage(about)]
    if not usage:
        return None
    labels = [str(book) for book in range(len(usage))]
    title = "Codes in use on held-out audio, in % of each codebook"
    words = "; ".join(f"codebook {label}: {value:.0f} %" for label, value in zip(labels, usage, strict=True))
    svg = bar_chart(f"{prefix}-usage", title, f"{words}.", labels, usage, "codebook")
    perplexities = _by_codebook(about, "valid_code_perplexity")
    rows = [
        (label, score(value, "%"), number(perplexities[index] if index < len(perplexities) else None))
        for index, (label, value) in enumerate(zip(labels, usage, strict=True))
    ]
    return Figure(f"{prefix}-usage-box", svg, f"{title}.", make_table(title, ("Codebook", "Used", "Perplexity"), rows))


def _curves(about: Mapping[str, Any], prefix: str) -> Iterator[Figure]:
    for key, title in _CURVES:
        curve = about["curves"].get(key)
        if curve is None or len(curve["steps"]) < 2:
            continue
        series = Series("validation", curve["steps"], curve["mean"], style=1, markers=len(curve["steps"]) < 30)
        figure_id = f"{prefix}-{key.replace('_', '-')}"
        words = f"From {number(series.y[0])} at step {number(series.x[0])} to {number(series.y[-1])}."
        rows = [(number(x), number(y)) for x, y in zip(series.x, series.y, strict=True)]
        every = max(1, len(rows) // 8)
        numbers = make_table(title, ("Step", "Value"), rows[::-1][::every][::-1])
        svg = line_chart(figure_id, title, words, [series], x_label="step")
        yield Figure(f"{figure_id}-box", svg, f"{title}.", numbers)


def _decibels(value: Any) -> str:
    amount = finite(value)
    return "–" if amount is None else f"{amount:.1f}\u00a0dB".replace("-", "−")


def _codecs_of(page: ReportPage) -> list[Section]:
    return codec_section(page.inputs.runs, page.summary.runs)


SECTIONS = (PlacedSection(ReportPage, 40, _codecs_of),)
