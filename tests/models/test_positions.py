import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from audio_ssl.models.positions import RelativePositions, rotate, rotation


def test_rotation_equals_transformers():
    x = torch.randn(2, 3, 40, 16, generator=torch.Generator().manual_seed(0))
    cosine, sine = rotation(40, 16, 10000.0, x.device)
    twice = [torch.cat([part, part], -1)[None] for part in (cosine, sine)]
    expected, _ = apply_rotary_pos_emb(x, x, *twice)
    torch.testing.assert_close(rotate(x, (cosine, sine)), expected)


def test_products_of_rotated_frames_depend_on_their_distance_only():
    query, key = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0)).expand(2, 500, 16)
    turn = rotation(500, 16, 10000.0, query.device)
    products = rotate(query, turn) @ rotate(key, turn).T
    for distance in (-300, -1, 0, 7, 100):
        diagonal = products.diagonal(distance)
        assert (diagonal - diagonal[0]).abs().max() < 1e-4
    assert products[0].std() > 0.1


def test_relative_positions_equal_transformers_at_all_distances():
    theirs = WavLMAttention(8, 2, num_buckets=32, max_distance=70)
    ours = RelativePositions(2, 32, 70)
    ours.embedding.load_state_dict(theirs.rel_attn_embed.state_dict())
    torch.testing.assert_close(ours(150), theirs.compute_bias(150, 150))
