from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.models.padding import Visible, visible_frames
from audio_ssl.pretrain.decoder import ConvDecoder, DecoderSizes, build_decoder

SMALL = DecoderSizes(layers=3, dim=24, kernel_frames=5, groups=4, dropout=0.0, noise_std=0.5)


def make(hidden: int = 16, **options: object) -> ConvDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_decoder(dataclasses.replace(SMALL, **options), hidden)  # type: ignore[arg-type]


def clips(lengths: tuple[int, ...] = (20, 13, 6)) -> tuple[Tensor, Visible, Tensor, Tensor, tuple[int, ...]]:
    random = torch.Generator().manual_seed(1)
    frames = torch.tensor(lengths)
    inside = torch.arange(max(lengths)) < frames[:, None]
    mask = (torch.rand(len(lengths), max(lengths), generator=random) < 0.5) & inside
    visible = visible_frames(mask, frames)
    states = torch.randn(len(lengths), visible.places.shape[1], 16, generator=random)
    states = states * (torch.arange(states.shape[1]) < visible.frames[:, None])[..., None]
    return states, visible, mask, frames, tuple(range(7, 7 + len(lengths)))


@pytest.mark.parametrize(
    "options", [{}, {"noise_std": None}, {"dim": 16}, {"layers": 1}, {"keep_visible": True}], ids=str
)
def test_a_clip_in_a_batch_is_decoded_as_alone_its_noise_included(options: dict[str, object]) -> None:
    decoder = make(**options)
    states, visible, mask, frames, keys = clips()
    together = decoder(states, visible, mask, frames, keys)
    for row, count in enumerate(frames.tolist()):
        own = mask[row : row + 1, :count]
        one = visible_frames(own, frames[row : row + 1])
        alone = decoder(states[row : row + 1, : one.places.shape[1]], one, own, frames[row : row + 1], keys[row:][:1])
        torch.testing.assert_close(together[row, :count], alone[0], rtol=1e-4, atol=1e-5)
        assert not together[row, count:].any()


def test_noise_is_the_keys_and_as_wide_as_asked_for() -> None:
    states, visible, mask, frames, keys = clips((400,))
    one = make()(states, visible, mask, frames, keys)
    torch.testing.assert_close(make()(states, visible, mask, frames, keys), one)
    assert not torch.allclose(make()(states, visible, mask, frames, (99,)), one)
    noise = make(noise_std=0.01)._noise(mask, 16, keys)
    assert noise.shape == (int(mask.sum()), 16)
    assert noise.std().item() == pytest.approx(0.01, rel=0.05)
    still = make(noise_std=0.0)
    torch.testing.assert_close(still(*clips((400,))[:4], (99,)), still(states, visible, mask, frames, keys))


@pytest.mark.parametrize("options", [{}, {"noise_std": None}], ids=str)
def test_visible_places_get_the_encoders_states_besides_where_asked(options: dict[str, object]) -> None:
    states, visible, mask, frames, keys = clips()
    plain = make(**options)(states, visible, mask, frames, keys)
    kept = make(**options, keep_visible=True)(states, visible, mask, frames, keys)
    torch.testing.assert_close(kept[mask], plain[mask])
    row, place = 0, 3
    true_place = int(visible.places[row, place])
    torch.testing.assert_close(kept[row, true_place] - plain[row, true_place], states[row, place], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"noise_std": None}], ids=str)
def test_every_weight_learns_and_so_do_the_states(options: dict[str, object]) -> None:
    decoder = make(**options)
    states, visible, mask, frames, keys = clips()
    states.requires_grad_()
    decoder(states, visible, mask, frames, keys)[mask].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in decoder.parameters())
    assert states.grad is not None
    assert states.grad.any()
    assert ("mask_embedding" in dict(decoder.named_parameters())) == (decoder._noise_std is None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "`layers` must be at least 1"),
        ({"kernel_frames": 4}, "`kernel_frames` must be odd, but is 4"),
        ({"groups": 3}, "`groups` must divide the encoder's width 16, but is 3"),
        ({"groups": 16}, "`groups` must divide `dim` 24, but is 16"),
        ({"dropout": 1.0}, "`dropout` must be a share below 1"),
        ({"noise_std": -0.1}, "`noise_std` must not be negative"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)
