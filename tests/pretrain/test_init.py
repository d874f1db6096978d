"""A run that begins from a trained model of ours: what is taken, what follows it, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from audio_ssl.artifacts.run import read_run_record
from audio_ssl.artifacts.run_beginning import RunBeginning
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.models.model import SSLModel
from audio_ssl.pretrain.going_on import rates_in_words
from audio_ssl.pretrain.init import chosen_layers
from audio_ssl.pretrain.kinds.masked_prediction import Config, model_config
from audio_ssl.pretrain.make_targets import make_targets
from audio_ssl.pretrain.recipe import load_recipe, open_recipe, plain
from audio_ssl.pretrain.run import pretrain
from tests.pretrain.test_parallel import processes

AUDIO = """
kind: masked_prediction
seed: 3
device: cpu
data: {crop_seconds: 1.0, min_seconds: 0.5, seconds_per_update: 2.0, seconds_per_group: 1.0, seconds_per_batch: 1.0}
optim: {lr: 1.0e-2, warmup_steps: 0, schedule: constant}
mixing: null
checkpoint: {every: 2, valid_every: 4}
"""
LEARNING = """
teachers:
  - {kind: ema, layers: 1}
  - {kind: kmeans, features: mfcc, clusters: 6, hop_samples: 320}
  - {kind: random_projection, n_mels: 20, stack: 2, codebook_size: 8}
objectives:
  - {kind: masked_codes, teacher: 1, final_dim: 8}
  - {kind: masked_codes, teacher: 2, head: linear}
  - {kind: distillation, teacher: 0}
decoder: {layers: 1, dim: 16, kernel_frames: 3, groups: 4}
"""
SHAPE = """
frontend: {kind: conv, channels: [8, 8, 8, 8, 8, 8, 16]}
encoder: {kind: transformer, layers: 2, dim: 32, ffn_dim: 64, heads: 2, position_kernel_frames: 16, position_groups: 4,
  dropout: 0.0, layer_drop: 0.0, attention_dropout: 0.0, input_dropout: 0.0}
normalize: true
"""
TAKEN = ["frontend and encoder of 2 layers", "teacher 0", "head kmeans", "head random_projection", "head ema"]


def clips(folder: Path, seed: int) -> Path:
    folder.mkdir()
    random, rows = np.random.default_rng(seed), []
    for number in range(5):
        time = np.arange(17600) / 16000
        wave = 0.3 * np.sin(2 * np.pi * 110 * (number + seed) * time) + 0.05 * random.standard_normal(len(time))
        soundfile.write(folder / f"{number}.wav", wave.astype(np.float32), 16000, subtype="FLOAT")
        split = "valid" if number == 4 else "train"
        rows.append(Clip(f"{seed}-{number}", str(folder / f"{number}.wav"), 0.0, 1.1, 16000, split=split))
    write_manifest(folder / "m.jsonl", rows)
    return folder / "m.jsonl"


class Place:
    """A trained run, other audio, and recipes with and without the shape of its model."""

    def __init__(self, folder: Path) -> None:
        self.own, self.other = (clips(folder / f"audio{seed}", seed) for seed in (1, 2))
        (folder / "whole.yaml").write_text(AUDIO + "steps: 4\n" + LEARNING + SHAPE)
        (folder / "open.yaml").write_text(AUDIO + "steps: 4\n" + LEARNING)
        self.whole, self.open = str(folder / "whole.yaml"), str(folder / "open.yaml")
        self.run = pretrain(self.whole, [f"data.manifest={self.own}", "data.sample_rate=16000"], folder / "source")

    def begin(self, out: Path, *settings: str, recipe: str | None = None, **more: Any) -> Path:
        name = [f"init={self.run}"] if not any(one.startswith("init=") for one in settings) else []
        here = [f"data.manifest={self.own}"] if not any(one.startswith("data.manifest=") for one in settings) else []
        return pretrain(recipe or self.open, [*name, *here, *settings], out, **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("init"))


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def begun(out: Path) -> RunBeginning:
    record = read_run_record(out)
    assert record is not None
    assert record.begun is not None
    return record.begun


def state(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(out / "state" / f"step_{step}" / "model.safetensors")


def valid(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith("valid_")}


def test_a_run_goes_on_where_another_ended(place: Place, tmp_path: Path) -> None:
    out = place.begin(tmp_path / "run", "steps=2")
    assert begun(out).taken == (*TAKEN, "decoder")
    assert begun(out).fresh == ()
    assert begun(out).checkpoint == str(place.run / "state" / "step_4")
    before, after = rows(out)[0], rows(place.run)[-1]
    assert (before["step"], after["step"]) == (0, 4)
    assert valid(before) == valid(after)
    assert "valid_accuracy_0" in before
    # The teacher was brought along, to the bit, and needs no source to be opened again.
    assert [path.name for path in (out / "teachers").iterdir()] == ["0"]
    assert "It began from" in (out / "README.md").read_text()


def test_the_recipe_becomes_that_of_the_model(place: Place, tmp_path: Path) -> None:
    settings = [f"init={place.run}", f"data.manifest={place.own}"]
    completed = open_recipe(place.open, settings)
    source = load_recipe(str(place.run / "recipe.yaml"))
    assert isinstance(completed, Config)
    assert isinstance(source, Config)
    assert model_config(completed) == model_config(source)
    # A recipe that names the shape, too, is the same one; what regularises is what the recipe says.
    whole = open_recipe(place.whole, [*settings, "encoder.dropout=0.3", "encoder.layer_drop=0.2"])
    assert isinstance(whole, Config)
    assert (whole.encoder.dropout, whole.encoder.layer_drop, whole.encoder.dim) == (0.3, 0.2, 32)  # type: ignore[attr-defined]
    out = place.begin(tmp_path / "run", "steps=2")
    assert plain(open_recipe(str(out / "recipe.yaml"), [])) == {**plain(completed), "steps": 2}


WRONG = {
    "encoder={kind: transformer, dim: 48}": "$.encoder.dim: `encoder.dim` is 48 in the recipe, but 32 in the model",
    "encoder={kind: gru}": "$.encoder.kind: `encoder.kind` is gru in the recipe, but transformer in the model",
    "encoder={kind: transformer, layers: 1}": "give init.layers=1 to begin from its first 1 layers",
    "frontend={kind: conv, strides: [5,2,2,2,2,2,1]}": "$.frontend.strides: `frontend.strides` is [5, 2, 2, 2, 2, 2,",
    "normalize=false": "$.normalize: `normalize` is false in the recipe, but true in the model",
    "data.sample_rate=24000": "hears 16000 Hz, and audio of any rate is resampled to that",
    "init.layers=3": "$.init.layers: `init.layers` must be a number of first layers, every:N, or a rising list of",
    "init.layers=every:x": "$.init.layers: `init.layers` must be a number of first layers, every:N",
    "init.layers=[2,1]": "$.init.layers: `init.layers` must be a number of first layers, every:N",
    "init.freeze_updates=4": "`init.freeze_updates` must be at least 0 and below `steps` = 4, but is 4",
    "init.freeze=4": "$.init: unknown key `freeze`",
    "init=nobody": "$.init.model: there is no model `nobody`",
    "optim.layer_decay=0": "$.optim.layer_decay: must be above 0 and at most 1, but is 0",
    "init=12": "$.init.model: must be text, but is 12",
}


@pytest.mark.parametrize("setting", WRONG)
def test_what_is_wrong_is_refused_before_anything_is_written(place: Place, tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError) as caught:
        place.begin(tmp_path / "run", setting)
    assert WRONG[setting] in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_another_rate_is_named_in_both_places(place: Place, tmp_path: Path) -> None:
    settings = [f"init={place.run}?sample_rate=24000", "data.sample_rate=24000"]
    assert open_recipe(place.open, settings).data.sample_rate == 24000
    out = place.begin(tmp_path / "run", *settings, "steps=1", "teachers.2.hop_seconds=0.00666666667")
    # Nothing that was fitted to other frames comes along; what follows the model does.
    assert begun(out).taken == (TAKEN[0], "teacher 0", "head ema", "decoder")
    assert begun(out).fresh[0] == "head kmeans (the run heard audio at another sample rate)"


def test_stored_targets_have_the_labels_of_the_model_that_a_run_begins_from(place: Place, tmp_path: Path) -> None:
    settings = [f"init={place.run}", f"data.manifest={place.other}"]
    store = make_targets(place.open, settings, tmp_path / "store")
    out = place.begin(tmp_path / "run", *settings, f"data.targets={store}", "steps=1")
    assert begun(out).taken == (*TAKEN, "decoder")


def test_a_damaged_source_is_refused(place: Place, tmp_path: Path) -> None:
    copy = shutil.copytree(place.run, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(UserError, match="weights cannot be read"):
        place.begin(tmp_path / "run", f"init={copy}")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_gives_way_to_the_one_before(place: Place, tmp_path: Path) -> None:
    copy = shutil.copytree(place.run, tmp_path / "copy")
    (copy / "state" / "step_4" / "model.safetensors").write_bytes(b"")
    out = place.begin(tmp_path / "run", f"init={copy}", "steps=1")
    assert begun(out).checkpoint == str(copy / "state" / "step_2")
    assert (copy / "state" / "step_4").is_dir()


def test_other_audio_and_labels_that_are_fitted_anew(place: Place, tmp_path: Path) -> None:
    other = f"data.manifest={place.other}"
    assert begun(place.begin(tmp_path / "same", other, "steps=1")).fresh == ()
    out = place.begin(tmp_path / "anew", other, "steps=1", "init.teachers=false")
    assert begun(out).fresh == (
        "head kmeans (the kmeans teacher was fitted anew, so its labels are not those of the run)",
    )
    assert "head random_projection" in begun(out).taken
    out = place.begin(tmp_path / "none", other, "steps=1", "init.heads=false")
    assert begun(out).taken == (TAKEN[0],)
    assert len(begun(out).fresh) == 5


def test_heads_that_do_not_fit_begin_fresh(place: Place, tmp_path: Path) -> None:
    changed = ["objectives.0.final_dim=4", "decoder=null", "teachers.2.codebook_size=16"]
    out = place.begin(tmp_path / "run", *changed, "steps=1")
    assert begun(out).taken == (TAKEN[0], "teacher 0", "head ema")
    first, second = begun(out).fresh
    assert first == "head kmeans (`codes` must have the shape [1, 6, 4], but has [1, 6, 8])"
    assert second.startswith(
        "head random_projection (the labels of the random_projection teacher are not those of the run)"
    )


@pytest.mark.parametrize(("layers", "kept"), [("1", [1]), ("[2]", [2]), ("every:2", [1])])
def test_some_of_the_layers_are_taken(place: Place, tmp_path: Path, layers: str, kept: list[int]) -> None:
    out = place.begin(tmp_path / "run", f"init.layers={layers}", "steps=1", "optim.lr=1e-12")
    model, source = SSLModel.from_pretrained(out), SSLModel.from_pretrained(place.run)
    assert model.num_layers == len(kept)
    mine, theirs = model.encoder.alike(), source.encoder.alike()
    for block, number in zip(mine, kept, strict=True):
        for one, two in zip(block.parameters(), theirs[number - 1].parameters(), strict=True):
            assert torch.allclose(one, two, atol=1e-6)
    assert begun(out).taken == (f"frontend and encoder with layers {kept[0]} of 2",)


def test_layers_are_chosen_by_number() -> None:
    assert chosen_layers(None, 3) == [0, 1, 2]
    assert chosen_layers("every:6", 24) == [0, 6, 12, 18]
    for wrong in (0, -1, "every:0", "every:", "2", (), (0,), (1, 1)):
        with pytest.raises(UserError, match="must be a number of first layers"):
            chosen_layers(wrong, 3)


def test_the_model_waits_for_its_heads(place: Place, tmp_path: Path) -> None:
    out = place.begin(tmp_path / "run", "init.heads=false", "init.freeze_updates=2", "steps=4")
    at_first, source = state(out, 2), state(place.run, 4)
    model = {name for name in at_first if name.startswith("model.")}
    assert all(torch.equal(at_first[name], source[name]) for name in model)
    assert not torch.equal(at_first["heads.0.projection.weight"], source["heads.0.projection.weight"])
    moved = [name for name in model if not torch.equal(state(out, 4)[name], source[name])]
    assert {name.split(".")[1] for name in moved} == {"frontend", "encoder"}


def test_a_resumed_run_is_the_uninterrupted_one_and_needs_no_source(place: Place, tmp_path: Path) -> None:
    copy = shutil.copytree(place.run, tmp_path / "copy")
    settings = (f"init={copy}", "init.freeze_updates=3", "optim.layer_decay=0.5", "steps=6")
    whole = place.begin(tmp_path / "whole", *settings)
    cut = place.begin(tmp_path / "cut", *settings, "max_minutes=1e-9")
    assert rows(cut)[-1]["step"] == 1
    shutil.rmtree(copy)
    place.begin(cut, *settings, resume=True)
    timing = "audio_seconds_per_second"
    assert [{**row, timing: 0} for row in rows(cut)] == [{**row, timing: 0} for row in rows(whole)]
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert begun(cut) == begun(whole)
    with pytest.raises(UserError, match=r"there is no model"):
        place.begin(tmp_path / "new", *settings)


ROUNDS = """
iterations:
  - {share: 1, teachers: [{kind: kmeans, features: mfcc, clusters: 4, hop_samples: 320}]}
  - {share: 1, teachers: [{kind: kmeans, clusters: 5, model: previous, layer: 1}]}
objectives: [{kind: masked_codes, final_dim: 8}]
"""


def test_the_model_stands_for_the_iterations_before_it(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "rounds.yaml"
    path.write_text(AUDIO + "steps: 2\n" + ROUNDS)
    out = place.begin(tmp_path / "run", recipe=str(path))
    ran = load_recipe(str(out / "recipe.yaml"))
    assert isinstance(ran, Config)
    assert [one.model for round_ in ran.iterations for one in round_.teachers] == [str(place.run)]  # type: ignore[attr-defined]
    assert [row["step"] for row in rows(out)] == [0, 1, 2]
    assert (out / "teachers" / "0" / "kmeans.safetensors").is_file()
    # The labels are of the model itself, which its own heads have not learned.
    assert begun(out).fresh == (
        "head kmeans (the kmeans teacher was fitted anew, so its labels are not those of the run)",
    )
    # `previous` without iterations is the model, too.
    path.write_text(AUDIO + "steps: 1\nteachers: [{kind: kmeans, clusters: 5, model: previous, layer: 2}]\n"
                    "objectives: [{kind: masked_codes, final_dim: 8}]\n")  # fmt: skip
    assert plain(open_recipe(str(path), [f"init={place.run}"]))["teachers"][0]["model"] == str(place.run)


def test_a_finished_run_is_lengthened(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = (f"data.manifest={place.own}", "data.sample_rate=16000")
    whole = pretrain(place.whole, [*settings, "steps=8"], tmp_path / "whole")
    once = shutil.copytree(place.run, tmp_path / "once")
    twice = shutil.copytree(place.run, tmp_path / "twice")
    with caplog.at_level("INFO"):
        pretrain(str(once / "recipe.yaml"), ["steps=8"], once, resume=True)
    assert f"{once} is lengthened from 4 to 8 updates. The learning rate stays at 0.01" in caplog.text
    assert f"init={once} with another --out begins a new run from its model" in caplog.text
    for steps in (6, 8):
        pretrain(place.whole, [*settings, f"steps={steps}"], twice, resume=True)
    weights = (whole / "model.safetensors").read_bytes()
    assert weights == (once / "model.safetensors").read_bytes() == (twice / "model.safetensors").read_bytes()
    for out, earlier in ((once, [(4, 4)]), (twice, [(4, 4), (6, 6)])):
        assert [(row["step"], row["loss"]) for row in rows(out)] == [(row["step"], row["loss"]) for row in rows(whole)]
        record = read_run_record(out)
        assert record is not None
        assert record.finished
        assert [(one.steps, one.done) for one in record.lengthened] == earlier
        assert load_recipe(str(out / "recipe.yaml")).steps == 8
    assert "8; lengthened from 4 after 4" in (once / "README.md").read_text()
    # A lengthened run is a run like any other: it is finished, and gone on with by its own recipe.
    pretrain(str(once / "recipe.yaml"), [], once, resume=True)


def test_the_longer_schedule_is_followed_and_said(place: Place) -> None:
    begun = load_recipe(place.whole, ["steps=100", "optim.schedule=linear", "optim.warmup_steps=50"])
    assert rates_in_words(begun, replace(begun, steps=200), 100).startswith("The learning rate goes on at 0.00667, as")
    assert "goes on at 0.0074 and rises to update 50" in rates_in_words(begun, replace(begun, steps=4000), 37)


def test_what_resume_does_not_do_is_said_with_what_does(place: Place, tmp_path: Path) -> None:
    recipe, before = str(place.run / "recipe.yaml"), (place.run / "recipe.yaml").read_bytes()
    wrong = {
        "steps=3": "`steps` can only be raised: the run was begun with 4, but 3 are given",
        "optim.lr=1": f"init={place.run} with another --out begins a new run from its model, at any rate",
        f"data.manifest={place.other}": "with a larger `steps` lengthens it; init=",
    }
    for setting, text in wrong.items():
        with pytest.raises(UserError) as caught:
            pretrain(recipe, [setting], place.run, resume=True)
        assert text in str(caught.value)
    with pytest.raises(UserError, match=r"add --resume to go on with its run, also with a larger `steps`, which"):
        pretrain(recipe, [], place.run)
    alone = shutil.copytree(place.run, tmp_path / "alone", ignore=shutil.ignore_patterns("state"))
    with pytest.raises(UserError, match="the run has no checkpoint that it could go on from, only its model"):
        pretrain(recipe, ["steps=8"], alone, resume=True)
    assert before == (place.run / "recipe.yaml").read_bytes() == (alone / "recipe.yaml").read_bytes()
    assert (alone / "model.safetensors").is_file()


@pytest.mark.parametrize("mode", ["fsdp2"])
def test_two_processes_begin_as_one(place: Place, tmp_path: Path, mode: str) -> None:
    settings = ["init.heads=false", "init.freeze_updates=1", "optim.layer_decay=0.5", "steps=3", f"parallel={mode}"]
    one = place.begin(tmp_path / "one", *settings)
    words = [place.open, f"init={place.run}", f"data.manifest={place.own}", *settings, "--out", str(tmp_path / "two")]
    ended = [(process.communicate(), process.returncode) for process in processes(2, *words)]
    assert [status for _, status in ended] == [0, 0], ended
    # The leader alone says what was taken.
    assert [error.count("begun from") for (_, error), _ in ended] == [1, 0]
    assert begun(tmp_path / "two") == begun(one)
    for mine, theirs in zip(rows(tmp_path / "two"), rows(one), strict=True):
        assert {**mine, "audio_seconds_per_second": 0} == pytest.approx(
            {**theirs, "audio_seconds_per_second": 0}, rel=1e-3
        )
    for name, value in state(one, 3).items():
        torch.testing.assert_close(state(tmp_path / "two", 3)[name], value, rtol=1e-3, atol=1e-3)


def test_labels_are_clusters_of_a_layer_of_any_model_that_a_setting_names(place: Place, tmp_path: Path) -> None:
    objective = "objectives=[{kind: masked_codes, teacher: 0, final_dim: 8}]"
    teacher = ["teachers=[{kind: kmeans, clusters: 5}]", f"teachers.0.model={place.run}", "teachers.0.layer=1"]
    audio = [f"data.manifest={place.other}", "data.sample_rate=16000", "decoder=null"]
    out = pretrain(place.whole, [*audio, *teacher, objective, "steps=2"], tmp_path / "run")
    centroids = load_file(out / "teachers" / "0" / "kmeans.safetensors")["centroids"]
    assert centroids.shape == (5, 32)
    again = pretrain(place.whole, [*audio, *teacher, objective, "steps=2", "teachers.0.layer=2"], tmp_path / "other")
    assert not torch.equal(load_file(again / "teachers" / "0" / "kmeans.safetensors")["centroids"], centroids)
