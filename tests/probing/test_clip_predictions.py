import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from audio_ssl.artifacts.clip_predictions import ANSWER_FIELDS, BeatTime, ClipPrediction, NamedProbability
from audio_ssl.artifacts.records import from_json, to_json
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.head import HeadBatch, greedy
from audio_ssl.probing.heads import mean_embedding
from audio_ssl.probing.task import HeadOutput
from audio_ssl.probing.tasks import asr, beats, chords, classification, key, notes, phones, regression, slots, tagging

GRID = FrameGrid(16000, 320, 400)
UNLABELLED = Clip("a b", "a b.wav", 1.5, 1.0, 16000)


def clip(**values):
    return Clip("x", "x.wav", 0.0, 1.0, 16000, **values)


def said(task, given, clip=UNLABELLED):
    """Return a prediction, whose fields are those that the task has named."""
    found = task.clip_prediction(clip, given)
    assert found.answered == tuple(sorted(task.answered(given.log_probabilities is not None), key=ANSWER_FIELDS.index))
    return found


def output(prediction, **more):
    return HeadOutput(prediction, GRID, **more)


def spoken(task, names, frames=49):
    """Return what a CTC head gives that says each token at one frame, every fourth, with a probability of 0.7."""
    scores = torch.full((frames, len(task.classes) + 1), 0.3 / len(task.classes))
    scores[:, 0] = 0.7
    for place, name in enumerate(names):
        scores[4 * place + 2] = 0.3 / len(task.classes)
        scores[4 * place + 2, task.classes.index(name) + 1] = 0.7
    return output(greedy(scores.argmax(-1)), log_probabilities=scores.log())


def learned(module, *rows, **settings):
    task = module.build(module.Config(**settings))
    task.learn([clip(**row) for row in rows])
    return task


def test_classes_are_ranked_by_the_softmax_of_their_scores():
    task = learned(classification, {"label": "b"}, {"label": "a"}, {"label": "c"}, min_count=1)
    found = said(task, output(torch.tensor([0.0, 2.0, 1.0])))
    assert [one.name for one in found.classes] == ["b", "c", "a"]
    expected = torch.tensor([2.0, 1.0, 0.0]).double().softmax(-1).tolist()
    assert [one.probability for one in found.classes] == pytest.approx(expected)
    assert (found.id, found.path, found.start, found.seconds, found.task) == ("a b", "a b.wav", 1.5, 1.0, task.kind)
    assert found.label == "b"
    assert found.reference is None
    assert found.tags is None
    assert task.clip_prediction(clip(label="c"), output(torch.zeros(3))).reference == "c"


def test_probabilities_of_cosines_are_those_that_the_head_has_learned():
    head = mean_embedding.build(mean_embedding.Config(), 8, 3, "class").eval()
    features, frames = torch.randn(1, 5, 8), torch.tensor([5])
    (cosines,) = head.predict(HeadBatch(features, frames))
    # Without a margin, the loss is the negative logarithm of the class's probability.
    head._margin = 0.0
    loss = head.loss(HeadBatch(features, frames), [torch.tensor(1)])
    task = learned(classification, {"label": "a"}, {"label": "b"}, {"label": "c"}, min_count=1)
    found = said(task, output(cosines, sharpness=head.sharpness))
    (likely,) = [one.probability for one in found.classes if one.name == "b"]
    assert likely == pytest.approx(float((-loss).exp().detach()), rel=1e-4)


def test_tags_have_probabilities_of_their_own():
    rows = [{"tags": ("jazz", "slow")}, {"tags": ("jazz", "loud")}, {"tags": ("slow", "loud")}]
    task = learned(tagging, *rows, min_count=1)
    found = said(task, output(torch.tensor([0.0, -1.0, 3.0])))
    assert [one.name for one in found.tags] == ["slow", "jazz", "loud"]
    assert found.tags[0].probability == pytest.approx(1 / (1 + np.exp(-3)))


def test_values_are_in_the_unit_of_the_manifest():
    rows = [{"extra": {"valence": 1.0, "arousal": 10.0}}, {"extra": {"valence": 3.0, "arousal": 30.0}}]
    task = learned(regression, *rows)
    found = said(task, output(torch.tensor([0.5, -1.0])))
    assert [(one.name, one.value) for one in found.values] == [("valence", 2.5), ("arousal", 10.0)]


def test_words_and_characters_of_ctc_have_the_times_of_their_frames():
    task = learned(asr, {"text": "ab ba, c!"})
    found = said(task, spoken(task, "ba ab"))
    assert found.text == "ba ab"
    assert [(one.label, one.start, one.end) for one in found.words] == [("ba", 0.0425, 0.1425), ("ab", 0.2825, 0.3825)]
    assert [one.label for one in found.tokens] == ["b", "a", "a", "b"]
    assert found.words[0].probability == pytest.approx(0.7)
    assert " ".join(one.label for one in found.words) == found.text


def test_spaces_around_words_and_silence_are_no_words():
    task = learned(asr, {"text": "ab ba"})
    found = said(task, spoken(task, "  a "))
    assert (found.text, [one.label for one in found.words]) == ("a", ["a"])
    silent = said(task, spoken(task, ""))
    assert (silent.text, silent.words, silent.tokens) == ("", (), ())


def test_a_head_without_times_gives_the_text_alone():
    task = learned(asr, {"text": "ab ba"})
    found = said(task, output(task.target(clip(text="ba"))))
    assert (found.text, found.words, found.tokens) == ("ba", None, None)


def test_each_character_is_a_word_where_there_are_no_spaces():
    task = learned(asr, {"text": "你好世界"})
    found = said(task, spoken(task, "世好"))
    assert [one.label for one in found.words] == ["世", "好"]
    now_and_then = learned(asr, {"text": "你好 世界"}, {"text": "你好世界今天天气很好"})
    found = now_and_then.clip_prediction(UNLABELLED, spoken(now_and_then, "世 好"))
    assert [one.label for one in found.words] == ["世", "好"]


def test_pieces_are_joined_to_words():
    pytest.importorskip("sentencepiece")
    texts = ["the boat is on the lake", "a lake and a boat", "the lake is the boat of the boats"]
    task = learned(asr, *({"text": text} for text in texts), units="sentencepiece", vocab_size=30)
    names = [task.classes[number] for number in task.target(clip(text="the lake boats")).tolist()]
    found = said(task, spoken(task, names, 200))
    assert found.text == "the lake boats"
    assert [one.label for one in found.words] == ["the", "lake", "boats"]
    ends = [one.end for one in found.words]
    assert ends == sorted(ends)


def test_phones_are_segments():
    task = learned(phones, {"extra": {"phones": "HH AH0 L OW1"}})
    found = said(task, spoken(task, ["HH", "OW1", "OW1"]))
    assert found.text == "HH OW1 OW1"
    assert found.words is None
    assert [(one.label, one.start) for one in found.segments] == [("HH", 0.0425), ("OW1", 0.1225), ("OW1", 0.2025)]


def test_times_of_phones_are_kept_of_long_clips_and_those_of_characters_are_not():
    long = replace(UNLABELLED, seconds=3601.0)
    task = learned(phones, {"extra": {"phones": "HH AH0 L OW1"}})
    assert len(task.clip_prediction(long, spoken(task, ["HH", "L"])).segments) == 2
    task = learned(asr, {"text": "ab ba"})
    found = task.clip_prediction(long, spoken(task, "ab"))
    assert (len(found.words), found.tokens) == (1, None)


def test_slots_are_segments_with_their_text_and_words_have_no_marks():
    task = learned(slots, {"extra": {"slots": "play <artist>queen of</artist> pop"}})
    names = [*"play ", "<artist>", *"queen ", *"of", "</artist>", *" pop"]
    found = said(task, spoken(task, names, 120))
    assert found.text == "play <artist>queen of</artist> pop"
    assert [one.label for one in found.words] == ["play", "queen", "of", "pop"]
    (slot,) = found.segments
    assert (slot.label, slot.text) == ("artist", "queen of")
    assert (slot.start, slot.end) == (found.words[1].start, found.words[2].end)
    unclosed = said(task, spoken(task, ["<artist>", *"pop"]))
    assert unclosed.segments == ()


def of_frames(module, columns, seed=0, frames=200, **settings):
    task = module.build(module.Config(**settings))
    task.start(GRID)
    scores = torch.randn(frames, columns, generator=torch.Generator().manual_seed(seed)) * 3
    return task, scores, said(task, output(scores))


@pytest.mark.parametrize("cost", [0.0, 5.0])
def test_chords_are_those_of_the_hypothesis_with_their_mean_probability(cost):
    task, scores, found = of_frames(chords, 25, change_cost=cost)
    assert "; ".join(f"{s.start:.4f} {s.end:.4f} {s.label}" for s in found.segments) == task.hypothesis(scores)
    first = found.segments[0]
    inside = [f for f in range(200) if first.start <= GRID.frame_center_seconds(f) < first.end]
    likely = scores.double().softmax(-1)[inside, chords.CHORDS.index(first.label)]
    assert first.probability == pytest.approx(float(likely.mean()), abs=6e-5)
    assert of_frames(chords, 25, frames=0)[2].segments == ()


@pytest.mark.parametrize("decoding", ["peaks", "viterbi"])
@pytest.mark.parametrize("downbeats", [True, False])
def test_beats_are_those_of_the_hypothesis(decoding, downbeats):
    task, scores, found = of_frames(beats, 1 + downbeats, decoding=decoding, downbeats=downbeats)
    text = " ".join(f"{b.time:.3f}" if b.number is None else f"{b.time:.3f}/{b.number}" for b in found.beats)
    assert text == task.hypothesis(scores)
    assert all((one.number is not None) >= (downbeats and decoding == "viterbi") for one in found.beats)
    frame = round((found.beats[3].time - GRID.frame_center_seconds(0)) * GRID.frame_rate_hz)
    assert found.beats[3].probability == pytest.approx(float(scores[frame, 0].double().sigmoid()), abs=6e-5)


@pytest.mark.parametrize("onsets", [True, False])
def test_notes_are_those_of_the_hypothesis(onsets):
    task, scores, found = of_frames(notes, 176 if onsets else 88, onsets=onsets)
    assert "; ".join(f"{n.start:.3f} {n.end:.3f} {n.pitch}" for n in found.notes) == task.hypothesis(scores)
    assert len(found.notes) > 20
    assert all(0.0 < one.probability <= 1.0 for one in found.notes)
    assert of_frames(notes, 88, frames=0)[2].notes == ()


def test_the_probability_of_a_note_is_the_mean_over_its_frames():
    scores = torch.full((50, 88), -9.0)
    scores[10:14, 39] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    task = notes.build(notes.Config())
    task.start(GRID)
    (note,) = said(task, output(scores)).notes
    assert note.pitch == 60
    assert note.probability == pytest.approx(
        float(torch.tensor([1.0, 2.0, 3.0, 4.0]).double().sigmoid().mean()), abs=6e-5
    )


@pytest.mark.parametrize("kind", parts("probing/tasks"))
def test_a_task_predicts_or_says_why_not(kind):
    module = load_part("probing/tasks", kind)
    task = module.build(module.Config())
    if task.output == "nothing":
        with pytest.raises(UserError, match=f"the task `{kind}` compares .* so nothing predicts a new file"):
            task.clip_prediction(UNLABELLED, output(torch.zeros(1)))
    else:
        assert task.why_no_prediction() is None
        assert task.answered(times=False)


def test_a_vector_is_kept():
    task = load_part("probing/tasks", "speaker_verification").build(
        load_part("probing/tasks", "speaker_verification").Config()
    )
    assert said(task, output(torch.tensor([0.5, -2.0]))).embedding == (0.5, -2.0)


def test_a_record_holds_the_manifest_and_is_read_back():
    task = key.build(key.Config())
    row = clip(label="C major", speaker="été", extra={"bpm": 120})
    found = task.clip_prediction(row, output(torch.arange(24.0)))
    assert found.manifest == {"label": "C major", "speaker": "été", "bpm": 120}
    second = ClipPrediction(id="b", path="b.wav", seconds=1.0, sample_rate=8000, task="beats", beats=())
    third = replace(second, id="c", beats=(BeatTime(0.5), BeatTime(1.0, 2, 0.75)), reference=[0.5, 1.0])
    for one in (found, second, third):
        assert from_json(ClipPrediction, json.loads(json.dumps(to_json(one))), "line") == one
    assert to_json(second) == {
        "id": "b", "path": "b.wav", "start": 0.0, "seconds": 1.0, "sample_rate": 8000, "task": "beats", "beats": []
    }  # fmt: skip
    assert found.classes[0] == NamedProbability("B minor", found.classes[0].probability)
    with pytest.raises(UserError, match="`task` must be text, but is 1"):
        from_json(ClipPrediction, {**to_json(second), "task": 1}, "line")
