"""The head for new files of a probe in folds: trained on all clips, for as long as the folds' heads."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from audio_ssl.artifacts.result import HistoryPoint, read_scores
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.features.arrange import arrangement
from audio_ssl.features.source import open_source
from audio_ssl.probing.final import steps_of
from audio_ssl.probing.layer_heads import HeadRun
from audio_ssl.probing.probe import HeadTraining
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.train import TrainedHead
from audio_ssl.probing.trained import open_result
from tests.probing.toys import ten_people

SETTINGS = ["data.folds=5", "optim.steps=20", "optim.eval_every=5", "optim.patience=1", "optim.lrs=[1e-3,1e-1]"]


def in_folds(manifest, out, *more):
    settings = [f"data.manifest={manifest}", "task.column=gender", "baselines=[untrained]", *SETTINGS]
    return run_probe("label", "logmel", out, [*settings, *more])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return ten_people(tmp_path_factory.mktemp("people"), "m.jsonl")


@pytest.fixture(scope="module")
def result(people, tmp_path_factory):
    return in_folds(people, tmp_path_factory.mktemp("r") / "r")


def test_scores_do_not_depend_on_the_final_head(people, result, tmp_path):
    other = in_folds(people, tmp_path / "r", "data.final_head=false")
    with_head, without = (json.loads((one / "scores.json").read_text()) for one in (result, other))
    assert with_head["metrics"] == without["metrics"]
    assert with_head["runs"] == without["runs"]
    assert (result / "head.safetensors").exists()
    assert not (other / "head.safetensors").exists()
    with pytest.raises(UserError, match=r"has the heads of its folds alone.*run the probe again, into another folder"):
        open_result(other)


def test_the_final_head_has_all_clips_and_the_setting_with_the_best_mean(people, result):
    scores = read_scores(result)
    final = scores.final
    assert final.clips == len(read_manifest(people))
    means = {}
    for run in scores.runs:
        means.setdefault((run.layer, run.lr, run.whiten), []).append(run.valid)
    best = max(means, key=lambda setting: sum(means[setting]) / 5)
    assert (final.layer, final.lr, final.whiten, final.seed) == (*best, 0)
    head = load_file(result / "head.safetensors")
    folds = [load_file(result / "folds" / str(number) / "head.safetensors") for number in range(5)]
    assert all(head[name].shape == value.shape for name, value in folds[0].items())
    assert not any(torch.equal(head["mean"], fold["mean"]) for fold in folds)


def test_features_can_be_mixed_as_the_final_head_mixes_them(result):
    made = arrangement(open_source("logmel"), str(result))
    assert made.layers == (0,)


def test_two_trainings_give_the_same_head(people, result, tmp_path):
    again = in_folds(people, tmp_path / "r")
    for name, value in load_file(result / "head.safetensors").items():
        assert torch.equal(load_file(again / "head.safetensors")[name], value)


def test_updates_are_the_mean_of_the_updates_whose_weights_were_kept():
    run = HeadRun(0, 1e-3, 0)
    history = [HistoryPoint(step, 1.0, valid) for step, valid in ((10, 0.2), (20, 0.6), (30, 0.6))]
    folds = [TrainedHead(run, valid=0.6, steps=30, history=history), TrainedHead(run, valid=0.5, steps=35)]
    assert steps_of(folds, HeadTraining()) == round((20 + 35) / 2)
    # Weights that are averaged are those of the end.
    assert steps_of(folds, HeadTraining(average_last=2)) == round((30 + 35) / 2)


def test_the_model_of_all_clips_is_kept_where_it_is_trained_too(people, tmp_path, small_model):
    clips = [replace(clip, text="ab") for clip in read_manifest(people) if clip.split != "test"]
    write_manifest(tmp_path / "m.jsonl", clips)
    settings = [
        f"data.manifest={tmp_path / 'm.jsonl'}", "data.folds=3", "baselines=[]",
        "finetune={lr: 1e-2, freeze_steps: 1}", "optim={lrs: [1e-3], steps: 4, eval_every: 2, batch_clips: 8}",
    ]  # fmt: skip
    out = run_probe("demo_asr", small_model, tmp_path / "r", settings)
    opened = open_result(out)
    assert opened.source.fingerprint != open_source(small_model).fingerprint
    assert opened.layers == (2,)
    assert not opened.rounded
