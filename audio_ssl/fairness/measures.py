"""Which metrics compare groups: functions of sums over clips, by name, and those that fit a task."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.errors import UserError, unknown_name
from audio_ssl.metrics.additive import AdditiveMetric, get_metric

METRICS_OF_TASK = {
    "asr": ("wer", "cer"),
    "st": ("bleu", "chrf"),
    "phones": ("per",),
    "slots": ("slot_f1", "slot_cer"),
    "key": ("key_score", "accuracy"),
    "classification": ("accuracy",),
}
DEFAULT_METRICS = ("wer", "cer")
OF_TERMS = ("term_coverage", "gender_accuracy")
"""Metrics whose reference is the column ``terms``."""
OF_TRANSLATION = ("bleu", "chrf")

KNOWN = tuple(dict.fromkeys([m for metrics in METRICS_OF_TASK.values() for m in metrics])) + OF_TERMS


def get_measure(name: str, tokenizer: str | None = None) -> AdditiveMetric:
    """Return a metric by name: those of texts, labels and slots, and MuST-SHE's ``term_coverage, gender_accuracy``.

    `tokenizer` is how BLEU cuts texts into words; how its sums are scored does not depend on it.

    Raises
    ------
    UserError
        For an unknown name, or one that no single clip can be counted for.
    """
    if name not in KNOWN:
        raise unknown_name("metric", name, KNOWN)
    if name in OF_TERMS:
        # Imported here: most audits need no terms.
        from audio_ssl.fairness.must_she import GENDER_ACCURACY, TERM_COVERAGE

        return TERM_COVERAGE if name == "term_coverage" else GENDER_ACCURACY
    return get_metric(name, (), tokenizer)


def choose_metrics(task: str | None, asked: Sequence[str], has_terms: bool, where: str) -> tuple[str, ...]:
    """Return the names of what is counted, the main one first.

    Parameters
    ----------
    task
        Of a result folder; None for a table from elsewhere.
    asked
        What the user names; empty: what fits.
    has_terms
        Whether the table has MuST-SHE's columns ``terms`` and ``category``.
    where
        For errors.

    Raises
    ------
    UserError
        For an unknown metric, or a task whose clips have no score each.
    """
    if asked:
        for name in asked:
            get_measure(name)
        return tuple(dict.fromkeys(asked))
    if task is not None and task not in METRICS_OF_TASK:
        instead = "its equal error rate is read by audio_ssl/fairness/verification.py"
        raise UserError(
            f"the task `{task}` has no score per clip to compare groups by; known: {', '.join(METRICS_OF_TASK)}",
            where=where,
            remedy=instead if task == "speaker_verification" else None,
        )
    if has_terms and task in (None, "st"):
        return (*OF_TRANSLATION, *OF_TERMS)
    return METRICS_OF_TASK[task] if task is not None else DEFAULT_METRICS
