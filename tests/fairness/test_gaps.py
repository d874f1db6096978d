import math

from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.fairness.wording import gap_direction, relative_symmetric, relative_to

scores = st.floats(0.1, 200)


@given(scores, scores)
def test_symmetric_difference_changes_sign_when_swapped(a, b):
    assert relative_symmetric(a, b) == -relative_symmetric(b, a)
    assert abs(relative_symmetric(a, b)) <= 200


def test_zero_scores_do_not_divide():
    assert math.isnan(relative_symmetric(0, 0))
    assert math.isnan(relative_to(1, 0))
    assert gap_direction("wer", False, "F", "M", 1.0, 0.0) == "the wer of F is higher than that of M: worse for F"


def test_direction_depends_on_the_metric():
    assert gap_direction("bleu", True, "F", "M", 10.0, 20.0).endswith("50 % lower than that of M: worse for F")
    assert gap_direction("bleu", True, "F", "M", 20.0, 10.0).endswith("worse for M")
    assert gap_direction("wer", False, "F", "M", 5.0, 5.0) == "the wer of F and M is the same"
    assert "not defined" in gap_direction("wer", False, "F", "M", math.nan, 5.0)
