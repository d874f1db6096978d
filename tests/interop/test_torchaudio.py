"""torchaudio's bundles and files of its weights: every layout exact, every published bundle of the right shapes."""

import copy
import urllib.error

import pytest
import torch

pytest.importorskip("torchaudio")

import torchaudio
from torchaudio.models.wav2vec2.model import hubert_pretrain_model, wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2ASRBundle, Wav2Vec2Bundle

from audio_ssl.base.errors import UserError
from audio_ssl.interop.read import read_model
from audio_ssl.interop.settings import Preparation
from audio_ssl.interop.torchaudio import _config_of, _taken_apart
from audio_ssl.interop.weight_names import common_name, torchaudio_name
from audio_ssl.interop.weights import matched, no_mask
from audio_ssl.models.model import SSLModel

LARGE = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 320, "encoder_max_distance": 800}
LAYOUTS = [{}, LARGE, WAVLM, {**LARGE, **WAVLM}]
PUBLISHED = [
    name for name in dir(torchaudio.pipelines) if isinstance(getattr(torchaudio.pipelines, name), Wav2Vec2Bundle)
]


def parameters(**changes):
    return {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": [(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2,
        "extractor_conv_bias": False,
        "encoder_embed_dim": 48,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.2,
        "encoder_ff_interm_features": 96,
        "encoder_ff_interm_dropout": 0.3,
        "encoder_dropout": 0.4,
        "encoder_layer_norm_first": False,
        "encoder_layer_drop": 0.5,
        "aux_num_out": None,
        **changes,
    }


def original(perturb, **changes):
    factory = wavlm_model if "encoder_num_buckets" in changes else wav2vec2_model
    torch.manual_seed(0)
    return perturb(factory(**parameters(**changes)))


def states(model, standardised=False):
    """Return the function from a waveform to the input of the first block and the output of each, as ours are."""
    model = copy.deepcopy(model).double()
    model.aux = None

    def apply(waveform):
        waveform = waveform.double()
        if standardised:
            # As torchaudio's bundles do it.
            waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
        features, _ = model.feature_extractor(waveform, None)
        first = model.encoder.transformer._preprocess(model.encoder.feature_projection(features))
        found, _ = model.extract_features(waveform)
        return [first, *found[:-1], model(waveform)[0]]

    return apply


def bundle(monkeypatch, model, kind=Wav2Vec2Bundle, normalize=False, **changes):
    given = {"_labels": ("a",)} if kind is Wav2Vec2ASRBundle else {}
    type_ = "WavLM" if "encoder_num_buckets" in changes else "Wav2Vec2"
    made = kind("tiny.pth", parameters(**changes), 16000, normalize, type_, **given)
    made._get_state_dict = lambda dl_kwargs: model.state_dict()
    monkeypatch.setattr(torchaudio.pipelines, "TINY", made, raising=False)
    return "torchaudio:TINY"


@pytest.mark.parametrize("changes", LAYOUTS)
@pytest.mark.parametrize("normalize", [False, True])
def test_bundles_are_exact(monkeypatch, perturb, check, changes, normalize):
    theirs = original(perturb, **changes)
    model = read_model(bundle(monkeypatch, theirs, normalize=normalize, **changes))
    assert (model.config.normalize, model.config.sample_rate) == (normalize, 16000)
    encoder = model.config.encoder
    assert (encoder.input_dropout, encoder.attention_dropout, encoder.activation_dropout) == (0.1, 0.2, 0.3)
    assert (encoder.dropout, encoder.layer_drop) == (0.4, 0.5)
    check(model, states(theirs, normalize))


def test_recognisers_are_read_without_their_head(monkeypatch, perturb, check, caplog):
    theirs = original(perturb, aux_num_out=2)
    with caplog.at_level("INFO"):
        model = read_model(bundle(monkeypatch, theirs, Wav2Vec2ASRBundle, aux_num_out=2))
    assert caplog.text.strip().endswith("not part of the encoder: aux")
    check(model, states(theirs))


@pytest.mark.parametrize("changes", LAYOUTS)
@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_weights_are_exact(tmp_path, perturb, check, changes, legacy):
    theirs = original(perturb, **changes)
    torch.save(theirs.state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    heads = None if "encoder_num_buckets" in changes else 4
    model = read_model(tmp_path / "a.pt", normalize=False, sample_rate=16000, heads=heads)
    check(model, states(theirs))
    places = [weight.untyped_storage().data_ptr() for weight in model.state_dict().values()]
    assert len(places) == len(set(places))
    model.save_pretrained(tmp_path / "saved")
    assert read_model(tmp_path / "saved").config == model.config


def test_the_pretraining_model_brings_its_mask_embedding(tmp_path, perturb, check):
    hubert = parameters()
    del hubert["aux_num_out"]
    masks = {"mask_prob": 0.8, "mask_selection": "static", "mask_other": 0.0, "mask_length": 10}
    masks |= {"no_mask_overlap": False, "mask_min_space": 1}
    channels = {f"mask_channel_{key.removeprefix('mask_')}": value for key, value in masks.items() if key[:2] == "ma"}
    channels["no_mask_channel_overlap"] = False
    rest = {"skip_masked": False, "skip_nomask": False, "num_classes": 10, "final_dim": 8, "feature_grad_mult": 0.1}
    theirs = perturb(hubert_pretrain_model(**hubert, **masks, **channels, **rest))
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    model = read_model(tmp_path / "a.pt", normalize=False, sample_rate=16000, heads=4)
    assert torch.equal(model.encoder.mask_embedding, theirs.mask_generator.mask_embedding)
    check(model, states(theirs.wav2vec2))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_bundles_have_our_shapes(name):
    published = getattr(torchaudio.pipelines, name)
    with torch.device("meta"):
        factory = wavlm_model if published._model_type == "WavLM" else wav2vec2_model
        theirs = factory(**published._params)
        ours = SSLModel(
            _config_of(published._params, Preparation(published._normalize_waveform, int(published.sample_rate)))
        )
    matched(
        ours.state_dict(),
        _taken_apart(theirs.state_dict()),
        lambda weight: torchaudio_name(common_name(weight)),
        heads=("aux.",),
        defaults=no_mask(ours.dim),
    )


def test_what_is_not_known_is_asked_for(tmp_path, monkeypatch, perturb):
    theirs = original(perturb)
    torch.save(theirs.state_dict(), tmp_path / "a.pt")
    for given, message in (
        ({}, "`normalize` and `sample_rate` of the model must be given"),
        ({"normalize": True}, "`sample_rate` of the model"),
        ({"normalize": True, "sample_rate": 16000}, r"`heads` is unknown: .* of width 48"),
        ({"normalize": True, "sample_rate": 16000, "heads": 5}, "`heads` must divide the width 48, but is 5"),
    ):
        with pytest.raises(UserError, match=message):
            read_model(tmp_path / "a.pt", **given)
    other = original(perturb, encoder_num_buckets=40, encoder_max_distance=60)
    torch.save(other.state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match="largest distance of 40 buckets of relative positions is unknown"):
        read_model(tmp_path / "a.pt", normalize=True, sample_rate=16000)
    name = bundle(monkeypatch, theirs)

    def offline(dl_kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torchaudio.pipelines.TINY, "_get_state_dict", offline)
    with pytest.raises(UserError, match=r"TINY: torchaudio could not download the weights.*with a connection"):
        read_model(name)
    with pytest.raises(UserError, match=r"unknown bundle of torchaudio `HUBERT_BAS`; .*did you mean `HUBERT_BASE`"):
        read_model("torchaudio:HUBERT_BAS")
