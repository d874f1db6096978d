"""Every objective in a run: recipes without teachers or masks train, are checked, and go on where they stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.make_targets import make_targets
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.update import Updater
from tests.pretrain.conftest import MakeManifest

SHARED = """
kind: masked_prediction
steps: 4
seed: 3
device: cpu
data: {sample_rate: 16000, crop_seconds: 1.0, min_seconds: 0.5, seconds_per_update: 4.0, seconds_per_batch: 2.0}
optim: {lr: 1.0e-3, warmup_steps: 2}
frontend: {kind: conv, channels: [8, 8, 8, 8, 8, 8, 16]}
encoder: {kind: transformer, layers: 2, dim: 32, ffn_dim: 64, heads: 2, position_kernel_frames: 16, position_groups: 4}
mixing: null
checkpoint: {every: 2, valid_every: 2}
"""

OBJECTIVES = {
    "contrastive": """
objectives: [{kind: contrastive, codebook_size: 8, code_dim: 16, final_dim: 16, negatives: 10}]
""",
    "distillation": """
teachers: [{kind: ema, layers: 2, decay_start: 0.5, decay_end: 0.9, decay_steps: 4}]
objectives: [{kind: distillation, teacher: 0}]
mixing: {prob: 1.0, min_seconds: 0.1, max_seconds: 0.2}
""",
    # As SpidR, on visible frames, with a second teacher whose targets come with the batch.
    "layer_by_layer": """
teachers:
  - {kind: online_clustering, layers: 2, decay_start: 0.5, decay_end: 0.9, decay_steps: 4, codebook_size: 8}
  - {kind: cqt, n_bins: 24, bins_per_octave: 6, log: true}
objectives:
  - {kind: masked_codes, teacher: 0, head: linear, layer_by_layer: true}
  - {kind: reconstruction, teacher: 1}
mask: {prob: 0.5, length_frames: 4, clones: 2}
decoder: {layers: 1, dim: 16, groups: 4}
feature_penalty: 0.0
""",
    "autoregressive": """
frontend: {kind: mel, n_mels: 20, stack: 1}
encoder: {kind: gru, layers: 2, dim: 32}
teachers: [{kind: mel, n_mels: 20, stack: 1}]
objectives: [{kind: autoregressive, teacher: 0, ahead_frames: 5, codes: 8}]
mask: null
feature_penalty: 0.0
""",
    "cpc": """
encoder: {kind: gru, layers: 1, dim: 32}
objectives: [{kind: cpc, steps: 4, negatives: 10, heads: 2}]
mask: null
""",
    # As MuQ: batch norms whose statistics follow the updates, noise in the waveform, updates of several groups.
    "masked_codes": """
data: {sample_rate: 16000, crop_seconds: 1.0, min_seconds: 0.5, seconds_per_update: 4.0, seconds_per_group: 1.0,
  seconds_per_batch: 2.0}
frontend: {kind: mel_res2d, n_mels: 20, window_seconds: 0.025, channels: 4, dim: 32}
encoder: {kind: conformer, form: muq, layers: 2, dim: 32, ffn_dim: 48, heads: 2, kernel_frames: 7, layer_drop: 0.1}
teachers:
  - {kind: mel_rvq, n_mels: 20, window_seconds: 0.025, codebooks: 2, codebook_size: 8, code_dim: 4, fit_steps: 5}
objectives: [{kind: masked_codes, head: linear, codebook_loss: mean}]
mask: {prob: 0.6, length_frames: 5, blocks: true, fill: waveform_noise}
feature_penalty: 0.0
""",
}


def write(folder: Path, name: str, **changes: Any) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(SHARED), **yaml.safe_load(OBJECTIVES[name]), **changes}))
    return str(path)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_it_trains_in_bfloat16(name: str, make_manifest: MakeManifest, tmp_path: Path) -> None:
    recipe = write(tmp_path, name, precision="bfloat16", steps=1)
    out = pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
    assert [row["skipped_steps"] for row in rows(out)] == [0]
    assert rows(out)[0]["valid_loss"] > 0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_it_trains_and_resumes(
    name: str, make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(tmp_path, name)
    overrides = [f"data.manifest={make_manifest()}"]
    whole = pretrain(recipe, overrides, tmp_path / "whole")
    assert [row["skipped_steps"] for row in rows(whole)] == [0] * 4
    assert {"valid_loss", f"valid_loss_{rows_name(name)}"} <= rows(whole)[-1].keys()
    cut, finish, calls = tmp_path / "cut", Updater.finish, 0

    def dying(self: Updater, step: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("killed")
        return finish(self, step)

    monkeypatch.setattr(Updater, "finish", dying)
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(recipe, overrides, cut)
    monkeypatch.undo()
    pretrain(recipe, overrides, cut, resume=True)
    for name in ("loss", "valid_loss"):
        assert [row.get(name) for row in rows(cut)] == [row.get(name) for row in rows(whole)]
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_averaged_teacher_is_in_the_checkpoint_and_not_in_the_optimiser(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    out = pretrain(write(tmp_path, "distillation"), [f"data.manifest={make_manifest()}"], tmp_path / "run")
    start, end = (load_file(out / "state" / f"step_{step}" / "model.safetensors") for step in (2, 4))
    name = "online.0.model.encoder.blocks.0.inner.weight"
    assert not torch.equal(start[name], end[name])
    assert not torch.equal(end[name], end[name.removeprefix("online.0.")])
    shared = "model.frontend.convs.0.weight"
    assert torch.equal(end[f"online.0.{shared}"], end[shared])
    moments = load_file(out / "state" / "step_4" / "optimizer.safetensors")
    assert moments
    assert not any("online" in key for key in moments)
    assert not any("online" in key for key in load_file(out / "model.safetensors"))
    last = rows(out)[-1]
    assert last["target_variance"] > 0.5
    assert "prediction_variance" in last


def test_a_stored_and_an_averaged_teacher_in_one_recipe(make_manifest: MakeManifest, tmp_path: Path) -> None:
    cqt = {"kind": "cqt", "n_bins": 24, "bins_per_octave": 6, "log": True}
    objectives = [{"kind": "reconstruction", "teacher": 1}, {"kind": "distillation", "teacher": 0}]
    teachers = [{"kind": "ema", "layers": 1}, cqt]
    recipe = write(tmp_path, "distillation", teachers=teachers, objectives=objectives)
    overrides = [f"data.manifest={make_manifest()}"]
    out = pretrain(recipe, overrides, tmp_path / "run")
    assert {"loss_ema", "loss_cqt", "cqt_mse"} <= rows(out)[-1].keys()
    store = make_targets(recipe, overrides, tmp_path / "store")
    again = pretrain(recipe, [*overrides, f"data.targets={store}"], tmp_path / "again")
    assert [row["loss"] for row in rows(again)] == [row["loss"] for row in rows(out)]


def test_a_hidden_layer_that_is_not_there_is_refused(make_manifest: MakeManifest, tmp_path: Path) -> None:
    teachers = [{"kind": "random_projection", "n_mels": 20, "stack": 2, "codebook_size": 16}]
    objectives = [{"kind": "masked_codes", "final_dim": 8, "layers": [1, 3]}]
    recipe = write(tmp_path, "distillation", teachers=teachers, objectives=objectives)
    with pytest.raises(UserError, match=r"\$\.objectives\[0\]\.layers: `layers` names hidden layer 3, but .* has 2"):
        pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")


def rows_name(name: str) -> str:
    """Return what a loss is called in the log: its teacher, or itself where it has none."""
    teachers = yaml.safe_load(OBJECTIVES[name]).get("teachers")
    return str(teachers[0]["kind"] if teachers else name)


def test_no_targets_are_stored_where_no_teacher_has_any(make_manifest: MakeManifest, tmp_path: Path) -> None:
    overrides = [f"data.manifest={make_manifest()}"]
    with pytest.raises(UserError, match=r"\$\.teachers: no teacher of this recipe has targets to store"):
        make_targets(write(tmp_path, "contrastive"), overrides, tmp_path / "store")
    with pytest.raises(UserError, match=r"\$\.data\.targets: no teacher of this recipe has targets to store"):
        pretrain(write(tmp_path, "contrastive"), [*overrides, f"data.targets={tmp_path}"], tmp_path / "run")


def test_an_objective_about_hidden_frames_needs_a_mask(make_manifest: MakeManifest, tmp_path: Path) -> None:
    recipe = write(tmp_path, "contrastive", mask=None)
    with pytest.raises(UserError, match=r"\$\.objectives\[0\]: contrastive needs frames hidden"):
        pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
