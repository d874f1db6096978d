"""transformers' Wav2Vec2-Conformer: every hidden state, and the quantiser and projections of its pretraining."""

import json
import warnings

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.interop.pretrained import read_pretrained
from audio_ssl.interop.read import read_model
from tests.interop.test_pretrained import put
from tests.parity.learner import learner
from tests.parity.test_wav2vec2 import SMALL
from tests.their_states import model_states

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_depthwise_kernel_size": 7,
    "position_embeddings_type": "rotary",
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "num_codevectors_per_group": 6,
}


def original(**changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForPreTraining
    torch.manual_seed(0)
    model = Wav2Vec2ConformerForPreTraining(Wav2Vec2ConformerConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return model


def saved(model, folder):
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))
    return folder


@pytest.mark.parametrize("changes", [{"hidden_act": "swish"}, {"feat_extract_norm": "layer", "conv_bias": True}])
def test_hidden_states_are_those_of_transformers(tmp_path, check, changes):
    theirs = original(**changes)
    model = read_model(f"{saved(theirs, tmp_path)}?normalize=false")
    assert model.config.encoder.form == "wav2vec2"
    check(model, lambda waveform: model_states(theirs.wav2vec2_conformer, waveform))


def test_heads_are_those_of_its_pretraining(tmp_path):
    theirs = original(hidden_act="swish")
    found = read_pretrained(f"{saved(theirs, tmp_path)}?normalize=false")
    assert found.left_out == ()
    encoder = [
        "kind: conformer",
        "layers: 2",
        "dim: 32",
        "ffn_dim: 64",
        "heads: 4",
        "kernel_frames: 7",
        "form: wav2vec2",
    ]
    # The recipe's other keys are those of a transformer.
    sizes = [one for one in SMALL if not one.startswith("encoder.")]
    codes = ["objectives.0.code_dim=16", "objectives.0.codebook_size=6"]
    ours = put(found, learner("wav2vec2_base", [*sizes, f"encoder={{{', '.join(encoder)}}}", *codes])).eval()
    waveform = torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(waveform)
        hidden = ours.model(waveform).hidden[-1]
        features = ours.model.encoder.feature_norm(ours.model.frontend(waveform, torch.tensor([9000] * 2))[0])
        quantised = ours.heads[0].quantizer(features.flatten(0, 1), 1.0, None).vectors
        codes = ours.heads[0].project_codes(quantised).view(*hidden.shape[:2], -1)
        assert (ours.heads[0].project_context(hidden) - wanted.projected_states).abs().max() < 1e-5
        assert (codes - wanted.projected_quantized_states).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"position_embeddings_type": "relative"},
            "`position_embeddings_type` must be 'rotary' to be read, but is 'rel",
        ),
        ({"position_embeddings_type": None}, "`position_embeddings_type` must be 'rotary' to be read, but is None"),
        ({"hidden_act": "relu"}, "`activation` must be swish or gelu, but is `relu`"),
        ({"conv_depthwise_kernel_size": 9}, "must have the shape"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, change, message):
    saved(original(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=message):
        read_model(tmp_path)
