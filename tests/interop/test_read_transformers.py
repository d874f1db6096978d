"""Folders of transformers: every layout exact, every file format, every complaint."""

import contextlib
import copy
import json
import logging

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.interop.read import read_model
from tests.their_states import model_states

SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
LAYOUTS = [
    ("HubertModel", {}),
    ("HubertModel", LARGE),
    ("HubertModel", {"do_stable_layer_norm": True}),
    ("HubertModel", {"num_conv_pos_embeddings": 15, "conv_bias": True}),
    ("HubertModel", {"feat_proj_layer_norm": False}),
    ("HubertModel", {"feat_proj_layer_norm": False, **LARGE}),
    ("Wav2Vec2Model", {}),
    ("Wav2Vec2Model", LARGE),
    ("Wav2Vec2ForCTC", {}),
    ("Wav2Vec2ForPreTraining", LARGE),
    ("HubertForSequenceClassification", {"use_weighted_layer_sum": True}),
    ("WavLMModel", {}),
    ("WavLMModel", LARGE),
    ("WavLMModel", {"num_buckets": 40, "max_bucket_distance": 30}),
    ("WavLMForXVector", {"tdnn_dim": (16,) * 5, "xvector_output_dim": 8}),
    ("Data2VecAudioModel", {}),
    ("Data2VecAudioModel", {"conv_pos_kernel_size": 8, "num_conv_pos_embeddings": 3, "conv_bias": True}),
    ("Data2VecAudioForCTC", {}),
]


def original(name, perturb, sizes=SMALL, **changes):
    model_class = getattr(transformers, name)
    torch.manual_seed(0)
    return perturb(model_class(model_class.config_class(**{**sizes, **changes})))


def save(model, folder, do_normalize=False, **how):
    model.save_pretrained(folder, **how)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return folder


def states(model):
    base = copy.deepcopy(getattr(model, model.base_model_prefix, model)).double()
    return lambda waveform: model_states(base, waveform.double())


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def hubert(perturb, tmp_path):
    model = original("HubertModel", perturb)
    save(model, tmp_path)
    return model


@pytest.mark.parametrize(("name", "changes"), LAYOUTS)
def test_every_layout_is_exact(check, perturb, tmp_path, name, changes):
    theirs = original(name, perturb, **changes)
    model = read_model(save(theirs, tmp_path))
    assert (model.config.normalize, model.config.sample_rate, model.training) == (False, 16000, False)
    check(model, states(theirs))


@pytest.mark.parametrize(("name", "layers"), [("HubertModel", 12), ("WavLMModel", 2), ("Data2VecAudioModel", 2)])
def test_published_sizes_are_exact(perturb, tmp_path, name, layers):
    theirs = original(name, lambda module: perturb(module, size=0.01), {"num_hidden_layers": layers})
    model = read_model(save(theirs, tmp_path))
    (tmp_path / "model.safetensors").unlink()
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        pairs = zip(model(waveform).hidden, states(theirs)(waveform), strict=True)
        # Theirs are in float64; in float32 they are as far from that as ours are.
        assert max((one - other).abs().max().item() for one, other in pairs) < 2e-5


def test_normalisation_is_that_of_the_feature_extractor(perturb, check, tmp_path):
    theirs = original("Wav2Vec2Model", perturb, **LARGE)
    model = read_model(save(theirs, tmp_path, do_normalize=True))
    prepare = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)

    def prepared(waveform):
        inputs = prepare(waveform[0].numpy() * 0.1 + 0.05, sampling_rate=16000, return_tensors="pt").input_values
        return states(theirs)(inputs)

    forward = model.forward
    model.forward = lambda waveform, lengths=None: forward(waveform * 0.1 + 0.05, lengths)
    check(model, prepared)


@pytest.mark.parametrize("how", ["bin", "shards", "bin shards", "old weight norm", "half"])
def test_all_formats_of_weights(perturb, tmp_path, how):
    theirs = original("HubertForCTC", perturb)
    sharded = {"max_shard_size": "50KB"} if "shards" in how else {}
    save(theirs, tmp_path, safe_serialization="bin" not in how, **sharded)
    if "shards" in how:
        assert len(list(tmp_path.glob("*-of-*"))) > 2
    if how == "old weight norm":
        weights = load_file(tmp_path / "model.safetensors")
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in names.items():
            key = f"hubert.encoder.pos_conv_embed.conv.{new}"
            weights[key.replace(new, old)] = weights.pop(key)
        save_file(weights, tmp_path / "model.safetensors")
    if how == "half":
        save(theirs.half(), tmp_path)
    expected = theirs.hubert.state_dict()["encoder.layers.1.attention.q_proj.weight"].float()
    model = read_model(tmp_path)
    assert torch.equal(model.encoder.blocks[1].query.weight, expected)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_dropouts_are_carried_over(perturb, tmp_path):
    rates = {"hidden_dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.4, "feat_proj_dropout": 0.5}
    save(original("HubertModel", perturb, **rates, layerdrop=0.6), tmp_path)
    found = read_model(tmp_path).config.encoder
    dropouts = (found.dropout, found.attention_dropout, found.activation_dropout, found.input_dropout)
    assert (*dropouts, found.layer_drop) == (0.2, 0.3, 0.4, 0.5, 0.6)


def test_heads_are_named_in_the_log(perturb, tmp_path, caplog):
    save(original("Wav2Vec2ForPreTraining", perturb), tmp_path)
    with caplog.at_level(logging.INFO):
        read_model(tmp_path)
    assert "left out, as they are not part of the encoder: project_hid, project_q, quantizer" in caplog.text


def test_a_mask_embedding_that_is_not_there(perturb, tmp_path, caplog):
    theirs = original("HubertModel", perturb, mask_time_prob=0.0)
    assert "masked_spec_embed" not in theirs.state_dict()
    assert not read_model(save(theirs, tmp_path)).encoder.mask_embedding.any()
    assert caplog.text == ""
    edit(tmp_path, mask_time_prob=0.05)
    assert not read_model(tmp_path).encoder.mask_embedding.any()
    assert "the mask embedding is missing" in caplog.text


def test_preparation_is_never_guessed(hubert, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        config = read_model(tmp_path, normalize=True, sample_rate=24000).config
    assert (config.normalize, config.sample_rate) == (True, 24000)
    assert "normalize=True as given; preprocessor_config.json says False" in caplog.text
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"`normalize` and `sample_rate` .*preprocessor_config.json contain.*name"):
        read_model(tmp_path)
    with pytest.raises(UserError, match="`sample_rate` of the model"):
        read_model(tmp_path, normalize=False)
    assert read_model(tmp_path, normalize=False, sample_rate=16000).config.sample_rate == 16000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "sew"}, "`model_type` must be one of hubert, .* but is 'sew'"),
        ({"model_type": "wav2vec2-conformer"}, "`position_embeddings_type` must be 'rotary' to be read"),
        ({"conv_pos_batch_norm": True}, "`conv_pos_batch_norm` must be False"),
        ({"add_adapter": True}, "`add_adapter` must be False"),
        ({"adapter_attn_dim": 16}, "`adapter_attn_dim` must be None"),
        ({"feat_proj_layer_norm": False}, "unexpected weights: feature_projection.layer_norm"),
        ({"feat_proj_layer_norm": False, "model_type": "wavlm"}, "`feat_proj_layer_norm` must be True"),
        ({"feat_proj_layer_norm": "no"}, "feature_norm"),
        ({"hidden_act": "relu"}, "`hidden_act` must be 'gelu'"),
        ({"layer_norm_eps": 1e-6}, "`layer_norm_eps` must be 1e-05"),
        ({"feature_extractor_cqt": True}, "`feature_extractor_cqt` must be False"),
        ({"hidden_size": "48"}, "config.json"),
        ({"num_hidden_layers": 4}, "missing weights: encoder.layers.3"),
        ({"num_hidden_layers": 2}, "unexpected weights: encoder.layers.2"),
        ({"intermediate_size": 97}, r"intermediate_dense.weight` must have the shape \[97, 48\], but"),
    ],
)
def test_what_cannot_be_had_is_named(hubert, tmp_path, change, message):
    edit(tmp_path, **change)
    with pytest.raises(UserError, match=message):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("hubert", value) for value in ("x", -1, 0)),
        *(("wavlm", value) for value in (None, [0] * 7)),
        *(("data2vec-audio", value) for value in ([], 1)),
        *(("mert_model", value) for value in ("x", {}, True)),
    ],
)
def test_no_value_of_a_key_ends_in_anything_but_a_sentence(hubert, tmp_path, kind, value):
    text = (tmp_path / "config.json").read_text()
    keys = {*json.loads(text), "deepnorm", "attention_relax", "audio_ssl", "num_buckets", "conv_pos_kernel_size"}
    for key in keys - {"architectures", "vocab_size", "ctc_loss_reduction"}:
        edit(tmp_path, **{"model_type": kind, key: value})
        with contextlib.suppress(UserError):
            read_model(tmp_path)
        (tmp_path / "config.json").write_text(text)


def test_a_folder_without_its_weights(hubert, tmp_path):
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="contains no weights"):
        read_model(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for shard, message in (("../a.safetensors", "must lie beside the index"), ("b.safetensors", "is missing")):
        index.write_text(json.dumps({"weight_map": {"x": shard}}))
        with pytest.raises(UserError, match=message):
            read_model(tmp_path)


def mert(model, folder, **keys):
    save(model, folder)
    edit(folder, model_type="mert_model", feature_extractor_cqt=False, **keys)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=24000, do_normalize=False).save_pretrained(folder)
    return read_model(folder)


def test_mert_of_both_sizes_is_hubert(check, perturb, tmp_path):
    # 95M: post-LN; 330M: pre-LN with one group norm, and a relaxation that leaves the numbers as they are.
    for name, changes, keys in (
        ("95M", {}, {"deepnorm": False, "attention_relax": -1.0}),
        ("no feature norm", {"feat_proj_layer_norm": False}, {"deepnorm": False, "attention_relax": -1.0}),
        ("330M", {"do_stable_layer_norm": True}, {"deepnorm": False, "attention_relax": 32.0}),
    ):
        theirs = original("HubertModel", perturb, **changes)
        model = mert(theirs, tmp_path / name, **keys)
        assert model.config.sample_rate == 24000
        assert model.config.encoder.attention_relax == (32.0 if name == "330M" else None)
        check(model, states(theirs))


def test_mert_with_deepnorm_and_relaxed_attention(check, perturb, tmp_path):
    theirs = original("HubertModel", perturb)
    model = mert(theirs, tmp_path, deepnorm=True, attention_relax=32.0)
    alpha = (2 * 3) ** 0.25

    def relaxed(layer, x):
        heads = lambda part: part(x).unflatten(-1, (4, 12)).transpose(1, 2)
        query, key, value = (heads(part) for part in (layer.q_proj, layer.k_proj, layer.v_proj))
        small = (query * 12**-0.5) @ key.mT / 32.0
        weights = ((small - small.amax(-1, keepdim=True)) * 32.0).softmax(-1)
        return layer.out_proj((weights @ value).transpose(1, 2).flatten(2))

    def deepnorm(waveform):
        x = theirs.feature_projection(theirs.feature_extractor(waveform).mT)
        x = theirs.encoder.layer_norm(x + theirs.encoder.pos_conv_embed(x))
        found = [x]
        for layer in theirs.encoder.layers:
            x = F.layer_norm(
                x * alpha + relaxed(layer.attention, x), (48,), layer.layer_norm.weight, layer.layer_norm.bias
            )
            x = layer.final_layer_norm(x * alpha + layer.feed_forward(x))
            found.append(x)
        return found

    check(model, deepnorm)
