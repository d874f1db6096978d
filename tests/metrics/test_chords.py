import mir_eval
import numpy as np
import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.families.music import segments
from audio_ssl.metrics.registry import get_metric

LABELS = ["C:maj", "A:min", "G:7", "D:min7", "F:dim", "E:sus4", "N", "X", "Bb", "Db:maj/3", "C#:min"]


def progression(rng, end):
    inner = np.sort(np.round(rng.uniform(0, end, 12), 3))
    edges = np.concatenate([[0.0], inner, [end]])
    return np.stack([edges[:-1], edges[1:]], 1), rng.choice(LABELS, 13).tolist()


def written(intervals, labels):
    return "; ".join(f"{start} {end} {label}" for (start, end), label in zip(intervals, labels, strict=True))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("end", [20.0, 17.0, 23.0])
def test_equal_to_mir_eval(seed, end):
    rng = np.random.default_rng(seed)
    right, said = progression(rng, 20.0), progression(rng, end)
    expected = mir_eval.chord.evaluate(right[0], list(right[1]), said[0], list(said[1]))["majmin"]
    assert get_metric("chord_accuracy").corpus([(written(*right), written(*said))]) == pytest.approx(100 * expected)


def test_seconds_are_pooled_over_clips():
    metric = get_metric("chord_accuracy")
    pairs = [("0 3 C:maj; 3 4 F:dim", "0 2 C:maj; 2 4 A:min"), ("0 1 N", "")]
    assert metric.statistics(pairs).tolist() == [[2, 3], [1, 1]]
    assert metric.corpus(pairs) == 75.0


def test_time_that_the_reference_leaves_open_is_not_counted():
    metric = get_metric("chord_accuracy")
    assert metric.statistics([("0 1 C; 2 3 C", "0 3 C")]).tolist() == [[2, 2]]
    assert np.isnan(metric.corpus([("", "0 1 C")]))


def test_what_are_no_chords_is_refused():
    with pytest.raises(UserError, match=r"must not overlap, but `G` starts at 0.5 before `C` ends"):
        segments("0 1 C; 0.5 2 G")
    with pytest.raises(UserError, match=r"segments must be like .* but one is `0 1`"):
        segments("0 1")
    with pytest.raises(UserError, match="segments must be like"):
        segments("2 1 C")
    with pytest.raises(UserError, match="Harte's syntax"):
        get_metric("chord_accuracy").per_clip("0 1 H:maj", "0 1 C")
