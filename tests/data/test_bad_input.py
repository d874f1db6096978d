"""One folder with everything that goes wrong: each unusable file is recorded with its reason, the rest goes through."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import UserError
from audio_ssl.data import audio
from audio_ssl.data.build import make_manifest
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import read_manifest, scan_folder
from audio_ssl.features.extract import extract

REASONS = {
    "empty.wav": "the file is empty",
    "truncated.flac": "truncated",
    "text.wav": "not an audio file",
    "no_samples.wav": "has no samples",
    "nan.wav": "NaN or infinite",
    "inf.wav": "NaN or infinite",
    "forbidden.wav": "cannot be opened: Permission denied",
    "folder.wav": "not a regular file",
}
NOT_UTF8 = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
GOOD = {"eight_channels.wav", "8k.wav", "192k.wav", NOT_UTF8, "good.wav", "linked.wav"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    root = tmp_path / "audio"
    root.mkdir()
    rng = np.random.default_rng(0)

    def noise(seconds, rate, channels=1):
        return rng.normal(0, 0.1, (int(seconds * rate), channels)).astype(np.float32)

    soundfile.write(root / "good.wav", noise(0.5, 16000), 16000)
    soundfile.write(root / "eight_channels.wav", noise(0.5, 16000, 8), 16000)
    soundfile.write(root / "8k.wav", noise(0.5, 8000), 8000)
    soundfile.write(root / "192k.wav", noise(0.5, 192000), 192000)
    (root / NOT_UTF8).write_bytes((root / "good.wav").read_bytes())
    (root / "empty.wav").write_bytes(b"")
    (root / "text.wav").write_text("this is not audio at all\n" * 20)
    soundfile.write(root / "no_samples.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(root / "whole.flac", noise(3.0, 16000), 16000)
    data = (root / "whole.flac").read_bytes()
    (root / "truncated.flac").write_bytes(data[: len(data) // 2])
    (root / "whole.flac").unlink()
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        samples = noise(0.5, 16000)
        samples[100] = value
        soundfile.write(root / f"{name}.wav", samples, 16000, subtype="FLOAT")
    (root / "folder.wav").mkdir()
    (root / "loop").symlink_to(root)
    (root / "linked.wav").symlink_to(root / "good.wav")
    (root / "notes.txt").write_text("no audio, and not named so")
    (root / "forbidden.wav").write_bytes((root / "good.wav").read_bytes())
    (root / "forbidden.wav").chmod(0)
    opened = Path.open

    def refuse(self, *args, **kwargs):
        # The superuser may read anything, so that the file's mode alone would not be a test.
        if self.name == "forbidden.wav":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(audio.Path, "open", refuse)
    return root


def ledger_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scan_and_extract_take_the_good_and_record_the_rest(folder, tmp_path):
    out = extract(folder, "logmel", tmp_path / "features", format="npy")
    errors = ledger_rows(out / "errors.jsonl")
    assert sorted(os.path.basename(row["path"]) for row in errors) == sorted(REASONS)
    for row in errors:
        assert REASONS[os.path.basename(row["path"])] in row["reason"]
        assert str(folder) not in row["reason"]
    index = ledger_rows(out / "index.jsonl")
    assert {row["id"] for row in index} == GOOD
    assert {row["frames"] for row in index} == {24}
    assert (out / NOT_UTF8).with_suffix(".npy").exists()


def test_running_again_records_nothing_twice(folder, tmp_path):
    out = extract(folder, "logmel", tmp_path / "features")
    before = (out / "errors.jsonl").read_text()
    extract(folder, "logmel", tmp_path / "features")
    assert (out / "errors.jsonl").read_text() == before


def test_manifest_of_the_folder_goes_through_a_file(folder, tmp_path):
    count, unusable = make_manifest(str(folder), tmp_path / "m.jsonl")
    # A header does not tell NaN samples: those are found when the audio is read.
    assert unusable == 6
    clips = read_manifest(tmp_path / "m.jsonl")
    assert {c.id for c in clips} == GOOD | {"nan.wav", "inf.wav"}
    assert count == len(clips)
    out = extract(tmp_path / "m.jsonl", "logmel", tmp_path / "features")
    assert sorted(os.path.basename(r["path"]) for r in ledger_rows(out / "errors.jsonl")) == [
        "inf.wav",
        "nan.wav",
    ]


def test_every_format_takes_names_that_are_not_utf8(folder, tmp_path):
    for format in ("safetensors", "npy", "parquet"):
        out = extract(folder, "logmel", tmp_path / format, format=format, pool="mean")
        extract(folder, "logmel", tmp_path / format, format=format, pool="mean")
        assert len(ledger_rows(out / "index.jsonl")) == len(GOOD)


def test_nothing_usable_is_an_error_that_names_the_ledger(tmp_path):
    root = tmp_path / "bad"
    root.mkdir()
    (root / "a.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"no usable audio: the reasons are in .*errors\.jsonl"):
        extract(root, "logmel", tmp_path / "f")
    with pytest.raises(UserError, match=r"no usable clip: the file is empty \(0 bytes\)"):
        make_manifest(str(root), tmp_path / "m.jsonl")
    (root / "b.wav").write_bytes(b"")
    with pytest.raises(UserError, match="no usable clip: 2 unusable files"):
        make_manifest(str(root), tmp_path / "m.jsonl")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(UserError, match="no usable audio: none of the files is an audio file"):
        extract(tmp_path / "texts", "logmel", tmp_path / "g")
    with pytest.raises(UserError, match="no such file or folder"):
        extract(tmp_path / "missing", "logmel", tmp_path / "f")


def test_a_loop_of_links_ends(tmp_path):
    root = tmp_path / "loop"
    (root / "a").mkdir(parents=True)
    (root / "a" / "back").symlink_to(root)
    soundfile.write(root / "a" / "x.wav", np.zeros(1600, np.float32), 16000)
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    assert [c.id for c in scan_folder(root, ledger)] == ["a/x.wav"]
    assert ledger.count == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"seconds": 10**400}, r":2: .*a number of some 401 digits"),
        ({"seconds": float("inf")}, r":2: .*the number is not finite"),
        ({"sample_rate": 10**20}, r":2: `sample_rate` must be a rate in Hz"),
        ({"age": 10**20}, r":2: `age` must be a plain value"),
        ({"id": "a\0b"}, r":2: .*contains a NUL"),
        ({"path": "a\0b.wav"}, r":2: .*contains a NUL"),
        ({"speaker": "\ud800"}, r":2: .*half of a surrogate pair"),
    ],
)
def test_a_damaged_value_of_a_manifest_is_named(tmp_path, text, message):
    row = {"id": "a", "path": "a.wav", "start": 0, "seconds": 1.0, "sample_rate": 16000}
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "b", **text}) + "\n")
    with pytest.raises(UserError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(
    ("encoding", "said"), [("latin-1", "not in UTF-8"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE")]
)
def test_a_manifest_in_another_encoding_is_named(tmp_path, encoding, said):
    row = {"id": "a", "path": "café.wav", "start": 0, "seconds": 1.0, "sample_rate": 16000}
    path = tmp_path / "m.jsonl"
    path.write_bytes((json.dumps(row, ensure_ascii=False) + "\n").encode(encoding))
    with pytest.raises(UserError, match=rf"{said}.*iconv"):
        read_manifest(path)
    path.write_bytes((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8-sig"))
    assert read_manifest(path)[0].path.endswith("café.wav")
