import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from audio_ssl.metrics.families.ranking import AVERAGE_PRECISION, ROC_AUC, Ranking, Rankings

ORACLES = ((ROC_AUC, roc_auc_score), (AVERAGE_PRECISION, average_precision_score))
KINDS = pytest.mark.parametrize("metric", [metric for metric, _ in ORACLES])


def test_macro_means_equal_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = rng.random((50, 4)) < 0.3, rng.normal(size=(50, 4))
    names = list("abcd")
    assert Rankings(labels, scores, names).score(ROC_AUC).value == pytest.approx(
        100 * roc_auc_score(labels, scores, average="macro")
    )
    expected = 100 * average_precision_score(labels, scores, average="macro")
    assert Rankings(labels, scores, names).score(AVERAGE_PRECISION).value == pytest.approx(expected)


def test_classes_without_positives_or_negatives_are_named():
    labels = np.array([[1, 0, 1], [0, 0, 1]], bool)
    result = Rankings(labels, np.array([[0.9, 0.1, 0.2], [0.1, 0.4, 0.3]]), ["x", "never", "always"]).score(ROC_AUC)
    assert result.value == 100.0
    assert result.excluded == {"never": "no clip has it", "always": "every clip has it"}
    assert np.isnan(Rankings(labels[:, 1:2], np.zeros((2, 1)), ["never"]).score(ROC_AUC).value)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Rankings(np.zeros((2, 2), bool), np.zeros((2, 3)), ["a", "b"]).score(ROC_AUC)
    with pytest.raises(ValueError, match="must be finite"):
        Rankings(np.eye(2, dtype=bool), np.full((2, 2), np.nan), ["a", "b"]).score(ROC_AUC)


@pytest.fixture
def drawn():
    """Return scores with ties, labels, and how often each counts in 20 resamples (the first: once each)."""
    rng = np.random.default_rng(3)
    positive = rng.random(60) < 0.3
    scores = np.round(rng.normal(size=60) + positive, 1)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=20).astype(float)
    weights[0] = 1
    return scores, positive, weights


@pytest.mark.parametrize(("metric", "theirs"), ORACLES)
def test_equals_scikit_learn_on_repeated_clips(drawn, metric, theirs):
    scores, positive, weights = drawn
    found = metric.of_ranking(Ranking(scores, positive), weights)
    for value, row in zip(found, weights.astype(int), strict=True):
        assert value == pytest.approx(theirs(np.repeat(positive, row), np.repeat(scores, row)))


@pytest.mark.parametrize(("metric", "theirs"), ORACLES)
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_equals_scikit_learn_where_many_scores_are_level(drawn, metric, theirs, levels):
    _, positive, weights = drawn
    scores = np.random.default_rng(levels).integers(levels, size=60).astype(float)
    found = metric.of_ranking(Ranking(scores, positive), weights)
    expected = [theirs(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(found, expected)


@KINDS
def test_once_is_a_resample_of_ones_and_groups_are_copies_of_their_clips(drawn, metric):
    scores, positive, weights = drawn
    groups = np.arange(60) % 7
    ranking, of = Ranking(scores, positive, groups), metric.of_ranking
    assert of(ranking, None) == pytest.approx(of(ranking, np.ones((1, 7))), abs=1e-15)
    np.testing.assert_allclose(
        of(ranking, weights[:, :7]), of(Ranking(scores, positive), weights[:, :7][:, groups]), rtol=1e-12
    )


@KINDS
def test_undefined_where_a_kind_is_missing(drawn, metric):
    scores, positive, _ = drawn
    for kind in (positive, ~positive):
        assert np.isnan(metric.of_ranking(Ranking(scores, positive), kind[None].astype(float))).all()
        assert np.isnan(metric.of_ranking(Ranking(scores[kind], positive[kind]), None)).all()


def test_a_class_that_a_resample_lacks_is_left_out_of_its_mean(drawn):
    scores, positive, _ = drawn
    labels, table = np.stack([positive, np.arange(60) == 7], 1), np.stack([scores, -scores], 1)
    counts = np.stack([np.ones(60), (np.arange(60) != 7).astype(float)])
    found = Rankings(labels, table, "ab").macro(ROC_AUC, counts)
    both = [100 * Ranking(table[:, n], labels[:, n]).roc_auc(counts) for n in range(2)]
    assert found == pytest.approx([np.mean([both[0][0], both[1][0]]), both[0][1]])
