import math
import re
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from audio_ssl.artifacts.fairness import ALPHA, GroupComparison, MetricRow
from audio_ssl.base.catalog import folder_path
from audio_ssl.fairness.comparisons import holm, too_many

ABOUT = MetricRow(result="r", by="gender", metric="wer", unit="%", higher_is_better=False)


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


@pytest.mark.parametrize(("compared", "enough"), [(1, 20), (3, 60)])
def test_permutations_suffice_where_the_smallest_p_value_can_be_significant(compared, enough):
    """Of 19 permutations the smallest p-value is 0.05, of 20 it is below."""
    for tries in (enough - 1, enough):
        row = GroupComparison.untested(ABOUT, "F", "M", "", assignments=tries, compared=compared)
        smallest = holm([1 / (tries + 1)] + [1.0] * (compared - 1))[0]
        assert bool(too_many([row])) == (tries < enough) == (smallest >= ALPHA)
        assert replace(row, p_value=1 / (tries + 1), p_holm=smallest).significant == (tries == enough)


def test_the_level_of_significance_is_written_in_one_place():
    package = folder_path("corpora").parent / "audio_ssl"
    found = [
        path.relative_to(package).as_posix()
        for folder in ("artifacts", "fairness", "report", "study")
        for path in (package / folder).rglob("*.py")
        if re.search(r"(?<![\d.])0?\.050?(?!\d)", path.read_text(encoding="utf-8"))
    ]
    assert found == ["artifacts/fairness.py"]
