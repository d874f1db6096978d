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
from tests.recipes import PUBLISHED, shrunk, stand_ins

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
    """Return the log of the updates; what a model is worth before the first one is left out."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["step"]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipe_has_a_tiny_twin(name: str) -> None:
    twins = {"mert_95m": "mert_tiny", "mert_95m_kmeans": "mert_kmeans_tiny", "codec_16khz": "codec_tiny"}
    assert twins.get(name, f"{name.removesuffix('_base')}_tiny") in catalog.names("recipes")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_recipe_trains_two_steps_and_resumes(
    name: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"data.manifest={manifest}", *SMALL, *shrunk(name), *stand_ins(name, tmp_path / "models")]
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
