"""The whole stage on a toy language that log-mel frames must be able to read."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.features.extract import extract
from audio_ssl.metrics.registry import get_metric
from audio_ssl.probing import run as stage
from audio_ssl.probing.run import run_probe


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def rows(folder):
    return pq.read_table(folder / "predictions.parquet").to_pylist()


def quick(manifest, *more):
    return [f"data.manifest={manifest}", "optim.eval_every=30", "optim.batch_clips=16", *more]


def test_recognition_of_the_toy_language(toy_manifest, tmp_path, caplog):
    caplog.set_level("INFO")
    out = run_probe("demo_asr", "logmel", tmp_path / "r", quick(toy_manifest, "optim.steps=150"))
    assert "demo_asr: left out 90 clips: 90 no transcript\n" in caplog.text
    found = scores(out)
    assert found["metrics"]["cer"]["value"] < 20
    assert found["counts"]["test"] == {"clips": 20, "seconds": pytest.approx(20, abs=12), "speakers": 6}
    table = rows(out)
    assert {"speaker", "gender", "language", "split", "n", "text", "seconds"} <= table[0].keys()
    pairs = [(row["reference"], row["hypothesis"]) for row in table]
    assert get_metric("wer").corpus(pairs) == pytest.approx(found["metrics"]["wer"]["value"])
    assert found["interval_unit"] == "speakers"
    assert found["warnings"][0].startswith("speakers of the test clips are in the training clips too: s0")
    assert found["history"][-1]["train_loss"] < found["history"][0]["train_loss"]
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == []


def test_translation_of_the_toy_language(toy_manifest, tmp_path):
    out = run_probe(
        "demo_st",
        "logmel",
        tmp_path / "r",
        quick(toy_manifest, "optim.steps=240", "optim.lrs=[2e-3]", "task.min_count=1"),
    )
    assert scores(out)["metrics"]["chrf"]["value"] > 40
    assert set(" ".join(row["hypothesis"] for row in rows(out)).split()) <= {"one", "two", "three", "four", "unk"}


def test_keys_and_tags_of_the_toy(toy_manifest, tmp_path):
    key = run_probe("demo_key", "cqt", tmp_path / "key", quick(toy_manifest, "optim.steps=60"))
    found = scores(key)
    assert found["metrics"]["accuracy"]["value"] > 80
    assert found["chosen_layer"] == 0
    assert len(found["layers"]) == 1
    assert len(rows(key)[0]["scores"]) == 24
    tags = run_probe("demo_tagging", "cqt", tmp_path / "tags", quick(toy_manifest, "optim.steps=60"))
    found = scores(tags)
    assert found["metrics"]["roc_auc"]["value"] > 90
    metadata = pq.read_schema(tags / "predictions.parquet").metadata
    # `all` is on every clip and `rare` on one: neither can be learned.
    assert json.loads(metadata[b"classes"]) == ["high", "low"]
    assert set(rows(tags)[0]["hypothesis"]) <= {"high", "low"}


@pytest.fixture
def model(tmp_path):
    from audio_ssl.models.encoders import transformer
    from audio_ssl.models.frontends import conv
    from audio_ssl.models.model import ModelConfig, build_model

    encoder = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    built = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    built.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_extraction_gives_what_an_attentive_head_saw(toy_manifest, model, tmp_path):
    overrides = ["head={kind: attentive, hidden_dim: 8}", "baselines=[]", "optim.steps=20", "optim.lrs=[0.05]"]
    out = run_probe("demo_key", model, tmp_path / "r", quick(toy_manifest, *overrides))
    assert scores(out)["layers"] == []
    head = load_file(out / "head.safetensors")
    assert head["mix"].any()
    options = {"layers": str(out), "format": "npy"}
    vectors = extract(toy_manifest, model, tmp_path / "f", pool="attentive", **options)
    frames = extract(toy_manifest, model, tmp_path / "g", **options)
    assert json.loads((vectors / "extraction.json").read_text())["mix"] == str(out)
    for row in rows(out):
        name = row["id"].rsplit(".", 1)[0] + ".npy"
        vector = torch.from_numpy(np.load(vectors / name))
        logits = head["head.output.1.weight"] @ vector + head["head.output.1.bias"]
        # The probe keeps frames in half precision.
        torch.testing.assert_close(logits, torch.tensor(row["scores"]), atol=2e-2, rtol=2e-2)
        assert np.load(frames / name).shape[1] == 16
    with pytest.raises(UserError, match="the result belongs to the model"):
        extract(toy_manifest, "logmel", tmp_path / "h", **options)


def test_a_model_stands_beside_its_twin_and_its_baselines(toy_manifest, model, tmp_path):
    baselines = "baselines=[untrained, logmel, librosa:mfcc]"
    overrides = quick(toy_manifest, "optim.steps=4", "optim.eval_every=2", baselines)
    out = run_probe("demo_asr", model, tmp_path / "r", overrides)
    assert sorted(p.name for p in (out / "baselines").iterdir()) == ["librosa:mfcc", "logmel", "untrained"]
    ids = [row["id"] for row in rows(out)]
    for baseline in (out / "baselines").iterdir():
        assert [row["id"] for row in rows(baseline)] == ids
        assert (baseline / "head.safetensors").exists()
    assert len(scores(out)["layer_weights"]) == 3
    assert scores(out / "baselines" / "logmel")["layer_weights"] is None
    prints = {scores(f)["model_fingerprint"] for f in (out, *(out / "baselines").iterdir())}
    assert len(prints) == 4


def test_finished_systems_are_not_done_again_and_other_questions_are_refused(
    toy_manifest, model, tmp_path, monkeypatch
):
    overrides = quick(toy_manifest, "optim.steps=2")
    run_system, calls = stage._run_system, []

    def count(folder, *rest):
        calls.append(folder.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        run_system(folder, *rest)

    monkeypatch.setattr(stage, "_run_system", count)
    with pytest.raises(KeyboardInterrupt):
        run_probe("demo_asr", model, tmp_path / "r", overrides)
    run_probe("demo_asr", model, tmp_path / "r", overrides)
    assert calls == ["r", "untrained", "untrained", "logmel"]
    with pytest.raises(UserError, match="another question, model or manifest"):
        run_probe("demo_asr", model, tmp_path / "r", [*overrides, "seeds=[5]"])


def test_a_resolved_probe_repeats_the_result(toy_manifest, tmp_path):
    overrides = quick(toy_manifest, "optim.steps=4")
    first = run_probe("demo_asr", "logmel", tmp_path / "a", overrides)
    again = run_probe(str(first / "probe.yaml"), "logmel", tmp_path / "b")
    assert rows(first) == rows(again)
    assert scores(first)["metrics"] == scores(again)["metrics"]
    other = run_probe("demo_asr", "logmel", tmp_path / "c", [*overrides, "seeds=[9]"])
    assert scores(other)["history"] != scores(first)["history"]


@pytest.mark.parametrize("system", ["cqt", "untrained"])
def test_shuffled_labels_score_at_chance(system, toy_manifest, model, tmp_path):
    keyed = [c for c in read_manifest(Path(toy_manifest)) if c.label is not None]
    labels = [c.label for c in keyed]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [dataclasses.replace(c, label=labels[i]) for c, i in zip(keyed, order, strict=True)]
    write_manifest(tmp_path / "shuffled.jsonl", shuffled)
    # All layers, two rates and two seeds are tried: the choice itself must not lift the score, either.
    overrides = quick(tmp_path / "shuffled.jsonl", "optim.steps=60", "optim.lrs=[1e-3, 1e-2]", "seeds=[0, 1]")
    name = system if system == "cqt" else f"untrained:{model}"
    out = run_probe("demo_key", name, tmp_path / "r", overrides)
    # Four keys are used: chance is 25 %, the real labels give more than 80 %.
    assert scores(out)["metrics"]["accuracy"]["value"] < 55


def test_unreadable_and_unfit_clips_are_named(toy_manifest, tmp_path):
    clips = [c for c in read_manifest(Path(toy_manifest)) if c.text is not None]
    bad = tmp_path / "bad.wav"
    soundfile.write(bad, torch.zeros(16000).numpy(), 16000)
    bad.write_bytes(bad.read_bytes()[:200])
    clips[0] = dataclasses.replace(clips[0], path=str(bad))
    clips[1] = dataclasses.replace(clips[1], text="abcd" * 40)
    clips[2] = dataclasses.replace(clips[2], text="...")
    write_manifest(tmp_path / "m.jsonl", clips)
    out = run_probe("demo_asr", "logmel", tmp_path / "r", quick(tmp_path / "m.jsonl", "optim.steps=2"))
    reasons = {e["id"]: e["reason"] for e in scores(out)["excluded"]}
    assert set(reasons) == {"0", "1", "2"}
    assert "characters need" in reasons["1"]
    assert reasons["2"] == "empty transcript"
    assert "bad.wav" in (out / "errors.jsonl").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"\$\.data\.manifest: must be given \(add data\.manifest"),
        (["data.manifest=missing.jsonl"], "no such manifest"),
        (["data.manifest=M", "head.kind=mlp"], "unknown key"),
        (["data.manifest=M", "head={kind: mlp}"], r"\$\.head\.kind: the head `mlp` does not fit the task asr"),
        (["data.manifest=M", "baselines=[noise]"], "unknown baseline `noise`; known: cqt, librosa, logmel, untrained"),
        (["data.manifest=M", "data.where={language: xx}"], "no usable clip in the split `train`"),
        (["data.manifest=M", "optim.steps=0"], r"\$\.optim\.steps: `steps` must be at least 1"),
        (["data.manifest=M", "data.test_split=train"], "train, valid and test must be three splits"),
    ],
)
def test_wrong_questions_stop_before_any_work(toy_manifest, tmp_path, overrides, message):
    given = [o.replace("=M", f"={toy_manifest}") if o == "data.manifest=M" else o for o in overrides]
    with pytest.raises(UserError, match=message):
        run_probe("demo_asr", "logmel", tmp_path / "r", given)
    assert not (tmp_path / "r").exists()


def test_clips_that_no_head_sees_are_said(toy_manifest, tmp_path, caplog):
    caplog.set_level("INFO")
    clips = read_manifest(Path(toy_manifest))
    longest = sorted({clip.seconds for clip in clips if clip.text})[-1]
    long = sum(clip.seconds == longest and clip.text is not None for clip in clips)
    below = longest - 1e-3
    run_probe("demo_asr", "logmel", tmp_path / "r", quick(toy_manifest, "optim.steps=1", f"data.max_seconds={below}"))
    assert "demo_asr: left out " in caplog.text
    assert f"{long} longer than `max_seconds` {below:g}\n" in caplog.text
