"""Adapters: on and merged they are the same, peft's own loader reads them, and another model than theirs is refused."""

import copy
import sys

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

import audio_ssl
from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.models.adapters import AdaptedModel, Lora, check_lora, merge_adapter, need_peft, targets_of
from audio_ssl.models.fast.prepared import prepare
from audio_ssl.models.model import ModelConfig, build_model

SIZES = {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4}
ENCODERS = {
    "transformer": {
        "layers": 2,
        "dim": 32,
        "ffn_dim": 48,
        "heads": 4,
        "position_kernel_frames": 9,
        "position_groups": 4,
    },
    "conformer": {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "kernel_frames": 7},
    "gru": {"layers": 2, "dim": 32},
}
WAVES, LENGTHS = torch.randn(2, 8000, generator=torch.Generator().manual_seed(1)), torch.tensor([8000, 6000])


def small(encoder="transformer"):
    config = ModelConfig(
        catalog.load_part("frontends", "conv").Config(channels=(16,) * 7),
        catalog.load_part("encoders", encoder).Config(**ENCODERS[encoder]),
        16000,
    )
    return build_model(config, torch.Generator().manual_seed(0)).eval()


def moved(model, settings=Lora(rank=2, alpha=8.0), **more):  # noqa: B008
    """Return an adapted model whose trained weights have moved."""
    adapted = AdaptedModel(model, settings, **more)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapted.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.1)
    adapted.model.eval()
    return adapted


@torch.no_grad()
def states(model, waves=WAVES, lengths=LENGTHS):
    return model(waves, lengths).hidden


def farthest(first, second):
    return max(float((one - other).abs().max()) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("frontend", [False, True])
@pytest.mark.parametrize("encoder", ["transformer", "conformer"])
def test_adapters_on_and_merged_are_the_same(encoder, frontend, tmp_path):
    plain = small(encoder)
    adapted = moved(small(encoder), frontend=frontend)
    on = states(adapted.model)
    assert farthest(on, states(plain)) > 0.1
    # With gradients, a layer is called by another road.
    assert farthest(on, [state.detach() for state in adapted.model(WAVES, LENGTHS).hidden]) < 1e-5
    alone = states(adapted.model, WAVES[1:, :6000], LENGTHS[1:])
    assert farthest(alone, [state[1:, : one.shape[1]] for state, one in zip(on, alone, strict=True)]) < 1e-5

    adapted.save(tmp_path / "adapter", "MODEL")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(plain), str(tmp_path / "adapter"))
    assert farthest(on, states(theirs.get_base_model().eval())) == 0
    merged = merge_adapter(copy.deepcopy(plain), tmp_path / "adapter")
    assert farthest(on, states(merged)) < 1e-5
    assert farthest(on, states(prepare(merged, "float32", torch.device("cpu")))) < 1e-4
    # It is a plain model again, with the names of the plain one.
    assert [*merged.state_dict()] == [*plain.state_dict()]


def test_an_adapted_model_starts_as_its_model_and_trains_little_of_it():
    plain, adapted = small(), AdaptedModel(small(), Lora(rank=2, targets=("query", "value")), seed=3)
    assert farthest(states(plain), states(adapted.model)) == 0
    trained = [name for name, one in adapted.model.named_parameters() if one.requires_grad]
    assert {name.split(".")[3] for name in trained} == {"query", "value"}
    assert all("lora_" in name for name in trained)
    again, other = (AdaptedModel(small(), Lora(rank=2, targets=("query", "value")), seed=seed) for seed in (3, 4))
    first = trained[0]
    assert torch.equal(adapted.model.get_parameter(first), again.model.get_parameter(first))
    assert not torch.equal(adapted.model.get_parameter(first), other.model.get_parameter(first))


def test_targets_are_groups_of_layers_or_their_names():
    block = {name.removeprefix("encoder.blocks.0.") for name in targets_of(small("conformer"), Lora()) if ".0." in name}
    assert block == {
        "query",
        "key",
        "value",
        "out",
        *(f"{n}.{m}" for n in ("first", "second") for m in ("inner", "outer")),
    }
    assert targets_of(small(), Lora(targets=("query", "attention"))) == targets_of(
        small(), Lora(targets=("attention",))
    )
    with pytest.raises(UserError, match=r"\$\.x\.targets\[1\]: the encoder has no linear layers `q_proj`") as refused:
        targets_of(small(), Lora(targets=("query", "q_proj")), "$.x")
    assert refused.value.remedy == (
        "there are: attention, feed_forward, inner, key, out, outer, projection, query, value"
    )
    with pytest.raises(UserError, match="no linear layers `attention`") as refused:
        targets_of(small("gru"), Lora())
    assert refused.value.remedy == "there are: projection"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 0}, r"rank: must be at least 1, but is 0"),
        ({"alpha": 0.0}, r"alpha: must be above 0, but is 0"),
        ({"dropout": 1.0}, r"dropout: must be at least 0 and below 1, but is 1"),
        ({"targets": ()}, r"targets: must name at least one"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        check_lora(Lora(**wrong), "$")


def test_an_adapter_opens_as_a_model_with_the_one_that_it_names(tmp_path):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    small().save_pretrained(base)
    adapted = moved(small())
    adapted.save(folder, str(base))
    assert farthest(states(adapted.model), states(audio_ssl.load(folder))) < 1e-5
    # Merged for good, it is a model without peft.
    audio_ssl.load(folder).save_pretrained(tmp_path / "merged")
    assert farthest(states(adapted.model), states(audio_ssl.load(tmp_path / "merged"))) < 1e-5
    assert (folder / "adapter_config.json").is_file()
    assert (folder / "adapter_model.safetensors").stat().st_mode & 0o044

    whole = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors .*bytes"):
        audio_ssl.load(folder)
    (folder / "adapter_model.safetensors").write_bytes(whole)
    partial = load_file(folder / "adapter_model.safetensors")
    lost, value = partial.popitem()
    for named in (partial, {**partial, lost: torch.full_like(value, torch.nan)}):
        save_file(named, folder / "adapter_model.safetensors")
        (folder / "files.json").unlink(missing_ok=True)
        with pytest.raises(UserError, match="peft cannot put the adapter on the model"):
            audio_ssl.load(folder)
    (folder / "adapter_model.safetensors").write_bytes(whole)
    other = build_model(small().config, torch.Generator().manual_seed(9))
    other.save_pretrained(base)
    with pytest.raises(UserError, match=r"the adapter belongs to `.*base` with the fingerprint"):
        audio_ssl.load(folder)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"needs the model `.*base` .fingerprint .*, which cannot be read: there is no"):
        audio_ssl.load(folder)
    (folder / "base.json").unlink()
    with pytest.raises(UserError, match=r"does not say which model it adapts: base\.json is missing"):
        audio_ssl.load(folder)


def test_without_peft_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match="`lora` needs the package peft") as refused:
        need_peft("$.finetune.lora")
    assert refused.value.remedy == "pip install 'audio-ssl[adapt]'"
