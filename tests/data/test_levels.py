from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import AudioError
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.levels import Level, measure_level, measure_levels, write_levels
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest

RATE = 16000


def sine(amplitude: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Clip:
    soundfile.write(path, samples, rate, subtype=subtype)
    return Clip(path.name, str(path), 0.0, len(samples) / rate, rate)


@pytest.mark.parametrize("amplitude", [0.9, 0.1, 0.003])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_level_of_a_sine(tmp_path: Path, amplitude: float, rate: int) -> None:
    level = measure_level(write(tmp_path / "a.wav", sine(amplitude, 2.0, rate), rate))
    assert level.dbfs == pytest.approx(20 * math.log10(amplitude / math.sqrt(2)), abs=0.05)
    assert level.clipped == 0.0


def test_the_level_is_of_the_span_alone_and_of_long_clips_too(tmp_path: Path) -> None:
    samples = np.concatenate([np.zeros(RATE * 30), sine(0.5, 30.0)])
    whole = write(tmp_path / "a.wav", samples)
    # Half of it is silence: 3.01 dB less.
    assert measure_level(whole).dbfs == pytest.approx(-9.03 - 3.01, abs=0.05)
    loud = Clip("b", whole.path, 30.0, 25.0, RATE)
    assert measure_level(loud).dbfs == pytest.approx(-9.03, abs=0.05)
    quiet = measure_level(Clip("c", whole.path, 0.0, 5.0, RATE))
    assert quiet == Level(-math.inf, 0.0)


def test_channels_are_mixed_first(tmp_path: Path) -> None:
    one = sine(0.5, 1.0)
    opposed = write(tmp_path / "a.wav", np.stack([one, -one], axis=1), subtype="FLOAT")
    assert measure_level(opposed).dbfs == -math.inf
    half = write(tmp_path / "b.wav", np.stack([one, np.zeros_like(one)], axis=1), subtype="FLOAT")
    assert measure_level(half).dbfs == pytest.approx(20 * math.log10(0.25 / math.sqrt(2)), abs=0.05)


def test_clipping_is_counted(tmp_path: Path) -> None:
    level = measure_level(write(tmp_path / "a.wav", np.clip(sine(2.0, 1.0), -1, 1)))
    # A sine of twice full scale is beyond it for two thirds of the time.
    assert level.clipped == pytest.approx(2 / 3, abs=0.02)


def test_unreadable_files_are_recorded_and_the_rest_is_measured(tmp_path: Path) -> None:
    good = write(tmp_path / "a.wav", sine(0.1, 1.0))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    bad = Clip("bad", str(tmp_path / "bad.wav"), 0.0, 1.0, RATE)
    gone = Clip("gone", str(tmp_path / "gone.wav"), 0.0, 1.0, RATE)
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    levels = measure_levels([bad, good, gone], ledger)
    assert [level is None for level in levels] == [True, False, True]
    assert [row.more["id"] for row in ledger.rows()] == ["bad", "gone"]
    with pytest.raises(AudioError):
        measure_level(gone)


def test_the_column_is_written_and_replaced(tmp_path: Path) -> None:
    clips = [write(tmp_path / "a.wav", sine(0.1, 1.0)), write(tmp_path / "zero.wav", np.zeros(RATE))]
    clips.append(Clip("gone", str(tmp_path / "gone.wav"), 0.0, 1.0, RATE, extra={"level_dbfs": -1.0, "age": 31}))
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, clips)
    clips = read_manifest(manifest)
    levels = measure_levels(clips, ErrorLedger(tmp_path / "errors.jsonl"))
    write_levels(manifest, clips, levels)
    assert len(levels) == 3
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert rows[0]["level_dbfs"] == pytest.approx(-23.01, abs=0.05)
    assert rows[0]["level_dbfs"] == round(rows[0]["level_dbfs"], 2)
    assert ["level_dbfs" in row for row in rows] == [True, False, False]
    assert read_manifest(manifest)[2].extra == {"age": 31}
