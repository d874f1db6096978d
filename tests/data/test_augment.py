from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_ssl.data.augment import Mixing, mix_in_batch
from audio_ssl.errors import UserError

RATE = 100
ALWAYS = Mixing(prob=1.0, min_seconds=0.5, max_seconds=1.0)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mix(waveform: Tensor, lengths: list[int], mixing: Mixing = ALWAYS, seed: int = 0) -> Tensor:
    return mix_in_batch(waveform, torch.tensor(lengths), mixing, RATE, random(seed))


def levels(batch: int, samples: int) -> Tensor:
    """Clip i is constant at 10**i, so that what was added tells where it came from."""
    return (10.0 ** torch.arange(batch))[:, None].repeat(1, samples)


def test_prob_is_the_share_of_clips_that_are_mixed() -> None:
    for prob in (0.2, 0.8):
        waveform = torch.ones(4000, 120)
        mixed = mix(waveform, [120] * 4000, Mixing(prob=prob, min_seconds=0.2, max_seconds=0.3))
        share = (mixed != waveform).any(1).float().mean()
        assert share == pytest.approx(prob, abs=0.03)


def test_stretches_come_from_other_clips_only() -> None:
    waveform = levels(3, 400)
    for seed in range(10):
        added = mix(waveform, [400] * 3, seed=seed) - waveform
        for clip in range(3):
            others = [10.0**other for other in range(3) if other != clip]
            # At most three stretches overlap, so what is added at a sample is a sum of up to three others.
            sums = {a + b + c for a in (0, *others) for b in (0, *others) for c in (0, *others)}
            assert set(added[clip].unique().tolist()) <= sums


def test_number_and_length_of_stretches_stay_in_range() -> None:
    mixing = Mixing(prob=1.0, max_segments=1, min_seconds=0.5, max_seconds=1.0)
    waveform = levels(2, 1000)
    lengths = set()
    for seed in range(200):
        changed = (mix(waveform, [1000, 1000], mixing, seed=seed) != waveform)[0]
        lengths.add(int(changed.sum()))
    assert min(lengths) >= 50
    assert max(lengths) <= 100
    assert len(lengths) > 20
    counts = {
        int((mix(levels(2, 5000), [5000] * 2, ALWAYS, seed=s) != levels(2, 5000))[0].diff().sum()) for s in range(60)
    }
    assert max(counts) <= 6


def test_padding_is_neither_a_source_nor_a_place() -> None:
    waveform = torch.ones(2, 300)
    waveform[0, 80:] = float("nan")
    for seed in range(20):
        mixed = mix(waveform, [80, 300], seed=seed)
        assert mixed[0, :80].isfinite().all()
        assert mixed[0, 80:].isnan().all()
        assert mixed[1].isfinite().all()
        assert (mixed[0, :80] >= 1).all()


def test_a_single_clip_and_prob_zero_stay_as_they_are() -> None:
    waveform = torch.randn(1, 300, generator=random())
    assert torch.equal(mix(waveform, [300]), waveform)
    two = torch.randn(2, 300, generator=random())
    assert torch.equal(mix(two, [300, 300], Mixing(prob=0.0)), two)


def test_the_input_is_not_written_to_and_seeds_repeat() -> None:
    waveform = torch.randn(4, 300, generator=random())
    before = waveform.clone()
    first = mix(waveform, [300] * 4)
    assert torch.equal(waveform, before)
    assert torch.equal(first, mix(waveform, [300] * 4))
    assert not torch.equal(first, mix(waveform, [300] * 4, seed=1))
    assert not torch.equal(first, before)


def test_gain_scales_what_is_added() -> None:
    waveform = levels(2, 400)
    quiet = mix(waveform, [400, 400], Mixing(prob=1.0, gain=0.5)) - waveform
    loud = mix(waveform, [400, 400], Mixing(prob=1.0, gain=1.0)) - waveform
    assert torch.allclose(quiet * 2, loud)
    assert loud.abs().sum() > 0


def test_snr_sets_the_energy_of_a_stretch_against_the_clip() -> None:
    waveform = torch.randn(2, 4000, generator=random()) * torch.tensor([[1.0], [30.0]])
    mixing = Mixing(prob=1.0, max_segments=1, min_seconds=10.0, max_seconds=10.0, snr_db=(6.0, 6.0))
    added = mix(waveform, [4000, 4000], mixing) - waveform
    stretch = added[0][added[0] != 0]
    snr = 10 * torch.log10(waveform[0].square().mean() / stretch.square().mean())
    assert float(snr) == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize(
    ("mixing", "match"),
    [
        (Mixing(prob=1.5), "share between 0 and 1"),
        (Mixing(max_segments=0), "at least 1"),
        (Mixing(min_seconds=2.0, max_seconds=1.0), "at most `max_seconds`"),
    ],
)
def test_senseless_values_are_refused(mixing: Mixing, match: str) -> None:
    with pytest.raises(UserError, match=match):
        mixing.check("$.mixing")
