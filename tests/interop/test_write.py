"""Exported folders open in transformers with the same numbers, and here with the same config and bits."""

import dataclasses
import json

import pytest
import torch
import transformers

from audio_ssl.base.errors import UserError
from audio_ssl.interop.read import read_model
from audio_ssl.interop.write import export
from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import conformer, gru, transformer
from audio_ssl.models.frontends import conv, cqt, mel, mel_res2d
from audio_ssl.models.model import ModelConfig, SSLModel
from tests.their_states import model_states

ENCODER = transformer.Config(layers=2, dim=48, ffn_dim=96, heads=4, position_kernel_frames=16, position_groups=4)
BASE, LARGE = conv.Config(channels=(32,) * 7), conv.Config(channels=(32,) * 7, norm="layer", bias=True)


def config(frontend=BASE, sample_rate=16000, normalize=False, **changes):
    return ModelConfig(frontend, dataclasses.replace(ENCODER, **changes), sample_rate, normalize)


THEIRS = {
    "hubert": config(),
    "hubert large": config(LARGE, normalize=True, pre_norm=True, dropout=0.0, layer_drop=0.0, input_dropout=0.3),
    "hubert mert": config(sample_rate=24000, pre_norm=True, attention_relax=32.0, checkpoint_activations=True),
    "hubert few": config(conv.Config((16, 32), (10, 8), (5, 4)), position_kernel_frames=5),
    "hubert without feature norm": config(feature_norm=False),
    "wavlm": config(relative_positions=Relative(40, 60)),
    "wavlm large": config(LARGE, normalize=True, pre_norm=True, relative_positions=Relative(320, 800)),
    "data2vec-audio": config(LARGE, position_layers=3, position_kernel_frames=7),
    "data2vec-audio even": config(LARGE, position_layers=2, position_kernel_frames=6),
}
SMALL = {"layers": 1, "dim": 32, "ffn_dim": 64, "heads": 4}
OURS = {
    "cqt": ModelConfig(cqt.Config(n_bins=24, fmin_hz=200.0), ENCODER),
    "rope": config(positions="rope"),
    "alibi": config(alibi=True),
    "deepnorm": config(deepnorm=True),
    "stacked positions after one norm": config(BASE, position_layers=2, position_kernel_frames=7),
    "stacked positions, pre-LN": config(LARGE, pre_norm=True, position_layers=2, position_kernel_frames=7),
    "stacked positions, no feature norm": config(LARGE, position_layers=3, feature_norm=False),
    "relative positions, no feature norm": config(relative_positions=Relative(40, 60), feature_norm=False),
    "conformer": ModelConfig(BASE, conformer.Config(**SMALL)),
    "gru": ModelConfig(BASE, gru.Config()),
    "relu": config(dataclasses.replace(BASE, activation="relu")),
    "muq": ModelConfig(
        mel_res2d.Config(n_mels=20, window_seconds=0.025, channels=4, dim=32),
        conformer.Config(**SMALL, form="muq"),
        16000,
    ),
    "speechbrain": ModelConfig(
        mel.Config(n_mels=20, conv_channels=(4, 2), stack=1, form="speechbrain"),
        conformer.Config(**SMALL, form="speechbrain", activation="gelu", positions="transformer_xl"),
    ),
    "cpc": ModelConfig(BASE, gru.Config(layers=1, dim=32, form="frames", cell="lstm")),
}


def build(config, perturb):
    torch.manual_seed(0)
    return perturb(SSLModel(config))


def same(one, other):
    weights = other.state_dict()
    assert one.state_dict().keys() == weights.keys()
    return one.config == other.config and all(
        torch.equal(value, weights[key]) for key, value in one.state_dict().items()
    )


@pytest.mark.parametrize("name", THEIRS)
def test_transformers_opens_it_with_the_same_numbers(tmp_path, perturb, check, name):
    ours = build(THEIRS[name], perturb)
    assert export(ours, tmp_path / "model") == tmp_path / "model"
    theirs, loading = transformers.AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert theirs.config.model_type == name.split()[0]
    assert not any(loading.values())
    prepare = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "model")

    def states(waveform):
        inputs = prepare(waveform[0].numpy(), sampling_rate=ours.config.sample_rate, return_tensors="pt").input_values
        return model_states(theirs.double(), inputs.double())

    check(ours, states)


@pytest.mark.parametrize("name", [*THEIRS, *OURS])
def test_it_is_read_back_whole(tmp_path, perturb, name):
    model = build({**THEIRS, **OURS}[name], perturb)
    export(model, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "files.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert same(read_model(tmp_path / "model"), model)


def test_the_config_says_apart_only_what_transformers_cannot(tmp_path, perturb):
    for name, rest in (
        ("hubert", {}),
        ("hubert without feature norm", {}),
        ("hubert mert", {"encoder": {"attention_relax": 32.0, "checkpoint_activations": True}}),
    ):
        export(build(THEIRS[name], perturb), tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["audio_ssl"] == rest


def test_the_card_says_what_is_known_and_no_more(tmp_path, perturb):
    texts = {}
    for name in ("hubert", "hubert large", "data2vec-audio", "cqt"):
        model = build({**THEIRS, **OURS}[name], perturb)
        facts = {"steps": 400, "recipe": "abc"} if name == "hubert" else None
        texts[name] = (export(model, tmp_path / name, name="org/tones", facts=facts) / "README.md").read_text()
        assert "# tones" in texts[name]
        assert 'audio_ssl.load("org/tones")' in texts[name]
        assert "license" not in texts[name].split("---")[1]
        assert "Whoever publishes this model has to name the licence" in texts[name]
    assert "| 16000 Hz" in texts["hubert"]
    assert "| steps | 400 |\n| recipe | abc |" in texts["hubert"]
    assert "Not stated." in texts["cqt"]
    assert ["In a padded batch they differ" in text for text in texts.values()] == [True, False, True, False]
    assert ["\nimport audio_ssl  #" in text for text in texts.values()] == [False, False, False, True]
    assert ["standardised" in text for text in texts.values()] == [False, True, False, False]


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("name", ["hubert", "hubert large", "wavlm large", "data2vec-audio"])
def test_the_card_is_right_about_padding_in_transformers(tmp_path, perturb, name):
    folder = export(build(THEIRS[name], perturb), tmp_path / "m")
    model = transformers.AutoModel.from_pretrained(folder)
    clip = torch.randn(1, 6000, generator=torch.Generator().manual_seed(1))
    batch, mask = torch.zeros(2, 12000), torch.ones(2, 12000, dtype=torch.long)
    batch[0, :6000], mask[0, 6000:] = clip[0], 0
    with torch.no_grad():
        alone = model(clip).last_hidden_state
        padded = model(batch, attention_mask=mask).last_hidden_state[:1, : alone.shape[1]]
    differs = (padded - alone).abs().max().item() > 1e-3
    assert differs == ("In a padded batch they differ" in (folder / "README.md").read_text())


def test_the_example_of_the_card_runs(tmp_path, perturb):
    card = (
        export(build(THEIRS["hubert"], perturb), tmp_path / "m", name=str(tmp_path / "m")) / "README.md"
    ).read_text()
    code = card.split("```python")[2].split("```")[0]
    found = {"waveform": torch.zeros(8000).numpy()}
    exec(compile(code, "card", "exec"), found)
    assert len(found["hidden_states"]) == 3


def test_another_model_is_never_overwritten(tmp_path, perturb):
    model = build(THEIRS["hubert"], perturb)
    export(model, tmp_path / "model")
    export(model, tmp_path / "model", facts={"seen": "again"})
    with pytest.raises(UserError, match=r"contains another model: config.json, model.safetensors"):
        export(build(THEIRS["wavlm"], perturb), tmp_path / "model")
    with torch.no_grad():
        model.encoder.norm.weight.add_(1)
    with pytest.raises(UserError, match="contains another model"):
        export(model, tmp_path / "model")
    for name in ("recipe.yaml", "pytorch_model.bin"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
        with pytest.raises(UserError, match=f"contains another model: {name}"):
            export(model, tmp_path / name)
    with pytest.raises(UserError, match="this is a file"):
        export(model, tmp_path / "recipe.yaml" / "recipe.yaml")


def test_a_folder_becomes_a_model_only_when_it_is_whole(tmp_path, perturb, monkeypatch):
    def full(path, text):
        raise OSError("no space")

    monkeypatch.setattr("audio_ssl.interop.write.write_text", full)
    with pytest.raises(OSError, match="no space"):
        export(build(THEIRS["hubert"], perturb), tmp_path / "model")
    with pytest.raises(UserError, match="contains no model"):
        read_model(tmp_path / "model")
