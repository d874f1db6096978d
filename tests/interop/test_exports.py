"""The export command on models of every layout that has one."""

import json

import pytest
import torch

from audio_ssl import __main__
from audio_ssl.features.load import load
from audio_ssl.interop.export import export_model, origin_of
from audio_ssl.interop.read import read_model
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv, cqt
from audio_ssl.models.model import ModelConfig, build_model


@pytest.fixture
def run(tmp_path):
    encoder = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    config = ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000, normalize=True)
    build_model(config, torch.Generator().manual_seed(0)).save_pretrained(tmp_path / "run")
    (tmp_path / "run" / "provenance.json").write_text(json.dumps({"recipe_hash": "abc", "finished": True}))
    return tmp_path / "run"


def test_a_run_opens_in_transformers(run, tmp_path, capsys):
    from transformers import AutoFeatureExtractor, AutoModel

    assert __main__.run(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "out")
    theirs = AutoModel.from_pretrained(tmp_path / "out").eval()
    prepare = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    waveform = torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))
    inputs = prepare(waveform[0].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        hidden = theirs(inputs.input_values, output_hidden_states=True).hidden_states
        for ours, other in zip(load(tmp_path / "out")(waveform).hidden, hidden, strict=True):
            torch.testing.assert_close(ours, other, atol=1e-5, rtol=0)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| recipe (hash) | abc |" in card


def test_a_run_goes_to_fairseq2_and_back(run, tmp_path):
    export_model(str(run), tmp_path / "out", to="fairseq2")
    assert load(tmp_path / "out").fingerprint == load(run).fingerprint


def test_a_model_that_only_we_have_keeps_our_layout(tmp_path):
    encoder = transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, positions="rope")
    build_model(ModelConfig(cqt.Config(n_bins=24, fmin_hz=200.0), encoder, 16000)).save_pretrained(tmp_path / "m")
    export_model(str(tmp_path / "m"), tmp_path / "out")
    assert "import audio_ssl  # tells transformers" in (tmp_path / "out" / "README.md").read_text()
    assert load(tmp_path / "out").fingerprint == load(tmp_path / "m").fingerprint


def test_bare_weights_need_to_be_told_how_they_are_used(run, tmp_path, capsys):
    pytest.importorskip("torchaudio")
    from torchaudio.models import hubert_base

    torch.save(hubert_base().state_dict(), tmp_path / "bare.pt")
    argv = ["export", str(tmp_path / "bare.pt"), "--out", str(tmp_path / "out")]
    assert __main__.run(argv) == 2
    assert "normalize" in capsys.readouterr().err
    assert __main__.run([*argv, "--no-normalize", "--sample-rate", "16000"]) == 0
    assert read_model(tmp_path / "out").config.normalize is False


def test_facts_of_what_is_no_run():
    assert origin_of("org/name").rows == {"exported from": "org/name"}
