"""Sentences about one probe: what was tested and chosen, and what its figures show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audio_ssl.fairness.wording import capital
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.phrases import better_words
from audio_ssl.report.numbers import count, duration, number, score

if TYPE_CHECKING:
    from audio_ssl.report.probe_summary import ProbeSummary, RunGrid, TrialHistogram, ValuePairs

_SPLITS = {"train": "Training", "valid": "Validation", "test": "Test"}

SCORES_CAPTION = "All scores on the test set, with 95 % confidence intervals"
COST_NOTE = (
    "Extraction takes no time where an earlier probe has stored the features. Memory is the peak of the whole process."
)


def lead(result: ProbeSummary) -> tuple[str, ...]:
    """Say what was asked of which clips, which run was chosen, and how the scores were made."""
    parts = [f"Model: {result.model}." if result.model else ""]
    for split, found in result.counts.items():
        words = [count(found.clips, "clip")]
        words += [duration(found.seconds)] if found.seconds else []
        words += [count(found.speakers, "speaker")] if found.speakers else []
        parts.append(f"{_SPLITS.get(split, split)}: {', '.join(words)}.")
    if result.folds:
        parts.append(f"{result.folds} folds: each clip is tested once.")
    signature = f"Score signature: {result.signature}." if result.signature else ""
    decoder = f"Decoding: {result.decoder}." if result.decoder else ""
    return tuple(line for line in (" ".join(filter(None, parts)), _chosen(result), signature, decoder) if line)


def _chosen(result: ProbeSummary) -> str:
    """Say which run the validation clips chose."""
    chosen = result.systems[0].chosen
    if all(one.lr is None for one in chosen):
        return ""
    runs = []
    for one in chosen:
        where = "mix of layers" if one.layer is None else f"layer {number(one.layer)}"
        whitened = ", whitened" if one.whiten else ""
        runs.append(f"{where}{whitened}, learning rate {one.lr}, seed {one.seed}")
    where = "the validation clips of the folds" if len(chosen) > 1 else "the validation clips"
    return f"Selected on {where}: {'; '.join(dict.fromkeys(runs))}."


def layer_words(layers: Sequence[float], named: Sequence[str], banded: bool, level: bool) -> str:
    """Say what the marks of a layer curve are.

    Parameters
    ----------
    layers
        Those with a ring.
    named
        Of which system each is.
    banded, level
        Whether there are bands, and systems of one layer.
    """
    said = []
    if len(layers) == 1:
        said.append(f"The ring marks layer {number(layers[0])}, which the validation clips selected.")
    elif layers:
        said.append(f"Rings mark the layers that the validation clips selected: {', '.join(named)}.")
    if banded:
        said.append("Bands show the range over seeds or folds.")
    if level:
        said.append("Horizontal lines are systems with one layer.")
    return " ".join(said)


def layer_caption(result: ProbeSummary, marks: str) -> str:
    """Say what the layer curves show; `marks` as of `layer_words`."""
    better = better_words(result.higher_is_better)
    return f"{capital(metric_label(result.main_metric))} on the validation clips by layer ({better}). {marks}".strip()


def grid_words(rates: int, layers: int, selected: str) -> str:
    """Describe the grid of all runs to those who do not see it."""
    return f"{count(rates, 'learning rate')}, {count(layers, 'layer')}. Selected: {selected or 'not recorded'}."


def grid_caption(result: ProbeSummary, grid: RunGrid) -> str:
    """Say what the grid of all runs shows."""
    over = [count(found, noun) for found, noun in ((grid.seeds, "seed"), (grid.folds, "fold")) if found > 1]
    text = f"{capital(metric_label(result.main_metric))} on the validation clips by layer and learning rate"
    text += f", mean over {' and '.join(over)}." if over else "."
    text += " A stronger shade is a better score. The frame marks the selected run."
    gone = sum(map(sum, grid.diverged))
    return f"{text} {count(gone, 'run')} diverged; × marks cells where all runs did." if gone else text


def weights_caption(values: Sequence[float]) -> str:
    """Say what the learned weights of the layers are."""
    top = max(range(len(values)), key=lambda layer: values[layer])
    return (
        f"Weight of each layer in the mix that the head learned. The largest is {number(values[top])}, of layer {top}."
    )


def history_words(steps: Sequence[float], values: Sequence[float]) -> str:
    """Say where the curve of the head's training begins and ends."""
    return f"From {number(values[0])} at step {number(steps[0])} to {number(values[-1])} at step {number(steps[-1])}."


def history_caption(result: ProbeSummary) -> str:
    """Say what the curve of the head's training shows."""
    return f"{capital(metric_label(result.main_metric))} on the validation clips during the training of the head."


def confusion_caption(shares: bool) -> str:
    """Say what a confusion matrix shows: shares of each reference's clips, or clips."""
    unit = "in % of each reference's clips" if shares else "in clips"
    return f"Answers for each reference class, {unit}. Shades are relative to the total of the row."


def values_caption(pairs: ValuePairs) -> str:
    """Say what answers over references show, and how near they are."""
    points = pairs.points
    shown = f"{len(points):,} of {pairs.clips:,} clips" if len(points) < pairs.clips else count(len(points), "clip")
    errors = sorted(abs(x - y) for x, y in points)
    return (
        f"{pairs.name}: reference and answer of {shown}. On the dashed line they are equal. "
        f"The median absolute error is {number(errors[len(errors) // 2])}."
    )


def equal_error_words(trials: TrialHistogram) -> str:
    """Name the equal error rate and its threshold."""
    return f"equal error rate {score(trials.eer, '%')} at {number(trials.threshold)}"


def trials_caption(trials: TrialHistogram) -> str:
    """Say what the histogram of pairs shows."""
    return (
        f"Scores of {trials.n_same:,} pairs of the same speaker (solid line) and {trials.n_different:,} pairs of "
        f"different speakers (dashed line), in % of each kind. The {equal_error_words(trials)}."
    )
