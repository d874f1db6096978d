import mir_eval
import numpy as np
import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.families.music import beat_times
from audio_ssl.metrics.registry import get_metric


def written(seconds, numbers=None):
    if numbers is None:
        return " ".join(f"{s:.3f}" for s in seconds)
    return " ".join(f"{s:.3f}/{n}" for s, n in zip(seconds, numbers, strict=True))


def track(seed):
    rng = np.random.default_rng(seed)
    right = np.arange(0.3, 20, 0.5)
    said = right[rng.random(len(right)) < 0.9]
    said = np.sort(np.concatenate([said + rng.normal(0, 0.04, len(said)), rng.uniform(0, 20, 3)]).clip(min=0))
    return np.round(right, 3), np.round(said, 3)


@pytest.mark.parametrize(("name", "window"), [("beat_f70", 0.07), ("beat_f20", 0.02)])
def test_means_over_tracks_equal_mir_eval(name, window):
    tracks = [track(seed) for seed in range(5)]
    expected = [100 * mir_eval.beat.f_measure(right, said, window) for right, said in tracks]
    pairs = [(written(right), written(said)) for right, said in tracks]
    assert [get_metric(name).corpus([pair]) for pair in pairs] == pytest.approx(expected)
    assert get_metric(f"{name}_track").corpus(pairs) == pytest.approx(np.mean(expected))
    assert 0 < min(expected) < max(expected) < 100


def test_counts_are_pooled():
    pairs = [("1 2 3 4", "1 2 3 4"), ("1", "9")]
    assert get_metric("beat_f70").statistics(pairs).tolist() == [[4, 4, 4], [0, 1, 1]]
    assert get_metric("beat_f70").corpus(pairs) == 80.0
    assert get_metric("beat_f70_track").corpus(pairs) == 50.0


def test_a_beat_is_matched_once_and_within_the_window_only():
    metric = get_metric("beat_f70")
    assert metric.statistics([("1.0", "0.96 1.04")]).tolist() == [[1, 1, 2]]
    assert metric.statistics([("1.0 2.0", "1.069 2.071")]).tolist() == [[1, 2, 2]]
    assert get_metric("beat_f20").statistics([("1.0 2.0", "1.019 2.021")]).tolist() == [[1, 2, 2]]


def test_downbeats_are_the_beats_of_number_one():
    metric = get_metric("downbeat_f70")
    assert metric.statistics([("0.5/1 1/2 1.5/1", "0.5/2 1/1 1.5/1")]).tolist() == [[1, 2, 2]]
    assert metric.statistics([("0.5/1 1/2", "0.5 1")]).tolist() == [[0, 1, 0]]


def test_without_bars_in_the_reference_downbeats_are_not_counted():
    assert np.isnan(get_metric("downbeat_f70").corpus([("0.5 1", "0.5/1")]))
    pairs = [("0.5 1", "0.5/1"), ("0.5/1", "0.5/1")]
    assert get_metric("downbeat_f70_track").corpus(pairs) == 100.0


def test_silence_and_beats_that_are_missing():
    metric = get_metric("beat_f70_track")
    assert np.isnan(metric.corpus([("", "")]))
    assert metric.corpus([("1", ""), ("1", "1")]) == 50.0
    assert metric.corpus([("", "1")]) == 0.0


@pytest.mark.parametrize("text", ["one", "1/x", "-1", "nan", "1/2/3", "inf"])
def test_what_are_no_beats_is_refused(text):
    with pytest.raises(UserError, match=r"must be like `0.512/1 1.024/2`"):
        beat_times(f"0.1 {text}")
