import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.registry import get_metric

CLASSES = ["angry", "happy", "neutral", "sad", "never"]


def labels(seed, count=60):
    rng = np.random.default_rng(seed)
    right = rng.choice(CLASSES[:4], count, p=[0.6, 0.2, 0.15, 0.05])
    said = np.where(rng.random(count) < 0.6, right, rng.choice(CLASSES[:4], count))
    return right.tolist(), said.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed):
    right, said = labels(seed)
    pairs = list(zip(right, said, strict=True))
    assert get_metric("macro_f1", CLASSES).corpus(pairs) == pytest.approx(100 * f1_score(right, said, average="macro"))
    assert get_metric("uar", CLASSES).corpus(pairs) == pytest.approx(100 * balanced_accuracy_score(right, said))


def test_tags_equal_scikit_learn_over_tags_that_occur():
    rng = np.random.default_rng(0)
    right, said = (rng.random((40, 4)) < 0.3 for _ in range(2))
    names = np.array(CLASSES[:4])
    pairs = [(names[r].tolist(), names[s].tolist()) for r, s in zip(right, said, strict=True)]
    binary = MultiLabelBinarizer(classes=names.tolist())
    matrices = [binary.fit_transform(column) for column in zip(*pairs, strict=True)]
    expected = 100 * f1_score(*matrices, average="macro")
    assert get_metric("macro_f1", CLASSES).corpus(pairs) == pytest.approx(expected)


def test_a_class_that_is_only_ever_said_counts_for_f1_and_not_for_recall():
    pairs = [("sad", "sad"), ("sad", "happy")]
    assert get_metric("macro_f1", CLASSES).corpus(pairs) == pytest.approx(100 * (2 / 3 + 0) / 2)
    assert get_metric("uar", CLASSES).corpus(pairs) == 50.0


def test_stacked_sums_score_as_single_ones():
    for name in ("macro_f1", "uar"):
        metric = get_metric(name, CLASSES)
        parts = [metric.statistics(zip(*labels(seed, 7), strict=True)).sum(0) for seed in range(3)]
        stacked = np.stack([*parts, np.zeros(len(metric.columns))])
        assert metric.score(stacked)[:3].tolist() == [float(metric.score(part)) for part in parts]
        assert np.isnan(metric.score(stacked)[3])


def test_what_cannot_be_counted_is_named():
    with pytest.raises(UserError, match="label `bored` is none of the 5 `classes`"):
        get_metric("macro_f1", CLASSES).per_clip("sad", "bored")
    with pytest.raises(UserError, match="takes text, but got a list of 2"):
        get_metric("uar", CLASSES).per_clip(["sad", "angry"], "sad")
    with pytest.raises(UserError, match="metric `uar` needs `classes`"):
        get_metric("uar").per_clip("sad", "sad")
    with pytest.raises(UserError, match="`a` occurs more than once"):
        get_metric("uar", ["a", "b", "a"])
    assert get_metric("macro_f1").higher_is_better
