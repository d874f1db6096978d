"""Frames of several frontends side by side."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from audio_ssl.base.config import structure, unstructure
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.frontends import concat, cqt, mel, patches
from audio_ssl.models.model import ModelConfig
from audio_ssl.models.padding import HiddenNoise

MEL = mel.Config(n_mels=20, stack=2)
CQT = cqt.Config(n_bins=30, bins_per_octave=12, fmin_hz=200.0)


def noise(samples):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(samples))


def frames_of(config, samples):
    found, counts = concat.build(config, 16000)(noise(samples), torch.tensor([samples]))
    assert counts.tolist() == [found.shape[1]]
    return found


@pytest.mark.parametrize("parts", [(MEL, CQT), (CQT, MEL), (MEL, CQT, patches.Config(n_mels=20))])
@pytest.mark.parametrize("norm", [True, False])
def test_a_frame_is_that_of_each_part_one_after_the_other(parts, norm):
    found, first = frames_of(concat.Config(parts, norm), 9001), 0
    for config in parts:
        build = {mel.Config: mel.build, cqt.Config: cqt.build, patches.Config: patches.build}[type(config)]
        theirs, _ = build(config, 16000)(noise(9001), torch.tensor([9001]))
        expected = theirs[:, : found.shape[1]]
        if norm:
            expected = F.layer_norm(expected, expected.shape[2:])
        torch.testing.assert_close(found[..., first : first + theirs.shape[2]], expected)
        first += theirs.shape[2]
    assert first == found.shape[2]


def test_frames_of_one_instant_are_side_by_side():
    waveform = torch.zeros(1, 16000)
    waveform[0, 8000:] = torch.sin(torch.arange(8000) * (2 * torch.pi * 1000 / 16000))
    raw = (mel.Config(n_mels=20, stack=2, normalize=False), cqt.Config(12, 12, 900.0, normalize=False))
    frontend = concat.build(concat.Config(raw, norm=False), 16000)
    found, _ = frontend(waveform, torch.tensor([16000]))
    # Frame 25 begins with the tone, and is the middle of the first whole kernel of half tone.
    for columns in (slice(0, 40), slice(40, 52)):
        level = found[0, :, columns].amax(1)
        onset = int((level > (level[10] + level[40]) / 2).nonzero()[0])
        assert onset in (24, 25)


GRIDS = st.builds(
    FrameGrid,
    st.just(16000),
    st.just(160),
    st.integers(1, 700),
    st.sampled_from(["valid", "ceil", "center", "floor"]),
)


@given(st.lists(GRIDS, min_size=2, max_size=4), st.integers(0, 2000))
def test_a_clip_has_the_frames_of_the_part_with_fewest(grids, samples):
    assert concat._shortest(grids).num_frames(samples) == min(grid.num_frames(samples) for grid in grids)


@pytest.mark.parametrize("samples", [100, 559, 560, 561, 880, 9000])
def test_any_length_has_the_frames_its_grid_says(samples):
    config = concat.Config((MEL, CQT))
    assert frames_of(config, samples).shape == (1, concat.build(config, 16000).grid.num_frames(samples), 70)


def test_a_part_of_larger_numbers_weighs_no_more():
    loud = concat.Config((mel.Config(n_mels=20, stack=2, normalize=False, mean=0.0, std=0.01), CQT))
    deviation = frames_of(loud, 9000).split([40, 30], 2)
    for part in deviation:
        torch.testing.assert_close(part.square().mean(2), torch.ones(part.shape[:2]), atol=1e-2, rtol=0)


def test_hidden_frames_are_filled_in_every_part():
    frontend = concat.build(concat.Config((MEL, mel.Config(n_mels=10, stack=2)), norm=False), 16000)
    waveform, lengths = noise(9000), torch.tensor([9000])
    plain, counts = frontend(waveform, lengths)
    mask = torch.arange(int(counts[0]))[None] % 3 == 1
    values = (
        torch.randn(*mask.shape, frontend.noise_width, generator=torch.Generator().manual_seed(0)) * mask[..., None]
    )
    filled, _ = frontend(waveform, lengths, noise=HiddenNoise(mask, values))
    torch.testing.assert_close(filled, torch.where(mask[..., None], values, plain))


def test_where_one_part_cannot_be_filled_no_part_is():
    assert concat.build(concat.Config((MEL, CQT)), 16000).noise_width is None


def test_it_is_written_and_read_with_its_parts():
    plain = {
        "frontend": {"kind": "concat", "parts": [{"kind": "mel", "stack": 2}, {"kind": "cqt"}]},
        "encoder": {"kind": "gru"},
    }
    config = structure(ModelConfig, plain)
    assert config.frontend.parts == (mel.Config(stack=2), cqt.Config())
    assert structure(ModelConfig, unstructure(config)) == config
    plain["frontend"]["parts"][1]["n_bin"] = 3
    with pytest.raises(UserError, match=r"\$\.frontend\.parts\[1\]: unknown key `n_bin`"):
        structure(ModelConfig, plain)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((MEL,), "`parts` must be at least 2 frontends, but has 1"),
        ((mel.Config(), CQT), r"same hop, but parts\[0\] \(mel\) has 640 samples and parts\[1\] \(cqt\) 320"),
        ((MEL, concat.Config((MEL, CQT))), r"`parts\[1\]` must not be `concat` itself"),
        ((MEL, cqt.Config(n_bins=0)), r"parts\[1\]: `n_bins` must be at least 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(UserError, match=message):
        concat.build(concat.Config(parts), 16000)
