"""fairseq's checkpoints, with settings pickled as fairseq pickles them, in both formats of torch.save."""

import argparse
import copy
import sys
import types

import pytest
import torch
import transformers

from audio_ssl.base.errors import UserError
from audio_ssl.interop.fairseq import conv_layers
from audio_ssl.interop.pretrained import read_pretrained
from audio_ssl.interop.read import read_model
from audio_ssl.interop.weight_names import common_name, fairseq_name, torchaudio_name
from tests.their_states import model_states

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embedding_groups": 4,
    "num_conv_pos_embeddings": 16,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
LAYERS = "[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32,2,2)] * 2"
MODEL = {
    "encoder_attention_heads": 4,
    "layer_norm_first": False,
    "conv_feature_layers": LAYERS,
    "dropout": 0.2,
    "attention_dropout": 0.3,
    "activation_dropout": 0.0,
    "dropout_input": 0.4,
    "encoder_layerdrop": 0.5,
    "activation_fn": "gelu",
}
HEADS = {"final_proj.weight": torch.zeros(8, 48), "final_proj.bias": torch.zeros(8)}
# What the conversion script of transformers maps fairseq's names to.
SCRIPT = {
    "post_extract_proj": "feature_projection.projection",
    "encoder.pos_conv.0": "encoder.pos_conv_embed.conv",
    "encoder.layers.1.self_attn.k_proj": "encoder.layers.1.attention.k_proj",
    "encoder.layers.1.self_attn.v_proj": "encoder.layers.1.attention.v_proj",
    "encoder.layers.1.self_attn.q_proj": "encoder.layers.1.attention.q_proj",
    "encoder.layers.1.self_attn.out_proj": "encoder.layers.1.attention.out_proj",
    "encoder.layers.1.self_attn_layer_norm": "encoder.layers.1.layer_norm",
    "encoder.layers.1.fc1": "encoder.layers.1.feed_forward.intermediate_dense",
    "encoder.layers.1.fc2": "encoder.layers.1.feed_forward.output_dense",
    "encoder.layers.1.final_layer_norm": "encoder.layers.1.final_layer_norm",
    "encoder.layer_norm": "encoder.layer_norm",
    "layer_norm": "feature_projection.layer_norm",
    "mask_emb": "masked_spec_embed",
}


@pytest.fixture
def foreign(monkeypatch):
    """Classes of omegaconf and fairseq with the state of the real ones, to be pickled and forgotten."""
    made = {name: types.ModuleType(name) for name in ("omegaconf", "fairseq", "fairseq.data")}

    def new(module, name):
        made.setdefault(module, types.ModuleType(module))
        cls = type(name, (), {"__module__": module, "__qualname__": name})
        setattr(made[module], name, cls)
        return cls

    config, node = new("omegaconf.dictconfig", "DictConfig"), new("omegaconf.nodes", "AnyNode")
    items, metadata = new("omegaconf.listconfig", "ListConfig"), new("omegaconf.base", "ContainerMetadata")
    dictionary = new("fairseq.data.dictionary", "Dictionary")
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)

    def omega(value, parent=None):
        result = (config if isinstance(value, dict) else items if isinstance(value, list) else node)()
        result.__dict__ = {"_metadata": metadata(), "_parent": parent}
        if isinstance(value, dict):
            result.__dict__["_content"] = {key: omega(item, result) for key, item in value.items()}
        elif isinstance(value, list):
            result.__dict__["_content"] = [omega(item, result) for item in value]
        else:
            result.__dict__["_val"] = value
        return result

    def forget():
        for name in made:
            monkeypatch.delitem(sys.modules, name)

    return types.SimpleNamespace(omega=omega, dictionary=dictionary, forget=forget)


def original(perturb, name="HubertModel", **changes):
    model_class = getattr(transformers, name)
    torch.manual_seed(0)
    return perturb(model_class(model_class.config_class(**{**SIZES, **changes})))


def weights(model, prefix="", group=True):
    new = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    state = {}
    for name, value in model.state_dict().items():
        name = fairseq_name(name, group).replace(new[0], "weight_g").replace(new[1], "weight_v")
        state[prefix + name] = value
    return state


def states(model):
    double = copy.deepcopy(model).double()
    return lambda waveform: model_states(double, waveform.double())


def save(path, model, legacy=False, **parts):
    torch.save({**parts, "model": model}, path, _use_new_zipfile_serialization=not legacy)
    return path


def task(**changes):
    return {"normalize": False, "sample_rate": 16000, **changes}


@pytest.mark.parametrize("legacy", [False, True])
def test_hubert_with_settings_of_omegaconf(tmp_path, perturb, check, foreign, legacy, caplog):
    theirs = original(perturb)
    dictionary = foreign.dictionary()
    dictionary.symbols, dictionary.indices = ["<s>"], {"<s>": 0}
    cfg = foreign.omega({"task": task(), "model": {**MODEL, "_name": "hubert"}, "common": {"tags": ["a"], "x": None}})
    extra = {"label_embs_concat": torch.zeros(4, 8), **HEADS}
    rest = {"args": None, "cfg": cfg, "task_state": {"dictionaries": [dictionary]}, "last_optimizer_state": None}
    save(tmp_path / "a.pt", {**weights(theirs), **extra}, legacy, **rest)
    foreign.forget()
    with caplog.at_level("INFO"):
        model = read_model(tmp_path / "a.pt")
    assert "encoder: final_proj, label_embs_concat" in caplog.text
    assert (model.config.normalize, model.config.sample_rate) == (False, 16000)
    encoder = model.config.encoder
    assert (encoder.dropout, encoder.attention_dropout, encoder.activation_dropout) == (0.2, 0.3, 0.0)
    assert (encoder.input_dropout, encoder.layer_drop) == (0.4, 0.5)
    check(model, states(theirs))


def test_dictionaries_of_labels_are_read_as_fairseq_pickles_them(tmp_path, perturb, foreign):
    state, dictionary = weights(original(perturb)), foreign.dictionary()
    dictionary.symbols = ["<s>", "<pad>", "</s>", "<unk>", "2", "0", "1"]
    dictionary.indices = {symbol: number for number, symbol in enumerate(dictionary.symbols)}
    state |= {**HEADS, "label_embs_concat": torch.arange(7.0)[:, None].expand(7, 8).clone()}
    cfg = foreign.omega({"task": task(labels=["km"]), "model": {**MODEL, "logit_temp": 0.2}})
    save(tmp_path / "a.pt", state, cfg=cfg, task_state={"dictionaries": [dictionary]})
    foreign.forget()
    (head,) = read_pretrained(tmp_path / "a.pt").codes
    assert (head.special, head.temperature) == (4, 0.2)
    # Label 0 is the sixth symbol.
    assert head.codes[:, 0].tolist() == [0, 1, 2, 3, 5, 6, 4]


@pytest.mark.parametrize("legacy", [False, True])
def test_large_wav2vec2_with_args(tmp_path, perturb, check, legacy):
    theirs = original(perturb, "Wav2Vec2Model", **LARGE)
    args = argparse.Namespace(**{**MODEL, "layer_norm_first": True}, **task(normalize=True), arch="wav2vec2")
    heads = {"quantizer.vars": torch.zeros(1, 4, 4), "project_q.weight": torch.zeros(4, 4), **HEADS}
    save(tmp_path / "a.pt", {**weights(theirs, group=False), **heads}, legacy, args=args, cfg=None)
    model = read_model(tmp_path / "a.pt")
    assert model.config.normalize
    check(read_model(tmp_path / "a.pt", normalize=False), states(theirs))


@pytest.mark.parametrize("nested", ["args", "cfg"])
def test_fine_tuned_models(tmp_path, perturb, check, nested):
    theirs = original(perturb)
    pretrained = argparse.Namespace(**MODEL, **task()) if nested == "args" else {"task": task(), "model": dict(MODEL)}
    tuned = {"_name": "wav2vec_ctc", "w2v_args": pretrained, "dropout": 0.0, "layerdrop": 0.1}
    tuned |= {"normalize": "${task.normalize}", "attention_dropout": "${model.x}", "dropout_input": "???"}
    cfg = {"task": task(normalize=True), "model": tuned}
    state = weights(theirs, "w2v_encoder.w2v_model.")
    state |= {"w2v_encoder.proj.weight": torch.zeros(5, 48), "w2v_encoder.proj.bias": torch.zeros(5)}
    model = read_model(save(tmp_path / "a.pt", state, args=None, cfg=cfg))
    assert (model.config.normalize, model.config.encoder.dropout, model.config.encoder.layer_drop) == (True, 0.0, 0.1)
    assert (model.config.encoder.attention_dropout, model.config.encoder.input_dropout) == (0.3, 0.4)
    check(read_model(tmp_path / "a.pt", normalize=False), states(theirs))


@pytest.mark.parametrize("large", [False, True])
def test_wavlm_whose_settings_are_flat(tmp_path, perturb, check, large):
    theirs = original(perturb, "WavLMModel", num_buckets=64, max_bucket_distance=40, **(LARGE if large else {}))
    settings = {**MODEL, "layer_norm_first": large, "normalize": False, "num_buckets": 64, "max_distance": 40}
    save(tmp_path / "a.pt", weights(theirs, group=not large), cfg={**settings, "gru_rel_pos": True})
    with pytest.raises(
        UserError, match="`sample_rate` of the model must be given: neither the weights nor its `cfg` contain it"
    ):
        read_model(tmp_path / "a.pt")
    check(read_model(tmp_path / "a.pt", sample_rate=16000), states(theirs))


def test_data2vec_with_its_average(tmp_path, perturb, check):
    theirs = original(perturb, "Data2VecAudioModel", num_conv_pos_embeddings=3, conv_pos_kernel_size=7)
    state = {**weights(theirs, group=False), **HEADS, "_ema": {"mask_emb": torch.zeros(48)}}
    save(tmp_path / "a.pt", state, cfg={"task": task(), "model": {**MODEL, "conv_pos": 21, "pos_conv_depth": 3}})
    check(read_model(tmp_path / "a.pt"), states(theirs))


def test_mert_large_has_one_norm_and_pre_norm(tmp_path, perturb, check):
    theirs = original(perturb, do_stable_layer_norm=True)
    settings = {**MODEL, "layer_norm_first": True, "attention_relax": 32.0, "deepnorm": False}
    heads = {"final_projs.0.weight": torch.zeros(8, 48), "encoder_cqt_model.head.weight": torch.zeros(3, 48)}
    state = {**weights(theirs), **heads}
    save(tmp_path / "a.pt", state, cfg={"task": task(sample_rate=24000), "model": settings})
    model = read_model(tmp_path / "a.pt")
    assert (model.config.sample_rate, model.config.encoder.attention_relax) == (24000, 32.0)
    check(model, states(theirs))


def test_features_as_wide_as_the_encoder_are_not_projected(tmp_path, perturb, check):
    theirs = original(perturb, conv_dim=(48,) * 7)
    with torch.no_grad():
        theirs.feature_projection.projection.weight.copy_(torch.eye(48))
        theirs.feature_projection.projection.bias.zero_()
    state = {name: value for name, value in weights(theirs).items() if not name.startswith("post_extract_proj")}
    model = {**MODEL, "conv_feature_layers": LAYERS.replace("32", "48")}
    check(read_model(save(tmp_path / "a.pt", state, cfg={"task": task(), "model": model})), states(theirs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_first": None}, "`layer_norm_first` is missing"),
        ({"conv_pos_batch_norm": True}, "`conv_pos_batch_norm` must be False to be read, but is True"),
        ({"layer_type": "conformer"}, "`layer_type` must be 'transformer'"),
        ({"encoder_attention_heads": 5}, "`heads` must divide the width 48, but is 5"),
        ({"conv_feature_layers": "__import__('os').system('false')"}, "must be a list of"),
        ({"conv_feature_layers": "[(32, 10, 5)] * 10**9"}, "must be a list of"),
        ({"conv_feature_layers": "[(32, 10)]"}, "must be a list of"),
    ],
)
def test_settings_that_cannot_be_had_are_named(tmp_path, perturb, change, message):
    state = weights(original(perturb))
    save(tmp_path / "a.pt", state, cfg={"task": task(), "model": {**MODEL, **change}})
    with pytest.raises(UserError, match=message):
        read_model(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("mask_emb"), "missing weights: mask_emb"),
        (lambda s: s.pop("encoder.pos_conv.0.weight_g"), "missing weights: encoder.pos_conv.0.parametrizations"),
        (lambda s: s.update(other=torch.zeros(1)), "unexpected weights: other"),
        (lambda s: s.update(other=3), "more than a table of weights: other"),
    ],
)
def test_wrong_weights_are_named(tmp_path, perturb, change, message):
    state = weights(original(perturb))
    change(state)
    save(tmp_path / "a.pt", state, cfg={"task": task(), "model": MODEL})
    with pytest.raises(UserError, match=message):
        read_model(tmp_path / "a.pt")


@pytest.mark.parametrize("large", [False, True])
def test_names_are_those_of_the_conversions_of_torchaudio_and_transformers(perturb, large):
    pytest.importorskip("torchaudio")
    from torchaudio.models.wav2vec2.utils.import_fairseq import _map_key

    model = original(perturb, **(LARGE if large else {}))
    for common in model.state_dict():
        theirs = fairseq_name(common, group_norm=not large)
        if theirs != "mask_emb":
            leaf = theirs.replace("parametrizations.weight.original0", "weight_g")
            leaf = leaf.replace("parametrizations.weight.original1", "weight_v")
            expected = torchaudio_name(common).replace("parametrizations.weight.original0", "weight_g")
            assert _map_key(leaf) == expected.replace("parametrizations.weight.original1", "weight_v")
    for theirs, common in SCRIPT.items():
        leaf = "" if theirs == "mask_emb" else ".weight"
        assert fairseq_name(common + leaf, True) == theirs + leaf
    assert common_name("encoder.mask_embedding") == "masked_spec_embed"


def test_lists_of_layers_are_read_without_being_evaluated():
    assert conv_layers(LAYERS, "a.pt") == [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2]
    assert conv_layers([[512, 10, 5]], "a.pt") == [(512, 10, 5)]
