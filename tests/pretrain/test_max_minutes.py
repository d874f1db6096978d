"""A run whose time is over: a checkpoint, a model and a card, and the same bits as ever when it goes on."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.features.load import load
from audio_ssl.models.model import SSLModel
from audio_ssl.pretrain import update
from audio_ssl.pretrain.checkpoint import checkpoints, read_state
from audio_ssl.pretrain.loop import train
from audio_ssl.pretrain.run import pretrain
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.test_loop import results
from tests.pretrain.test_run import SMALL, losses
from tests.pretrain.toy import toy_job

OVER = "max_minutes=1e-9"


def provenance(out: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((out / "provenance.json").read_text())
    return data


def run_to_the_end(recipe: Path, settings: list[str], out: Path, kind: type[Exception] | None = None) -> int:
    """Go on with a run whose time is over after every update; return how often the command was needed."""
    for number in range(1, 30):
        try:
            pretrain(str(recipe), [*settings, OVER], out, resume=number > 1)
        except StoppedBySignal:
            assert kind is StoppedBySignal
        if provenance(out)["finished"]:
            return number
    raise AssertionError("the run never ends")


@pytest.mark.parametrize("engine", ["torch", "fairseq2"])
def test_training_ends_after_the_update_in_work_and_goes_on_bit_for_bit(
    engine: str, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    if engine == "fairseq2":
        pytest.importorskip("fairseq2")
    from audio_ssl.base.catalog import load_part

    trained = load_part("pretrain/engines", engine).train
    manifest = make_manifest()
    cut = dataclasses.replace(toy_job(manifest, tmp_path / "cut"), deadline=time.monotonic())
    assert trained(cut) == 1
    assert trained(dataclasses.replace(toy_job(manifest, tmp_path / "cut"), deadline=time.monotonic())) == 2
    assert trained(dataclasses.replace(toy_job(manifest, tmp_path / "cut"), deadline=time.monotonic() + 3600)) == 12
    train(toy_job(manifest, tmp_path / "whole"))
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_run_whose_time_is_over_is_a_model_and_not_finished(
    make_manifest: MakeManifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, out = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(SMALL)
    settings = [f"data.manifest={make_manifest()}"]
    with caplog.at_level("INFO"):
        pretrain(str(recipe), [*settings, OVER], out)
    assert "holds the model of step 1 of 6; continue with --resume" in caplog.text
    assert SSLModel.from_pretrained(out).num_layers == 2
    assert "| steps | 1 of 6, when its time was over |" in (out / "README.md").read_text()
    assert provenance(out)["finished"] is False
    assert provenance(out)["steps_done"] == 1
    assert read_state(checkpoints(out / "state")[-1]).step == 1

    # Another limit, or none, is no other recipe.
    pretrain(str(recipe), settings, out, resume=True)
    assert provenance(out)["finished"] is True
    assert provenance(out)["steps_done"] == 6
    assert "| steps | 6 |" in (out / "README.md").read_text()
    whole = pretrain(str(recipe), settings, tmp_path / "whole")
    assert losses(out) == losses(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert provenance(out)["recipe_hash"] == provenance(whole)["recipe_hash"]


def test_a_run_that_goes_on_and_is_killed_is_its_newest_checkpoint(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(SMALL)
    settings = [f"data.manifest={make_manifest()}"]
    pretrain(str(recipe), [*settings, OVER], out)
    first = load(out).fingerprint
    finish = update.Updater.finish

    def dying(self: update.Updater, step: int) -> Any:
        if step == 4:
            raise RuntimeError("killed")
        return finish(self, step)

    monkeypatch.setattr(update.Updater, "finish", dying)
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(str(recipe), settings, out, resume=True)
    assert load(out).fingerprint == load(out / "state" / "step_4").fingerprint != first


def test_iterations_end_in_the_one_in_work(make_manifest: MakeManifest, tmp_path: Path) -> None:
    data = yaml.safe_load(SMALL)
    del data["teachers"]
    data["objectives"] = [{"kind": "masked_codes"}]
    data["iterations"] = [
        {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 4}]},
        {"share": 2.0, "teachers": [{"kind": "kmeans", "clusters": 6, "model": "previous", "layer": 1}]},
    ]
    recipe, out = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(data))
    settings = [f"data.manifest={make_manifest()}"]
    pretrain(str(recipe), [*settings, OVER], out)
    assert (out / "model.safetensors").read_bytes() == (out / "iteration_1" / "model.safetensors").read_bytes()
    assert not (out / "iteration_2").exists()
    # One command an iteration's last update or less: the next iteration begins in the same command.
    assert run_to_the_end(recipe, settings, tmp_path / "often") == 5
    whole = pretrain(str(recipe), settings, tmp_path / "whole")
    assert losses(tmp_path / "often") == losses(whole)
    assert (tmp_path / "often" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_codec_that_is_not_finished_teaches_nothing(make_manifest: MakeManifest, tmp_path: Path) -> None:
    data = yaml.safe_load(SMALL)
    data["teachers"] = [{"kind": "rvq"}]
    data["objectives"] = [{"kind": "masked_codes"}]
    data["codec"] = {"recipe": "codec_tiny", "steps": 2}
    recipe, out = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(data))
    settings = [f"data.manifest={make_manifest()}", "steps=2"]
    with pytest.raises(StoppedBySignal, match=r"`max_minutes` 1e-09 are over while .*codec was trained.*--resume"):
        pretrain(str(recipe), [*settings, OVER], out)
    assert not (out / "model.safetensors").exists()
    assert run_to_the_end(recipe, settings, tmp_path / "often", StoppedBySignal) == 3
    whole = pretrain(str(recipe), settings, tmp_path / "whole")
    assert losses(tmp_path / "often") == losses(whole)


def test_no_time_at_all_is_refused(make_manifest: MakeManifest, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    settings = [f"data.manifest={make_manifest()}", "max_minutes=0"]
    with pytest.raises(UserError, match=r"\$\.max_minutes: `max_minutes` must be above 0, but is 0"):
        pretrain(str(tmp_path / "small.yaml"), settings, tmp_path / "run")
