"""Every recipe trains two steps in tiny form on synthetic clips, and goes on from its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_ssl.base import catalog
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.update import Updater

SMALL = [
    "steps=2",
    "checkpoint.every=1",
    "checkpoint.valid_every=2",
    "device=cpu",
    "data.crop_seconds=1.0",
    "data.min_seconds=0.5",
    "data.seconds_per_update=3.0",
    "data.seconds_per_batch=2.0",
]

SMALL_MODEL = ["encoder.layers=1", "encoder.dim=32", "encoder.ffn_dim=32", "encoder.heads=2"]
SMALL_DECODER = ["decoder.layers=1", "decoder.dim=16", "decoder.groups=4"]
SMALL_CONV = ["frontend.channels=[8,8,8,8,8,8,16]"]

# Their first layer reads the frames, so it is as wide as these or wider; CPC's context is as wide as its features.
SMALL_APC = ["encoder.layers=1", "encoder.dim=80"]
SMALL_CPC = ["frontend.channels=[8,8,8,8,8]", "encoder.dim=8"]
TWO_ITERATIONS = [
    "iterations.0.teachers.0.clusters=5",
    "iterations.1.teachers.0.clusters=5",
    "iterations.1.teachers.0.layer=1",
]
# EnCodec's weights are its authors' to give out; random ones stand in for them here.
RANDOM_ENCODEC = ["teachers.0.random_weights=true"]
SMALL_QUANTISER = ["objectives.0.codebook_size=8", "objectives.0.code_dim=8", "objectives.0.negatives=4"]

SMALL_RES2D = ["frontend.channels=4", "frontend.dim=32"]
SMALL_RVQ = ["teachers.0.codebooks=2", "teachers.0.codebook_size=8", "teachers.0.fit_steps=2"]
SMALL_STAGES = ["teachers.0.codebooks=2", "teachers.0.codebook_size=8", "teachers.0.code_dim=4"]

SMALL_CODEBOOKS = ["teachers.0.layers=1", "teachers.0.codebook_size=8"]

SMALL_LABELS = [
    "teachers.0.clusters=5",
    "teachers.1.codebooks=2",
    "teachers.1.codebook_size=8",
    "teachers.2.clusters=5",
]

TINY: dict[str, list[str]] = {
    "apc": SMALL_APC,
    "apc_tiny": SMALL_APC,
    "bestrq_base": [*SMALL_MODEL, "teachers.0.codebook_size=16"],
    "bestrq_tiny": [*SMALL_MODEL, "teachers.0.codebook_size=16"],
    "codec_16khz": ["codec.filters=2", "codec.dim=8", "codec.codebook_size=16"],
    "codec_24khz": ["codec.filters=2", "codec.dim=8", "codec.codebook_size=16"],
    "codec_24khz_tiny": ["codec.filters=2", "codec.dim=8", "codec.codebook_size=16"],
    "codec_tiny": ["codec.filters=2", "codec.dim=8", "codec.codebook_size=16"],
    "cpc": SMALL_CPC,
    "cpc_tiny": SMALL_CPC,
    "data2vec2_base": [*SMALL_MODEL, *SMALL_CONV, *SMALL_DECODER, "teachers.0.layers=1", "mask.clones=2"],
    "data2vec2_tiny": [*SMALL_MODEL, *SMALL_CONV, *SMALL_DECODER, "teachers.0.layers=1"],
    "data2vec_base": [*SMALL_MODEL, *SMALL_CONV, "teachers.0.layers=1"],
    "data2vec_tiny": [*SMALL_MODEL, *SMALL_CONV, "teachers.0.layers=1"],
    "demo": [*SMALL_MODEL, *SMALL_DECODER, *SMALL_STAGES, "teachers.2.clusters=5"],
    "dinosr_base": [*SMALL_MODEL, *SMALL_CONV, *SMALL_CODEBOOKS],
    "dinosr_tiny": [*SMALL_MODEL, *SMALL_DECODER, *SMALL_CODEBOOKS],
    "hubert_base": [*SMALL_MODEL, *SMALL_CONV, *TWO_ITERATIONS],
    "hubert_mel_tiny": [*SMALL_MODEL, "teachers.0.clusters=5"],
    "hubert_tiny": [*SMALL_MODEL, *SMALL_CONV, *TWO_ITERATIONS],
    "hubert_visible_tiny": [*SMALL_MODEL, *SMALL_DECODER, "teachers.0.clusters=5"],
    "mert_330m": [*SMALL_MODEL, *SMALL_CONV, *RANDOM_ENCODEC],
    "mert_330m_tiny": [*SMALL_MODEL, *SMALL_CONV, "codec.steps=1"],
    "mert_95m": [*SMALL_MODEL, *SMALL_CONV, *RANDOM_ENCODEC],
    "mert_95m_kmeans": [*SMALL_MODEL, *SMALL_CONV, "teachers.0.clusters=5", "teachers.1.clusters=5"],
    "mert_cqt_tiny": [*SMALL_MODEL, "teachers.0.clusters=5", "teachers.1.clusters=5"],
    "mert_kmeans_tiny": [*SMALL_MODEL, *SMALL_CONV, "teachers.0.clusters=5", "teachers.1.clusters=5"],
    "mert_visible_tiny": [*SMALL_MODEL, "teachers.0.clusters=5", "teachers.1.clusters=5"],
    "mert_mel_tiny": [*SMALL_MODEL, "teachers.0.clusters=5", "teachers.1.clusters=5"],
    "mert_tiny": [*SMALL_MODEL, *SMALL_CONV, "codec.steps=1"],
    "muq_style": [*SMALL_MODEL, *SMALL_RES2D, *SMALL_RVQ],
    "muq_style_tiny": [*SMALL_MODEL, *SMALL_RES2D, *SMALL_RVQ],
    "small": [*SMALL_MODEL, *SMALL_DECODER, *SMALL_LABELS],
    "spidr_style": [*SMALL_MODEL, *SMALL_CONV, *SMALL_CODEBOOKS],
    "spidr_style_tiny": [*SMALL_MODEL, *SMALL_DECODER, *SMALL_CODEBOOKS, "encoder.layers=2", "teachers.0.layers=2"],
    "wav2vec2_base": [*SMALL_MODEL, *SMALL_CONV, *SMALL_QUANTISER],
    "wav2vec2_tiny": [*SMALL_MODEL, *SMALL_CONV, *SMALL_QUANTISER],
    "wavlm_base": [*SMALL_MODEL, *SMALL_CONV, *TWO_ITERATIONS],
    "wavlm_tiny": [*SMALL_MODEL, *SMALL_CONV, "teachers.0.clusters=5"],
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    clips = []
    for number, seconds in enumerate((1.1, 1.3, 1.6, 1.2, 1.4, 1.5)):
        samples = int(seconds * 22050)
        tone = np.sin(2 * np.pi * 220 * (number + 1) * np.arange(samples) / 22050)
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.3 * tone + 0.05 * rng.standard_normal(samples), 22050)
        clips.append(Clip(f"c{number}", str(path), 0.0, samples / 22050, 22050))
    write_manifest(folder / "m.jsonl", clips)
    return folder / "m.jsonl"


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_every_recipe_is_here() -> None:
    assert sorted(TINY) == catalog.names("recipes")


@pytest.mark.parametrize(
    "name", [name for name in catalog.names("recipes") if not name.endswith(("_tiny", "demo", "small"))]
)
def test_published_recipe_has_a_tiny_twin(name: str) -> None:
    twins = {"mert_95m": "mert_tiny", "mert_95m_kmeans": "mert_kmeans_tiny", "codec_16khz": "codec_tiny"}
    assert twins.get(name, f"{name.removesuffix('_base')}_tiny") in catalog.names("recipes")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", sorted(TINY))
def test_recipe_trains_two_steps_and_resumes(
    name: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"data.manifest={manifest}", *SMALL, *TINY[name]]
    whole = pretrain(name, overrides, tmp_path / "whole")
    assert [row["step"] for row in rows(whole)] == [1, 2]
    for row in rows(whole):
        assert row["loss"] > 0
        assert {"lr", "grad_norm", "audio_seconds_per_second"} <= row.keys()
        assert row["skipped_steps"] == 0
    assert "valid_loss" in rows(whole)[1]
    assert {"recipe.yaml", "config.json", "model.safetensors", "README.md"} <= {p.name for p in whole.iterdir()}

    cut, finish = tmp_path / "cut", Updater.finish

    def dying(self: Updater, step: int) -> Any:
        if (cut / "metrics.jsonl").is_file() and len(rows(cut)) == 1:
            raise RuntimeError("killed")
        return finish(self, step)

    monkeypatch.setattr(Updater, "finish", dying)
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(name, overrides, cut)
    monkeypatch.undo()
    pretrain(name, overrides, cut, resume=True)
    assert [row["loss"] for row in rows(cut)] == [row["loss"] for row in rows(whole)]
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
