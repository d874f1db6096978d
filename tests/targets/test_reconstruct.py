from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("encodec")

from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.targets.codec.reconstruction import MOST_CLIPS, MOST_SECONDS, make_reconstructions, si_sdr, spread_out
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig

RATE = 16000


@pytest.fixture
def codec() -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Codec(CodecConfig(RATE, (2, 4, 5, 8), 2, 8, 0, 2, 8))
    reference = 0.1 * torch.randn(2, 3200, generator=torch.Generator().manual_seed(1))
    model.train()
    model(reference)
    model.after_update(0, lambda tensor: tensor)
    model.normalise_by(reference)
    return model


def make_clip(folder: Path, number: int, seconds: float, speaker: str | None = None) -> Clip:
    path = folder / f"{number}.wav"
    rng = np.random.default_rng(number)
    soundfile.write(path, 0.1 * rng.standard_normal(int(seconds * RATE)), RATE)
    return Clip(f"c{number}", str(path), 0.0, seconds, RATE, speaker=speaker)


def test_a_few_clips_can_be_listened_to(codec: Codec, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    clips = [
        make_clip(tmp_path, 0, 6.0),
        Clip("bad", str(bad), 0.0, 1.0, RATE),
        *(make_clip(tmp_path, n, 1.0) for n in (1, 2, 3, 4, 5)),
    ]
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    make_reconstructions(codec, clips, True, ClipReader(RATE), ledger, tmp_path / "run")
    folder = tmp_path / "run" / "reconstructions"
    about = json.loads((folder / "clips.json").read_text())
    assert about["held_out"] is True
    assert [row["id"] for row in about["clips"]] == ["c0", "c1", "c2", "c3"]
    assert len(about["clips"]) == MOST_CLIPS
    assert [json.loads(line)["id"] for line in (tmp_path / "errors.jsonl").read_text().splitlines()] == ["bad"]
    for row in about["clips"]:
        original, rate = soundfile.read(folder / row["original"], dtype="float32")
        heard, _ = soundfile.read(folder / row["reconstruction"], dtype="float32")
        assert rate == RATE
        assert len(original) == len(heard) <= MOST_SECONDS * RATE
        measured = float(si_sdr(torch.from_numpy(heard)[None], torch.from_numpy(original)[None]))
        assert measured == pytest.approx(row["si_sdr"], abs=0.5)


def test_nothing_to_hear_leaves_no_folder(codec: Codec, tmp_path: Path) -> None:
    make_reconstructions(codec, [], False, ClipReader(RATE), ErrorLedger(tmp_path / "errors.jsonl"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_first_clips_are_of_different_speakers() -> None:
    clips = [Clip(f"{who}{n}", "a.wav", 0.0, 1.0, RATE, speaker=who) for who in "ab" for n in range(3)]
    assert [clip.id for clip in spread_out(clips)] == ["a0", "b0", "a1", "b1", "a2", "b2"]
