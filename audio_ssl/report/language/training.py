"""What the sections about training runs and codecs say: titles of metrics, leads, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audio_ssl.pretrain.guards import alike_sentences
from audio_ssl.report.numbers import MISSING, count, finite, number

if TYPE_CHECKING:
    from audio_ssl.report.figures.lines import Series
    from audio_ssl.report.run_summary import RunSummary

TRAINING, TOGETHER = "Training curves", "All runs in one figure"
CODEC, PLAYERS, USED = "Codec", "Clips to listen to", "Codes in use on held-out audio, in % of each codebook"
MEASURED = "Held-out audio, last validation"
PERPLEXITY = "Perplexity of codebooks ↑"
PLAYER_COLUMNS = ("Clip", "Original", "Reconstruction", "SI-SDR ↑", "Mel distance ↓")
NOT_HELD_OUT = "No clip was held out: the codec was trained on the clips below."
NO_FILE = "the file is missing"

_TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy on masked frames",
    "code_perplexity": "Perplexity of the codes",
    "perplexity": "Perplexity of the codes",
    "predicted_perplexity": "Perplexity of the predicted codes",
    "code_usage": "Share of the codes in use",
    "cqt_mse": "CQT error on masked frames",
    "audio_seconds_per_second": "Training speed, in seconds of audio per second",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "feature_penalty": "Feature penalty",
}

MEASURES = (
    ("valid_si_sdr", "SI-SDR ↑", "dB"),
    ("valid_mel_distance", "Mel distance ↓", "dB"),
    ("valid_spectral_loss", "Spectral loss ↓", ""),
    ("valid_waveform_loss", "Waveform L1 ↓", ""),
    ("valid_commitment", "Commitment ↓", ""),
)
"""Metrics of a codec: key, label and unit."""

CURVES = (
    ("valid_mel_distance", "Mel distance on held-out audio, in dB (lower is better)"),
    ("valid_si_sdr", "SI-SDR on held-out audio, in dB (higher is better)"),
)
"""Curves of a codec: key and title."""


def title_of(name: str) -> str:
    """Say in words what a key of ``metrics.jsonl`` measures.

    Examples
    --------
    >>> title_of("cqt_mse"), title_of("valid_accuracy"), title_of("loss_codes")
    ('CQT error on masked frames', 'Validation: accuracy on masked frames', 'Loss: codes')
    """
    if name.startswith("valid_"):
        inner = title_of(name.removeprefix("valid_"))
        keep = inner[:2].isupper()
        return f"Validation: {inner if keep else inner[0].lower() + inner[1:]}"
    if name in _TITLES:
        return _TITLES[name]
    if name.startswith("loss_"):
        return f"Loss: {name.removeprefix('loss_').replace('_', ' ')}"
    return name.replace("_", " ").capitalize()


def run_heading(run: RunSummary) -> str:
    """Return the heading of a run."""
    return f"Pretraining: {run.name}"


def teacher_heading(teacher: RunSummary, run: RunSummary) -> str:
    """Return the heading of a teacher that was trained for a run."""
    return f"Teacher of {run.name}: {teacher.name}"


def together_lead(shown: int, runs: int, figures: int) -> str:
    """Say what figures of several runs show: so many runs of all."""
    if not figures:
        return "The runs have no metric in common."
    which = "one run" if shown == runs else f"one of the first {shown} of {runs} runs"
    return f"Each line is {which}. The figures of each run follow."


def curve_ends(series: Sequence[Series], title: str = "") -> str:
    """Say where the curves of a figure begin and end, one alone by the title of the figure."""
    alone = title if len(series) == 1 else ""
    return "; ".join(f"{alone or one.label} from {number(one.y[0])} to {number(one.y[-1])}" for one in series)


def run_lead(run: RunSummary) -> str:
    """Say how far a run has come, and what its loss did."""
    if not run.curves:
        return "No step is done yet."
    words = f"{run.steps:,} steps"
    if run.steps_planned is not None and run.steps_planned > run.steps:
        words += f" of {run.steps_planned:,} planned"
    first, last = run.first.get("loss"), run.last.get("loss")
    if first is not None and last is not None:
        words += f"; the loss went from {number(first)} to {number(last)}"
    if run.audio_seconds_per_second:
        words += f"; the median speed was {number(run.audio_seconds_per_second)} seconds of audio per second"
    return f"{words}."


def run_warnings(run: RunSummary) -> tuple[str, ...]:
    """Say what is wrong with a run."""
    out = []
    if run.provenance.finished is False:
        out.append("This run is not finished. The figures show it up to its last step.")
    out += collapse_sentences(run)
    if run.skipped_steps:
        steps = count(int(run.skipped_steps), "step")
        out.append(f"{steps} skipped because the loss or the gradient was not finite.")
    if run.errors.count:
        reasons = ", ".join(f"{one.reason} ({one.count:,})" for one in run.errors.reasons[:5])
        out.append(f"{count(run.errors.count, 'file')} could not be used: {reasons}.")
    return tuple(out)


def collapse_sentences(run: RunSummary) -> list[str]:
    """Say where a run's predictions or targets are all alike, and what that means."""
    return [] if run.alike is None else alike_sentences(run.alike)


def codec_lead(run: RunSummary, usage: Sequence[float], codebook_size: int | None) -> tuple[str, ...]:
    """Say how close a codec comes to held-out audio, and how many of its codes it uses."""
    si_sdr, mel_distance = finite(run.last.get("valid_si_sdr")), finite(run.last.get("valid_mel_distance"))
    parts = []
    if si_sdr is not None and mel_distance is not None:
        parts.append(f"SI-SDR {decibels(si_sdr)} and mel distance {decibels(mel_distance)}")
    if usage:
        of = " of its codes" if codebook_size is None else f" of its {codebook_size:,} codes"
        low, high = (f"{100 * value:.0f}" for value in (min(usage), max(usage)))
        between = f"{low} %" if low == high else f"{low} to {high} %"
        parts.append(f"each codebook uses {between}{of}")
    return (f"On held-out audio after {run.steps:,} steps: {'; '.join(parts)}.",) if parts else ()


def usage_words(usage: Sequence[float]) -> str:
    """Say what share of each codebook is in use, in percent."""
    return f"{'; '.join(f'codebook {book}: {value:.0f} %' for book, value in enumerate(usage))}."


def curve_words(series: Series) -> str:
    """Say where a curve begins and ends."""
    return f"From {number(series.y[0])} at step {number(series.x[0])} to {number(series.y[-1])}."


def too_large(name: str) -> str:
    """Say why a file is not on the page."""
    return f"too large for this page: {name}"


def decibels(value: float | None) -> str:
    """Format a level in dB."""
    amount = finite(value)
    return MISSING if amount is None else f"{amount:.1f}\u00a0dB".replace("-", "−")
