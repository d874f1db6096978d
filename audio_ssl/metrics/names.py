"""Names of metrics as papers write them."""

from __future__ import annotations

from typing import Any

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
