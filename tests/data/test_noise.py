"""Noise in the crops of training: how often, how long, how loud; of which recordings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.augment import Mixing, Noise, NoiseBank, mix_in_batch
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import Batch, Loader, Position
from audio_ssl.data.manifest import Clip, write_manifest
from tests.data.test_loader import make_setup, write_clips

RATE = 8000
WAVLM = Mixing(prob=0.2, max_segments=1, min_seconds=0.0, max_share=0.5, snr_db=(-5.0, 5.0), snr_of="clip")


def bank(folder: Path, seconds: tuple[float, ...] = (1.0, 2.0), prob: float = 0.5, mixing: Mixing = WAVLM) -> NoiseBank:
    rng, clips = np.random.default_rng(0), []
    for number, length in enumerate(seconds):
        # Its second half is louder, so that a stretch is not as loud as the whole.
        sound = rng.standard_normal(round(length * RATE)) * np.linspace(0.01, 0.2, round(length * RATE))
        soundfile.write(folder / f"n{number}.wav", sound, RATE, subtype="FLOAT")
        clips.append(Clip(f"n{number}", str(folder / f"n{number}.wav"), 0.0, length, RATE))
    write_manifest(folder / "noise.jsonl", clips)
    noise = Noise(str(folder / "noise.jsonl"), prob)
    return NoiseBank(replace(mixing, noise=noise), RATE, ErrorLedger(folder / "errors.jsonl"))


def test_noise_is_as_often_as_long_and_as_loud_as_in_wavlm(tmp_path: Path) -> None:
    noises, waveform = bank(tmp_path, seconds=(4.0,)), torch.full((4000,), 0.1)
    sound = torch.from_numpy(soundfile.read(tmp_path / "n0.wav", dtype="float32")[0])
    starts = sound.unfold(0, 64, 1)
    lengths, ratios, places = [], [], []
    for key in range(3000):
        added = noises(waveform, key)
        if added is None:
            continue
        here = added.nonzero()[:, 0]
        if len(here) < 64:
            continue
        lengths.append(len(here) / 4000)
        places.append(float(here[0]) / (4000 - len(here)))
        found = added[here[0] : here[0] + 64]
        best = int(((starts @ found) / starts.norm(dim=1)).argmax())
        gain = float(found.norm() / starts[best].norm())
        ratios.append(10 * np.log10(0.01 / (gain**2 * float(sound.square().mean()))))
    assert len(lengths) / 3000 == pytest.approx(0.1 * (1 - 64 / 2000), abs=4 * 0.0055)
    assert np.mean(lengths) == pytest.approx((0.016 + 0.5) / 2, abs=4 * 0.14 / len(lengths) ** 0.5)
    assert max(lengths) <= 0.5
    assert np.mean(places) == pytest.approx(0.5, abs=4 * 0.29 / len(places) ** 0.5)
    assert -5.01 <= min(ratios) <= -4 <= 19 <= max(ratios) <= 20.01
    assert np.mean(ratios) == pytest.approx(7.5, abs=4 * 7.3 / len(ratios) ** 0.5)


def test_clips_with_noise_are_not_mixed_and_the_shares_add_up() -> None:
    mixing, generator = replace(WAVLM, noise=Noise("unused", 0.25)), torch.Generator().manual_seed(0)
    waveform = torch.randn(4000, 200, generator=generator)
    chosen = torch.rand(4000, generator=generator) < 0.2 * 0.25
    noise = torch.where(chosen[:, None], torch.full((200,), 1.0), torch.zeros(200))
    mixed = mix_in_batch(waveform, torch.full((4000,), 200), mixing, 100, generator, noise)
    assert torch.equal(mixed[chosen], waveform[chosen] + 1)
    changed = (mixed != waveform).any(1)
    # A stretch may be of no sample, one in a hundred.
    assert changed.float().mean() == pytest.approx(0.2, abs=4 * 0.0063)


def test_a_batch_of_one_gets_its_noise() -> None:
    waveform, noise = torch.ones(1, 50), torch.full((1, 50), 0.5)
    mixing = replace(WAVLM, noise=Noise("unused"))
    assert torch.equal(
        mix_in_batch(waveform, torch.tensor([50]), mixing, 100, torch.Generator(), noise), waveform + 0.5
    )


def test_batches_bring_it_for_every_crop_by_its_key(tmp_path: Path) -> None:
    always = bank(tmp_path, prob=1.0, mixing=replace(WAVLM, prob=1.0))
    plain = make_setup(write_clips(tmp_path, [0.9, 0.7, 0.5, 0.8]), tmp_path)
    for source in (always, None):
        with Loader(replace(plain, noise=source), Position(0, 0), 2) as loader:
            batches = [item for item in loader if isinstance(item, Batch)]
        for batch in batches:
            if source is None:
                assert batch.noise is None
                continue
            assert batch.noise is not None
            assert batch.noise.shape == batch.waveform.shape
            for waveform, noise, length, key in zip(
                batch.waveform, batch.noise, batch.lengths, batch.keys, strict=True
            ):
                expected = always(waveform[:length], key)
                assert expected is not None
                assert torch.equal(noise[:length], expected)
                assert not noise[length:].any()


def test_noise_that_cannot_be_read_is_recorded_and_left_out(tmp_path: Path) -> None:
    noises = bank(tmp_path, seconds=(1.0,), prob=1.0, mixing=replace(WAVLM, prob=1.0))
    (tmp_path / "n0.wav").write_bytes(b"RIFF")
    assert noises(torch.ones(4000), 1) is None
    (row,) = map(json.loads, (tmp_path / "errors.jsonl").read_text().splitlines())
    assert row["id"] == "n0"
    assert row["reason"].startswith("noise: ")


def test_a_manifest_without_noise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no clips"):
        bank(tmp_path, seconds=())
