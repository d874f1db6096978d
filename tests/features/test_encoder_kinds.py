"""Encoders of transformers that come as files give what transformers gives of a clip alone."""

import pytest
import torch
import transformers

from audio_ssl.base.errors import UserError
from audio_ssl.features.source import open_source

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def whisper(folder):
    config = transformers.WhisperConfig(
        num_mel_bins=80, d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    model, extractor = transformers.WhisperModel(config), transformers.WhisperFeatureExtractor()

    def theirs(wave):
        given = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt").input_features
        return [s[0, : -(-len(wave) // 320)] for s in model.encoder(given, output_hidden_states=True).hidden_states]

    return model, extractor, theirs


def w2v_bert(folder):
    config = transformers.Wav2Vec2BertConfig(**SIZES, feature_projection_input_dim=160, conv_depthwise_kernel_size=3)
    model, extractor = transformers.Wav2Vec2BertModel(config), transformers.SeamlessM4TFeatureExtractor()

    def theirs(wave):
        given = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")
        return [state[0] for state in model(**given, output_hidden_states=True).hidden_states]

    return model, extractor, theirs


def ast(folder):
    model, extractor = transformers.ASTModel(transformers.ASTConfig(**SIZES)), transformers.ASTFeatureExtractor()

    def theirs(wave):
        given = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")
        states = model(**given, output_hidden_states=True).hidden_states
        # 12 bands of 101 times.
        return [torch.stack([s[0, 2:][t::101].mean(0) for t in range(-(-len(wave) // 1600))]) for s in states]

    return model, extractor, theirs


def speecht5(folder):
    config = transformers.SpeechT5Config(
        hidden_size=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, conv_dim=(8,) * 7, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, vocab_size=20,
    )  # fmt: skip
    model, extractor = transformers.SpeechT5ForSpeechToText(config), transformers.SpeechT5FeatureExtractor()

    def theirs(wave):
        states = model.speecht5.encoder(wave[None], output_hidden_states=True).hidden_states
        return [state[0] for state in states]

    return model, extractor, theirs


@pytest.mark.parametrize("make", [whisper, w2v_bert, ast, speecht5])
@torch.no_grad()
def test_a_kind_gives_the_states_of_transformers(make, tmp_path):
    torch.manual_seed(0)
    model, extractor, theirs = make(tmp_path)
    model.eval().save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    source = open_source(f"{make.__name__}:{tmp_path}")
    waves = 0.1 * torch.randn(2, 20_000)
    lengths = torch.tensor([20_000, 12_345])
    hidden, counts = source(waves, lengths)
    assert source.num_layers == len(hidden) == 3
    for row, samples in enumerate(lengths.tolist()):
        wanted = theirs(waves[row, :samples])
        for layer, state in enumerate(wanted):
            assert counts[row] == len(state)
            torch.testing.assert_close(hidden[layer][row, : counts[row]], state, rtol=1e-4, atol=1e-5)


def test_a_kind_needs_a_model(tmp_path):
    with pytest.raises(UserError, match="give whisper:MODEL"):
        open_source("whisper")
    with pytest.raises(UserError, match="`load` failed"):
        open_source(f"whisper:{tmp_path / 'none'}")
