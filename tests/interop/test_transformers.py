"""Weights go to transformers' names and back, and padding is better kept out than there."""

import torch
from transformers import HubertConfig, HubertModel

from audio_ssl.interop.settings import ModelSettings
from audio_ssl.interop.transformers import read_transformers, to_transformers_weights

TOLERANCE = 1e-5


def pair(folder, large):
    config = HubertConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=large,
        feat_extract_norm="layer" if large else "group",
        conv_bias=large,
    )
    torch.manual_seed(0)
    theirs = HubertModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    theirs.save_pretrained(folder)
    return read_transformers(folder, ModelSettings(False, 16000)).model, theirs


def test_a_padded_batch_equals_single_clips_where_transformers_does_not(tmp_path):
    model, theirs = pair(tmp_path, large=False)
    generator = torch.Generator().manual_seed(2)
    short, long = torch.randn(6000, generator=generator), torch.randn(12000, generator=generator)
    batch = torch.zeros(2, 12000)
    batch[0, :6000], batch[1] = short, long
    with torch.no_grad():
        alone = theirs(short[None]).last_hidden_state[0]
        ours = model(batch, torch.tensor([6000, 12000])).hidden[-1][0, : len(alone)]
        attention = (torch.arange(12000) < torch.tensor([[6000], [12000]])).long()
        padded = theirs(batch, attention_mask=attention).last_hidden_state[0, : len(alone)]
    assert (ours - alone).abs().max() <= TOLERANCE
    assert (padded - alone).abs().max() > 100 * TOLERANCE


def test_weights_make_the_round_trip(tmp_path):
    model, theirs = pair(tmp_path, large=True)
    back = to_transformers_weights(model)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())
