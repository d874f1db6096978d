import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from audio_ssl.fairness.holm import holm


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_values_are_those_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    p_values = np.round(rng.random(12) ** 3, 2)
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_what_was_not_tested_stays_so_and_costs_nothing():
    adjusted = holm([0.02, math.nan, 0.03])
    assert math.isnan(adjusted[1])
    assert [adjusted[0], adjusted[2]] == holm([0.02, 0.03]) == [0.04, 0.04]


def test_nothing_to_adjust():
    assert holm([]) == []
    assert holm([0.7]) == [0.7]
    assert holm([0.9, 0.9]) == [1.0, 1.0]
