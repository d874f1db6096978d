import math
from dataclasses import replace

import numpy as np
import pytest

from audio_ssl.fairness.adjusted import model_rows
from audio_ssl.fairness.comparisons import Chance, Question, comparison_rows, group_rows, spread_row
from audio_ssl.fairness.groups import group_by
from audio_ssl.fairness.measures import get_measure
from audio_ssl.fairness.systems import gap_difference_rows
from audio_ssl.fairness.wording import few_speakers
from tests.fairness.tables import predictions


def question(table, replicates=400):
    return Question(table, get_measure("wer"), Chance(0, replicates, 2000))


def two_groups(women=6, men=6, clips=3, rates=(3, 2), seed=0, **more):
    rng = np.random.default_rng(seed)
    speakers = [f"{g}{s}" for g, n in (("F", women), ("M", men)) for s in range(n) for _ in range(clips)]
    genders = [name[0] for name in speakers]
    errors = [rng.poisson(rates["FM".index(g)]) for g in genders]
    return predictions(speakers, {"gender": genders}, errors, **more)


def test_rows_of_groups_agree_with_counting_by_hand():
    table = two_groups()
    (grouping,) = group_by(table, ["gender"])
    women, men, everybody = group_rows(question(table), grouping)
    errors = table.statistics["wer"][:, 0]
    assert women.value == pytest.approx(100 * errors[:18].sum() / 180)
    assert everybody.value == pytest.approx(100 * errors.sum() / 360)
    assert (women.group, men.group, everybody.group, everybody.total) == ("F", "M", "all", True)
    assert (women.speakers, women.clips, women.words) == (6, 18, 180)
    assert women.hours == pytest.approx(18 * 2 / 3600)
    assert women.low < women.value < women.high
    spread = spread_row(question(table), "gender", [women, men, everybody])
    assert (spread.worst, spread.best, spread.groups) == ("F", "M", 2)
    assert spread.difference == pytest.approx(women.value - men.value)
    assert spread.overall == everybody.value


def test_the_gap_of_groups_without_errors_has_no_ratio():
    table = two_groups(rates=(1, 0))
    (grouping,) = group_by(table, ["gender"])
    (row,) = comparison_rows(question(table), grouping)
    assert row.value_b == 0
    assert math.isnan(row.ratio)
    assert math.isnan(row.relative_to_b)
    assert row.relative_symmetric == 200
    assert row.p_value < 0.05
    none = two_groups(rates=(0, 0))
    (row,) = comparison_rows(question(none), group_by(none, ["gender"])[0])
    assert row.difference == 0
    assert math.isnan(row.relative_symmetric)
    assert not row.p_value < 1
    assert math.isnan(row.minimum_detectable)
    assert row.warning.endswith("the variance between speakers cannot be estimated")


def test_few_speakers_are_refused_and_their_interval_is_not_given():
    table = two_groups(women=4)
    (grouping,) = group_by(table, ["gender"], min_speakers=4)
    (row,) = comparison_rows(question(table), grouping)
    assert row.refused == few_speakers("F", 4, 5)
    assert math.isnan(row.p_value)
    assert math.isnan(row.minimum_detectable)
    assert math.isnan(group_rows(question(table), grouping)[0].low)
    assert math.isfinite(group_rows(question(table), grouping)[1].low)
    (model,) = model_rows(question(table), grouping)
    assert model.refused == row.refused


def test_of_groups_that_score_the_same_none_is_the_worst():
    table = two_groups(rates=(0, 0))
    (grouping,) = group_by(table, ["gender"])
    spread = spread_row(question(table), "gender", group_rows(question(table), grouping))
    assert spread.difference == 0
    assert (spread.worst, spread.best) == (None, None)


def test_a_group_may_be_called_as_a_covariate():
    rng = np.random.default_rng(0)
    seconds = rng.uniform(1, 9, 288)
    plain = two_groups(women=12, men=12, clips=12, seconds=seconds)
    codes = plain.attributes["gender"]
    attributes = {"gender": replace(codes, names=["seconds", "words_per_second"])}
    named = replace(plain, attributes=attributes)
    (expected,) = model_rows(question(plain), group_by(plain, ["gender"])[0])
    (row,) = model_rows(question(named), group_by(named, ["gender"])[0])
    assert (row.a, row.b) == ("seconds", "words_per_second")
    assert row.ratio == pytest.approx(expected.ratio)
    assert row.covariate_ratios == expected.covariate_ratios


def test_a_group_without_words_is_explained():
    table = two_groups()
    table.statistics["wer"][:18, 3] = 0
    (grouping,) = group_by(table, ["gender"])
    (row,) = comparison_rows(question(table), grouping)
    assert row.refused == "the score of one group is not defined"


def test_groups_that_share_speakers_have_an_interval_and_no_p_value():
    speakers = [f"s{i}" for i in range(8) for _ in range(4)]
    table = predictions(speakers, {"category": ["1F", "1M"] * 16}, np.tile([3, 1, 2, 1], 8))
    (grouping,) = group_by(table, ["category"], {"category": (("1F", "1M"),)})
    (row,) = comparison_rows(question(table), grouping)
    # Every speaker has the same gap: drawing speakers together changes nothing.
    assert row.difference == pytest.approx(15)
    assert row.low == pytest.approx(15)
    assert row.high == pytest.approx(15)
    assert math.isnan(row.p_value)
    assert "8 speakers are in both groups" in row.warning


def test_the_model_holds_alike_what_is_recorded():
    rng = np.random.default_rng(0)
    table = two_groups(women=12, men=12, clips=12, seconds=rng.uniform(1, 9, 288))
    (grouping,) = group_by(table, ["gender"])
    (row,) = model_rows(question(table), grouping)
    assert row.covariates == ("seconds", "words_per_second")
    assert row.low < row.ratio < row.high
    assert row.crude_ratio == pytest.approx(1.5, abs=0.2)
    assert row.ratio == pytest.approx(row.crude_ratio, abs=0.1)
    assert "level_dbfs" in row.warning
    assert (row.clips, row.speakers) == (288, 24)
    louder = two_groups(women=12, men=12, clips=12, seconds=np.full(288, np.nan), level_dbfs=rng.normal(-25, 3, 288))
    (row,) = model_rows(question(louder), group_by(louder, ["gender"])[0])
    assert row.covariates == ("level_dbfs",)


def test_what_confounds_a_gap_is_taken_out_by_the_model():
    # Women's clips are longer, longer clips have more errors a word, and that is all there is to the gap.
    rng = np.random.default_rng(1)
    speakers = [f"{g}{s}" for g in "FM" for s in range(20) for _ in range(20)]
    genders = [name[0] for name in speakers]
    seconds = rng.uniform(2, 6, 800) * np.where(np.array(genders) == "F", 1.5, 1.0)
    errors = rng.poisson(20 * 0.05 * seconds / 2)
    table = predictions(speakers, {"gender": genders}, errors, words=20, seconds=seconds)
    (grouping,) = group_by(table, ["gender"])
    (row,) = model_rows(question(table), grouping)
    assert row.crude_ratio == pytest.approx(1.5, abs=0.12)
    assert row.low < 1 < row.high
    assert row.ratio < 1.2


def test_systems_without_common_clips_are_not_compared():
    ours, theirs = two_groups(name="a"), two_groups(name="b", keys=np.arange(1000, 1036, dtype=np.uint64))
    answered = [(table, group_by(table, ["gender"])) for table in (ours, theirs)]
    assert list(gap_difference_rows(answered, Chance(0, 400, 400))) == []


def test_the_same_answers_have_the_same_gap():
    ours, theirs = two_groups(name="a"), two_groups(name="b")
    answered = [(table, group_by(table, ["gender"])) for table in (ours, theirs)]
    (row,) = gap_difference_rows(answered, Chance(0, 400, 400))
    assert (row.difference, row.low, row.high) == (0, 0, 0)
    assert row.p_value == 1
    assert row.direction == "the gaps of b and a are equally large"
