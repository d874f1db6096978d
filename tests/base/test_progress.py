import pytest

from audio_ssl.base import progress
from audio_ssl.base.progress import Pace, Progress, track


def test_piped_progress_prints_plain_lines_with_the_time_left(monkeypatch, capsys):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with Progress("train", total=4) as bar:
        bar.advance(1, loss=0.5)
        bar.advance(3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("train: 1/4 (")
    assert "s left)  loss 0.5" in lines[0]
    assert lines[-1].startswith("train: 4/4")


def test_resumed_progress_estimates_from_fresh_units_only(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 100.0, 100.0, 200.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with pytest.raises(RuntimeError, match="stop"), Progress("train", total=110, initial=100) as bar:
        bar.advance(1)
        raise RuntimeError("stop")
    assert "101/110 (1 min 40 s, 15 min 0 s left)" in capsys.readouterr().err


def test_track_yields_everything_in_order():
    assert list(track(iter([3, 1, 2]), "items")) == [3, 1, 2]


def shown(took):
    """Return the seconds left that are shown after each unit, for units that take so long, and those that were left."""
    now, pace, found = 0.0, Pace(0, 0.0), []
    for number, seconds in enumerate(took, 1):
        now += seconds
        pace.add(1, now)
        found.append(pace.seconds_per_unit * (len(took) - number))
    return found, [sum(took[number:]) for number in range(1, len(took) + 1)]


def test_the_time_left_is_right_within_a_fifth_although_the_first_updates_are_slow():
    # Ten slow updates, then a steady pace with a validation now and then.
    took = [20.0] * 10 + [1.0 + (15.0 if step % 50 == 0 else 0.0) for step in range(1, 1991)]
    said, left = shown(took)
    for number in range(150, 1800):
        assert said[number] == pytest.approx(left[number], rel=0.2), number


def test_a_pace_of_many_units_stays_small_and_exact():
    pace = Pace(10, 0.0)
    for number in range(1, 100_001):
        pace.add(1, 2.0 * number)
    assert len(pace._done) <= progress._MOST_SAMPLES
    assert pace.seconds_per_unit == pytest.approx(2.0)
    assert Pace(3, 0.0).seconds_per_unit is None


def test_a_bar_on_a_terminal_shows_the_same_time_left(monkeypatch):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    bar = Progress("train", total=4)
    bar._task = bar._bar.add_task("train", total=4, left="", note="")
    bar.advance(1, loss=0.5)
    assert bar._bar.tasks[0].fields["left"] == "1 min 0 s left"
