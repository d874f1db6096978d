"""A folder as MuQ's authors publish it gives the hidden states of their code (``tests/golden/muq``)."""

import json

import pytest
import torch
from safetensors.torch import save_file

from audio_ssl.base.errors import UserError
from audio_ssl.features.load import load
from audio_ssl.interop.read import ModelKind, detect, read_model
from audio_ssl.models.model import SSLModel
from tests.reference import STATES, difference, golden


@pytest.fixture(scope="module")
def theirs():
    return golden("muq")


@pytest.fixture
def folder(theirs, tmp_path):
    config = dict(theirs.about["settings"])
    # What its authors' file says besides; the quantiser and constants lie beside the model.
    weights = {f"model.{name}": value.contiguous() for name, value in theirs.weights.items()}
    weights["model.rvq.quantizers.0.codebook.weight"] = torch.zeros(4, 4)
    weights["model.preprocessor_melspec_2048.melspec.spectrogram.window"] = torch.zeros(2048)
    write(tmp_path, config, weights)
    return tmp_path


def write(path, config, weights):
    (path / "config.json").write_text(json.dumps(config))
    save_file(weights, path / "model.safetensors")


def test_hidden_states_are_those_of_its_code(folder, theirs, caplog):
    assert detect(folder) is ModelKind.MUQ
    with caplog.at_level("INFO"):
        model = read_model(folder)
    assert "left out, as they are not part of the encoder" in caplog.text
    assert (model.config.sample_rate, model.config.normalize) == (24000, False)
    with torch.no_grad():
        output = model(theirs["input/waveform_masked"])
        clean = model(theirs["input/waveform"])
    assert difference(clean.features, theirs["conv_of_unmasked_eval"]) < STATES
    for ours, state in zip(output.hidden, theirs["eval/hidden"], strict=True):
        assert difference(ours, state) < STATES


def test_it_is_loaded_saved_and_batched_as_any_model(folder, theirs, tmp_path):
    model = read_model(folder)
    model.save_pretrained(tmp_path / "ours")
    saved = SSLModel.from_pretrained(tmp_path / "ours")
    clips = [theirs["input/waveform"][0], theirs["input/waveform"][1, :20000]]
    with torch.no_grad():
        both = saved(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([28800, 20000]))
        alone = model(clips[1][None])
    torch.testing.assert_close(both.hidden[-1][1, : alone.hidden[-1].shape[1]], alone.hidden[-1][0])
    assert load(str(folder)).sample_rate == 24000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_rate": 50}, "only models with 25 frames a second"),
        ({"w2v2_config": {"hidden_act": "gelu"}}, "`hidden_act` must be 'swish', but is 'gelu'"),
        ({"conv_dim": 16}, "must have the shape"),
        ({"encoder_depth": 3}, "missing weights"),
        ({"encoder_depth": "many"}, "the model's settings are invalid"),
        ({"stat": {}}, "the model's settings are invalid"),
    ],
)
def test_what_cannot_be_read_is_refused(theirs, folder, change, message):
    config = dict(theirs.about["settings"])
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) and value else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_model(folder)
