"""A run that was never trained, with all that a run has, and a shelf with the model that is made of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audio_ssl.artifacts.run import TrainedClips, end_record, start_record, write_run_record
from audio_ssl.base.files import write_text
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.pretrain.recipe import load_recipe, recipe_yaml
from audio_ssl.release.make import Release, make_shipped
from audio_ssl.shipped import Shelf

SMALL = ["encoder.layers=2", "encoder.dim=16", "encoder.ffn_dim=32", "encoder.heads=2", "encoder.position_groups=2"]
ROWS = [
    {"id": "a", "path": "one/a.wav", "seconds": 1800.0, "corpus": "librispeech", "gender": "F", "language": "en"},
    {"id": "b", "path": "one/b.wav", "seconds": 900.0, "corpus": "librispeech", "gender": "M", "language": "en"},
    {"id": "b~2", "path": "one/b.wav", "seconds": 900.0, "corpus": "librispeech", "gender": "M", "language": "en"},
    {"id": "c", "path": "data/rendered_scores/c.flac", "seconds": 3600.0},
    {"id": "d", "path": "elsewhere/d.wav", "seconds": 360.0},
    {"id": "short", "path": "one/short.wav", "seconds": 0.2, "corpus": "librispeech"},
    {"id": "test", "path": "one/test.wav", "seconds": 999.0, "corpus": "librispeech", "split": "test"},
]


def apart(one, other):
    """Return the largest difference of two measurements, relative to each layer's size; infinite if forms differ."""
    if (one.frames, len(one.norms)) != (other.frames, len(other.norms)):
        return math.inf
    found = [abs(a - b) / max(a, 1e-9) for a, b in zip(one.norms, other.norms, strict=True)]
    for size, mine, theirs in zip(one.norms, one.values, other.values, strict=True):
        found += [abs(a - b) / max(size, 1e-9) for a, b in zip(mine, theirs, strict=True)]
    return max(found)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    manifest = folder.parent / "m.jsonl"
    rows = [{"start": 0.0, "sample_rate": 16000, "split": "train", **row} for row in ROWS]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [*SMALL, f"data.manifest={manifest}", "data.valid_share=0"]
    recipe = load_recipe("hubert_visible_tiny", settings)
    write_text(folder / "recipe.yaml", recipe_yaml(recipe))
    command = f"/x/__main__.py pretrain tiny {settings[-2]} --out {folder}"
    record = replace(start_record({}, "abc"), command=command)
    build_model(ModelConfig(recipe.frontend, recipe.encoder, 16000)).eval().save_pretrained(folder)
    updates = [(1, 3600.0, 3600.0), (2, 7200.0, 1800.0), (3, 10800.0, 3600.0), (3, 10800.0, 1800.0)]
    lines = [{"step": s, "audio_seconds": a, "audio_seconds_per_second": speed} for s, a, speed in updates]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_run_record(folder, end_record(record, True, TrainedClips(len(ROWS), 0), 3))
    return folder


@pytest.fixture
def shelf(run, tmp_path):
    shelf = Shelf(tmp_path / "shelf")
    make_shipped(run, shelf, Release("toy", "A stand-in that knows nothing."))
    return shelf


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    samples = np.random.default_rng(0).normal(0, 0.1, 12000).astype(np.float32)
    soundfile.write(folder / "a.wav", samples, 16000)
    return folder
