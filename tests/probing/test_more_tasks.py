import mir_eval
import numpy as np
import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import get_metric
from audio_ssl.probing.task import IGNORED
from audio_ssl.probing.tasks import beats, chords, classification, regression, speaker_verification
from audio_ssl.probing.tasks.beats import bars, numbered, peaks, viterbi
from audio_ssl.probing.tasks.speaker_verification import draw_trials

GRID = FrameGrid(16000, 320, 400)
GRIDS = [GRID, FrameGrid(24000, 320, 320, "ceil"), FrameGrid(16000, 160, 400, "center")]


def clip(id="x", extra=None, **values):
    return Clip(id, "x.wav", 0.0, 1.0, 16000, extra=extra or {}, **values)


def moods(*names):
    return [clip(extra={"emotion": name}) for name in names]


def test_classes_come_from_any_column_and_rare_ones_are_named():
    task = classification.build(classification.Config(column="emotion"))
    task.learn(moods("sad", "glad", "glad", "sad", "bored"))
    assert task.classes == ["glad", "sad"]
    assert task.why_not_after(moods("sad")[0]) is None
    reason = task.why_not_after(moods("bored")[0])
    assert reason == "the emotion `bored` has 1 training clips, fewer than `min_count` 2"
    assert task.why_not_after(moods("angry")[0]) == "the emotion `angry` is not in training"
    assert [int(task.target(one)) for one in moods("sad", "glad")] == [1, 0]
    assert task.hypothesis(torch.tensor([0.1, 0.3])) == "sad"
    assert task.why_not(clip()) == "no `emotion`"
    with pytest.raises(UserError, match=r"`min_count` 2 training clips, but has 1 \(of 2 in all\)"):
        task.learn(moods("sad", "sad", "glad"))


def test_a_column_may_be_a_field_or_a_whole_number_but_no_fraction_and_no_list():
    speakers = classification.build(classification.Config(column="speaker"))
    assert speakers.reference(clip(speaker="anna")) == "anna"
    pitch = classification.build(classification.Config(column="pitch"))
    assert pitch.reference(clip(extra={"pitch": 60})) == pitch.reference(clip(extra={"pitch": 60.0})) == "60"
    assert "is a number, 60.5" in pitch.why_not(clip(extra={"pitch": 60.5}))
    tags = classification.build(classification.Config(column="tags"))
    assert "several names" in tags.why_not(clip(tags=("a", "b")))


def test_the_main_metric_of_classes_is_chosen():
    assert classification.build(classification.Config()).metrics == ("accuracy", "uar", "macro_f1")
    assert classification.build(classification.Config(metric="uar")).metrics[0] == "uar"
    with pytest.raises(UserError, match="unknown metric of classes `wer`"):
        classification.build(classification.Config(metric="wer"))


def song(valence, arousal):
    return clip(extra={"valence": valence, "arousal": arousal})


def test_numbers_are_standardised_and_brought_back():
    task = regression.build(regression.Config())
    train = [song(0.1, 10), song(0.3, 30.0), song(0.5, 20)]
    task.learn(train)
    targets = torch.stack([task.target(one) for one in train])
    torch.testing.assert_close(targets.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(targets.std(0, correction=0), torch.ones(2))
    assert task.hypothesis(task.target(song(0.2, 14))) == pytest.approx([0.2, 14])
    assert b'"deviation"' in task.files()["scale.json"]
    with pytest.raises(UserError, match="`arousal` is the same in all 2 training clips"):
        task.learn([song(0.1, 5), song(0.2, 5)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", True])
def test_what_is_no_finite_number_is_left_out(value):
    task = regression.build(regression.Config())
    assert task.why_not(song(value, 1)).startswith("`valence` must be a finite number, but is")
    assert task.why_not(clip(extra={"valence": 0.5})) == "no `arousal`"


BEATS = "0.512/1 1.024/2 1.536/3 2.048/4 2.560/1 3.072/2"


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("decoding", ["peaks", "viterbi"])
def test_beats_survive_the_way_to_frames_and_back(grid, decoding):
    task = beats.build(beats.Config(decoding=decoding))
    task.start(grid)
    one = clip(extra={"beats": BEATS})
    frames = grid.num_frames(int(3.4 * grid.sample_rate))
    target = task.frame_target(one, frames, grid)
    assert target.shape == (frames, 2)
    assert target.max() == 1
    said = task.hypothesis(torch.logit(target * 0.96 + 0.02))
    for name in task.metrics:
        assert get_metric(name).corpus([(task.reference(one), said)]) == 100.0, (name, said)


def test_targets_are_widened_and_the_larger_value_stays():
    task = beats.build(beats.Config(widen=(0.5,)))
    start = GRID.frame_center_seconds(0)
    one = clip(extra={"beats": f"{start:.4f}/1 {start + 0.06:.4f}/2 {start + 0.08:.4f}/3 9.0/4"})
    target = task.frame_target(one, 6, GRID)
    assert target[:, 0].tolist() == [1.0, 0.5, 0.5, 1.0, 1.0, 0.5]
    assert target[:, 1].tolist() == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]


def test_beats_that_cannot_be_used_are_named():
    task = beats.build(beats.Config())
    assert task.why_not(clip()) == "no beats"
    assert "must be like" in task.why_not(clip(extra={"beats": "a/1"}))
    assert "without numbers" in task.why_not(clip(extra={"beats": "0.5 1.0"}))
    alone = beats.build(beats.Config(downbeats=False))
    assert alone.why_not(clip(extra={"beats": "0.5 1.0"})) is None
    assert alone.metrics == ("beat_f70", "beat_f20")
    assert alone.classes == ["beat"]
    with pytest.raises(UserError, match="unknown decoding of beats `madmom`"):
        beats.build(beats.Config(decoding="madmom"))


def test_the_model_of_tempo_bridges_a_beat_that_is_not_heard():
    rng = np.random.default_rng(0)
    activation = rng.uniform(0, 0.2, 500)
    expected = np.arange(7, 500, 25)
    activation[expected] = 0.9
    activation[expected[8]] = 0.05
    # A loud noise between two beats misleads peaks, not the model.
    activation[expected[3] + 11] = 0.95
    found = viterbi(activation, 50.0, 55.0, 215.0)
    assert len(found) == len(expected)
    # Where nothing is heard, the loudest frame of the beat's first sixteenth is taken.
    assert np.abs(found - expected).max() <= 1
    assert np.delete(found, 8).tolist() == np.delete(expected, 8).tolist()
    assert len(peaks(activation, 3, 0.5)) == len(expected)
    assert expected[8] not in peaks(activation, 3, 0.5)


def test_the_model_follows_a_tempo_that_changes():
    expected = np.cumsum([10, *[20] * 8, *[22] * 8, *[25] * 8])
    activation = np.full(expected[-1] + 10, 0.05)
    activation[expected] = 0.95
    assert viterbi(activation, 50.0, 55.0, 215.0).tolist() == expected.tolist()


def test_bars():
    strength = np.tile([0.9, 0.1, 0.2, 0.1], 4)
    assert bars(strength, (3, 4)) == [1, 2, 3, 4] * 4
    assert bars(np.tile([0.1, 0.9, 0.1], 4), (3, 4)) == [3, 1, 2] * 4
    assert numbered(np.array([5, 10]), np.array([], dtype=int)) == [None, None]
    assert peaks(np.zeros(5), 2, 0.5).tolist() == []


CHORDS = "0.0 0.5 N; 0.5 1.0 C:maj7; 1.0 1.5 A:min/b3; 1.5 2.0 C:sus4; 2.0 2.5 Bb"


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("cost", [0.0, 2.0])
def test_chords_survive_the_way_to_frames_and_back(grid, cost):
    task = chords.build(chords.Config(change_cost=cost))
    task.start(grid)
    one = clip(extra={"chords": CHORDS})
    frames = grid.num_frames(int(2.5 * grid.sample_rate))
    target = task.frame_target(one, frames, grid)
    assert {task.classes[i] for i in target[target >= 0].tolist()} == {"N", "C:maj", "A:min", "A#:maj"}
    assert (target == IGNORED).any()
    scores = 9.0 * torch.nn.functional.one_hot(target.clamp(min=0), 25).float()
    said = task.hypothesis(scores)
    # Boundaries lie between frames, so a chord may begin half a frame late.
    assert get_metric("chord_accuracy").corpus([(CHORDS, said)]) > 97.0
    starts, ends = zip(*(part.split()[:2] for part in said.split("; ")), strict=True)
    assert starts[1:] == ends[:-1]
    assert float(starts[0]) == 0.0
    assert float(ends[-1]) >= 2.5


@pytest.mark.parametrize("label", ["C", "C:maj", "G#:min", "Ab:min7", "D:7/3", "F:hdim7", "E:5", "X", "N", "B:aug"])
def test_triads_are_those_of_mir_eval(label):
    found = chords.chord_class(label)
    for number, name in enumerate(chords.CHORDS):
        (right,) = mir_eval.chord.majmin([label], [name])
        if right >= 0:
            assert (right == 1) == (found == number), (label, name)
        else:
            assert found == IGNORED


def test_a_change_that_costs_more_than_it_brings_is_not_made():
    task = chords.build(chords.Config(change_cost=5.0))
    task.start(GRID)
    scores = torch.zeros(9, 25)
    scores[:, 1] = 2.0
    scores[4] = torch.zeros(25).scatter(0, torch.tensor(3), 3.0)
    assert len(task.hypothesis(scores).split(";")) == 1
    scores[4:, 3] = 9.0
    assert [part.split()[2] for part in task.hypothesis(scores).split("; ")] == ["C:maj", "D:maj"]


def test_chords_that_cannot_be_used_are_named():
    task = chords.build(chords.Config())
    assert task.why_not(clip()) == "no chords"
    assert "Harte" in task.why_not(clip(extra={"chords": "0 1 H:dur"}))
    assert task.why_not(clip(extra={"chords": "0 1 C:sus4"})) == "no major or minor chord, and no N"
    assert "segments must be like" in task.why_not(clip(extra={"chords": "0 C:maj"}))


def voices(*names, split="test"):
    return [clip(f"{name}/{number}", speaker=name, split=split) for number, name in enumerate(names)]


def test_trials_are_drawn_evenly_and_always_the_same():
    speakers = [name for name in "abcdef" for _ in range(6)]
    trials = draw_trials(speakers, 60, 3)
    assert trials == draw_trials(speakers, 60, 3) != draw_trials(speakers, 60, 4)
    assert len(set(trials)) == 60
    assert sum(same for *_, same in trials) == 30
    assert all(i < j and (speakers[i] == speakers[j]) == same for i, j, same in trials)
    everything = draw_trials(["a", "a", "a", "b"], 100, 0)
    assert sum(same for *_, same in everything) == 3 == len(everything) - 3
    assert draw_trials(["a", "b"], 10, 0) == []


def test_trials_of_a_file(tmp_path, caplog):
    path = tmp_path / "trials.txt"
    path.write_text("1 a/0 a/1\n0 a/0 b/2\n\n0 a/0 gone/9\n")
    task = speaker_verification.build(speaker_verification.Config(trials=str(path)))
    assert task.trials(voices("a", "a", "b")) == [(0, 1, True), (0, 2, False)]
    assert "1 of 3 trials refer to clips that are not in the manifest" in caplog.text
    drawn = task.trials(voices("a", "a", "b", split="valid"))
    assert drawn == draw_trials(["a", "a", "b"], 10_000, 0)
    with pytest.raises(UserError, match="none of the 3 trials is about two usable clips of the split `test`"):
        task.trials(voices("c", "c"))
    with pytest.raises(UserError, match="says the same speaker, but the manifest has `a` and `b`"):
        task.trials([clip("a/0", speaker="a", split="test"), clip("a/1", speaker="b", split="test")])


@pytest.mark.parametrize(
    ("text", "message"), [("2 a b\n", "trials.txt:1.*must be `1 ID ID`"), ("", "no trials"), (None, "no such file")]
)
def test_a_file_that_has_no_trials_is_refused(tmp_path, text, message):
    path = tmp_path / "trials.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        speaker_verification.build(speaker_verification.Config(trials=str(path)))


def test_speakers_are_classes_to_learn():
    task = speaker_verification.build(speaker_verification.Config())
    task.learn(voices("b", "a", "b"))
    assert task.classes == ["a", "b"]
    assert int(task.target(voices("b")[0])) == 1
    assert task.why_not(clip()) == "no speaker"
    with pytest.raises(UserError, match="two training speakers are needed"):
        task.learn(voices("a"))
