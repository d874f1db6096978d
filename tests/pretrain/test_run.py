"""Whole runs on synthetic clips: the run folder, resuming, refusals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.models.frontends import nnaudio
from audio_ssl.models.model import SSLModel
from audio_ssl.pretrain.going_on import flatten
from audio_ssl.pretrain.kinds.masked_prediction import Config, describe, model_config, own_recipes
from audio_ssl.pretrain.recipe import load_recipe, structure_recipe
from audio_ssl.pretrain.run import pretrain, run_or_go_on
from audio_ssl.pretrain.teachers import clips_to_fit
from tests.pretrain.conftest import MakeManifest

SMALL = """
kind: masked_prediction
steps: 6
seed: 3
device: cpu
data: {sample_rate: 16000, crop_seconds: 1.0, min_seconds: 0.5, seconds_per_update: 2.0, seconds_per_batch: 2.0}
optim: {lr: 1.0e-3, warmup_steps: 2}
frontend: {kind: conv, channels: [8, 8, 8, 8, 8, 8, 16]}
encoder: {kind: transformer, layers: 2, dim: 32, ffn_dim: 64, heads: 2, position_kernel_frames: 16, position_groups: 4}
teachers:
  - {kind: cqt, n_bins: 24, bins_per_octave: 6, log: true}
  - {kind: random_projection, n_mels: 20, stack: 2, codebook_size: 16}
objectives:
  - {kind: reconstruction, teacher: 0}
  - {kind: masked_codes, teacher: 1, final_dim: 8}
mixing: {prob: 0.5, min_seconds: 0.1, max_seconds: 0.2}
checkpoint: {every: 2, valid_every: 3}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rows(out)]


def test_a_run_folder_holds_what_it_promises(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    manifest, out = make_manifest(), tmp_path / "run"
    (tmp_path / "audio" / "0.wav").write_bytes(b"RIFF")
    assert pretrain(recipe, [f"data.manifest={manifest}"], out) == out
    names = {path.name for path in out.iterdir()}
    expected = "recipe.yaml config.json model.safetensors README.md metrics.jsonl tensorboard state errors.jsonl"
    assert names == {*expected.split(), "labels.json", "provenance.json", "files.json"}
    for row in rows(out):
        keys = "step loss lr grad_norm audio_seconds_per_second loss_cqt loss_random_projection feature_penalty"
        assert {*keys.split(), "accuracy_0", "code_perplexity_0", "cqt_mse", "skipped_steps"} <= row.keys()
    assert [row["step"] for row in rows(out) if "valid_loss" in row] == [3, 6]
    model = SSLModel.from_pretrained(out)
    assert model.num_layers == 2
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["finished"]
    assert len(provenance["teachers"]) == 2
    assert {"recipe_hash", "manifest_hash", "command", "versions"} <= provenance.keys()
    assert "0.wav" in (out / "errors.jsonl").read_text()
    assert "1 clips, listed in errors.jsonl" in (out / "README.md").read_text()


def test_its_recipe_repeats_the_run(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    first = pretrain(recipe, [f"data.manifest={make_manifest()}", "steps=3"], tmp_path / "first")
    again = pretrain(str(first / "recipe.yaml"), [], tmp_path / "again")
    assert losses(first) == losses(again)
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    other = pretrain(str(first / "recipe.yaml"), ["seed=4"], tmp_path / "other")
    assert losses(first) != losses(other)


def test_kernels_of_the_frontend_are_trained_and_saved(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path
) -> None:
    part = "frontend={kind: nnaudio, n_bins: 12, fmin_hz: 400.0}"
    out = pretrain(recipe, [f"data.manifest={make_manifest()}", "steps=2", part], tmp_path / "run")
    trained = dict(SSLModel.from_pretrained(out).frontend.get_submodule("kernels").named_parameters())
    fresh = nnaudio.build(nnaudio.Config(n_bins=12, fmin_hz=400.0), 16000).kernels
    assert trained.keys() == {"real", "imag"}
    for name, kernels in trained.items():
        # Two updates at a rate of at most 1e-3, of kernels with a peak of 1.
        assert 1e-5 < float((kernels - fresh[name]).detach().abs().max()) < 5e-3


def command(recipe: str, manifest: Path, out: Path, *more: str) -> list[str]:
    words = ["pretrain", recipe, f"data.manifest={manifest}", "steps=150", "checkpoint.every=5", "--out", str(out)]
    return [sys.executable, "-W", "ignore", "-m", "audio_ssl", *words, *more]


def wait_for_step(process: subprocess.Popen[bytes], out: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        path = out / "metrics.jsonl"
        if path.is_file() and path.read_text().count("\n") >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"the run never came to step {step}: {process.poll()}")


def test_kill_and_stop_then_resume_give_the_uninterrupted_run(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path
) -> None:
    manifest, out = make_manifest(), tmp_path / "run"
    process = subprocess.Popen(command(recipe, manifest, out), stderr=subprocess.DEVNULL)
    wait_for_step(process, out, 8)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 8 <= len(rows(out)) < 150

    process = subprocess.Popen(command(recipe, manifest, out, "--resume"), stderr=subprocess.PIPE)
    wait_for_step(process, out, 20)
    process.send_signal(signal.SIGTERM)
    assert b"--resume" in process.communicate()[1]
    assert process.returncode == 75

    overrides = [f"data.manifest={manifest}", "steps=150"]
    pretrain(recipe, [*overrides, "checkpoint.every=5"], out, resume=True)
    pretrain(recipe, overrides, tmp_path / "whole")
    assert losses(out) == losses(tmp_path / "whole")
    assert len(rows(out)) == 150
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_a_finished_run_is_left_alone_and_a_used_folder_is_refused(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = [f"data.manifest={make_manifest()}", "steps=2"]
    out = pretrain(recipe, overrides, tmp_path / "run", resume=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    with caplog.at_level("INFO"):
        assert pretrain(recipe, overrides, out, resume=True) == out
    assert "is finished" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(UserError, match=r"not empty.*--resume"):
        pretrain(recipe, overrides, out)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(UserError, match=r"no run to resume"):
        pretrain(recipe, overrides, tmp_path / "notes", resume=True)
    with pytest.raises(UserError, match="is a file"):
        pretrain(recipe, overrides, tmp_path / "notes" / "a.txt")


def test_a_first_run_says_nothing_of_resuming(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    overrides = [f"data.manifest={make_manifest()}", "steps=1"]
    pretrain(recipe, overrides, tmp_path / "run")
    # A codec and a set of a study are gone on with where there is something, and begun where there is not.
    run_or_go_on(load_recipe(recipe, overrides), tmp_path / "inner")
    assert "no run yet" not in caplog.text
    assert "resum" not in caplog.text
    # Whoever asked to go on with a run is told that there is none.
    pretrain(recipe, overrides, tmp_path / "other", resume=True)
    assert f"{tmp_path / 'other'} holds no run yet" in caplog.text


def test_resuming_with_another_recipe_or_manifest_names_what_differs(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path
) -> None:
    manifest = make_manifest()
    out = pretrain(recipe, [f"data.manifest={manifest}", "steps=2"], tmp_path / "run")
    with pytest.raises(UserError, match=r"teachers\.0\.n_bins \(24 then, 30 now\)"):
        pretrain(recipe, [f"data.manifest={manifest}", "steps=2", "teachers.0.n_bins=30"], out, resume=True)
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"the manifest has changed"):
        pretrain(recipe, [f"data.manifest={manifest}", "steps=2"], out, resume=True)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["teachers.0.hop_samples=160"], r"\$\.teachers\[0\]: the frontend gives 50 frames/s .* teacher 0 .* 100"),
        (["teachers.1.stack=4"], r"\$\.teachers\[1\]: .* teacher 1 \(`random_projection`\) gives 25 frames/s"),
        (["objectives.0.teacher=2"], r"\$\.objectives\[0\]\.teacher: .*one of the 2 teachers, but is 2"),
        (["objectives.0.teacher=1"], r"\$\.objectives\[0\]: reconstruction needs a teacher of values"),
        (["objectives.1.teacher=0"], r"\$\.objectives\[1\]: masked_codes needs a teacher of codes"),
        (["teachers.0.n_bins=300"], r"\$\.teachers\[0\]: the top bin"),
        (["teachers.0.bins=3"], r"\$\.teachers\[0\]: unknown key `bins`"),
        (["encoder.heads=5"], r"\$\.encoder: `dim` 32 must be a multiple of `heads` 5"),
        (["mask.prob=0"], r"\$\.mask\.prob"),
        (["mixing.prob=2"], r"\$\.mixing\.prob"),
        (["teachers=[{kind: rvq}]", "objectives=[{kind: masked_codes}]"], r"\$\.teachers\[0\]: the rvq teacher has no"),
        (["teachers=[]"], r"\$\.teachers: a recipe needs at least one teacher"),
        (["objectives=[]"], r"\$\.objectives: a recipe needs at least one objective"),
        (["iterations=[{share: 1.0, teachers: [{kind: cqt}]}]"], r"either `teachers` or `iterations`"),
        (["data.min_seconds=0.9", "data.manifest=nowhere.jsonl"], r"nowhere.jsonl: no such manifest"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, overrides: list[str], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        pretrain(recipe, [f"data.manifest={make_manifest()}", *overrides], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_iterations_run_by_one_command_and_resume_inside_the_second(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = yaml.safe_load(SMALL)
    del data["teachers"]
    data["objectives"] = [{"kind": "masked_codes"}]
    data["iterations"] = [
        {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 4}]},
        {"share": 2.0, "teachers": [{"kind": "kmeans", "clusters": 6, "model": "previous", "layer": 1}]},
    ]
    Path(recipe).write_text(yaml.safe_dump(data))
    overrides = [f"data.manifest={make_manifest()}"]
    out = pretrain(recipe, overrides, tmp_path / "run")
    assert [(row["step"], row["iteration"]) for row in rows(out)] == [(1, 1), (2, 1), *((n, 2) for n in range(3, 7))]
    assert (out / "model.safetensors").read_bytes() == (out / "iteration_2" / "model.safetensors").read_bytes()
    for iteration in (1, 2):
        assert (out / f"iteration_{iteration}" / "teachers" / "0" / "kmeans.safetensors").is_file()

    from audio_ssl.pretrain import update

    calls = 0
    finish = update.Updater.finish

    def dying(self: update.Updater, step: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise RuntimeError("killed")
        return finish(self, step)

    monkeypatch.setattr(update.Updater, "finish", dying)
    cut = tmp_path / "cut"
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(recipe, overrides, cut)
    fitted = cut / "iteration_2" / "teachers" / "0" / "kmeans.safetensors"
    before = fitted.stat().st_mtime_ns
    pretrain(recipe, overrides, cut, resume=True)
    assert losses(cut) == losses(out)
    assert fitted.stat().st_mtime_ns == before


def test_quantisers_are_fitted_to_as_many_hours_as_the_recipe_says(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teachers = "[{kind: kmeans, clusters: 4}, {kind: kmeans, features: logmel, n_mels: 20, clusters: 4}]"
    heads = "[{kind: masked_codes, teacher: 0}, {kind: masked_codes, teacher: 1}]"
    settings = [f"data.manifest={make_manifest((1.0,) * 8)}", f"teachers={teachers}", f"objectives={heads}", "steps=1"]
    with caplog.at_level("INFO"):
        pretrain(recipe, [*settings, f"data.fit_hours={2.5 / 3600}", "data.valid_share=0"], tmp_path / "run")
    assert [r.getMessage() for r in caplog.records if "fitting" in r.getMessage()] == [
        "fitting teacher 0 (kmeans) to 3 clips",
        "fitting teacher 1 (kmeans) to 3 clips",
    ]


def test_clips_to_fit_are_drawn_at_random_and_keep_their_order() -> None:
    clips = [Clip(str(number), "x.wav", 0.0, 36.0, 16000) for number in range(100)]
    drawn = clips_to_fit(clips, 0.25, seed=1)
    numbers = [int(clip.id) for clip in drawn]
    assert len(drawn) == 25
    assert numbers == sorted(numbers) != list(range(25))
    assert drawn == clips_to_fit(clips, 0.25, seed=1) != clips_to_fit(clips, 0.25, seed=2)
    assert clips_to_fit(clips, None, seed=1) == clips_to_fit(clips, 5.0, seed=1) == clips


def test_an_iteration_may_have_settings_of_its_own(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    data = yaml.safe_load(SMALL)
    del data["teachers"]
    data["objectives"] = [{"kind": "masked_codes"}]
    own = ["mixing=null", "encoder.relative_positions=null", "optim.lr=1.0e-3", "data.seconds_per_update=2.0"]
    data["encoder"]["relative_positions"] = {"buckets": 8, "max_distance": 16}
    data["iterations"] = [
        {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 4}], "settings": own},
        {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 4, "model": "previous", "layer": 1}]},
    ]
    Path(recipe).write_text(yaml.safe_dump(data))
    read = load_recipe(recipe)
    assert isinstance(read, Config)
    first, second = own_recipes(read)
    assert (first.mixing, first.encoder.relative_positions) == (None, None)  # type: ignore[attr-defined]
    assert (first.optim.lr, first.data.seconds_per_update) == (1e-3, 2.0)
    assert replace(second, teachers=(), iterations=read.iterations) == read
    assert model_config(read) == model_config(second) != model_config(first)
    assert "kmeans (with mixing=null, encoder.relative_positions=null, " in describe(read)

    out = pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
    # What a command line sets reaches both iterations, and what it says of one counts for that.
    assert structure_recipe(yaml.safe_load((out / "recipe.yaml").read_text())) == replace(
        read, data=replace(read.data, manifest=str(tmp_path / "m.jsonl"))
    )
    configs = [json.loads((out / f"iteration_{number}" / "config.json").read_text()) for number in (1, 2)]
    assert [one["encoder"]["relative_positions"] is None for one in configs] == [True, False]
    assert json.loads((out / "config.json").read_text()) == configs[1]
    with pytest.raises(UserError, match=r"iterations\.0\.settings\.0 \(mixing=null then, mask\.prob=0\.5 now\)"):
        pretrain(
            recipe, [f"data.manifest={tmp_path / 'm.jsonl'}", "iterations.0.settings.0=mask.prob=0.5"], out, resume=True
        )


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        (
            "steps=3",
            r"\$\.iterations\[0\]\.settings: `steps` is the same in all iterations of a run; one alone may set: ",
        ),
        ("data.sample_rate=8000", "`data.sample_rate` is the same in all iterations"),
        ("encoder.dimm=8", r"\$\.iterations\[0\]\.settings: \$\.encoder: .*dimm.*dim"),
        ("mixing.prob=2.0", r"\$\.iterations\[0\]\.settings: \$\.mixing\.prob: `prob` must be"),
        ("data.crop_seconds=0.1", r"settings: \$\.data\.min_seconds: .* must lie between"),
        ("mixing", "not of the form key=value"),
    ],
)
def test_settings_that_no_iteration_can_have_are_refused(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, setting: str, match: str
) -> None:
    data = yaml.safe_load(SMALL)
    data["iterations"] = [{"share": 1.0, "teachers": data.pop("teachers"), "settings": [setting]}]
    Path(recipe).write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=match):
        pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_noise_is_mixed_into_training_alone_and_its_manifest_is_kept(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path
) -> None:
    manifest, noise = make_manifest(), tmp_path / "noise.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    noise.write_text("".join(lines[:2]))
    overrides = [f"data.manifest={manifest}", "mixing.prob=1.0", "steps=4"]
    plain = pretrain(recipe, overrides, tmp_path / "plain")
    overrides.append(f"mixing.noise={{manifest: {noise}, prob: 1.0}}")
    out = pretrain(recipe, overrides, tmp_path / "run")
    again = pretrain(recipe, overrides, tmp_path / "again")
    assert losses(out) == losses(again) != losses(plain)
    provenance = json.loads((out / "provenance.json").read_text())
    assert len(provenance["noise_manifest_hash"]) == len(provenance["manifest_hash"])

    (out / "provenance.json").write_text(json.dumps({**provenance, "finished": False}))
    noise.write_text("".join(lines))
    with pytest.raises(UserError, match="the manifest of noise has changed since the run was begun"):
        pretrain(recipe, overrides, out, resume=True)
    for text, match in (("", "noise.jsonl: "), (None, "noise.jsonl: ")):
        noise.unlink() if text is None else noise.write_text(text)
        with pytest.raises(UserError, match=match):
            pretrain(recipe, overrides, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_previous_in_the_first_iteration_is_refused(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    overrides = [
        f"data.manifest={make_manifest()}",
        "teachers=[{kind: kmeans, model: previous}]",
        "objectives=[{kind: masked_codes}]",
    ]
    with pytest.raises(UserError, match=r"\$\.teachers\[0\]: `model` is previous, but there is no earlier iteration"):
        pretrain(recipe, overrides, tmp_path / "run")


def test_nothing_usable_is_said(make_manifest: MakeManifest, recipe: str, tmp_path: Path) -> None:
    manifest = make_manifest((1.0, 1.0, 1.0))
    for path in (tmp_path / "audio").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"errors\.jsonl: none of the 2 clips can be used"):
        pretrain(recipe, [f"data.manifest={manifest}"], tmp_path / "run")


def test_flatten_names_every_plain_value() -> None:
    assert dict(flatten({"a": [{"b": 1}, 2], "c": {"d": None}})) == {"a.0.b": 1, "a.1": 2, "c.d": None}


def test_groups_that_crops_do_not_fill_are_said(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = [f"data.manifest={make_manifest()}", "steps=1", "data.seconds_per_update=4.8"]
    pretrain(recipe, [*changed, "data.seconds_per_group=1.6"], tmp_path / "few")
    assert "at most 3 s of audio of clips of 1 s, less than data.seconds_per_update = 4.8" in caplog.text
    caplog.clear()
    pretrain(recipe, changed, tmp_path / "one")
    assert "at most" not in caplog.text


def test_a_new_run_has_no_empty_bands_but_one_begun_earlier_goes_on(
    make_manifest: MakeManifest, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, manifest = tmp_path / "run", f"data.manifest={make_manifest()}"
    bands = [manifest, "teachers.1.n_mels=128", "steps=1"]
    with pytest.raises(UserError) as caught:
        pretrain(recipe, bands, out)
    assert caught.value.where == "$.teachers[1]"
    assert "4 of `n_mels` 128 bands are empty" in caught.value.what
    assert "give `fft_samples: 1024`, or fewer bands; `fft_samples: 400` keeps the empty ones" in str(caught.value)
    assert not (out / "recipe.yaml").exists()
    parts = "frontend={kind: concat, parts: [{kind: mel, stack: 2}, {kind: mel, stack: 2, n_mels: 128}]}"
    with pytest.raises(UserError, match=r"\$\.frontend\.parts\[1\]: 4 of `n_mels` 128"):
        pretrain(recipe, [manifest, parts], out)
    monkeypatch.setattr("audio_ssl.pretrain.kinds.masked_prediction.check_new", lambda *_: None)
    pretrain(recipe, bands, out)
    monkeypatch.undo()
    assert pretrain(recipe, bands, out, resume=True) == out
    kept = [*bands, "teachers.1.fft_samples=400"]
    pretrain(recipe, kept, tmp_path / "kept")
    assert losses(tmp_path / "kept") == losses(out)
    mended = pretrain(recipe, [*bands, "teachers.1.fft_samples=1024"], tmp_path / "mended")
    assert losses(mended) != losses(out)
