"""Whole probes of other tasks than recognition, on log-mel frames of sounds made here."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.probing.run import run_probe

RATE = 16000
SPLITS = {"train": 18, "valid": 6, "test": 8}


def make(folder, describe):
    """Write clips; `describe` gives the sound and the columns of each."""
    rng = np.random.default_rng(0)
    clips = []
    for split, count in SPLITS.items():
        for number in range(count):
            name = f"{split}{number}"
            sound, fields, extra = describe(rng, split, number)
            sf.write(folder / f"{name}.wav", sound.astype(np.float32), RATE, subtype="FLOAT")
            path = str(folder / f"{name}.wav")
            clips.append(Clip(name, path, 0.0, len(sound) / RATE, RATE, split=split, extra=extra, **fields))
    write_manifest(folder / "m.jsonl", clips)
    return f"data.manifest={folder / 'm.jsonl'}"


def tone(frequencies, seconds):
    time = np.arange(round(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * f * time) for f in frequencies) * 0.1


def ask(folder, text, manifest):
    (folder / "probe.yaml").write_text(f"# A question.\n{text}")
    run_probe(str(folder / "probe.yaml"), "logmel", folder / "result", [manifest])
    return json.loads((folder / "result" / "scores.json").read_text())


def rows(folder, name="predictions"):
    return pq.read_table(folder / "result" / f"{name}.parquet").to_pylist()


def clicks(rng, split, number):
    interval, sound, marks = rng.uniform(0.35, 0.6), rng.normal(0, 1e-3, 4 * RATE), []
    for beat, time in enumerate(np.arange(rng.uniform(0.1, 0.4), 3.9, interval)):
        start = round(time * RATE)
        sound[start : start + 800] += tone([2000 if beat % 4 == 0 else 700], 0.05)
        marks.append(f"{time:.4f}/{beat % 4 + 1}")
    return sound, {}, {"beats": " ".join(marks)}


@pytest.mark.parametrize("decoding", ["peaks", "viterbi"])
def test_beats_of_clicks(tmp_path, decoding):
    text = f"""task: {{kind: beats, decoding: {decoding}, metres: [4]}}
head: {{kind: frames_conv, dim: 24, layers: 3, dropout: 0.0}}
optim: {{lrs: [1.0e-2], steps: 90, batch_clips: 6, eval_every: 45}}
baselines: []
"""
    answer = ask(tmp_path, text, make(tmp_path, clicks))
    assert answer["metrics"]["beat_f70"]["value"] > 90
    assert answer["metrics"]["downbeat_f70"]["value"] > 80
    assert rows(tmp_path)[0]["hypothesis"].count("/1") >= 1


def triads(rng, split, number):
    roots, parts = rng.integers(0, 3, 4), []
    sound = np.concatenate([tone(220 * 2 ** ((root + np.array([0, 4, 7])) / 12), 0.5) for root in roots])
    for place, root in enumerate(roots):
        parts.append(f"{place * 0.5} {place * 0.5 + 0.5} {('A', 'A#', 'B')[root]}:maj")
    return sound + rng.normal(0, 1e-3, len(sound)), {}, {"chords": "; ".join(parts)}


def test_chords_of_tones(tmp_path):
    text = """task: {kind: chords, change_cost: 1.0}
head: {kind: frames, hidden_dim: 32, dropout: 0.0}
optim: {lrs: [1.0e-2], steps: 60, batch_clips: 6, eval_every: 30}
baselines: []
"""
    answer = ask(tmp_path, text, make(tmp_path, triads))
    assert answer["metrics"]["chord_accuracy"]["value"] > 85


def voices(rng, split, number):
    # Six voices to learn, others in the other splits.
    pitches = {"train": range(6), "valid": (6, 7), "test": (8, 9)}[split]
    voice = pitches[number % len(pitches)]
    base = 200 * 1.2**voice
    sound = tone(base * rng.uniform(0.98, 1.02, 1) * np.array([1, 2, 3]), 0.6)
    return sound + rng.normal(0, 1e-2, len(sound)), {"speaker": f"v{voice}"}, {}


@pytest.mark.parametrize("head", ["{kind: xvector, dim: 16, pooled_dim: 24}", "{kind: mean_embedding, dim: 16}"])
def test_speakers_that_training_has_not_heard(tmp_path, head):
    text = f"""task: {{kind: speaker_verification}}
head: {head}
optim: {{lrs: [3.0e-3], steps: 60, batch_clips: 9, eval_every: 30}}
baselines: []
"""
    manifest = make(tmp_path, voices)
    answer = ask(tmp_path, text, manifest)
    assert answer["metrics"]["eer"]["value"] < 25
    assert answer["main_metric"] == "eer"
    trials = rows(tmp_path, "trials")
    assert sum(trial["same"] for trial in trials) == len(trials) / 2 == 12
    assert len(rows(tmp_path)[0]["embedding"]) == 16


def feelings(rng, split, number):
    loud, high = rng.uniform(0.1, 1), rng.uniform(0, 1)
    name = "rare" if split != "valid" and number == 0 else "low" if high < 0.5 else "high"
    sound = loud * tone([400 * 4**high], 0.5) + rng.normal(0, 1e-3, RATE // 2)
    return sound, {}, {"valence": 20 * high, "arousal": 3 * float(np.log(loud)), "mood": name}


def test_numbers_and_classes_of_any_column(tmp_path):
    manifest = make(tmp_path, feelings)
    text = """task: {kind: regression}
head: {kind: mlp, hidden_dim: 32, dropout: 0.0}
optim: {lrs: [1.0e-2], steps: 80, batch_clips: 9, eval_every: 40}
baselines: []
"""
    answer = ask(tmp_path, text, manifest)
    assert answer["metrics"]["r2"]["value"] > 30  # the mean of training has 0
    (tmp_path / "classes").mkdir()
    text = text.replace("kind: regression", "kind: classification, column: mood, metric: uar")
    text = text.replace("kind: mlp, hidden_dim: 32, dropout: 0.0", "kind: projection")
    answer = ask(tmp_path / "classes", text, manifest)
    assert answer["main_metric"] == "uar"
    assert answer["metrics"]["accuracy"]["value"] > 60
    reasons = {one["split"]: one["reason"] for one in answer["excluded"]}
    assert reasons["train"] == reasons["test"] == "the mood `rare` has 1 training clips, fewer than `min_count` 2"
