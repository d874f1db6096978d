import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.leaderboards import rank_systems


def test_ties_share_the_mean_of_their_ranks():
    table = {"x": {"a": 3.0}, "y": {"a": 2.0}, "z": {"a": 2.0}, "w": {"a": 1.0}}
    up = {name: one.ranks["a"] for name, one in rank_systems(table, {"a": True}).items()}
    assert up == {"x": 1, "y": 2.5, "z": 2.5, "w": 4}
    down = rank_systems(table, {"a": False})
    assert list(down) == ["w", "y", "z", "x"]
    assert [one.borda for one in down.values()] == [3, 1.5, 1.5, 0]


def test_missing_scores_are_named_and_not_ranked():
    table = {"x": {"a": 1.0, "b": 5.0}, "y": {"a": 2.0, "b": np.nan}, "z": {}}
    ranked = rank_systems(table, {"a": True, "b": True})
    assert list(ranked) == ["y", "x", "z"]
    assert {name: one.missing for name, one in ranked.items()} == {"x": [], "y": ["b"], "z": ["a", "b"]}
    assert ranked["x"].mean_rank == 1.5
    assert ranked["x"].ranks == {"a": 2.0, "b": 1.0}
    # Nobody was there to be beaten in b.
    assert ranked["x"].borda == 0
    assert np.isnan(ranked["z"].mean_rank)


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=2, max_size=6))
def test_borda_counts_systems_that_are_beaten(rows):
    table = {f"s{i}": dict(zip("abc", map(float, row), strict=True)) for i, row in enumerate(rows)}
    ranked = rank_systems(table, dict.fromkeys("abc", True))
    for name, row in table.items():
        others = [other for system, other in table.items() if system != name]
        beaten = sum((row[t] > other[t]) + 0.5 * (row[t] == other[t]) for other in others for t in "abc")
        assert ranked[name].borda == beaten
        assert ranked[name].mean_rank == pytest.approx(len(rows) - beaten / 3)


def test_a_task_that_is_not_known_is_refused():
    with pytest.raises(UserError, match="system `x` has a score for `c`, but the tasks are a, b"):
        rank_systems({"x": {"c": 1.0}}, {"a": True, "b": False})
