import math

import pytest

from audio_ssl.artifacts.run import as_update
from audio_ssl.report.run_summary import MAX_POINTS, RunCurve, families, make_curves


def curves(rows):
    return make_curves(update for row in rows if (update := as_update(row)) is not None)


def test_few_points_are_kept_as_they_are():
    rows = [{"step": step, "loss": 10.0 - step} for step in range(1, 6)]
    assert curves(rows)["loss"] == RunCurve(
        steps=(1, 2, 3, 4, 5), mean=(9, 8, 7, 6, 5), low=(9, 8, 7, 6, 5), high=(9, 8, 7, 6, 5)
    )


def test_many_points_are_binned_without_losing_a_spike():
    rows = [{"step": step, "loss": 1.0} for step in range(10_000)]
    rows[4321]["loss"] = 99.0
    curve = curves(rows)["loss"]
    assert len(curve.steps) <= MAX_POINTS
    assert max(curve.high) == 99.0
    assert max(curve.mean) < 2.0


def test_smoothing_keeps_a_straight_line_straight():
    rows = [{"step": step, "loss": 3.0 * step} for step in range(120)]
    middle = curves(rows)["loss"].mean[10:-10]
    assert middle == pytest.approx([3.0 * step for step in range(10, 110)])


def test_the_later_row_of_a_step_counts():
    rows = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}, {"step": 2, "loss": 3.0}]
    assert curves(rows)["loss"].mean == (5.0, 3.0)


def test_what_is_no_number_is_left_out():
    rows = [{"step": 1, "loss": math.nan, "note": "x", "flag": True}, {"step": 2, "loss": 1.0}, {"loss": 7.0}]
    assert curves(rows) == {"loss": RunCurve((2.0,), (1.0,), (1.0,), (1.0,))}


def test_families_sort_members_as_numbers():
    found = families(["accuracy_10", "accuracy_2", "loss"])
    assert [(one.name, one.members) for one in found] == [
        ("accuracy", ("accuracy_2", "accuracy_10")),
        ("loss", ("loss",)),
    ]
