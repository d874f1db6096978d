"""Every library's way to say that a disk is full becomes one sentence, and the old file stays."""

import errno
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from audio_ssl.base.disk import DiskError, disk_error, mount_of, number_of, refusal, writing
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.files import append, atomic_folder, atomic_write, write_json
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.store import write_shard
from audio_ssl.pretrain.log import TensorBoardFile

NOISE = torch.randn(100_000, generator=torch.Generator().manual_seed(0))


def _parquet_in_pieces(path):
    table = pa.table({"a": NOISE.numpy()})
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.write_table(table)


WRITERS = {
    "safetensors": lambda path: save_file({"a": NOISE}, path),
    "numpy": lambda path: np.save(path, NOISE.numpy()),
    "parquet": lambda path: pq.write_table(pa.table({"a": NOISE.numpy()}), path),
    "parquet_in_pieces": _parquet_in_pieces,
    "flac": lambda path: soundfile.write(path, NOISE.numpy(), 16000, format="FLAC"),
    "wav": lambda path: soundfile.write(path, NOISE.numpy(), 16000, format="WAV"),
    "torch": lambda path: torch.save({"a": NOISE}, path),
    "text": lambda path: path.write_text("x" * 400_000),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_library_that_meets_a_limit_leaves_the_old_file(tmp_path, largest_file, library):
    target = tmp_path / "made.npy"
    target.write_text("old")
    with largest_file(20_000), pytest.raises(DiskError) as caught, atomic_write(target) as partial:
        WRITERS[library](partial)
    assert str(target) in str(caught.value)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_is_named_with_its_room(small_disk, library):
    disk, fill = small_disk
    target = disk / "made.npy"
    target.write_text("old")
    fill(20_480)
    with pytest.raises(DiskError) as caught, atomic_write(target, needed_bytes=400_000) as partial:
        WRITERS[library](partial)
    message = str(caught.value)
    assert message.startswith(f"{target}: cannot be written: No space left on device; the disk mounted at {disk} has ")
    # Told when the unfinished file is gone again.
    assert re.search(r"has (1\d|20)\.\d kB free of 2\.1 MB, and 400\.0 kB are needed", message), message
    assert target.read_text() == "old"
    assert sorted(path.name for path in disk.iterdir()) == [".filling", "made.npy"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, largest_file):
    target = tmp_path / "step_1"
    with atomic_folder(target) as partial:
        (partial / "a").write_text("old")
    with largest_file(20_000), pytest.raises(DiskError), atomic_folder(target) as partial:
        (partial / "b").write_bytes(b"new")
        save_file({"a": NOISE}, partial / "a")
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("a", "old")]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_full_disk_takes_in_part_is_taken_back(tmp_path, largest_file):
    path = tmp_path / "rows.jsonl"
    append(path, b"first\n")
    with largest_file(100), pytest.raises(DiskError):
        append(path, b"x" * 200 + b"\n")
    append(path, b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


def test_ledger_shard_and_board_say_so_too(tmp_path, largest_file):
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    board = TensorBoardFile(tmp_path / "board", 1)
    for step in range(3000):
        board.add_scalar("loss", 0.5, step)
    with largest_file(1000):
        with pytest.raises(DiskError, match=re.escape(str(ledger.path))):
            ledger.record("a.wav", "x" * 2000)
        with pytest.raises(DiskError, match="shard"):
            write_shard(tmp_path / "shard.safetensors", {"a": {"x": NOISE}})
        with pytest.raises(DiskError, match="events"):
            board.flush()
    board.flush()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_where_room_is_missing_the_need_is_told(tmp_path, number):
    text = str(disk_error(tmp_path / "new" / "file", number, 3_000_000_000_000_000))
    assert f"the disk mounted at {mount_of(tmp_path)} has " in text
    remedy = "(make room there or choose another place, then run the same command again)"
    assert text.endswith(f", and 3000.0 TB are needed {remedy}")


def test_a_place_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"x\.json: cannot be written: \S+/file is a file, not a folder"):
        write_json(tmp_path / "file" / "x.json", {})


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        ValueError("not JSON compliant"),
        RuntimeError("shapes do not fit"),
        UserError("[Errno 28] said by somebody"),
        AudioError("x (os error 28)"),
        FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere/a.wav"),
        PermissionError(errno.EACCES, "Permission denied", "/elsewhere/a.wav"),
    ],
)
def test_errors_about_something_else_stay_what_they_are(tmp_path, error):
    assert refusal(error, tmp_path) is None
    with pytest.raises(type(error)) as caught, writing(tmp_path / "x"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(28, "No space left on device"), 28),
        (Exception("Error while serializing: I/O error: Disk quota exceeded (os error 122)"), 122),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), 28),
        (OSError("100000 requested and 16352 written"), None),
    ],
)
def test_numbers_are_found_where_libraries_put_them(error, number):
    assert number_of(error) == number
