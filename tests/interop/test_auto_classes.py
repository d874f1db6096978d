"""Saved models of ours open by transformers' auto classes, with the numbers and weights that they have here."""

import copy
import json
import subprocess
import sys

import pytest
import torch
import transformers

from audio_ssl.artifacts.run import MODEL_TYPE
from audio_ssl.base.errors import UserError
from audio_ssl.interop.auto_registry import await_transformers
from audio_ssl.interop.read import read_model
from audio_ssl.interop.write import export
from audio_ssl.models.encoders import conformer, gru, transformer
from audio_ssl.models.frontends import concat, conv, cqt, mel
from audio_ssl.models.model import ModelConfig, SSLModel

ROPE = transformer.Config(layers=2, dim=32, ffn_dim=64, heads=4, positions="rope", pre_norm=True)
MEL, CQT = mel.Config(n_mels=20, stack=2), cqt.Config(n_bins=30, bins_per_octave=12, fmin_hz=200.0)
MODELS = {
    "mel and cqt": ModelConfig(concat.Config((MEL, CQT)), ROPE, 16000),
    "waveforms": ModelConfig(conv.Config((16,) * 7), ROPE, 16000, normalize=True, normalize_epsilon=1e-5),
    "conformer": ModelConfig(MEL, conformer.Config(layers=1, dim=32, ffn_dim=64, heads=4), 16000, normalize=True),
    "gru": ModelConfig(CQT, gru.Config(layers=1, dim=32), 24000),
}
CLIPS = (12000, 7000)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, perturb):
    """Each model with the folder it was exported to."""
    found = {}
    for name, config in MODELS.items():
        torch.manual_seed(0)
        model = perturb(SSLModel(config))
        found[name] = model, export(model, tmp_path_factory.mktemp("saved") / "model")
    return found


def waves():
    generator = torch.Generator().manual_seed(0)
    # Quiet clips, which show what is added to their variance.
    return [0.01 * torch.randn(samples, generator=generator).numpy() for samples in CLIPS]


@pytest.mark.parametrize("name", MODELS)
def test_the_auto_classes_open_it_with_the_same_numbers_in_a_padded_batch(saved, name):
    ours, folder = saved[name]
    theirs, loading = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert type(theirs).__name__ == "AudioSSLModel"
    assert not any(loading.values())
    prepare = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = prepare(waves(), sampling_rate=ours.config.sample_rate, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = theirs(**inputs, output_hidden_states=True)
        for row, wave in enumerate(waves()):
            alone = ours(torch.from_numpy(wave)[None])
            frames = int(alone.lengths[0])
            for state, expected in zip(output.hidden_states, alone.hidden, strict=True):
                torch.testing.assert_close(state[row, :frames], expected[0], atol=1e-5, rtol=1e-4)
                assert not state[row, frames:].any()
            torch.testing.assert_close(output.extract_features[row, :frames], alone.features[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(output.last_hidden_state, output.hidden_states[-1])
    assert theirs(**inputs).hidden_states is None
    assert len(theirs(**inputs, return_dict=False)) == 2


@pytest.mark.parametrize("name", MODELS)
def test_what_transformers_saves_is_the_same_model_here_and_there(saved, name, tmp_path):
    ours, folder = saved[name]
    theirs = transformers.AutoModel.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "theirs")
    again, read = transformers.AutoModel.from_pretrained(tmp_path / "theirs"), read_model(tmp_path / "theirs")
    assert read.config == ours.config
    weights = ours.state_dict()
    for other in (theirs, again, read, copy.deepcopy(theirs)):
        assert other.state_dict().keys() == weights.keys()
        assert all(torch.equal(value, weights[key]) for key, value in other.state_dict().items())
    clip = torch.from_numpy(waves()[0])[None]
    with torch.no_grad():
        assert torch.equal(again(clip).last_hidden_state, theirs(clip).last_hidden_state)


def test_a_model_of_a_run_says_its_type_too(saved, tmp_path):
    ours, _ = saved["gru"]
    ours.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == MODEL_TYPE
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    fresh = transformers.AutoModel.from_config(config)
    assert (fresh.config.hidden_size, fresh.config.num_hidden_layers) == (32, 1)
    assert fresh.config.inputs_to_logits_ratio == ours.grid.hop_samples
    fresh.train()
    fresh(torch.from_numpy(waves()[0])[None]).last_hidden_state.square().sum().backward()
    assert all(parameter.grad is not None for name, parameter in fresh.named_parameters() if "mask_" not in name)


def test_float16_is_read_back_as_float32(saved, tmp_path):
    ours, _ = saved["waveforms"]
    theirs = transformers.AutoModel.from_pretrained(export(ours, tmp_path / "m", weights="float16"))
    assert {parameter.dtype for parameter in theirs.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_for_the_waveform_alone(saved, dtype):
    ours, folder = saved["mel and cqt"]
    theirs = transformers.AutoModel.from_pretrained(folder, dtype=dtype)
    assert {parameter.dtype for parameter in theirs.parameters()} == {torch.float32}
    clip = torch.from_numpy(waves()[0])[None].to(dtype)
    with torch.no_grad():
        torch.testing.assert_close(theirs(clip).last_hidden_state, ours(clip.float()).hidden[-1], atol=1e-5, rtol=1e-4)


def test_padding_before_a_clip_and_a_config_without_a_model_are_errors(saved, tmp_path):
    _, folder = saved["mel and cqt"]
    theirs = transformers.AutoModel.from_pretrained(folder)
    mask = torch.ones(1, 9000)
    mask[0, :500] = 0
    with pytest.raises(UserError, match="padding comes before a clip"):
        theirs(torch.zeros(1, 9000), attention_mask=mask)
    data = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**data, "format_version": 99}))
    with pytest.raises(UserError, match="`format_version` must be 1, but is 99"):
        transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(tmp_path))


def test_it_is_registered_where_transformers_was_imported_first(saved, monkeypatch):
    _, folder = saved["gru"]
    mapping = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    monkeypatch.setattr(mapping, "_extra_content", {})
    with pytest.raises((ValueError, KeyError)):
        transformers.AutoConfig.from_pretrained(folder)
    await_transformers()
    assert transformers.AutoConfig.from_pretrained(folder).model_type == MODEL_TYPE


def test_importing_the_package_imports_nothing_of_transformers_or_torch(saved):
    _, folder = saved["gru"]
    code = f"""
import sys
import audio_ssl
assert not {{"torch", "transformers"}} & sys.modules.keys()
from transformers import AutoConfig
assert AutoConfig.from_pretrained({str(folder)!r}).model_type == "audio_ssl"
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("audio_ssl")]
import inspect, transformers.models.auto.configuration_auto as found
assert "class AutoConfig" in inspect.getsource(found)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registering_by_hand_says_what_is_missing(monkeypatch):
    import audio_ssl

    audio_ssl.register_with_transformers()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="`register_with_transformers` needs the package transformers"):
        audio_ssl.register_with_transformers()
