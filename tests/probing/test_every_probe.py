"""Every probe that comes with the library runs, small, on a manifest with every column."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audio_ssl.base import catalog
from audio_ssl.base.config import load
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.run import run_probe

RATE, SECONDS = 16000, 1.6
WORDS = ("abacab", "dabada", "bacaba")
KEYS = ("C major", "G major", "D minor")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything")
    random = np.random.default_rng(0)
    clips = []
    for number in range(48):
        split = "train" if number < 24 else ("valid" if number < 36 else "test")
        path = folder / f"{number}.wav"
        time = np.arange(int(SECONDS * RATE)) / RATE
        pitch = 220 * 2 ** (number % 4 / 4)
        wave = 0.3 * np.sin(2 * np.pi * pitch * time) * (1 + np.sin(2 * np.pi * 2 * time)) / 2
        soundfile.write(path, (wave + random.normal(0, 0.01, len(time))).astype(np.float32), RATE)
        words = [WORDS[number // 2 % 2], WORDS[1 + number // 2 % 2]]
        letters = "".join(words)
        times = [(0.1 + 0.12 * i, 0.22 + 0.12 * i) for i in range(len(letters))]
        extra = {
            "phones": " ".join(letters.upper()),
            "phone_times": "; ".join(f"{a:.2f} {b:.2f} {c}" for (a, b), c in zip(times, letters, strict=True)),
            "word_times": f"0.10 0.82 {words[0]}; 0.82 1.54 {words[1]}",
            "slots": f"{words[0]} <place>{words[1]}</place>",
            "beats": "0.25/1 0.75/2 1.25/1",
            "chords": "0.0 0.8 C:maj; 0.8 1.6 A:min",
            "notes": f"0.0 0.7 {57 + number % 4}; 0.8 1.5 {64 + number % 4}",
            "pitch": 60 + number % 4,
            "valence": float(number % 4) + 0.1 * number,
            "arousal": float(number % 3) - 0.1 * number,
            "session": f"Session{number % 5}",
            "technique": ("belt", "trill")[number % 2],
            "emotion": ("angry", "sad")[number % 2],
            "instrument": ("flute", "organ")[number % 2],
            "track": f"t{number}",
            "sentence": f"s{number // 2}",
            "word": words[0],
            "meaning": words[1],
        }
        clip = Clip(str(number), str(path), 0.0, SECONDS, RATE, text=" ".join(words), split=split, extra=extra)
        clips.append(
            replace(
                clip,
                translation="eins zwei"[: 4 + number % 3],
                tags=("loud", "low")[: 1 + number % 2],
                label=KEYS[number % 3],
                speaker=f"s{number % 6}",
                gender="FM"[number % 2],
                language=("cs", "de")[number % 2],
            )
        )
    # The audio of another clip: of its tune and sentence, so that folds keep both on one side.
    extra = {**clips[0].extra, "track": "t5", "sentence": "s2"}
    clips.append(
        replace(clips[0], id="x", path=clips[5].path, tags=("high", "low"), start=0.2, seconds=1.0, extra=extra)
    )
    write_manifest(folder / "m.jsonl", clips)
    return folder / "m.jsonl"


SMALL_HEADS = {
    "ctc": ["head.lstm_dim=8"],
    "ctc_dnn": ["head.dim=16", "head.layers=1"],
    "ctc_conv": ["head.dim=16"],
    "seq2seq": ["head.dim=16", "head.heads=2", "head.encoder_layers=1", "head.decoder_layers=1", "head.max_tokens=6"],
}


@pytest.mark.parametrize("name", catalog.names("probes"))
def test_probe_runs(name, manifest, tmp_path):
    probe = load(Probe, catalog.find("probes", name))
    kind = type(probe.head).__module__.rpartition(".")[2] if probe.head is not None else ""
    overrides = [
        f"data.manifest={manifest}",
        "optim.steps=2",
        "optim.eval_every=1",
        "optim.batch_clips=8",
        "baselines=[]",
        "finetune=null",
        *SMALL_HEADS.get(kind, []),
    ]
    for key in ("min_count", "vocab_size"):
        if hasattr(probe.task, key):
            overrides.append(f"task.{key}={12 if key == 'vocab_size' else 1}")
    out = run_probe(name, "logmel", tmp_path / "r", overrides)
    found = json.loads((out / "scores.json").read_text())
    assert found["metrics"][found["main_metric"]]["value"] is not None
    assert found["counts"]["test"]["clips"] > 0
    assert {p.name for p in out.iterdir()} & {"predictions.parquet", "comparisons.parquet"}
