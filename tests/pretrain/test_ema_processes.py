"""A teacher that follows the model, on several processes: data2vec 2.0 and DinoSR in small train as on one."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from audio_ssl.pretrain.distributed import Team
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.run import pretrain, run_recipe
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.processes import start
from tests.pretrain.test_objectives import SHARED

TEACHERS = """
teachers:
  - {kind: ema, layers: 2, average: transformer, decay_start: 0.5, decay_end: 0.9, decay_steps: 4}
  - {kind: online_clustering, layers: 2, decay_start: 0.5, decay_end: 0.9, decay_steps: 4, codebook_size: 8}
objectives: [{kind: distillation, projection: false}, {kind: masked_codes, teacher: 1, head: linear}]
"""

RECIPE = """
steps: 3
mask: {prob: 0.5, length_frames: 4, adjust: 0.05, clones: 2}
decoder: {layers: 1, dim: 16, groups: 4, dropout: 0.0}
feature_penalty: 0.0
"""


def two_processes(team: Team, manifest: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    for mode in ("ddp", "fsdp2"):
        recipe = load_recipe(str(folder / "small.yaml"), [f"data.manifest={manifest}", f"parallel={mode}"])
        run_recipe(recipe, folder / mode, False, team)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_losses_model_and_teacher_are_those_of_one_process(make_manifest: MakeManifest, tmp_path: Path) -> None:
    data = {**yaml.safe_load(SHARED), **yaml.safe_load(TEACHERS), **yaml.safe_load(RECIPE)}
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0, "layer_drop": 0.0}
    data["encoder"] = {**data["encoder"], **quiet, "alibi": True}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(data))
    manifest = make_manifest()
    alone = pretrain(str(tmp_path / "small.yaml"), [f"data.manifest={manifest}"], tmp_path / "alone")
    start(two_processes, 2, manifest, tmp_path)
    expected = load_file(alone / "state" / "step_3" / "model.safetensors")
    assert any(name.startswith("online.0.model.encoder.blocks") for name in expected)
    assert {f"online.1.codebooks.{name}" for name in ("sums", "sizes")} <= set(expected)
    assert not torch.equal(expected["online.1.codebooks.sizes"], torch.ones(2, 8))
    for mode in ("ddp", "fsdp2"):
        assert losses(tmp_path / mode) == pytest.approx(losses(alone), rel=1e-4)
        found = load_file(tmp_path / mode / "state" / "step_3" / "model.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
