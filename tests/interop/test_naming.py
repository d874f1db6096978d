"""A model's settings in its name, the same for every command, and remedies that work as printed."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from audio_ssl import __main__
from audio_ssl.base.errors import UserError
from audio_ssl.features.load import load
from audio_ssl.features.source import open_source
from audio_ssl.interop.read import read_model
from audio_ssl.interop.settings import ModelSettings, parse_name
from audio_ssl.interop.write import export
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.pretrain.teachers import model_loader

SIZES = transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, position_groups=2)
CONFIG = ModelConfig(conv.Config(channels=(8,) * 7), SIZES, 16000)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder of transformers that does not say how waveforms are prepared: `save_pretrained` of a model alone."""
    folder = export(build_model(CONFIG, torch.Generator().manual_seed(0)), tmp_path_factory.mktemp("bare") / "m")
    (folder / "preprocessor_config.json").unlink()
    return folder


def test_what_follows_the_question_mark_are_settings(tmp_path):
    assert parse_name("a/b?normalize=True&heads=12") == ("a/b", ModelSettings(True, None, 12))
    assert parse_name("a/b", ModelSettings(False)) == ("a/b", ModelSettings(False))
    assert parse_name("a/b?sample_rate=8000", ModelSettings(False)) == ("a/b", ModelSettings(False, 8000))
    odd = tmp_path / "is it?normalize=false"
    odd.mkdir()
    for path in (odd, str(odd), tmp_path / "missing?heads=2"):
        assert parse_name(path) == (path, ModelSettings())
    assert parse_name(f"{odd}?heads=2") == (str(odd), ModelSettings(heads=2))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "normalise=true",
            "unknown setting of a model `normalise`; known: heads, normalize, sample_rate .did you mean",
        ),
        ("normalize=maybe", "`normalize` must be true or false, but is `maybe` .give normalize=false"),
        ("normalize", "`normalize` must be true or false, but is ``"),
        ("sample_rate=16k", "`sample_rate` must be a whole number above 0, but is `16k` .give sample_rate=16000"),
        ("heads=0", "`heads` must be a whole number above 0, but is `0`"),
        ("heads=²", "`heads` must be a whole number above 0"),
        ("heads=2&heads=3", "`heads` is given twice, as 2 and as 3"),
        ("", "unknown setting of a model ``"),
    ],
)
def test_settings_that_make_no_sense_are_refused(query, message):
    with pytest.raises(UserError, match=message):
        parse_name(f"a/b?{query}")
    with pytest.raises(UserError, match="`sample_rate` is given twice"):
        read_model("a/b?sample_rate=16000", sample_rate=8000)


def test_the_remedy_of_missing_settings_works_as_printed(bare):
    with pytest.raises(UserError, match="`normalize` and `sample_rate` of the model must be given") as raised:
        read_model(bare)
    name = re.search(r"name the model as (\S+),", raised.value.remedy)[1]
    (typed,) = shlex.split(name)
    assert typed == f"{bare}?normalize=false&sample_rate=16000"
    assert read_model(typed).config == CONFIG
    with pytest.raises(UserError, match=r"\?normalize=true&sample_rate=16000'"):
        load(f"{bare}?normalize=true")


def test_the_remedy_names_an_untrained_twin_as_one(bare):
    with pytest.raises(UserError, match=r"as 'untrained:.*\?normalize=false&sample_rate=16000',"):
        open_source(f"untrained:{bare}")


def test_every_way_to_name_a_model_takes_its_settings(bare):
    name = f"{bare}?normalize=true&sample_rate=16000"
    assert load(name).config.normalize is True
    assert open_source(name).model.config.normalize is True
    assert open_source(f"untrained:{name}").model.config.normalize is True
    assert model_loader(torch.device("cpu"))(name).config.normalize is True


def test_every_command_takes_settings_in_the_name(bare, toy_manifest, tmp_path, capsys):
    name = f"{bare}?normalize=false&sample_rate=16000"
    data = [f"data.manifest={toy_manifest}", "data.max_train_clips=8", "baselines=[untrained]", "optim.steps=2"]
    commands = {
        "export": ["export", name, "--out", str(tmp_path / "export")],
        "extract": ["extract", str(Path(toy_manifest).parent / "0.wav"), name, "--out", str(tmp_path / "features")],
        "probe": ["probe", "demo_key", name, *data, "--out", str(tmp_path / "probe")],
    }
    for command in commands.values():
        plain = [str(bare) if word == name else word for word in command]
        assert __main__.run(plain) == 2
        assert "?normalize=false&sample_rate=16000'" in capsys.readouterr().err
        assert __main__.run(command) == 0, capsys.readouterr().err
    assert read_model(tmp_path / "export").config == CONFIG


@pytest.mark.parametrize("name", ["~no-such-user/model", "~no-such-user/model?heads=2", "\0", "?heads=2"])
def test_names_of_nothing_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no model|contains no model"):
        read_model(name)


def test_a_folder_with_a_question_mark_in_its_name(tmp_path):
    folder = tmp_path / "which?"
    SSLModel(CONFIG).save_pretrained(folder)
    assert load(str(folder)).config == CONFIG
    assert load(f"{folder}?normalize=true").config.normalize is True


def test_heads_are_asked_for_in_the_same_way(tmp_path):
    torchaudio = pytest.importorskip("torchaudio")
    sizes = {"encoder_embed_dim": 48, "encoder_num_layers": 1, "encoder_num_heads": 4, "encoder_ff_interm_features": 8}
    rest = {"encoder_projection_dropout": 0.0, "encoder_attention_dropout": 0.0, "encoder_ff_interm_dropout": 0.0}
    layers = [(8, 10, 5), *([(8, 3, 2)] * 4), *([(8, 2, 2)] * 2)]
    model = torchaudio.models.wav2vec2_model(
        extractor_mode="group_norm", extractor_conv_layer_config=layers, extractor_conv_bias=False,
        encoder_pos_conv_kernel=8, encoder_pos_conv_groups=4, encoder_dropout=0.0, encoder_layer_norm_first=False,
        encoder_layer_drop=0.0, aux_num_out=None, **sizes, **rest,
    )  # fmt: skip
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    name = f"{tmp_path / 'a.safetensors'}?normalize=false&sample_rate=16000"
    with pytest.raises(UserError, match=r"`heads` is unknown.*width 48 .*&sample_rate=16000&heads=12'"):
        read_model(name)
    assert read_model(f"{name}&heads=4").config.encoder.heads == 4
