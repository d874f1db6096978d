"""Pooling and rates: pieces give what the whole gives, and the whole what the definition says."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.features.arrange import Arrangement, ClipArranger, arrangement
from audio_ssl.features.clips import ClipToExtract
from audio_ssl.features.pieces import Piece
from audio_ssl.features.pooling import AttentionPooling, AttentivePool, MaxPool, MeanPool, RateChange, frames_at
from audio_ssl.features.source import open_source

ITEM = ClipToExtract(0, "a", "a", "a", None)
CLIP = Clip("a", "a", 0.0, 1.0, 16000)


def cuts(total, draw):
    inner = draw(st.lists(st.integers(1, total - 1), max_size=4, unique=True)) if total > 1 else []
    return sorted({0, total, *inner})


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_pools_of_pieces_are_those_of_the_whole(data):
    total = data.draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(total)
    frames = 30 * torch.randn(2, total, 5, generator=generator)
    attention = AttentionPooling(5, 7).requires_grad_(False)
    expected = {
        MeanPool: frames.mean(1),
        MaxPool: frames.amax(1),
        AttentivePool: attention(frames, torch.ones(2, total, dtype=torch.bool)),
    }
    edges = cuts(total, data.draw)
    for pool, whole in expected.items():
        ours = pool(attention) if pool is AttentivePool else pool()
        for first, last in pairwise(edges):
            ours.add(frames[:, first:last])
        torch.testing.assert_close(ours.result(), whole, atol=1e-4, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([0.3, 0.5, 1.0, 4 / 3, 1.5, 2.0, 50 / 21, 7.0]))
def test_another_rate_keeps_the_mean_and_does_not_depend_on_pieces(data, step):
    total = data.draw(st.integers(1, 50))
    frames = torch.randn(1, total, 3, generator=torch.Generator().manual_seed(total))
    whole = RateChange(step).add(frames, last=True)
    assert whole.shape[1] == frames_at(total, step)
    change, edges = RateChange(step), cuts(total, data.draw)
    parts = [change.add(frames[:, a:b], b == total) for a, b in pairwise(edges)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)
    spans = [min(total, (j + 1) * step) - j * step for j in range(whole.shape[1])]
    mean = (whole[0].double() * torch.tensor(spans)[:, None]).sum(0) / total
    torch.testing.assert_close(mean.float(), frames[0].mean(0), atol=1e-4, rtol=0)


def test_rates_by_hand():
    frames = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[None, :, None]
    assert RateChange(2.0).add(frames, last=True).flatten().tolist() == [1.5, 3.5, 5.0]
    halves = RateChange(0.5).add(frames[:, :2], last=True).flatten().tolist()
    assert halves == [1.0, 1.0, 2.0, 2.0]


def test_features_that_are_not_finite_are_refused():
    made = Arrangement((0,), None, "none", None, torch.float16)
    with pytest.raises(AudioError, match="features are not finite in float16"):
        ClipArranger(made).add(Piece(ITEM, CLIP, 0, 1, [torch.full((1, 2), 1e6)]))


def test_rates_are_relative_to_the_models_own(run_folder):
    source = open_source(run_folder)
    assert arrangement(source, "all", rate_hz=50.0).step is None
    assert arrangement(source, "all", rate_hz=25.0).step == 2.0
    assert arrangement(source, "0,1", rate_hz=25.0).shape(7, 16) == (2, 4, 16)
    assert arrangement(source, "1", pool="max").shape(7, 16) == (16,)
    with pytest.raises(UserError, match="folder of a probe's result"):
        arrangement(source, "nothing")
