"""Metrics by name, and their names as papers write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from audio_ssl.base.catalog import optional_packages
from audio_ssl.base.errors import unknown_name
from audio_ssl.metrics.metric import AdditiveMetric

_METRICS = {
    "wer": "WER",
    "cer": "CER",
    "per": "PER",
    "eer": "EER",
    "min_dcf": "minDCF",
    "fnmr_at_common": "FNMR at one threshold",
    "fmr_at_common": "FMR at one threshold",
    "uar": "UAR",
    "r2": "R²",
    "macro_f1": "macro F1",
    "slot_f1": "slot F1",
    "slot_cer": "slot CER",
    "abx_within": "ABX within speakers",
    "abx_across": "ABX across speakers",
    "mtwv": "MTWV",
    "bleu": "BLEU",
    "chrf": "chrF",
    "roc_auc": "ROC-AUC",
    "roc_auc_macro": "ROC-AUC",
    "average_precision": "average precision",
    "average_precision_macro": "average precision",
    "key_score": "weighted key score",
    "frame_ap": "average precision of frames",
    "frame_f1": "frame F1",
    "note_f1": "note F1",
}


def metric_label(name: Any) -> str:
    """Say a metric's name the way papers do.

    Examples
    --------
    >>> metric_label("wer"), metric_label("term_coverage")
    ('WER', 'term coverage')
    """
    return _METRICS.get(str(name), str(name).replace("_", " "))


def get_metric(name: str, classes: Sequence[str] = (), tokenizer: str | None = None) -> AdditiveMetric:
    """Return a metric by name.

    Parameters
    ----------
    name
        Of text: wer, cer, per, bleu, chrf; of classes: accuracy, macro_f1, uar; of numbers: r2; of slots: slot_f1,
        slot_cer; of music: key_score, chord_accuracy, frame_ap, and frame_f1, note_f1, beat_f70, downbeat_f70,
        beat_f20, downbeat_f20, each also with ``_track``.
    classes
        What macro_f1 and uar are means over, and how r2's numbers are called; others need none. Without them macro_f1
        and uar are described, but refuse clips.
    tokenizer
        How bleu cuts texts into words, see `audio_ssl.metrics.texts`; None: 13a. Other metrics have no use for it.

    Raises
    ------
    UserError
        For an unknown name; the text lists the known ones. If an optional package is not installed.
    """
    # Imported here: these modules import rapidfuzz, sacrebleu and mir_eval.
    with optional_packages(f"metric `{name}`"):
        from audio_ssl.metrics.families.classes import macro_f1, r2, uar
        from audio_ssl.metrics.families.music import BEATS, CHORD_ACCURACY, KEY_SCORE, NOTES
        from audio_ssl.metrics.families.text import ACCURACY, BLEU, CER, CHRF, PER, SLOT_CER, SLOT_F1, WER, bleu

    of_classes: dict[str, Callable[[Sequence[str]], AdditiveMetric]] = {"macro_f1": macro_f1, "uar": uar, "r2": r2}
    fixed = (WER, CER, PER, BLEU, CHRF, ACCURACY, SLOT_F1, SLOT_CER, KEY_SCORE, CHORD_ACCURACY, *BEATS, *NOTES)
    known = {metric.name: metric for metric in fixed}
    if name == "bleu" and tokenizer is not None:
        return bleu(tokenizer)
    if name in of_classes:
        return of_classes[name](classes)
    if name not in known:
        raise unknown_name("metric", name, [*known, *of_classes])
    return known[name]
