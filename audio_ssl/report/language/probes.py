"""Sentences about one probe: what was tested and chosen, and what its figures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.language.phrases import better_words
from audio_ssl.report.numbers import count, duration, finite, number, score

if TYPE_CHECKING:
    from audio_ssl.report.probe_summary import ProbeSummary, RunGrid, TrialHistogram, ValuePairs

SCORES_CAPTION = "Every score on the test set, with its 95 % interval"
COST_NOTE = (
    "Extraction costs nothing where an earlier probe has left its features. Memory is that of the whole process."
)


def lead(result: ProbeSummary) -> tuple[str, ...]:
    """Say what was asked of which clips, which run was chosen, and how the scores were made."""
    parts = [f"Model: {result.model}." if result.model else ""]
    for split, found in result.counts.items():
        if not isinstance(found, Mapping):
            continue
        words = [count(int(found["clips"]), "clip")] if finite(found.get("clips")) is not None else []
        words += [duration(found["seconds"])] if finite(found.get("seconds")) is not None else []
        words += [count(int(found["speakers"]), "speaker")] if found.get("speakers") else []
        parts.append(f"{str(split).capitalize()}: {', '.join(words)}.")
    if result.folds:
        parts.append(f"{result.folds} folds, each tested once.")
    signature = f"Score signature: {result.signature}." if result.signature else ""
    decoder = f"Search: {result.decoder}." if result.decoder else ""
    return tuple(line for line in (" ".join(filter(None, parts)), _chosen(result), signature, decoder) if line)


def _chosen(result: ProbeSummary) -> str:
    """Say which run the validation clips chose."""
    chosen = result.systems[0].chosen
    if not chosen or all(finite(one.get("lr")) is None for one in chosen):
        return ""
    runs = []
    for one in chosen:
        layer = finite(one.get("layer"))
        where = "mix of layers" if layer is None else f"layer {number(layer)}"
        whitened = ", whitened" if one.get("whiten") is True else ""
        runs.append(f"{where}{whitened}, learning rate {one.get('lr')}, seed {one.get('seed')}")
    return (
        f"Chosen on the validation clips{' of the folds' if len(chosen) > 1 else ''}: {'; '.join(dict.fromkeys(runs))}."
    )


def more_excluded(left: int) -> str:
    """Count the excluded clips that a table does not name."""
    return f"{left:,} more are in the JSON beside this page."


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
        said.append(f"The ring marks layer {number(layers[0])}, chosen on the validation set.")
    elif layers:
        said.append(f"Rings mark the layers chosen on the validation set: {', '.join(named)}.")
    if banded:
        said.append("Bands go from the lowest to the highest seed (or fold).")
    if level:
        said.append("Level lines are systems with one layer.")
    return " ".join(said)


def layer_caption(result: ProbeSummary, marks: str) -> str:
    """Say what the layer curves show; `marks` as of `layer_words`."""
    better = better_words(result.higher_is_better)
    return f"Validation {metric_label(result.main_metric)} of each layer, {better}. {marks}".strip()


def grid_caption(result: ProbeSummary, grid: RunGrid) -> str:
    """Say what the grid of all runs shows."""
    over = [count(found, noun) for found, noun in ((grid.seeds, "seed"), (grid.folds, "fold")) if found > 1]
    text = f"Validation {metric_label(result.main_metric)} of every layer and learning rate"
    text += f", mean over {' and '.join(over)}." if over else "."
    text += " The stronger the shade, the better; a frame marks what was chosen."
    gone = sum(map(sum, grid.diverged))
    return f"{text} {count(gone, 'run')} diverged; × where all of a cell did." if gone else text


def weights_caption(values: Sequence[float]) -> str:
    """Say what the learned weights of the layers are."""
    top = max(range(len(values)), key=lambda layer: values[layer])
    return f"Weight the probe's head learned for each layer; the largest, {number(values[top])}, is layer {top}'s."


def history_caption(result: ProbeSummary) -> str:
    """Say what the curve of the head's training shows."""
    return f"Validation {metric_label(result.main_metric)} while the head was trained."


def confusion_caption(shares: bool) -> str:
    """Say what a confusion matrix shows: shares of each reference's clips, or clips."""
    unit = "in % of each reference's clips" if shares else "in clips"
    return f"Which class was answered for which, {unit}; each row is shaded by its own total."


def values_caption(pairs: ValuePairs) -> str:
    """Say what answers over references show, and how near they are."""
    points = pairs.points
    shown = f"{len(points):,} of {pairs.clips:,} clips" if len(points) < pairs.clips else count(len(points), "clip")
    errors = sorted(abs(x - y) for x, y in points)
    return (
        f"Reference and answer of {shown}: {pairs.name}. On the dashed line they are equal. "
        f"Half of the answers are within {number(errors[len(errors) // 2])} of the reference."
    )


def equal_error_words(trials: TrialHistogram) -> str:
    """Name the equal error rate and its threshold."""
    return f"equal error {score(trials.eer, '%')} at {number(trials.threshold)}"


def trials_caption(trials: TrialHistogram) -> str:
    """Say what the histogram of pairs shows."""
    return (
        f"Scores of {trials.n_same:,} pairs of the same (full line) and {trials.n_different:,} of different ones "
        f"(dashed), in % of their kind; {equal_error_words(trials)}."
    )
