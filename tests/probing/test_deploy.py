"""Results become folders of transformers, whose pipelines answer as the probe does: the same text, the same classes."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from audio_ssl import __main__
from audio_ssl.artifacts.result import read_scores
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import locked_folder
from audio_ssl.interop.read import read_model
from audio_ssl.models.encoders import gru, transformer
from audio_ssl.models.frontends import conv, mel
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.probing.deploy import export_result
from audio_ssl.probing.features import LayerBatch
from audio_ssl.probing.layer_heads import LayerStatistics
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.trained import open_result
from tests.probing.toys import ten_people

RATE = 16000
SIZES = {"layers": 2, "dim": 16, "ffn_dim": 16, "heads": 2, "position_kernel_frames": 4, "position_groups": 2}
GROUP, LAYER = conv.Config(channels=(8,) * 7), conv.Config(channels=(8,) * 7, norm="layer", bias=True)
MODELS = {
    "base": ModelConfig(GROUP, transformer.Config(**SIZES), RATE),
    "large": ModelConfig(LAYER, transformer.Config(**SIZES, pre_norm=True), RATE, normalize=True),
    "stacked": ModelConfig(
        LAYER, transformer.Config(**{**SIZES, "position_kernel_frames": 3}, position_layers=2), RATE
    ),
    "mel": ModelConfig(mel.Config(n_mels=20, stack=2), gru.Config(layers=1, dim=16), RATE, normalize=True),
}
LINEAR, LSTM = "head={kind: ctc, lstm_layers: 0}", "head={kind: ctc, projection_dim: 8, lstm_layers: 1, lstm_dim: 8}"
TEXTS = {
    # The model, what it becomes in transformers, and the probe.
    "a lower layer": ("base", "HubertForCTC", [LINEAR, "layers=[1]"]),
    "two linear layers, whitened": (
        "stacked",
        "Data2VecAudioForCTC",
        ["head={kind: ctc, projection_dim: 8, lstm_layers: 0}", "layers=[last]", "whiten=true"],
    ),
    "fine-tuned": ("large", "HubertForCTC", [LINEAR, "finetune={freeze_steps: 0, lr: 1.0e-3}"]),
    "fine-tuned by LoRA": ("base", "HubertForCTC", [LINEAR, "finetune={freeze_steps: 0, lr: 0.1, lora: {rank: 2}}"]),
    "a lower layer before the last norm": ("large", "AudioSSLForCTC", [LINEAR, "layers=[1]"]),
    "a mix": ("base", "AudioSSLForCTC", [LINEAR, "layers=[mix]"]),
    "an LSTM": ("base", "AudioSSLForCTC", [LSTM, "layers=[last]"]),
    "convolutions": ("mel", "AudioSSLForCTC", ["layers=[mix]", "whiten=true"]),
    "words": ("mel", "AudioSSLForCTC", ["task={kind: asr, units: sentencepiece, vocab_size: 4}", LINEAR, "layers=[1]"]),
}
CLASSES = {
    "linear": ("base", "HubertForSequenceClassification", ["head={kind: mlp, hidden_dim: 0}", "layers=[1]"]),
    "SUPERB's": ("large", "HubertForSequenceClassification", ["head={kind: projection, dim: 8}", "layers=[last]"]),
    "rectified": ("large", "AudioSSLForAudioClassification", ["head={kind: projection, relu: true}", "layers=[mix]"]),
    "a hidden layer": ("mel", "AudioSSLForAudioClassification", ["head={kind: mlp, hidden_dim: 8}", "layers=[1]"]),
}
QUICK = ["optim.steps=2", "optim.eval_every=1", "baselines=[]", "seeds=[0]", "optim.lrs=[1.0e-2]"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return ten_people(tmp_path_factory.mktemp("people"), "m.jsonl")


@pytest.fixture(scope="module")
def answer(people, tmp_path_factory):
    """Run a probe on one of the models; return its result."""
    folder = tmp_path_factory.mktemp("results")
    for name, config in MODELS.items():
        build_model(config, torch.Generator().manual_seed(0)).save_pretrained(folder / name)

    def run(probe, model, settings, name):
        if not (folder / name).is_dir():
            run_probe(probe, str(folder / model), folder / name, [f"data.manifest={people}", *QUICK, *settings])
        return folder / name

    return run


def waves():
    """Clips of several lengths, one of 30 seconds."""
    rng = np.random.default_rng(3)
    return [rng.normal(0, 0.1, samples).astype(np.float32) for samples in (16000, 5200, 9000, 30 * RATE)]


@torch.no_grad()
def logits_of(opened, wave):
    """What the head gives for one clip, from frames that are not rounded."""
    output = opened.source.model(torch.from_numpy(wave)[None])
    values, frames = torch.stack([output.hidden[layer] for layer in opened.layers]), output.lengths
    if opened.pooled:
        values, frames = values.mean(2, keepdim=True), torch.ones(1, dtype=torch.long)
    statistics = LayerStatistics(opened.system.mean, opened.system.scale)
    batch = opened.system.batch(statistics.standardise(LayerBatch(values, frames)))
    return opened.system.head(batch.features, batch.frames), frames


@pytest.mark.parametrize("name", TEXTS)
def test_the_pipeline_transcribes_as_the_probe_does(answer, tmp_path, name):
    for needed, package in (("sentencepiece", "sentencepiece"), ("lora", "peft")):
        if needed in str(TEXTS[name]):
            pytest.importorskip(package)
    model, architecture, settings = TEXTS[name]
    result = answer("demo_asr", model, settings, name)
    export_result(result, tmp_path / "out")
    opened = open_result(result)
    recognise = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "out"))
    assert type(recognise.model).__name__ == architecture
    assert len(recognise.tokenizer) >= len(opened.task.classes) + 2
    texts = []
    for wave in waves():
        logits, frames = logits_of(opened, wave)
        with torch.no_grad():
            inputs = recognise.feature_extractor(wave, sampling_rate=RATE, return_tensors="pt")
            theirs = recognise.model(**inputs).logits
        torch.testing.assert_close(theirs[..., : logits.shape[-1]], logits, atol=1e-4, rtol=0)
        texts.append(opened.task.hypothesis(opened.system.head.answers(logits, frames)[0]))
        # transformers keeps spaces that follow each other.
        found = recognise({"raw": wave.copy(), "sampling_rate": RATE})["text"]
        assert " ".join(found.split()) == texts[-1]
    assert any(texts)
    if architecture == "AudioSSLForCTC":
        clips = [{"raw": wave.copy(), "sampling_rate": RATE} for wave in waves()]
        together = recognise(clips, batch_size=4)
        assert [" ".join(one["text"].split()) for one in together] == texts
    elif model == "large":
        prepare = transformers.AutoProcessor.from_pretrained(tmp_path / "out")
        inputs = prepare(waves(), sampling_rate=RATE, padding=True, return_tensors="pt")
        with torch.no_grad():
            rows = recognise.model(**inputs).logits
        for wave, row in zip(waves(), rows, strict=True):
            logits, _ = logits_of(opened, wave)
            torch.testing.assert_close(row[: logits.shape[1], : logits.shape[2]], logits[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CLASSES)
def test_the_pipeline_names_classes_as_the_probe_does(answer, tmp_path, name):
    model, architecture, settings = CLASSES[name]
    result = answer("gender", model, settings, f"classes {name}")
    export_result(result, tmp_path / "out")
    opened = open_result(result)
    classify = transformers.pipeline("audio-classification", str(tmp_path / "out"))
    assert type(classify.model).__name__ == architecture
    padded = classify.feature_extractor(waves(), sampling_rate=RATE, padding=True, return_tensors="pt")
    with torch.no_grad():
        rows = classify.model(**padded).logits
    for wave, row in zip(waves(), rows, strict=True):
        logits, _ = logits_of(opened, wave)
        expected = logits[0].softmax(-1)
        found = {one["label"]: one["score"] for one in classify({"raw": wave.copy(), "sampling_rate": RATE})}
        for label, probability in zip(opened.task.classes, expected.tolist(), strict=True):
            assert found[label] == pytest.approx(probability, abs=1e-5)
        if model != "base":
            torch.testing.assert_close(row, logits[0], atol=1e-4, rtol=0)


def test_what_is_exported_is_read_back_here_without_its_head(answer, tmp_path, caplog):
    for name, left in (("a lower layer", "lm_head"), ("a mix", "probe.head.output.weight")):
        model, _, settings = TEXTS[name]
        result = answer("demo_asr", model, settings, name)
        caplog.clear()
        with caplog.at_level("INFO"):
            export_result(result, tmp_path / left, weights="float16")
            read = read_model(tmp_path / left)
        assert left in caplog.text
        whole = open_result(result).source.model
        layers = 1 if left == "lm_head" else 2
        assert read.num_layers == layers
        wave = torch.from_numpy(waves()[0])[None]
        with torch.no_grad():
            for ours, other in zip(read(wave).hidden, whole(wave, layers=layers).hidden, strict=True):
                torch.testing.assert_close(ours, other, atol=0.02, rtol=0.02)


def test_heads_of_ours_learn_on_in_transformers(answer, tmp_path):
    model, _, settings = TEXTS["an LSTM"]
    export_result(answer("demo_asr", model, settings, "an LSTM"), tmp_path / "out")
    recogniser = transformers.AutoModelForCTC.from_pretrained(tmp_path / "out").train()
    prepare = transformers.AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = prepare(waves()[:2], sampling_rate=RATE, padding=True, return_tensors="pt")
    labels = torch.tensor([[2, 3, 1, 3], [2, 3, -100, -100]])
    recogniser(**inputs, labels=labels).loss.backward()
    assert recogniser.probe.head.output.weight.grad.any()
    recogniser.save_pretrained(tmp_path / "again")
    again = transformers.AutoModelForCTC.from_pretrained(tmp_path / "again").eval()
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, recogniser.eval()(**inputs).logits)


def refused(capsys, *argv):
    assert __main__.run(["export", *map(str, argv)]) == 2
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    return error


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(answer, people, tmp_path, capsys):
    model, _, settings = TEXTS["a lower layer"]
    result, out = answer("demo_asr", model, settings, "a lower layer"), tmp_path / "out"
    whole = [result, "--out", out]
    assert "`--to` must be transformers for the result of a probe" in refused(capsys, *whole, "--to", "fairseq2")
    assert "`--sample-rate` belongs to a model" in refused(capsys, *whole, "--sample-rate", "16000")
    assert "`--push` belongs to a model" in refused(capsys, *whole, "--push", "org/name")
    assert "`--model` belongs to the result of a probe" in refused(
        capsys, result.parent / "base", "--out", out, "--model", result.parent / "base"
    )
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(result / "probe.yaml", unfinished)
    assert "the probe has not finished" in refused(capsys, unfinished, "--out", out)
    gone = shutil.copytree(result, tmp_path / "gone")
    scores = json.loads((gone / "scores.json").read_text())
    origin = json.loads((gone / "provenance.json").read_text())
    moved = dict.fromkeys(("model", "model_path"), "/nowhere/base")
    (gone / "scores.json").write_text(json.dumps(scores | {"model": "/nowhere/base"}))
    (gone / "provenance.json").write_text(json.dumps(origin | moved))
    for sealed in ("files.json",):
        (gone / sealed).unlink(missing_ok=True)
    error = refused(capsys, gone, "--out", out)
    assert "the model of the result is gone: it was /nowhere/base" in error
    assert str(read_scores(result).model_fingerprint) in error
    with locked_folder(tmp_path / "busy"):
        assert "another command is writing here" in refused(capsys, result, "--out", tmp_path / "busy")
    other = shutil.copytree(result.parent / "mel", tmp_path / "other")
    assert "contains another model" in refused(capsys, result, "--out", other)
    assert not out.exists()
    assert __main__.run(["export", str(gone), "--out", str(out), "--model", str(result.parent / "base")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out)]
    # The same again is no other model.
    assert __main__.run(["export", str(result), "--out", str(out)]) == 0


def test_answers_that_are_neither_texts_nor_classes_are_refused(people, answer, tmp_path):
    quick = [f"data.manifest={people}", *QUICK]
    asked = answer("demo_asr", *TEXTS["a mix"][::2], "a mix")
    model = str(asked.parent / "base")
    logmel = run_probe("demo_asr", "logmel", tmp_path / "logmel", quick)
    with pytest.raises(UserError, match="the features `logmel` have no model"):
        export_result(logmel, tmp_path / "out")
    seq2seq = "head={kind: seq2seq, dim: 8, heads: 2, encoder_layers: 1, decoder_layers: 1}"
    spoken = run_probe("demo_asr", model, tmp_path / "seq2seq", [*quick, seq2seq])
    with pytest.raises(UserError, match=r"`seq2seq` of the task asr is neither .* 'head={kind: ctc}' can be exported"):
        export_result(spoken, tmp_path / "out")
    inside = run_probe("demo_asr", f"{model}?point=feed_forward", tmp_path / "point", quick)
    with pytest.raises(UserError, match="sees the point `feed_forward`"):
        export_result(inside, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_search_is_left_out_and_said(answer, people, tmp_path, caplog):
    asked = answer("demo_asr", *TEXTS["a mix"][::2], "a mix")
    searched = run_probe(
        "demo_asr",
        str(asked.parent / "base"),
        tmp_path / "beam",
        [f"data.manifest={people}", *QUICK, "decode={kind: ctc_beam, order: 0}"],
    )
    export_result(searched, tmp_path / "out")
    assert "stays here; the folder decodes greedily" in caplog.text
