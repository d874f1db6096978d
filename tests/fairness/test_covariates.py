import numpy as np
import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.design import group_design, standardise


def test_standardised_numbers_have_mean_0_and_deviation_1():
    found = standardise(np.array([2.0, 4.0, 9.0]))
    assert found.values.mean() == pytest.approx(0)
    assert found.values.std() == pytest.approx(1)
    np.testing.assert_allclose(found.values * found.sd + found.mean, [2, 4, 9])


@pytest.mark.parametrize(
    ("values", "reason"),
    [([1.0, np.nan], "not in 1 of 2 clips"), ([2.0, 2.0], "`level` is 2 in every clip"), ([], "0 of 0 clips")],
)
def test_numbers_that_cannot_be_standardised_are_refused(values, reason):
    with pytest.raises(UserError, match=reason):
        standardise(values, "level")


def test_covariates_are_length_speech_rate_and_level():
    first = np.array([True, False, True, False])
    seconds, words = np.array([1.0, 2.0, 4.0, 8.0]), np.array([2.0, 8.0, 4.0, 16.0])
    found = group_design("F", first, seconds, words, np.array([-20.0, -30.0, -20.0, -30.0]))
    assert list(found.columns) == ["F", "seconds", "words_per_second", "level_dbfs"]
    assert found.columns["F"].tolist() == [1, 0, 1, 0]
    # Lengths double: equal steps of the logarithm, whose deviation is log(2) times the square root of 5/4.
    np.testing.assert_allclose(np.diff(found.columns["seconds"]), 1 / 1.25**0.5)
    assert found.per["seconds"] == f"{2**1.25**0.5:.2f} times as long" == "2.17 times as long"
    assert found.per["words_per_second"] == "1.1 words/s more"
    assert found.per["level_dbfs"] == "5 dB louder"
    assert found.notes == ()


def test_what_is_not_recorded_is_left_out_and_said():
    first = np.array([True, False, True])
    seconds = np.array([1.0, 0.0, 4.0])
    found = group_design("F", first, seconds, np.array([2.0, 3.0, 4.0]), np.array([-20.0, -20.0, -20.0]))
    assert list(found.columns) == ["F"]
    assert found.per == {}
    assert found.notes == (
        "`seconds` is excluded: not recorded in 1 of 3 clips",
        "`words_per_second` is excluded: not recorded in 1 of 3 clips",
        "excluded: `level_dbfs` is -20 in every clip: it explains nothing",
    )
