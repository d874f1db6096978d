"""Metrics by name: every family of `audio_ssl.metrics.families` lists its own, and nothing else lists them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

from audio_ssl.base import catalog
from audio_ssl.base.errors import unknown_name
from audio_ssl.metrics.metric import AdditiveMetric, Metric

FAMILIES = "metrics/families"


def metrics() -> tuple[Metric, ...]:
    """Return all metrics, by family and in the order in which a family lists them; imports no optional package."""
    return tuple(metric for family in catalog.parts(FAMILIES) for metric in _listed(_family(family)))


def find_metric(name: object) -> Metric | None:
    """Return what a metric says of itself, also under the name of an earlier version; None for an unknown name."""
    return next((metric for metric in metrics() if name == metric.name or name in metric.earlier_names), None)


def described_metric(name: str) -> Metric:
    """Return what a metric of any kind says of itself.

    Raises
    ------
    UserError
        For an unknown name.
    """
    metric = find_metric(name)
    if metric is None:
        raise unknown_name("metric", name, [known.name for known in metrics()])
    return metric


def get_metric(name: str, classes: Sequence[str] = (), tokenizer: str | None = None) -> AdditiveMetric:
    """Return a metric that is a function of summed statistics of clips.

    Parameters
    ----------
    name
        Of text: wer, cer, per, bleu, chrf, and MuST-SHE's term_coverage and gender_accuracy; of classes: accuracy,
        macro_f1, uar; of numbers: r2; of slots: slot_f1, slot_cer; of music: key_score, chord_accuracy, frame_ap, and
        frame_f1, note_f1, beat_f70, downbeat_f70, beat_f20, downbeat_f20, each also with ``_track``.
    classes
        What macro_f1 and uar are means over, and how r2's numbers are called; others need none. Without them macro_f1
        and uar are described, but refuse clips.
    tokenizer
        How bleu cuts texts into words, see `audio_ssl.metrics.texts`; None: 13a. Other metrics have no use for it.

    Raises
    ------
    UserError
        For an unknown name; the text lists the known ones. If an optional package is not installed.

    Examples
    --------
    >>> get_metric("wer").corpus([("a b c d", "a b x d")])
    25.0
    """
    known = {metric.name: metric for metric in metrics() if isinstance(metric, AdditiveMetric)}
    if name not in known:
        raise unknown_name("metric", name, known)
    metric = known[name]
    with catalog.optional_packages(f"metric `{name}`"):
        for package in metric.packages:
            importlib.import_module(package)
    if metric.of_tokenizer is not None and tokenizer is not None:
        return metric.of_tokenizer(tokenizer)
    return metric if metric.of_classes is None else metric.of_classes(classes)


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that say that results of a task have them, see `Metric.tasks`."""
    return tuple(metric.name for metric in metrics() if task in metric.tasks)


def metrics_of_groups(task: str | None = None) -> tuple[str, ...]:
    """Return the names of the metrics by which groups of people can be compared; with a task, in its results.

    The main one of a task comes first.

    Examples
    --------
    >>> metrics_of_groups("asr"), metrics_of_groups("speaker_verification")
    (('wer', 'cer'), ())
    """
    known = [metric for metric in metrics() if isinstance(metric, AdditiveMetric) and metric.of_groups]
    fitting = [metric for metric in known if task is None or task in metric.tasks]
    return tuple(metric.name for metric in sorted(fitting, key=lambda metric: task not in metric.main_of))


def main_first(names: Sequence[str], main: str) -> tuple[str, ...]:
    """Return some metrics in their order, but the main one first.

    Examples
    --------
    >>> main_first(("accuracy", "uar", "macro_f1"), "uar")
    ('uar', 'accuracy', 'macro_f1')
    """
    return (main, *(name for name in names if name != main))


def metric_label(name: object) -> str:
    """Say a metric's name the way papers do; of an unknown one, its name in words.

    Examples
    --------
    >>> metric_label("wer"), metric_label("term_coverage")
    ('WER', 'term coverage')
    """
    metric = find_metric(name)
    return str(name).replace("_", " ") if metric is None else metric.label


def metric_phrase(name: object) -> str:
    """Say a metric's whole name, for a sentence.

    Examples
    --------
    >>> metric_phrase("wer"), metric_phrase("term_coverage")
    ('word error rate', 'term coverage')
    """
    metric = find_metric(name)
    return metric_label(name) if metric is None else metric.phrase or metric.label


@lru_cache
def _family(name: str) -> ModuleType:
    return catalog.load_part(FAMILIES, name)


def _listed(family: ModuleType) -> tuple[Metric, ...]:
    found: tuple[Metric, ...] = family.METRICS
    return found
