import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid

grids = st.builds(
    FrameGrid,
    sample_rate=st.sampled_from([16000, 24000, 44100]),
    hop_samples=st.integers(1, 700),
    window_samples=st.integers(1, 2000),
    edge=st.sampled_from(["valid", "ceil", "center"]),
)


@given(grids, st.integers(1, 2000))
def test_num_samples_is_the_fewest_that_give_the_frames(grid, frames):
    samples = grid.num_samples(frames)
    assert grid.num_frames(samples) == frames
    if samples > 0:
        assert grid.num_frames(samples - 1) == frames - 1


@given(grids, st.lists(st.integers(0, 100_000), min_size=1))
def test_tensors_and_integers_agree(grid, samples):
    assert grid.num_frames(torch.tensor(samples)).tolist() == [grid.num_frames(n) for n in samples]


def test_published_counts_of_a_five_second_crop():
    # MERT: 374 frames from the convolutions, 375 from EnCodec, 376 from the centred CQT.
    counts = [FrameGrid(24000, 320, 400, edge).num_frames(120_000) for edge in ("valid", "ceil", "center")]
    assert counts == [374, 375, 376]


def test_centre_of_a_frame():
    assert FrameGrid(16000, 320, 400).frame_center_seconds(2) == pytest.approx(0.0525)
    assert FrameGrid(16000, 320, 400, "center").frame_center_seconds(2) == pytest.approx(0.04)


def test_different_rates_are_named():
    with pytest.raises(UserError, match=r"the frontend gives 75 frames/s .* teacher 0 gives 50 frames/s"):
        FrameGrid(24000, 320, 400).require_same_rate(FrameGrid(16000, 320, 400), "the frontend", "teacher 0")


def test_grids_that_differ_only_at_the_edge_agree():
    FrameGrid(24000, 320, 400).require_same_rate(FrameGrid(24000, 320, 2048, "center"), "a", "b")


@pytest.mark.parametrize("field", ["sample_rate", "hop_samples", "window_samples"])
def test_zero_is_refused(field):
    values = {"sample_rate": 16000, "hop_samples": 320, "window_samples": 400, field: 0}
    with pytest.raises(ValueError, match=field):
        FrameGrid(**values)
