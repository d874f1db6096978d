import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.objectives._masking import span_mask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("prob", "length", "share"), [(0.8, 10, 0.55), (0.8, 5, 0.58), (0.65, 10, 0.48)])
def test_share_of_masked_frames_is_the_published_one(prob, length, share):
    mask = span_mask(torch.full((300,), 374), 374, prob, length, 2, generator())
    assert mask.float().mean().item() == pytest.approx(share, abs=0.03)


@given(frames=st.lists(st.integers(0, 60), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_nothing_past_a_clip_and_never_everything(frames, seed):
    mask = span_mask(torch.tensor(frames), 70, 0.8, 5, 2, generator(seed))
    for row, count in zip(mask, frames, strict=True):
        assert not row[count:].any()
        if count >= 2:
            assert 0 < int(row.sum()) < count


def test_the_generator_decides():
    frames = torch.tensor([50, 40])
    first, again, other = (span_mask(frames, 50, 0.8, 5, 2, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_span_is_whole():
    mask = span_mask(torch.full((50,), 200), 200, 0.1, 10, 1, generator())
    for row in mask:
        runs = "".join("x" if m else " " for m in row).split()
        assert all(len(run) >= 10 for run in runs)
