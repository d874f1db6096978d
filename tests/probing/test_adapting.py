"""Fine-tuning by adapters: little of the model is trained, and the result opens as a model, with peft and without."""

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from audio_ssl.base.errors import UserError
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.features.source import open_source
from audio_ssl.models.adapters import Lora
from audio_ssl.probing.features import LayerBatch
from audio_ssl.probing.layer_heads import LayerStatistics
from audio_ssl.probing.live import LiveBank, TunedBank
from audio_ssl.probing.probe import FineTuning, load_probe
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.trained import open_result
from tests.probing.toys import write_model

QUICK = ["optim={eval_every: 8, steps: 16, batch_clips: 16, lrs: [1e-2]}", "data.max_train_clips=24"]
TUNING = "finetune={lr: 5e-2, freeze_steps: 2, batch_seconds: 5.0, lora: {rank: 2, dropout: 0.0}}"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


def test_a_result_has_the_adapter_and_says_what_it_said(toy_manifest, model, tmp_path, monkeypatch):
    before = load_file(f"{model}/model.safetensors")
    more = ["seeds=[0, 1]", "baselines=[untrained]"]
    # A name that leads to the model from this folder alone.
    monkeypatch.chdir(Path(model).parent)
    name = f"./{Path(model).name}"
    out = run_probe("demo_key", name, tmp_path / "r", [f"data.manifest={toy_manifest}", *QUICK, TUNING, *more])
    assert not (out / "model").exists()
    assert json.loads((out / "adapter/adapter_config.json").read_text())["r"] == 2
    adapter = load_file(out / "adapter/adapter_model.safetensors")
    assert all(bool(value.any()) for value in adapter.values()), "both halves of every adapter have moved"
    assert all(torch.equal(value, before[name]) for name, value in load_file(f"{model}/model.safetensors").items())
    head = load_file(out / "head.safetensors")
    of_head = sum(value.numel() for name, value in head.items() if name.startswith("head."))
    cost = json.loads((out / "scores.json").read_text())["cost"]
    assert cost["parameters"] == of_head + sum(value.numel() for value in adapter.values())
    assert (out / "baselines/untrained/adapter").is_dir()

    # The merged model under the same head says the same, from any folder.
    monkeypatch.chdir(tmp_path)
    opened = open_result(out)
    assert opened.source.fingerprint == open_source(str(out / "adapter")).fingerprint
    said = {row["id"]: row for row in pq.read_table(out / "predictions.parquet").to_pylist()}
    clip = next(one for one in read_manifest(Path(toy_manifest)) if one.id in said)
    wave = torch.from_numpy(read_clip(clip, 16000))
    states, _ = opened.source(wave[None], torch.tensor([len(wave)]))
    frames = torch.stack([states[layer] for layer in opened.layers]).mean(2, keepdim=True)
    statistics = LayerStatistics(opened.system.mean, opened.system.scale)
    batch = opened.system.batch(statistics.standardise(LayerBatch(frames, torch.tensor([1]))))
    (answer,) = opened.system.head.predict(batch)
    torch.testing.assert_close(answer, torch.tensor(said[clip.id]["scores"]), atol=1e-4, rtol=1e-4)
    assert opened.task.hypothesis(answer) == said[clip.id]["hypothesis"]
    twin = open_result(out / "baselines/untrained").source
    assert twin.fingerprint not in (opened.source.fingerprint, open_source(f"untrained:{model}").fingerprint)
    (out / "adapter/adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is missing"):
        open_result(out)


def test_of_folds_the_adapter_for_new_files_is_kept(toy_manifest, model, tmp_path):
    clips = [clip for clip in read_manifest(Path(toy_manifest)) if clip.label is not None]
    write_manifest(tmp_path / "m.jsonl", [dataclasses.replace(c, extra={"n": i % 3}) for i, c in enumerate(clips)])
    more = ["data.folds=3", "data.fold_column=n", "baselines=[]", "optim.steps=4", "finetune.freeze_steps=1"]
    out = run_probe("demo_key", model, tmp_path / "r", [f"data.manifest={tmp_path}/m.jsonl", *QUICK, TUNING, *more])
    assert [path.parent for path in out.rglob("adapter_config.json")] == [out / "adapter"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("finetune={lora: {rank: 0}}", r"\$\.finetune\.lora\.rank: must be at least 1"),
        ("finetune={lora: {targets: [q_proj]}}", r"\$\.finetune\.lora\.targets\[0\]: the encoder has no .* `q_proj`"),
        ("finetune={layer_decay: 0}", r"\$\.finetune\.layer_decay: must be above 0"),
    ],
)
def test_what_cannot_be_adapted_is_refused_before_anything_is_written(wrong, said, toy_manifest, model, tmp_path):
    with pytest.raises(UserError, match=said):
        run_probe("demo_key", model, tmp_path / "r", [f"data.manifest={toy_manifest}", "optim.steps=1000", wrong])
    assert not (tmp_path / "r").exists()


def test_a_layers_output_alone_is_tuned(toy_manifest, model, tmp_path):
    with pytest.raises(
        UserError, match=r"\$\.finetune: a model that is trained gives each layer's output, but the point `"
    ):
        run_probe("demo_key", f"{model}?point=feed_forward", tmp_path / "r", [f"data.manifest={toy_manifest}", TUNING])


def test_the_rate_falls_with_the_layer_and_depends_on_what_is_trained(model):
    source = open_source(model)
    settings = FineTuning(lr=1.0, layer_decay=0.5, freeze_frontend=False)
    for lora in (None, Lora(rank=1)):
        bank = TunedBank(source, True, dataclasses.replace(settings, lora=lora), LiveBank(source, True))
        named = {id(one): name for name, one in bank.model.named_parameters()}
        rates = {named[id(one)]: rate for rate, part in bank.rates() for one in part}
        assert {rate for name, rate in rates.items() if name.startswith("encoder.blocks.1.")} == {1.0}
        assert {rate for name, rate in rates.items() if name.startswith("encoder.blocks.0.")} == {0.5}
        assert {rate for name, rate in rates.items() if name.startswith("frontend.")} == {0.25}
    assert (FineTuning().rate, FineTuning(lora=Lora()).rate) == (1e-5, 5e-4)
    # What a result keeps is the number.
    _, question = load_probe("demo_key", ["optim.steps=1000", "finetune={lora: {}}"])
    assert question.finetune.lr == 5e-4
