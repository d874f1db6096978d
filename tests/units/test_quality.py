"""The quality of units, from the codes of a folder and the phones of a manifest."""

import json

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.__main__ import run as command
from audio_ssl.artifacts.records import read_record
from audio_ssl.artifacts.unit_records import UnitQuality
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.features.source import open_source
from audio_ssl.targets.code_books import of_centroids
from audio_ssl.units.quality import measure_units
from audio_ssl.units.run import make_units

PHONES = "abcd"


def tone(phone, samples):
    return np.sin(np.arange(samples) * (0.1 + 0.3 * PHONES.index(phone)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Units of tones, a pitch for each phone: log-mel frames tell them apart but at edges; six speakers in turn."""
    home = tmp_path_factory.mktemp("quality")
    rng = np.random.default_rng(0)
    clips = []
    for number in range(24):
        said = rng.permutation(list(PHONES) * 3)
        ends = np.arange(1, len(said) + 1) * 0.1
        wave = np.concatenate([tone(phone, 1600) for phone in said]) + rng.normal(0, 1e-3, 1600 * len(said))
        soundfile.write(home / f"{number}.wav", (0.3 * wave).astype(np.float32), 16000)
        times = "; ".join(f"{end - 0.1:.3f} {end:.3f} {phone}" for end, phone in zip(ends, said, strict=True))
        extra = {"phone_times": times} if number else {}
        clips.append(
            Clip(f"c{number}", str(home / f"{number}.wav"), 0.0, 1.2, 16000, speaker=f"s{number % 6}", extra=extra)
        )
    write_manifest(home / "m.jsonl", clips)
    return home


@pytest.fixture(scope="module")
def units(folder):
    """Units whose centroids are the frames of each phone in the middle of a long one."""
    waves = torch.from_numpy(0.3 * np.stack([tone(phone, 16000) for phone in PHONES])).float()
    layers, _ = open_source("logmel")(waves, torch.full((4,), 16000))
    of_centroids(layers[0][:, 25]).save(folder / "book" / "codebook.safetensors")
    return make_units(folder / "m.jsonl", "logmel", folder / "u", code_book=folder / "book")


def scores(quality):
    return {(row.metric, row.of): row for row in quality.rows}


def test_units_that_are_phones_say_all_of_them(folder, units):
    quality = measure_units(units, folder / "m.jsonl")
    found = scores(quality)
    for metric in ("pnmi", "phone_purity", "cluster_purity"):
        row = found[metric, "frames"]
        assert 70 < row.low <= row.value <= row.high <= 100, metric
    assert (quality.clips, quality.clips_with_phones, quality.phones) == (24, 23, 4)
    assert (quality.clusters, quality.resampled, quality.left_out) == (6, "speaker", {"no `phone_times`": 1})
    assert found["unit_rate", "frames"].value == pytest.approx(59 / 1.2)
    # Four units as often as each other are two bits.
    assert found["unit_bitrate", "frames"].value == pytest.approx(2 * 59 / 1.2, rel=0.05)
    assert 9 < found["unit_rate", "merged units"].value < 20
    assert found["unit_bitrate", "merged units"].value == pytest.approx(
        2 * found["unit_rate", "merged units"].value, rel=0.05
    )
    for mode in ("within", "across"):
        for of in ("one-hot codes", "centroids"):
            assert found[f"abx_{mode}", of].value < 20
    written = read_record(UnitQuality, units / "quality.json")
    assert {(row.metric, row.of): row.value for row in written.rows} == {key: row.value for key, row in found.items()}


def test_units_by_chance_say_nothing(folder, tmp_path):
    generator = torch.Generator().manual_seed(0)
    of_centroids(torch.randn(2, 80, generator=generator) * 1e-3).save(tmp_path / "book" / "codebook.safetensors")
    out = make_units(folder / "m.jsonl", "logmel", tmp_path / "u", code_book=tmp_path / "book")
    found = scores(measure_units(out, folder / "m.jsonl", with_abx=False))
    assert found["phone_purity", "frames"].value < 60
    assert found["unit_bitrate", "frames"].value < 51
    assert not [key for key in found if key[0].startswith("abx")]


def test_each_codebook_has_scores_of_its_own(folder, tmp_path):
    out = make_units(folder / "m.jsonl", "random_projection?codebooks=2&codebook_size=6&stack=2", tmp_path / "u")
    quality = measure_units(out, folder / "m.jsonl")
    assert [row.codebook for row in quality.rows if row.metric == "pnmi"] == [1, 2]
    assert {row.of for row in quality.rows if row.metric == "abx_within"} == {"one-hot codes"}
    assert scores(quality)["unit_bitrate", "frames"].value > 50


def test_what_cannot_be_measured_is_said(folder, units, tmp_path):
    with pytest.raises(UserError, match=r"no clip has phones: no `word_times` \(name the column with --times"):
        measure_units(units, folder / "m.jsonl", times="word_times")
    write_manifest(tmp_path / "other.jsonl", [Clip("x", "x.wav", 0.0, 1.0, 16000)])
    with pytest.raises(UserError, match="their ids are like `c0`, the manifest's like `x`"):
        measure_units(units, tmp_path / "other.jsonl")
    with pytest.raises(UserError, match=r"the folder has no units\.json"):
        measure_units(tmp_path, folder / "m.jsonl")


def test_the_command_prints_a_table(folder, units, capsys):
    assert command(["units", "quality", str(units), str(folder / "m.jsonl"), "--no-abx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("23 of 24 clips have phones, ")
    assert lines[0].endswith("; 4 phones; intervals over 6 speakers")
    assert lines[1].split() == ["metric", "of", "value", "95", "%", "interval"]
    assert lines[2].startswith("PNMI ")
    assert lines[-1] == str(units / "quality.json")
    assert len(json.loads((units / "quality.json").read_text())["rows"]) == 7
