import mir_eval
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from audio_ssl.base.errors import UserError
from audio_ssl.data.time_columns import notes_column
from audio_ssl.metrics.families.music import activation_counts, read_notes
from audio_ssl.metrics.registry import get_metric


def performance(seed):
    """Return notes, and what a transcription makes of them: some late, some missing, some invented."""
    random = np.random.default_rng(seed)
    starts = random.uniform(0, 10, 80)
    right = [
        (start, start + length, int(pitch))
        for start, length, pitch in zip(starts, random.uniform(0.1, 1, 80), random.integers(50, 62, 80), strict=True)
    ]
    said = [
        (max(0, start + random.normal(0, 0.04)), end + random.normal(0, 0.04), pitch + (random.random() < 0.1))
        for start, end, pitch in right
        if random.random() < 0.9
    ]
    return notes_column(right), notes_column([*said, (3.0, 4.0, 99)])


@pytest.mark.parametrize("seed", range(5))
def test_note_f1_is_mir_evals(seed):
    right, said = performance(seed)
    (a, p), (b, q) = read_notes(right), read_notes(said)
    hertz = mir_eval.util.midi_to_hz
    precision, recall, f1, _ = mir_eval.transcription.precision_recall_f1_overlap(
        a, hertz(p.astype(float)), b, hertz(q.astype(float)), offset_ratio=None
    )
    counts = get_metric("note_f1").per_clip(right, said)
    assert counts[0] / counts[2] == pytest.approx(precision)
    assert counts[0] / counts[1] == pytest.approx(recall)
    assert get_metric("note_f1").corpus([(right, said)]) == pytest.approx(100 * f1)
    assert get_metric("note_f1_track").corpus([(right, said), ("", "")]) == pytest.approx(100 * f1)
    assert 0.2 < f1 < 0.95


@pytest.mark.parametrize("seed", range(5))
def test_frame_f1_is_that_of_mir_evals_multipitch(seed):
    right, said = performance(seed)
    ends = max(read_notes(right)[0].max(), read_notes(said)[0].max())
    times = np.arange(int(ends * 100) + 2) / 100
    hertz = mir_eval.util.midi_to_hz

    def frames(text):
        intervals, pitches = read_notes(text)
        on = (np.round(intervals[:, :1], 6) <= times + 1e-9) & (times + 1e-9 < np.round(intervals[:, 1:], 6))
        return [hertz(pitches[column].astype(float)) for column in on.T]

    found = mir_eval.multipitch.metrics(times, frames(right), times, frames(said))
    precision, recall = found[:2]
    expected = 200 * precision * recall / (precision + recall)
    assert get_metric("frame_f1").corpus([(right, said)]) == pytest.approx(expected, abs=1e-9)


def test_onsets_may_be_50_ms_off_and_each_note_is_matched_once():
    metric = get_metric("note_f1")
    assert metric.per_clip("1 2 60", "1.049 1.1 60").tolist() == [1, 1, 1]
    assert metric.per_clip("1 2 60", "1.051 2 60").tolist() == [0, 1, 1]
    assert metric.per_clip("1 2 60", "1 2 61").tolist() == [0, 1, 1]
    assert metric.per_clip("1 2 60", "0.97 1.0 60; 1.01 2 60").tolist() == [1, 1, 2]


def test_counts_are_pooled_or_averaged():
    pairs = [("0 1 60; 1 2 60; 2 3 60", "0 1 60; 1 2 60; 2 3 60"), ("0 1 60", "0 1 62")]
    assert get_metric("note_f1").corpus(pairs) == pytest.approx(75.0)
    assert get_metric("note_f1_track").corpus(pairs) == pytest.approx(50.0)
    assert np.isnan(get_metric("note_f1").corpus([("", "")]))


def test_average_precision_is_scikit_learns_of_all_frames_and_keys():
    random = np.random.default_rng(0)
    metric = get_metric("frame_ap")
    labels, scores, sums = [], [], np.zeros(len(metric.columns))
    for frames in (40, 300, 7):
        sounding = random.random((frames, 88)) < 0.05
        logits = random.normal(-3, 2, (frames, 88)) + 3 * sounding
        sums += activation_counts(logits, sounding)
        labels.append(sounding.ravel())
        scores.append(logits.ravel())
    label, score = np.concatenate(labels), np.concatenate(scores)
    assert metric.score(sums) == pytest.approx(100 * average_precision_score(label, score), abs=0.05)
    assert 20 < metric.score(sums) < 80


def test_what_is_far_out_is_counted_at_the_ends():
    sounding = np.array([[True, False]])
    metric = get_metric("frame_ap")
    assert metric.score(activation_counts(np.array([[1e6, -1e6]]), sounding)) == 100.0
    assert metric.score(activation_counts(np.array([[-1e6, 1e6]]), sounding)) == 50.0
    assert np.isnan(metric.score(activation_counts(np.array([[1.0]]), np.array([[False]]))))


def test_activations_that_are_all_the_same_have_the_precision_of_chance():
    sounding = np.random.default_rng(0).random((500, 88)) < 0.05
    found = get_metric("frame_ap").score(activation_counts(np.full((500, 88), -3.0), sounding))
    assert found == pytest.approx(100 * sounding.mean(), abs=0.01)


def test_a_table_of_notes_has_no_activations():
    with pytest.raises(UserError, match="`frame_ap` is a score of activations"):
        get_metric("frame_ap").corpus([("0 1 60", "0 1 60")])
