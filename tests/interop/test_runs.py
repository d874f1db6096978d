"""A run that was stopped early is a model: that of its newest checkpoint that can be read."""

import json
import logging
import shutil

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from audio_ssl import __main__
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.features.load import load
from audio_ssl.interop.read import read_model
from audio_ssl.models.model import fingerprint
from audio_ssl.pretrain.run import pretrain

SMALL = {
    "kind": "masked_prediction",
    "steps": 4,
    "device": "cpu",
    "data": {"sample_rate": 16000, "crop_seconds": 0.5, "min_seconds": 0.2, "seconds_per_update": 1.0},
    "frontend": {"kind": "conv", "channels": [8] * 7},
    "encoder": {"kind": "transformer", "layers": 1, "dim": 16, "ffn_dim": 16, "heads": 2, "position_groups": 2},
    "normalize": True,
    "teachers": [{"kind": "random_projection", "n_mels": 20, "stack": 2, "codebook_size": 8}],
    "objectives": [{"kind": "masked_codes", "teacher": 0, "final_dim": 4}],
    "mixing": None,
    "checkpoint": {"every": 2, "keep_last": 2, "valid_every": 100},
}


def train(folder, **changes):
    rng, clips = np.random.default_rng(0), []
    for name, samples in (("a", 10000), ("b", 12000)):
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, samples).astype(np.float32), 16000)
        clips.append(Clip(name, str(folder / f"{name}.wav"), 0.0, samples / 16000, 16000))
    write_manifest(folder / "m.jsonl", clips)
    (folder / "small.yaml").write_text(yaml.safe_dump({**SMALL, **changes}))
    return pretrain(str(folder / "small.yaml"), [f"data.manifest={folder / 'm.jsonl'}"], folder / "run")


def stopped(run):
    """Make a finished run one that was stopped after its last checkpoint."""
    for name in ("config.json", "model.safetensors", "README.md"):
        (run / name).unlink()
    mark(run, False)


def mark(run, finished):
    data = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**data, "finished": finished}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_the_newest_checkpoint_is_the_model(run, tmp_path, caplog):
    finished = read_model(run)
    assert not caplog.records
    stopped(run)
    found = load(run)
    assert caplog.messages == [f"{run}: the run is not finished; the model is that of step 4 of 4"]
    assert found.fingerprint == fingerprint(finished)
    assert found.config == finished.config
    assert not found.model.training
    assert load(f"{run}?normalize=false").config.normalize is False


def test_a_checkpoint_can_be_named(run, caplog):
    first, last = (read_model(run / "state" / f"step_{step}") for step in (2, 4))
    assert fingerprint(first) != fingerprint(last) == fingerprint(read_model(run))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_damaged_checkpoint_makes_way_for_the_one_before(run, caplog):
    expected = fingerprint(read_model(run / "state" / "step_2"))
    stopped(run)
    weights = run / "state" / "step_4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert fingerprint(read_model(run)) == expected
    assert "using the checkpoint before it" in caplog.messages[0]
    assert caplog.messages[-1].endswith("the model is that of step 2 of 4")
    shutil.rmtree(run / "state" / "step_2")
    with pytest.raises(UserError, match=r"step_4.*weights cannot be read"):
        read_model(run)


def test_checkpoints_as_the_engine_fairseq2_leaves_them(run):
    finished = fingerprint(read_model(run))
    stopped(run)
    folder = run / "state" / "step_4"
    (folder / "model" / "pp_00" / "tp_00").mkdir(parents=True)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "model" / "pp_00" / "tp_00" / "sdp_00.pt")
    for path in (weights, folder / "optimizer.safetensors", folder / "state.json"):
        path.unlink()
    assert fingerprint(read_model(run)) == fingerprint(read_model(folder)) == finished


def test_the_average_is_the_model_where_the_run_averages(tmp_path):
    run = train(tmp_path, weights_ema=0.9)
    finished = fingerprint(read_model(run))
    stopped(run)
    assert fingerprint(read_model(run)) == finished
    (run / "state" / "step_4" / "average.safetensors").unlink()
    assert fingerprint(read_model(run)) != finished


def test_of_several_iterations_the_last_that_has_a_model(tmp_path, caplog):
    run = train(tmp_path, iterations=[{"share": 1.0, "teachers": SMALL["teachers"]}] * 2, teachers=[])
    finished, first = fingerprint(read_model(run)), fingerprint(read_model(run / "iteration_1"))
    stopped(run)
    for name in ("config.json", "model.safetensors"):
        (run / "iteration_2" / name).unlink()
    assert fingerprint(read_model(run)) == finished
    assert caplog.messages[-1].endswith("the model is that of iteration 2, step 2")
    # The model of an iteration that was out of time is older than its newest checkpoint.
    for name in ("config.json", "model.safetensors"):
        shutil.copy(run / "iteration_1" / name, run / "iteration_2")
    mark(run / "iteration_2", False)
    assert fingerprint(read_model(run)) == finished
    shutil.rmtree(run / "iteration_2")
    assert fingerprint(read_model(run)) == first
    assert caplog.messages[-1].endswith("the model is that of iteration 1, as it was saved")


def test_an_iteration_with_settings_of_its_own_is_read_by_them(tmp_path):
    rounds = [{"share": 1.0, "teachers": SMALL["teachers"]}] * 2
    run = train(tmp_path, iterations=[{**rounds[0], "settings": ["encoder.ffn_dim=24"]}, rounds[1]], teachers=[])
    stopped(run)
    second = read_model(run / "iteration_2" / "state" / "step_2")
    assert second.config.encoder.ffn_dim == 16
    assert fingerprint(second) == fingerprint(read_model(run))
    shutil.rmtree(run / "iteration_2")
    first = fingerprint(read_model(run / "iteration_1"))
    for name in ("config.json", "model.safetensors"):
        (run / "iteration_1" / name).unlink()
    found = read_model(run)
    assert found.config.encoder.ffn_dim == 24
    assert fingerprint(found) == first
    assert fingerprint(read_model(run / "iteration_1" / "state" / "step_2")) == first


def test_a_run_without_a_checkpoint_says_how_to_go_on(run):
    stopped(run)
    shutil.rmtree(run / "state")
    command = f"audio-ssl pretrain {run / 'recipe.yaml'} --out {run} --resume"
    with pytest.raises(UserError, match="no model yet: it ended before its first checkpoint") as raised:
        load(run)
    assert raised.value.remedy == f"`{command}` goes on with it"
    assert __main__.run(command.split()[1:]) == 0
    assert load(run).num_layers == 1


def test_a_finished_run_that_has_lost_its_model_says_so(run, caplog):
    expected = fingerprint(read_model(run))
    stopped(run)
    mark(run, True)
    assert fingerprint(read_model(run)) == expected
    assert caplog.messages == [
        f"{run}: the run is marked finished, but its model.safetensors is missing; the model is that of step 4 of 4"
    ]
    shutil.rmtree(run / "state")
    with pytest.raises(UserError, match=r"marked finished, but its model.safetensors is missing, and there is no"):
        read_model(run)


def test_a_run_that_trains_no_model_is_refused(run):
    stopped(run)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    del recipe["encoder"]
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "kind": "codec"}))
    with pytest.raises(UserError, match="recipe is of kind 'codec', which trains no model"):
        read_model(run)


def test_a_store_of_targets_is_no_run(run, tmp_path):
    store = tmp_path / "targets"
    store.mkdir()
    shutil.copy(run / "recipe.yaml", store)
    (store / "meta.json").write_text("{}")
    with pytest.raises(UserError, match=r"contains no model: config.json is missing"):
        read_model(store)


def test_commands_take_a_run_that_was_stopped(run, trained, tmp_path, capsys):
    stopped(run)
    clip = trained.parent / "a.wav"
    for command in (
        ["extract", str(clip), str(run), "--out", str(tmp_path / "features")],
        ["export", str(run), "--out", str(tmp_path / "export")],
        ["report", str(run), "--out", str(tmp_path / "report.html")],
    ):
        assert __main__.run(command) == 0, capsys.readouterr().err
    assert fingerprint(read_model(tmp_path / "export")) == fingerprint(read_model(run))
