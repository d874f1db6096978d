"""Weights at half their length: which tensors, to which numbers, in every layout that is written, and read back."""

import json

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import audio_ssl
from audio_ssl.base.errors import UserError
from audio_ssl.commands.app import app
from audio_ssl.interop.write import export
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv, mel
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.models.weights import stored

ENCODER = transformer.Config(layers=2, dim=32, ffn_dim=64, heads=4, position_kernel_frames=16, position_groups=4)
OURS = ModelConfig(mel.Config(n_mels=20, stack=2), ENCODER, 16000)
THEIRS = ModelConfig(conv.Config(channels=(16,) * 7), ENCODER, 16000)
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def storage_of(path):
    """Return how a file of weights says that they are stored; float32 if it says nothing."""
    with safe_open(path, framework="np") as file:
        return (file.metadata() or {}).get("weights", "float32")


@pytest.fixture
def model():
    return build_model(OURS, torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("weights", HALVES)
def test_matrices_are_rounded_and_vectors_are_kept(model, tmp_path, weights):
    model.save_pretrained(tmp_path, weights)
    table, half = load_file(tmp_path / "model.safetensors"), HALVES[weights]
    assert table.keys() == model.state_dict().keys()
    assert {value.dtype for value in table.values() if value.ndim >= 2} == {half}
    assert {value.dtype for value in table.values() if value.ndim < 2} == {torch.float32}
    assert storage_of(tmp_path / "model.safetensors") == weights
    read = SSLModel.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        found = read.state_dict()[name]
        assert found.dtype == torch.float32
        assert torch.equal(found, value.to(half).float() if value.ndim >= 2 else value), name


@pytest.mark.parametrize("config", [OURS, THEIRS])
@pytest.mark.parametrize("weights", HALVES)
def test_what_is_read_is_written_again_without_loss(config, tmp_path, weights):
    export(build_model(config, torch.Generator().manual_seed(0)), tmp_path / "a", weights=weights)
    read = audio_ssl.load(tmp_path / "a")
    for number, again in enumerate((weights, "float32")):
        read.save_pretrained(tmp_path / str(number), weights=again)
        assert audio_ssl.load(tmp_path / str(number)).fingerprint == read.fingerprint
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("a", "0", "1")]
    assert sizes[0] == sizes[1] < 0.7 * sizes[2]
    # The same model, but stored in another way: what is there is not overwritten.
    with pytest.raises(UserError, match="the folder contains another model"):
        read.save_pretrained(tmp_path / "a")


def test_float16_is_nearer_than_bfloat16(model, tmp_path):
    waveform = torch.randn(1, 16000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = model(waveform).hidden[-1]
        errors = {}
        for weights in HALVES:
            model.save_pretrained(tmp_path / weights, weights)
            found = audio_ssl.load(tmp_path / weights)(waveform).hidden[-1]
            errors[weights] = float((found - exact).norm() / exact.norm())
    assert 0 < errors["float16"] < errors["bfloat16"] / 4 < 1e-2


def test_transformers_computes_in_float32_from_either(tmp_path):
    ours = build_model(THEIRS, torch.Generator().manual_seed(0)).eval()
    export(ours, tmp_path / "half", weights="float16")
    # transformers 5 goes by the file's format unless the config names another.
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "float32"
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "half").eval()
    assert {value.dtype for value in theirs.parameters()} == {torch.float32}
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = audio_ssl.load(tmp_path / "half")(waveform).hidden[-1]
        torch.testing.assert_close(theirs(waveform).last_hidden_state, expected, atol=1e-4, rtol=1e-3)


def test_a_weight_that_does_not_fit_is_named(model, tmp_path):
    with torch.no_grad():
        model.encoder.projection.weight[0, 0] = 1e5
    with pytest.raises(
        UserError, match=r"`encoder.projection.weight` has values up to 1e\+05 and float16 ends at 6.55e\+04"
    ):
        model.save_pretrained(tmp_path, "float16")
    assert not (tmp_path / "model.safetensors").exists()
    model.save_pretrained(tmp_path, "bfloat16")
    with pytest.raises(UserError, match=r"`weights` must be float32, float16 or bfloat16, but is `int8`"):
        model.save_pretrained(tmp_path / "b", "int8")


def test_integers_and_numbers_that_are_no_numbers_stay():
    table = {"count": torch.tensor([[3]]), "bad": torch.tensor([[float("nan")]])}
    found = stored(table, "float16")
    assert found["count"].dtype == torch.int64
    assert bool(found["bad"].isnan())


def test_files_of_before_are_float32(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert storage_of(tmp_path / "model.safetensors") == "float32"


def test_the_command_stores_so(model, tmp_path, capsys):
    model.save_pretrained(tmp_path / "m")
    words = ["export", str(tmp_path / "m"), "--weights", "float16", "--out"]
    app([*words, str(tmp_path / "half")], exit_on_error=False, print_error=False)
    assert storage_of(tmp_path / "half" / "model.safetensors") == "float16"
    with pytest.raises(UserError, match="leave out `--weights`"):
        app([*words, str(tmp_path / "f2"), "--to", "fairseq2"], exit_on_error=False, print_error=False)


def test_the_same_weights_are_the_same_bytes(model, tmp_path):
    files = [tmp_path / str(number) / "model.safetensors" for number in range(8)]
    for file in files:
        model.save_pretrained(file.parent, "float16")
    assert len({file.read_bytes() for file in files}) == 1
    assert load_file(files[0]).keys() == model.state_dict().keys()
