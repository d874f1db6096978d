import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.families.ranking import average_precisions, precisions_at_n


def by_hand(scores, relevant):
    order = np.argsort(-scores)
    found = relevant[order]
    places = np.flatnonzero(found) + 1
    return np.mean(np.arange(1, len(places) + 1) / places)


def test_equal_to_the_definition_and_to_scikit_learn():
    rng = np.random.default_rng(0)
    scores, relevant = rng.normal(size=(20, 30)), rng.random((20, 30)) < 0.2
    relevant[:, 0] = True
    values = average_precisions(scores, relevant)
    rows = list(zip(scores, relevant, strict=True))
    assert values == pytest.approx([100 * by_hand(*row) for row in rows])
    assert values == pytest.approx([100 * average_precision_score(r, s) for s, r in rows])


def test_a_query_that_all_items_answer_finds_them_all():
    scores, relevant = np.array([[2.0, 1.0]]), np.ones((1, 2), bool)
    assert average_precisions(scores, relevant).tolist() == [100 * average_precision_score([1, 1], [2.0, 1.0])]
    assert np.isnan(average_precisions(scores, relevant, ~relevant)).all()


def test_a_query_does_not_find_itself():
    labels = np.array(["x", "x", "y", "y", "z"])
    scores = np.array([[9, 3, 1, 2, 0], [3, 9, 1, 2, 0], [5, 0, 9, 4, 1], [0, 1, 5, 9, 2], [1, 2, 3, 4, 9]], float)
    same = labels[:, None] == labels
    values = average_precisions(scores, same, ~np.eye(5, dtype=bool))
    assert values[:4].tolist() == [100.0, 100.0, 50.0, 100.0]
    assert np.isnan(values[4])


def test_precision_at_n():
    scores = np.array([[4.0, 3, 2, 1], [1, 1, 1, 0], [1, 2, 3, 4]])
    relevant = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    values = precisions_at_n(scores, relevant)
    assert values[:2] == pytest.approx([50.0, 100 / 3])
    assert np.isnan(values[2])


def test_wrong_input_is_refused():
    with pytest.raises(UserError, match=r"must all be \[query, item\]"):
        average_precisions(np.zeros((2, 2)), np.zeros((2, 3), bool))
    with pytest.raises(UserError, match="must be finite"):
        precisions_at_n(np.full((1, 2), np.nan), np.ones((1, 2), bool))
    assert np.isnan(average_precisions(np.zeros((1, 2)), np.zeros((1, 2), bool))).all()
