import pytest

from audio_ssl import progress
from audio_ssl.progress import Progress, track


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
    assert "101/110 (100 s, 900 s left)" in capsys.readouterr().err


def test_track_yields_everything_in_order():
    assert list(track(iter([3, 1, 2]), "items")) == [3, 1, 2]
