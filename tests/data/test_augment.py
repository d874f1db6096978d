from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.data.augment import Mixing, mix_in_batch
from audio_ssl.pretrain.kinds.masked_prediction import Config
from audio_ssl.pretrain.recipe import load_recipe
from tests.reference import golden

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


def test_snr_can_be_that_of_the_whole_clips() -> None:
    """The louder half of a clip stays louder than the clip, as the level is set by the whole (WavLM)."""
    waveform = torch.randn(2, 4000, generator=random())
    waveform[1] *= torch.cat([torch.full((2000,), 0.1), torch.full((2000,), 1.0)])
    mixing = Mixing(prob=1.0, max_segments=1, min_seconds=5.0, max_seconds=5.0, snr_db=(3.0, 3.0), snr_of="clip")
    scales = []
    for seed in range(20):
        added = (mix(waveform, [4000, 4000], mixing, seed=seed) - waveform)[0]
        here = added.nonzero()[:, 0]
        assert len(here) == 500
        found = added[here[0] : here[-1] + 1]
        # The stretch is a window of the other clip, times one factor.
        windows = waveform[1].unfold(0, 500, 1)
        best = int((windows @ found / windows.norm(dim=1)).argmax())
        scales.append(float(found.norm() / windows[best].norm()))
    expected = (waveform[0].square().mean() / (waveform[1].square().mean() * 10**0.3)).sqrt()
    assert scales == pytest.approx([float(expected)] * 20, rel=1e-3)


def test_the_longest_stretch_can_be_a_share_of_the_clip_it_lands_on() -> None:
    mixing = Mixing(prob=1.0, max_segments=1, min_seconds=0.0, max_share=0.25)
    lengths = [100, 400, 1000]
    found = torch.stack([(mix(levels(3, 1000), lengths, mixing, seed=s) != levels(3, 1000)).sum(1) for s in range(300)])
    assert all(0.95 * most <= longest <= most for longest, most in zip(found.amax(0), (25, 100, 250), strict=True))


@pytest.mark.parametrize("seconds", [4.0, 8.0, 15.6])
def test_wavlm_mixes_as_published(seconds: float) -> None:
    """Shares of 2,000 clips against those of UniSpeech's code: four standard errors, and the shape of each."""
    recipe = load_recipe("wavlm_base")
    assert isinstance(recipe, Config)
    assert recipe.mixing is not None
    theirs, found = golden("wavlm_mixing").under(f"{seconds:g}s"), []
    samples, rng = round(seconds * RATE), torch.Generator().manual_seed(7)
    loudness = torch.logspace(np.log10(0.02), np.log10(0.2), 10)[:, None]
    for seed in range(200):
        waveform = torch.randn(10, samples, generator=rng, dtype=torch.float64) * loudness
        added = mix(waveform, [samples] * 10, recipe.mixing, seed=seed) - waveform
        for clip in range(10):
            here = added[clip].nonzero()[:, 0]
            if len(here):
                ratio = waveform[clip].square().mean() / added[clip, here].square().mean()
                found.append((len(here) / samples, float(here[0]) / samples, 10 * float(ratio.log10()), len(here)))
    length, start, ratio, count = np.array(found).T
    assert len(found) / 2000 == pytest.approx(0.2, abs=4 * 0.009)
    assert length.mean() == pytest.approx(0.25, abs=4 * 0.008)
    assert length.max() <= 0.5
    # The energy of a short stretch of noise is no measure of its clip's.
    assert ratio[count > 100].mean() == pytest.approx(0.0, abs=4 * 0.15 * (len(ratio) / (count > 100).sum()) ** 0.5)
    for name, ours in (("length_share", length), ("start_share", start), ("energy_ratio_db", ratio)):
        assert ks_2samp(ours, theirs[name].numpy()).pvalue > 1e-3, name


@pytest.mark.parametrize(
    ("mixing", "match"),
    [
        (Mixing(prob=1.5), "share between 0 and 1"),
        (Mixing(max_segments=0), "at least 1"),
        (Mixing(min_seconds=2.0, max_seconds=1.0), "at least `min_seconds`"),
        (Mixing(min_seconds=-1.0), "at least 0"),
        (Mixing(max_share=1.5), "share above 0 and at most 1"),
    ],
)
def test_senseless_values_are_refused(mixing: Mixing, match: str) -> None:
    with pytest.raises(UserError, match=match):
        mixing.check("$.mixing")
