import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.pretrain.masking import exact_mask, masked_counts, span_mask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("prob", "length", "share"), [(0.8, 10, 0.55), (0.8, 5, 0.58), (0.65, 10, 0.48)])
def test_share_of_masked_frames_is_the_published_one(prob, length, share):
    mask = span_mask(torch.full((300,), 374), 374, prob, length, 2, generator())
    assert mask.float().mean().item() == pytest.approx(share, abs=0.03)


@given(
    frames=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    prob=st.floats(0.01, 1.0),
    length=st.integers(1, 70),
    min_masks=st.sampled_from([1, 2, 70]),
    seed=st.integers(0, 99),
)
def test_nothing_past_a_clip_and_never_everything(frames, prob, length, min_masks, seed):
    mask = span_mask(torch.tensor(frames), 70, prob, length, min_masks, generator(seed))
    for row, count in zip(mask, frames, strict=True):
        assert not row[count:].any()
        if count >= 2:
            assert 0 < int(row.sum()) < count
            assert int(masked_counts(1, count, prob, length, min_masks, generator(seed))) < count


@pytest.mark.parametrize(("frames", "length"), [(2, 5), (3, 1), (7, 5), (30, 10)])
def test_as_many_spans_as_there_is_room_for_leave_the_last_frame(frames, length):
    mask = span_mask(torch.tensor([frames]), frames, 1.0, length, 1000, generator())
    assert mask[0].tolist() == [True] * (frames - 1) + [False]


def test_the_generator_decides():
    frames = torch.tensor([50, 40])
    first, again, other = (span_mask(frames, 50, 0.8, 5, 2, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(frames=st.integers(0, 60), others=st.integers(1, 5), min_masks=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_trimmed_mask_is_a_part_of_the_mask(frames, others, min_masks, seed):
    count = torch.tensor([frames])
    mask = span_mask(count, 70, 0.8, 5, min_masks, generator(seed))
    trimmed = span_mask(count, 70, 0.8, 5, min_masks, generator(seed), (1 + others) * frames)
    assert not (trimmed & ~mask).any()
    assert frames < 2 or trimmed.any()
    # A batch of one clip has no smaller mask.
    assert torch.equal(mask, span_mask(count, 70, 0.8, 5, min_masks, generator(seed), frames))


@pytest.mark.parametrize("frames", [2, 4, 7, 30, 200])
def test_counts_are_those_of_masks(frames):
    counts = masked_counts(4000, frames, 0.8, 5, 2, generator()).float()
    masks = span_mask(torch.full((4000,), frames), frames, 0.8, 5, 2, generator()).sum(1).float()
    assert counts.mean().item() == pytest.approx(masks.mean().item(), abs=4 * masks.std().item() / 2000**0.5 + 1e-6)
    assert counts.std().item() == pytest.approx(masks.std().item(), rel=0.05, abs=1e-6)
    assert counts.max() < frames


def test_every_span_is_whole():
    mask = span_mask(torch.full((50,), 200), 200, 0.1, 10, 1, generator())
    for row in mask:
        runs = "".join("x" if m else " " for m in row).split()
        assert all(len(run) >= 10 for run in runs)


@given(
    frames=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    share=st.floats(0.05, 0.95) | st.just(1.0),
    seed=st.integers(0, 99),
)
def test_an_exact_mask_has_its_share_of_every_clip_and_nothing_past_it(frames, share, seed):
    mask = exact_mask(torch.tensor(frames), 70, share, 5, 0.05, generator(seed))
    for row, count in zip(mask, frames, strict=True):
        assert not row[count:].any()
        wanted = min(max(1, int(share * count)), count - 1) if count >= 2 else 0
        assert int(row.sum()) == wanted


@pytest.mark.parametrize(("share", "adjust", "single"), [(0.5, 0.05, 0.1), (0.3, 0.1, 0.1)])
def test_an_exact_mask_is_made_of_spans_and_a_few_single_frames(share, adjust, single):
    mask = exact_mask(torch.full((200,), 400), 400, share, 5, adjust, generator())
    # Spans begin at a change from visible to masked; single frames alone would begin share * (1 - share) a frame.
    begins = (mask[:, 1:] & ~mask[:, :-1]).float().mean().item()
    assert begins < 0.7 * share * (1 - share)
    places = mask.float().mean(0)
    assert places[20:-20].std().item() < 0.05
    assert places[:2].mean().item() == pytest.approx(share, abs=single)
