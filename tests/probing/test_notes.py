import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from sklearn.metrics import average_precision_score

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.metrics.families.music import read_notes
from audio_ssl.metrics.registry import get_metric
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.tasks import notes
from audio_ssl.report.inputs import read_input
from audio_ssl.report.paired import Answers, compare

GRIDS = [FrameGrid(16000, 320, 400), FrameGrid(24000, 960, 960, "center"), FrameGrid(16000, 160, 160, "ceil")]


def clip(text):
    return Clip("a", "a.wav", 0.0, 3.0, 16000, extra={"notes": text})


def task(grid=GRIDS[0], **settings):
    made = notes.build(notes.Config(**settings))
    made.start(grid)
    return made


@pytest.mark.parametrize("grid", GRIDS)
def test_a_key_sounds_where_the_middle_of_a_frame_is_inside_its_note(grid):
    text = "0.1 0.6 60; 0.5 1.3 64; 0.5 0.9 21; 2.0 2.8 108"
    target = task(grid).frame_target(clip(text), 80, grid)
    assert target.shape == (80, 88)
    intervals, pitches = read_notes(text)
    for frame in range(80):
        middle = grid.frame_center_seconds(frame)
        sounding = {int(p) - 21 for (a, b), p in zip(intervals, pitches, strict=True) if a <= middle < b}
        assert set(target[frame].nonzero()[:, 0].tolist()) == sounding


def test_notes_past_the_frames_and_off_the_keyboard_are_no_target():
    target = task().frame_target(clip("0 5 60; 4 5 62; 0 1 20; 0 1 109"), 50, GRIDS[0])
    assert target.sum() == target[:, 39].sum() == 50


def test_a_note_between_two_middles_sounds_in_the_nearest_frame():
    grid = FrameGrid(16000, 800, 800, "center")
    target = task(grid).frame_target(clip("0.51 0.52 60; 0.58 0.59 61"), 30, grid)
    assert target.nonzero().tolist() == [[10, 39], [12, 40]]


@pytest.mark.parametrize("onsets", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_right_activations_give_the_notes_back(grid, onsets):
    text = "0.1 0.6 60; 0.5 1.3 64; 0.5 0.9 21; 2.0 2.8 108"
    made = task(grid, onsets=onsets)
    target = made.frame_target(clip(text), grid.num_frames(3 * grid.sample_rate), grid)
    said = made.hypothesis(target * 20 - 10)
    # Within half a frame of at most 40 ms.
    right, pitches = read_notes(text)
    found, said_pitches = read_notes(said)
    np.testing.assert_allclose(found, right, atol=0.5 / grid.frame_rate_hz + 1e-3)
    assert said_pitches.tolist() == pitches.tolist()
    assert get_metric("note_f1").corpus([(text, said)]) == 100.0


def test_a_repeated_note_is_two_where_onsets_are_asked_for():
    text = "0.0 1.0 60; 1.0 2.0 60"
    counts = {}
    for onsets in (False, True):
        made = task(onsets=onsets)
        said = made.hypothesis(made.frame_target(clip(text), 140, GRIDS[0]) * 20 - 10)
        counts[onsets] = get_metric("note_f1").per_clip(text, said).tolist()
    assert counts == {False: [1, 2, 1], True: [2, 2, 2]}


def test_frames_that_are_on_for_a_moment_are_no_note():
    logits = torch.full((100, 88), -10.0)
    logits[20:22, 40] = 10.0
    logits[50:60, 41] = 10.0
    assert task().hypothesis(logits) == "1.002 1.202 62"
    assert task(shortest_seconds=0.0).hypothesis(logits) == "0.403 0.443 61; 1.002 1.202 62"
    assert task(threshold=0.99999).hypothesis(logits) == ""
    assert task().hypothesis(logits[:0]) == ""


def test_clips_without_notes_are_left_out_with_the_reason():
    made = task()
    assert made.why_not(clip("0 1 60")) is None
    assert made.why_not(clip(None)) == "no notes"
    assert made.why_not(clip("")) == "no notes"
    assert made.why_not(clip("0 1 12")) == "no note that a piano has a key for"
    assert "`notes` must be like" in made.why_not(clip("0 1 C4"))
    assert len(made.classes) == 88
    assert (made.classes[0], made.classes[48], made.classes[87]) == ("A0", "A4", "C8")
    assert len(task(onsets=True).classes) == 176


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 1.0}, {"shortest_seconds": -1.0}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(UserError, match="must"):
        task(**settings)


def test_a_probe_learns_notes_and_its_average_precision_is_scikit_learns(tmp_path):
    random = np.random.default_rng(0)
    clips = []
    for number in range(24):
        split = ("train", "train", "valid", "test")[number % 4]
        pitches = random.choice([57, 62, 66, 73], 3)
        time = np.arange(16000) / 16000
        starts = (0.0, 0.5, 1.0)
        waves = [0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time[:7000]) for pitch in pitches]
        sound = np.concatenate([np.concatenate([wave, np.zeros(1000)]) for wave in waves])
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, sound + random.normal(0, 0.001, len(sound)), 16000)
        text = "; ".join(f"{start} {start + 0.4375} {pitch}" for start, pitch in zip(starts, pitches, strict=True))
        clips.append(Clip(str(number), str(path), 0.0, 1.5, 16000, split=split, extra={"notes": text}))
    write_manifest(tmp_path / "m.jsonl", clips)
    settings = [f"data.manifest={tmp_path / 'm.jsonl'}", "optim.steps=60", "optim.eval_every=30", "optim.lrs=[0.01]"]
    out = run_probe("notes", "cqt", tmp_path / "r", [*settings, "baselines=[]", "head.hidden_dim=32"])
    scores = json.loads((out / "scores.json").read_text())["metrics"]
    assert set(scores) == {"frame_ap", "frame_f1", "note_f1"}
    assert scores["frame_ap"]["value"] > 95
    assert scores["note_f1"]["value"] > 80
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    counts = np.array([row["frame_ap_counts"] for row in rows], np.float64)
    assert get_metric("frame_ap").score(counts.sum(0)) == pytest.approx(scores["frame_ap"]["value"])
    # Written apart, the counts are a label and a score each.
    steps = np.arange(512)
    per_step = counts.sum(0).reshape(2, 512).astype(int)
    label = np.repeat([1, 0], per_step.sum(1))
    score = np.concatenate([np.repeat(steps, one) for one in per_step])
    assert scores["frame_ap"]["value"] == pytest.approx(100 * average_precision_score(label, score), abs=2.0)
    # Another system says of each clip what this one said of the next.
    said = read_input(out).model.predictions
    others = [{**row, "frame_ap_counts": said[i - 1]["frame_ap_counts"]} for i, row in enumerate(said[:3])]
    found = compare(Answers(said), Answers(others), "frame_ap")
    assert found.value == pytest.approx(
        get_metric("frame_ap").score(counts[:3].sum(0)) - get_metric("frame_ap").score(counts[[5, 0, 1]].sum(0))
    )
    assert found.clips == 3
