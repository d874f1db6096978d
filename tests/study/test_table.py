"""The numbers of the table from answers whose scores are known."""

import csv
import math

import pytest

from audio_ssl.artifacts.study import GapAgainstReference, StudyCell
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.study.table import adjusted, pool_seeds, read_cells
from tests.study.answers import REFERENCE, answers


def cells_of(answers, **changes):
    asked = {"by": "gender", "compare": ("F", "M"), "reference": "balanced", "replicates": 200, **changes}
    folders = dict.fromkeys(answers, ())
    return {(c.set, c.metric): c for c in read_cells("asr", answers, folders, **asked)}


def test_scores_gaps_and_their_differences(tmp_path):
    cells = cells_of({
        "female": [answers(tmp_path / "a", {"F": 1, "M": 3})],
        "balanced": [answers(tmp_path / "b", {"F": 2, "M": 2})],
    })  # fmt: skip
    female, balanced = cells["female", "wer"], cells["balanced", "wer"]
    # One and three of five words are wrong: 20 % and 60 %, so 40 % over all.
    assert [female.groups[g].value for g in ("F", "M", "all")] == [20.0, 60.0, 40.0]
    assert female.difference == pytest.approx(-40.0)
    assert female.relative_symmetric == pytest.approx(-100.0)
    women = female.groups["F"]
    assert (women.speakers, women.clips, women.words, women.seed_low) == (6, 6, 30, None)
    assert female.against_reference.difference == pytest.approx(-40.0)
    # All twelve speakers' answers moved the same way: of 4096 swaps only two go as far.
    assert female.against_reference.p_value == pytest.approx(2 / 4096, abs=1e-6)
    assert balanced.difference == 0
    assert balanced.against_reference is None
    assert female.refused is None
    assert "only 6 speakers" in female.warning


def test_too_few_speakers_are_shown_and_not_tested(tmp_path):
    few = {"F": 1, "M": 3}
    cells = cells_of({
        "male": [answers(tmp_path / "a", few, speakers=4)], "balanced": [answers(tmp_path / "b", few, speakers=4)],
    })  # fmt: skip
    male = cells["male", "wer"]
    assert male.difference == pytest.approx(-40.0)
    assert "fewer than the 5 needed" in male.refused
    assert math.isnan(male.p_value)
    assert math.isnan(male.against_reference.p_value)
    assert male.against_reference.refused


def test_a_group_without_answers_is_named(tmp_path):
    cells = cells_of({"balanced": [answers(tmp_path / "b", {"F": 1})]})
    assert cells["balanced", "wer"].refused == "no clip of M was scored"
    assert cells["balanced", "wer"].groups["F"].value == 20.0


def test_seeds_count_together_and_their_range_is_given(tmp_path):
    seeds = [answers(tmp_path / "a", {"F": 1, "M": 3}), answers(tmp_path / "b", {"F": 2, "M": 3})]
    same = [answers(tmp_path / "c", {"F": 2, "M": 2}), answers(tmp_path / "d", {"F": 2, "M": 2})]
    cell = cells_of({"female": seeds, "balanced": same})["female", "wer"]
    women = cell.groups["F"]
    assert (women.value, women.seed_low, women.seed_high) == (30.0, 20.0, 40.0)
    assert (women.speakers, women.clips, women.words) == (6, 6, 30)
    assert (cell.difference, cell.seed_low, cell.seed_high) == pytest.approx((-30.0, -40.0, -20.0))
    assert cell.relative_symmetric_seed_low == pytest.approx(-100.0)
    assert cell.relative_symmetric_seed_high == pytest.approx(-40.0)
    assert cell.against_reference.difference == pytest.approx(-30.0)
    assert cell.against_reference.speakers == 12


def test_pooled_seeds_keep_their_speakers_apart_from_their_order(tmp_path):
    first = answers(tmp_path / "a", {"F": 0, "M": 5})
    path = tmp_path / "b.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "reference", "hypothesis", "speaker", "gender"])
        # Men first, and one of them unknown.
        for index in reversed(range(6)):
            rows.writerow([f"M{index}", REFERENCE, "x", f"m{index}", "M" if index else ""])
    both = pool_seeds([first, read_predictions(path)], "both")
    speakers = [both.speakers.names[code] for code in both.speakers.index]
    genders = [None if code < 0 else both.attributes["gender"].names[code] for code in both.attributes["gender"].index]
    assert speakers[12:] == ["m5", "m4", "m3", "m2", "m1", "m0"]
    assert genders[12:] == ["M"] * 5 + [None]
    assert len(set(both.keys.tolist())) == 18


def test_p_values_are_adjusted_over_the_whole_table_main_metrics_apart():
    def cell(column, name, metric, p, against):
        nothing = dict.fromkeys(
            ("low", "high", "relative_symmetric", "relative_symmetric_low", "relative_symmetric_high"), math.nan
        )
        found = None
        if against is not None:
            found = GapAgainstReference(difference=1.0, low=0.0, high=2.0, p_value=against, refused=None)
        return StudyCell(
            column=column, results=(), set=name, metric=metric, unit="%", higher_is_better=False, groups={},
            difference=0.0, p_value=p, refused=None, against_reference=found, **nothing,
        )  # fmt: skip

    cells = adjusted(
        [
            cell("frozen", "female", "wer", 0.01, 0.02),
            cell("frozen", "balanced", "wer", 0.5, None),
            cell("tuned", "female", "wer", 0.04, 0.03),
            cell("tuned", "untrained", "wer", 0.001, 0.5),
            cell("tuned", "female", "cer", 0.04, 0.05),
        ],
        {"frozen": "wer", "tuned": "wer"},
    )
    assert [c.p_holm for c in cells[:3]] == pytest.approx([0.03, 0.5, 0.08])
    assert cells[0].against_reference.p_holm == pytest.approx(0.04)
    assert cells[0].compared == 3
    assert math.isnan(cells[3].p_value)
    assert math.isnan(cells[3].p_holm)
    assert cells[3].against_reference is None
    assert cells[4].p_holm == pytest.approx(0.04)
