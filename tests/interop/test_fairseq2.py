"""Every hidden state equals that of fairseq2's wav2vec 2.0 with the same random weights, and files go both ways."""

import dataclasses
import warnings

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn import functional

from audio_ssl.base.errors import UserError
from audio_ssl.interop.fairseq2 import (
    read_fairseq2,
    read_fairseq2_heads,
    to_fairseq2_weights,
    write_fairseq2,
)
from audio_ssl.interop.pretrained import read_pretrained
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv, cqt
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.recipe import load_recipe
from tests.parity.learner import GOLDEN_SIZES

TOLERANCE = 1e-5
LAYOUTS = ("base", "large_lv60k")
PREPARATION = {"normalize": False, "sample_rate": 16000}


@pytest.fixture(scope="module")
def wav2vec2():
    """The module of fairseq2's family; imported in the one order that works."""
    pytest.importorskip("fairseq2n", exc_type=ImportError)
    import soundfile  # noqa: F401, I001  # it brings the libsndfile that fairseq2 looks for
    import fairseq2.recipe  # noqa: F401  # its other packages import each other in a circle
    from fairseq2.models import wav2vec2
    from fairseq2.runtime.dependency import get_dependency_resolver

    # Made on first use, with a warning about fairseq2's own use of itself.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*hg_exporter", DeprecationWarning)
        get_dependency_resolver()
    return wav2vec2


def their_config(wav2vec2, layout, feature_dim=32, stacked=False):
    large = layout != "base"
    encoder = wav2vec2.Wav2Vec2EncoderConfig(
        model_dim=48,
        feature_dim=feature_dim,
        feature_extractor_layer_descs=[(feature_dim, 10, 5)] + [(feature_dim, 3, 2)] * 4 + [(feature_dim, 2, 2)] * 2,
        pos_conv_kernel_size=21 if stacked else 16,
        pos_encoder_depth=3 if stacked else 1,
        num_pos_conv_groups=4,
        num_encoder_layers=3,
        num_encoder_attn_heads=4,
        ffn_inner_dim=96,
        layer_drop_p=0.0,
    )
    if large:
        from fairseq2.models.transformer import TransformerNormOrder

        encoder.layer_norm_features = False
        encoder.feature_extractor_bias = True
        encoder.feature_extractor_layer_norm_convs = True
        encoder.norm_order = TransformerNormOrder.PRE
    return wav2vec2.Wav2Vec2Config(
        encoder_config=encoder, final_dim=16, quantized_dim=16, num_codebooks=2, num_codebook_entries=10
    )


def their_model(wav2vec2, layout, **changes):
    torch.manual_seed(0)
    model = wav2vec2.create_wav2vec2_model(their_config(wav2vec2, layout, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def our_model(layout):
    large = layout != "base"
    config = ModelConfig(
        frontend=conv.Config(channels=(32,) * 7, norm="layer" if large else "group", bias=large),
        encoder=transformer.Config(
            layers=3,
            dim=48,
            ffn_dim=96,
            heads=4,
            layer_drop=0.0,
            pre_norm=large,
            position_kernel_frames=16,
            position_groups=4,
        ),
        sample_rate=16000,
    )
    return build_model(config, torch.Generator().manual_seed(0)).eval()


@torch.no_grad()
def their_states(model, waveform):
    from fairseq2.nn import BatchLayout

    seqs, layout = model.encoder_frontend(waveform, BatchLayout.of(waveform))
    states = [seqs]
    with model.encoder.register_layer_hook(lambda index, seqs, layout, number: states.append(seqs) or True):
        last = model.encoder(seqs, layout)
    # With pre-LN the last state has passed the final norm.
    return [*states[:-1], last]


@torch.no_grad()
def assert_same(model, theirs):
    waveform = torch.randn(1, 12345, generator=torch.Generator().manual_seed(1))
    expected, found = their_states(theirs, waveform), model(waveform).hidden
    assert len(expected) == len(found) == 4
    for ours, other in zip(found, expected, strict=True):
        assert (ours - other).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("layout", "changes"),
    [("base", {}), ("large_lv60k", {}), ("base", {"feature_dim": 48}), ("base", {"stacked": True})],
)
def test_hidden_states_equal_fairseq2(wav2vec2, tmp_path, layout, changes):
    theirs = their_model(wav2vec2, layout, **changes)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    assert_same(read_fairseq2(tmp_path / "model.safetensors", 4, **PREPARATION), theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fairseq2_loads_what_is_written(wav2vec2, tmp_path, layout):
    from fairseq2 import init_fairseq2
    from fairseq2.composition import register_checkpoint_models
    from fairseq2.runtime import dependency

    model = our_model(layout)
    write_fairseq2(model, tmp_path)
    before = dependency._resolver
    dependency._resolver = None
    try:
        with pytest.warns(DeprecationWarning, match="hg_exporter"):
            init_fairseq2(extras=lambda container: register_checkpoint_models(container, tmp_path), no_progress=True)
        theirs = wav2vec2.get_wav2vec2_model_hub().load_model("checkpoint_step_0", device=torch.device("cpu"))
    finally:
        dependency._resolver = before
    assert_same(model, theirs.eval())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_written_model_is_read_back(tmp_path, layout):
    model = our_model(layout)
    model.config = dataclasses.replace(model.config, normalize=True, sample_rate=24000)
    write_fairseq2(model, tmp_path)
    for path in (tmp_path, tmp_path / "step_0", tmp_path / "step_0" / "model" / "model.safetensors"):
        back = read_fairseq2(path)
        assert back.config == model.config
        assert all(torch.equal(back.state_dict()[name], value) for name, value in model.state_dict().items())


def test_quantiser_and_projections_go_round(wav2vec2, tmp_path):
    theirs = their_model(wav2vec2, "base")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    heads = read_fairseq2_heads(tmp_path)
    write_fairseq2(read_fairseq2(tmp_path, 4, **PREPARATION), tmp_path / "back", heads)
    back = load_file(tmp_path / "back" / "step_0" / "model" / "model.safetensors")
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_trainer_and_of_fairseq_are_read(tmp_path, layout):
    model = our_model(layout)
    theirs = to_fairseq2_weights(model)
    folder = tmp_path / "step_7" / "model" / "pp_00" / "tp_00"
    folder.mkdir(parents=True)
    torch.save(theirs, folder / "sdp_00.pt")
    torch.save({"model": _fairseq(theirs)}, tmp_path / "published.pt")
    for path in (tmp_path, tmp_path / "published.pt"):
        back = read_fairseq2(path, 4, **PREPARATION).state_dict()
        assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def _fairseq(weights):
    """Give weights the names that fairseq, before fairseq2, had for them."""
    changes = {
        "self_attn.output_proj": "self_attn.out_proj",
        "ffn.inner_proj": "fc1",
        "ffn.output_proj": "fc2",
        "ffn_layer_norm": "final_layer_norm",
        "encoder_frontend.pos_encoder.conv": "encoder.pos_conv.0",
        "encoder_frontend.feature_extractor.layers": "feature_extractor.conv_layers",
        "encoder_frontend.post_extract_layer_norm": "layer_norm",
        "encoder_frontend.model_dim_proj": "post_extract_proj",
        "encoder_frontend.layer_norm": "encoder.layer_norm",
        "masker.temporal_mask_embed": "mask_emb",
    }
    renamed = {}
    for name, value in weights.items():
        for old, new in changes.items():
            name = name.replace(old, new)
        name = name.replace(".conv.", ".0.").replace(".group_norm.", ".2.")
        if name.startswith("feature_extractor"):
            name = name.replace(".layer_norm.", ".2.1.")
        renamed[name] = value
    return renamed


def test_a_file_with_more_than_weights_is_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1), "hook": pytest.raises}}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="more than a table of weights: hook"):
        read_fairseq2(tmp_path / "model.pt")
    torch.save({"model": {"weight": torch.zeros(1)}, "args": pytest.raises}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="a checkpoint of fairseq, not of fairseq2"):
        read_fairseq2(tmp_path / "model.pt")


def test_normalisation_is_never_guessed(tmp_path):
    save_file(to_fairseq2_weights(our_model("large_lv60k")), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="`normalize` and `sample_rate` of the model must be given"):
        read_fairseq2(tmp_path / "model.safetensors", 4)
    with pytest.raises(UserError, match="`sample_rate` of the model must be given"):
        read_fairseq2(tmp_path / "model.safetensors", 4, normalize=True)
    with pytest.raises(UserError, match=r"`heads` is unknown: .* of width 48"):
        read_fairseq2(tmp_path / "model.safetensors", **PREPARATION)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x02", b"\x89\xff\x00.", bytes(range(256))])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pt: weights cannot be read"):
        read_fairseq2(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("masker.temporal_mask_embed"), "missing weights: masker.temporal_mask_embed"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected weights: extra"),
        (
            lambda s: s.update({"masker.temporal_mask_embed": torch.zeros(2)}),
            r"must have the shape \[48\], but has \[2\]",
        ),
        (lambda s: s.pop("encoder_frontend.layer_norm.weight"), "one layer norm of its own.*but this has none"),
    ],
)
def test_wrong_weights_are_named(tmp_path, change, message):
    state = to_fairseq2_weights(our_model("base"))
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=message):
        read_fairseq2(tmp_path / "model.safetensors", 4, **PREPARATION)


def test_shards_are_refused(tmp_path):
    for rank in range(2):
        path = tmp_path / "pp_00" / "tp_00" / f"sdp_0{rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({}, path)
    with pytest.raises(UserError, match="shared out over 2 files"):
        read_fairseq2(tmp_path)


def test_unknown_strides_and_heads_are_asked_for(tmp_path):
    state = to_fairseq2_weights(our_model("base"))
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="`heads` must divide the width 48"):
        read_fairseq2(tmp_path / "model.safetensors", 5, **PREPARATION)
    first = "encoder_frontend.feature_extractor.layers.0.conv.weight"
    save_file({**state, first: torch.zeros(32, 1, 8)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"strides.*\[8, 3, 3.*unknown"):
        read_fairseq2(tmp_path / "model.safetensors", 4, **PREPARATION)


def test_what_fairseq2_has_not_is_not_written(tmp_path):
    small = transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, position_groups=4)
    frontend = conv.Config(channels=(16, 16), kernels=(10, 3), strides=(5, 2))
    for config, message in (
        (ModelConfig(cqt.Config(n_bins=24, fmin_hz=200.0), small), "`conv` frontend"),
        (ModelConfig(frontend, dataclasses.replace(small, positions="rope")), "`positions`"),
        (ModelConfig(frontend, dataclasses.replace(small, deepnorm=True)), "`deepnorm`"),
        (ModelConfig(frontend, dataclasses.replace(small, alibi=True)), "`alibi`"),
        (ModelConfig(frontend, dataclasses.replace(small, attention_relax=0.1)), "`attention_relax`"),
        (ModelConfig(frontend, dataclasses.replace(small, feature_norm=False)), "`feature_norm`"),
        (ModelConfig(frontend, small), "both have width 16"),
    ):
        with pytest.raises(UserError, match=message):
            write_fairseq2(SSLModel(config), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", ["hubert_base", "mert_95m", "wav2vec2_base"])
def test_models_of_published_recipes_are_written_and_read_back(tmp_path, recipe):
    config = masked_prediction.model_config(load_recipe(recipe, GOLDEN_SIZES))
    model = build_model(config, torch.Generator().manual_seed(0))
    write_fairseq2(model, tmp_path)
    back = read_fairseq2(tmp_path)
    assert back.state_dict().keys() == model.state_dict().keys()
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for found, expected in zip(back(waveform).hidden, model.eval()(waveform).hidden, strict=True):
            torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_card_is_what_fairseq2_calls_base(tmp_path):
    write_fairseq2(our_model("base"), tmp_path)
    card = yaml.safe_load((tmp_path / "model.yaml").read_text())
    assert card["model_family"] == "wav2vec2"
    assert card["model_config"]["encoder_config"]["norm_order"] == "POST"


@torch.no_grad()
def test_its_quantiser_and_projections_are_read(wav2vec2, tmp_path):
    theirs = their_model(wav2vec2, "base")
    theirs.quantizer.num_updates.fill_(77)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    training = {"logit_temp": 0.2, "num_distractors": 9, "codebook_sampling_temperature": [2.0, 0.1, 0.9]}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"model_family": "wav2vec2", "model_config": training}))
    found = read_pretrained(f"{tmp_path / 'model.safetensors'}?normalize=false&sample_rate=16000&heads=4")
    head = found.contrastive
    assert (head.temperature, head.negatives, dataclasses.astuple(head.gumbel)) == (0.2, 9, (2.0, 0.1, 0.9, 77))
    assert found.left_out == ()
    features, hidden = torch.randn(2, 5, 32), torch.randn(2, 5, 48)
    with torch.compiler.set_stance("force_eager"):
        wanted = theirs.final_target_proj(theirs.quantizer(features).quantized_vectors)
    codes = functional.linear(features, head.choice.weight, head.choice.bias).unflatten(-1, (2, 10)).argmax(-1)
    vectors = torch.cat([head.vectors[book][codes[..., book]] for book in range(2)], -1)
    ours = functional.linear(vectors, head.project_codes.weight, head.project_codes.bias)
    assert (ours - wanted).abs().max() <= TOLERANCE
    projected = functional.linear(hidden, head.project_context.weight, head.project_context.bias)
    assert (projected - theirs.final_proj(hidden)).abs().max() <= TOLERANCE
