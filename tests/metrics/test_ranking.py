import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from audio_ssl.metrics.ranking import average_precision_macro, roc_auc_macro


def test_macro_means_equal_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = rng.random((50, 4)) < 0.3, rng.normal(size=(50, 4))
    names = list("abcd")
    assert roc_auc_macro(labels, scores, names).value == pytest.approx(
        100 * roc_auc_score(labels, scores, average="macro")
    )
    expected = 100 * average_precision_score(labels, scores, average="macro")
    assert average_precision_macro(labels, scores, names).value == pytest.approx(expected)


def test_classes_without_positives_or_negatives_are_named():
    labels = np.array([[1, 0, 1], [0, 0, 1]], bool)
    result = roc_auc_macro(labels, np.array([[0.9, 0.1, 0.2], [0.1, 0.4, 0.3]]), ["x", "never", "always"])
    assert result.value == 100.0
    assert result.excluded == {"never": "no clip has it", "always": "every clip has it"}
    assert np.isnan(roc_auc_macro(labels[:, 1:2], np.zeros((2, 1)), ["never"]).value)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        roc_auc_macro(np.zeros((2, 2), bool), np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(ValueError, match="must be finite"):
        roc_auc_macro(np.eye(2, dtype=bool), np.full((2, 2), np.nan), ["a", "b"])
