"""What is worth knowing of a file that is used: said by name, once, wherever audio is read."""

import json

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.data import audio
from audio_ssl.data.audio import OPPOSITE_PHASE, audio_info, read_blocks, read_clip
from audio_ssl.data.build import make_manifest
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.features.extract import extract
from audio_ssl.features.job import Job, ProcessShare
from audio_ssl.features.pieces import WINDOW_CLIPS
from audio_ssl.features.sharing import collect_ledgers
from tests.mp3s import count, mp3, sound, with_count

LIE = "the header says 1.947 s, but 6.015 s are there and are used"


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def stereo(seconds, sign, rate=16000, scale=1.0):
    left = sound(seconds, rate)[:, 0] * scale
    return np.stack([left, sign * left], 1)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "audio"
    root.mkdir()
    data = mp3(6.0)
    (root / "lies.mp3").write_bytes(with_count(data, count(data) // 3))
    (root / "right.mp3").write_bytes(data)
    soundfile.write(root / "opposite.wav", stereo(2.0, -1), 16000)
    soundfile.write(root / "same.wav", stereo(2.0, 1), 16000)
    (root / "notes.txt").write_text("no audio")
    return root


def test_manifest_and_extract_write_the_same_notes(folder, tmp_path, caplog):
    expected = [("lies.mp3", LIE), ("opposite.wav", OPPOSITE_PHASE)]
    caplog.set_level("INFO")
    assert make_manifest(str(folder), tmp_path / "m.jsonl") == (4, 0)
    assert [(row["path"].rsplit("/", 1)[1], row["note"]) for row in rows(tmp_path / "m.notes.jsonl")] == expected
    assert f"{folder / 'lies.mp3'}: {LIE}" in caplog.text
    assert "passed over 1 files that are not audio: 1 .txt" in caplog.text
    assert {clip.id: clip.seconds for clip in read_manifest(tmp_path / "m.jsonl")}["lies.mp3"] == pytest.approx(
        6.015, abs=1e-3
    )
    out = extract(folder, "logmel", tmp_path / "f", format="npy")
    assert sorted((row["path"].rsplit("/", 1)[1], row["note"]) for row in rows(out / "notes.jsonl")) == expected
    assert not (out / "errors.jsonl").exists()
    assert {row["id"] for row in rows(out / "index.jsonl")} == {"lies.mp3", "right.mp3", "opposite.wav", "same.wav"}
    assert np.load(out / "lies.npy").shape[0] == 300
    before = (out / "notes.jsonl").read_text()
    (out / "lies.npy").unlink()
    extract(folder, "logmel", out, format="npy")
    assert (out / "notes.jsonl").read_text() == before


def test_each_process_of_an_extraction_writes_notes_of_its_files(folder, tmp_path, caplog):
    caplog.set_level("INFO")
    data = mp3(1.0)
    for number in range(WINDOW_CLIPS):
        # Windows of clips go to the processes in turn; each has a file that lies, and none that cannot be used.
        (folder / f"z{number:03d}.mp3").write_bytes(with_count(data, 0) if number in (0, 255) else data)
    job = Job(str(folder), "logmel", str(tmp_path / "f"), "all", "mean", None, "parquet", "float32")
    for rank in (1, 0):
        job.run_share(ProcessShare(rank, 2), torch.device("cpu"))
    collect_ledgers(tmp_path / "f")
    names = [row["path"].rsplit("/", 1)[1] for row in rows(tmp_path / "f" / "notes.jsonl")]
    assert sorted(names) == ["lies.mp3", "opposite.wav", "z000.mp3", "z255.mp3"]
    assert not (tmp_path / "f" / "errors.jsonl").exists()
    assert caplog.text.count("passed over") == 1


def test_a_manifest_made_anew_has_its_own_notes(folder, tmp_path):
    make_manifest(str(folder), tmp_path / "m.jsonl")
    for name in ("lies.mp3", "opposite.wav"):
        (folder / name).unlink()
    make_manifest(str(folder), tmp_path / "m.jsonl")
    assert not (tmp_path / "m.notes.jsonl").exists()


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (stereo(2.0, -1), True),
        (stereo(2.0, 1), False),
        (stereo(2.0, 0), False),
        (stereo(2.0, -0.5), False),
        (np.zeros((32000, 2), np.float32), False),
        (np.concatenate([np.zeros((32000, 2), np.float32), stereo(1.0, -1)]), True),
        (np.concatenate([stereo(2.0, -1), stereo(2.0, 1)]), False),
    ],
)
def test_channels_in_opposite_phase(tmp_path, samples, told):
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    seen = []
    clip = Clip("a", str(tmp_path / "a.wav"), 0.0, len(samples) / 16000, 16000)
    read_clip(clip, 16000, lambda path, text: seen.append((str(path), text)))
    list(read_blocks(clip, 8000, 0.5, lambda path, text: seen.append((str(path), text))))
    assert seen == [(clip.path, OPPOSITE_PHASE)] * (2 * told)


def test_without_anyone_to_tell_the_log_says_it_once_a_file(folder, caplog, monkeypatch):
    monkeypatch.setattr(audio, "_said", set())
    for _ in range(3):
        for name in ("lies.mp3", "opposite.wav"):
            info = audio_info(folder / name)
            read_clip(Clip(name, str(folder / name), 0.0, info.seconds, info.sample_rate), 16000)
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"{folder / 'lies.mp3'}: {LIE}", f"{folder / 'opposite.wav'}: {OPPOSITE_PHASE}"
    ]  # fmt: skip


def test_a_thousand_notes_do_not_fill_the_log(tmp_path, caplog):
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    for number in range(1000):
        ledger.note(f"{number}.mp3", "a note")
    assert len(caplog.records) == 11
    assert len(list(ErrorLedger(tmp_path / "errors.jsonl").notes())) == 1000
    assert (ErrorLedger(tmp_path / "errors.jsonl").count, ErrorLedger(tmp_path / "errors.jsonl").note_count) == (
        0,
        1000,
    )


@pytest.mark.parametrize("corpus", ["folder", "table"])
def test_corpora_write_the_notes_of_their_files(folder, tmp_path, corpus):
    (folder / "table.csv").write_text("path,text\nlies.mp3,one\nright.mp3,two\n")
    root = folder / "table.csv" if corpus == "table" else folder
    make_manifest(corpus, tmp_path / "m.jsonl", root=root)
    assert ("lies.mp3", LIE) in [
        (row["path"].rsplit("/", 1)[1], row["note"]) for row in rows(tmp_path / "m.notes.jsonl")
    ]
