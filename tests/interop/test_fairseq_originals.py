"""fairseq's and WavLM's own code, of which s3prl has copies that need neither; left out where s3prl is not installed.

``pip install --no-deps s3prl omegaconf antlr4-python3-runtime`` is enough for it.
"""

import warnings

import pytest
import torch

from audio_ssl.interop.read import read_model

BASE = {
    "extractor_mode": "default",
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "layer_norm_first": False,
    "conv_feature_layers": "[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32,2,2)] * 2",
    "conv_bias": False,
    "conv_pos": 16,
    "conv_pos_groups": 4,
}
LARGE = {**BASE, "extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}


@pytest.fixture(scope="module")
def upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("s3prl", reason="s3prl is not installed", exc_type=ImportError)
        from s3prl.upstream.data2vec import data2vec_model
        from s3prl.upstream.hubert import hubert_model
        from s3prl.upstream.wav2vec2 import wav2vec2_model
        from s3prl.upstream.wavlm import WavLM

    def hubert(sizes):
        config = hubert_model.HubertConfig(label_rate=50.0, final_dim=8, **sizes)
        task = hubert_model.HubertPretrainingConfig(sample_rate=16000)
        return hubert_model.HubertModel(config, task, [range(10)]), config

    def wav2vec2(sizes):
        config = wav2vec2_model.Wav2Vec2Config(**sizes, quantize_targets=True, final_dim=8, latent_vars=8)
        return wav2vec2_model.Wav2Vec2Model(config), config

    def wavlm(sizes):
        relative = {"relative_position_embedding": True, "num_buckets": 64, "max_distance": 100, "gru_rel_pos": True}
        config = WavLM.WavLMConfig({**sizes, **relative})
        return WavLM.WavLM(config), config

    def data2vec(sizes):
        config = data2vec_model.Data2VecAudioConfig(**{**sizes, "extractor_mode": "layer_norm", "conv_pos": 35})
        config.pos_conv_depth = 5
        return data2vec_model.Data2VecAudioModel(config), config

    return {"hubert": hubert, "wav2vec2": wav2vec2, "wavlm": wavlm, "data2vec": data2vec}


def states(model, kind):
    """Return the function from a waveform to the input of the first block and the output of each, as ours are."""

    def apply(waveform):
        found = []
        hooks = [
            layer.register_forward_hook(lambda _, given, out: found.append((given[0], out[0])))
            for layer in model.encoder.layers
        ]
        last = model.extract_features(waveform, padding_mask=None)
        for hook in hooks:
            hook.remove()
        last = last["x"] if isinstance(last, dict) else last[0]
        # Frames are first there, and filled up to an even number.
        inner = [found[0][0], *(out for _, out in found[:-1])]
        return [state.transpose(0, 1)[:, : last.shape[1]] for state in inner] + [last]

    return apply


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [*((kind, sizes) for kind in ("hubert", "wav2vec2", "wavlm") for sizes in (BASE, LARGE)), ("data2vec", BASE)],
)
def test_the_original_code_gives_the_same(upstream, tmp_path, perturb, check, kind, sizes):
    torch.manual_seed(0)
    model, config = upstream[kind](sizes)
    perturb(model)
    plain = {key: getattr(value, "value", value) for key, value in vars(config).items()}
    plain = {key: value for key, value in plain.items() if isinstance(value, int | float | str | bool)}
    cfg = plain if kind == "wavlm" else {"task": {"normalize": False, "sample_rate": 16000}, "model": plain}
    torch.save({"args": None, "cfg": cfg, "model": model.state_dict()}, tmp_path / "a.pt")
    check(read_model(tmp_path / "a.pt", sample_rate=16000), states(model, kind))
