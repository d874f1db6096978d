from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.threads import LruCache
from audio_ssl.data.batching import Batching
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import Batch, EndOfUpdate, Loader, LoaderSetup, Position, TargetSource
from audio_ssl.data.manifest import Clip

RATE = 8000
GRID = FrameGrid(RATE, 80, 100)


def write_clips(folder: Path, seconds: list[float], rate: int = RATE) -> list[Clip]:
    clips = []
    for number, length in enumerate(seconds):
        samples = round(length * rate)
        # Every sample says where it is, so that a crop tells whether its targets belong to it.
        soundfile.write(folder / f"{number}.wav", np.arange(samples) / 2**20, rate, subtype="FLOAT")
        clips.append(Clip(f"c{number}", str(folder / f"{number}.wav"), 0.0, length, rate))
    return clips


def make_setup(clips: list[Clip], folder: Path, targets: TargetSource | None = None, workers: int = 2) -> LoaderSetup:
    lengths = tuple(int(clip.seconds * RATE) for clip in clips)
    batching = Batching(lengths, 80, RATE, 3 * RATE, 2 * RATE, seed=1)
    return LoaderSetup(clips, batching, GRID, ClipReader(RATE), targets, ErrorLedger(folder / "errors.jsonl"), workers)


def first_samples(clip: Clip, start_frame: int, num_frames: int) -> tuple[Tensor, ...]:
    """A teacher whose target of a frame is the frame's first sample; one more frame than the model has."""
    whole = torch.arange(0, round(clip.seconds * RATE), 80) / 2**20
    return (whole[start_frame : start_frame + num_frames, None],)


BEGIN = Position(0, 0)


def take(setup: LoaderSetup, start: Position = BEGIN, epochs: int = 2) -> list[Batch | EndOfUpdate]:
    with Loader(setup, start, epochs) as loader:
        return list(loader)


def same(left: list[Batch | EndOfUpdate], right: list[Batch | EndOfUpdate]) -> bool:
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        if isinstance(a, Batch) and isinstance(b, Batch):
            if not (torch.equal(a.waveform, b.waveform) and a.keys == b.keys):
                return False
        elif a != b:
            return False
    return True


def test_targets_are_those_of_the_crop(tmp_path: Path) -> None:
    setup = make_setup(write_clips(tmp_path, [0.5, 1.0, 3.0, 2.2, 1.7]), tmp_path, first_samples)
    batches = [item for item in take(setup, epochs=5) if isinstance(item, Batch)]
    starts = set()
    for batch in batches:
        for row, frames in enumerate(batch.frames.tolist()):
            assert frames == GRID.num_frames(int(batch.lengths[row]))
            heard = batch.waveform[row, : frames * 80 : 80]
            assert torch.equal(batch.targets[0][row, :frames, 0], heard)
            starts.add(float(heard[0]))
    assert len(starts) > 5


def test_order_depends_on_the_plan_and_not_on_threads(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, [0.5, 1.0, 3.0, 2.2, 1.7, 0.9])
    runs = [take(make_setup(clips, tmp_path, workers=workers)) for workers in (1, 4)]
    assert same(*runs)


def test_it_goes_on_from_any_position(tmp_path: Path) -> None:
    setup = make_setup(write_clips(tmp_path, [1.0] * 14), tmp_path)
    whole = take(setup)
    for index, item in enumerate(whole):
        if isinstance(item, EndOfUpdate):
            assert same(take(setup, item.then), whole[index + 1 :])
    assert sum(isinstance(item, EndOfUpdate) for item in whole) == 10


def test_unusable_clips_are_written_down_once_and_skipped(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, [1.0] * 6)
    Path(clips[2].path).write_text("not audio")
    Path(clips[4].path).write_bytes(b"")
    setup = make_setup(clips, tmp_path)
    items = take(setup, epochs=3)
    assert sum(len(item.keys) for item in items if isinstance(item, Batch)) == 12
    rows = [json.loads(line) for line in setup.ledger.path.read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == ["c2", "c4"]
    assert all(row["reason"] for row in rows)


def test_nothing_usable_is_an_error_and_no_endless_loop(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, [1.0] * 3)
    for clip in clips:
        Path(clip.path).unlink()
    with (
        pytest.raises(UserError, match="none of the 3 clips can be used"),
        Loader(make_setup(clips, tmp_path), Position(0, 0)) as loader,
    ):
        list(loader)


def test_errors_of_the_thread_reach_the_reader_and_threads_end(tmp_path: Path) -> None:
    def broken(clip: Clip, start_frame: int, num_frames: int) -> tuple[Tensor, ...]:
        raise ZeroDivisionError("boom")

    before = threading.active_count()
    setup = make_setup(write_clips(tmp_path, [1.0]), tmp_path, broken)
    with pytest.raises(ZeroDivisionError, match="boom"), Loader(setup, Position(0, 0)) as loader:
        next(iter(loader))
    with Loader(make_setup(write_clips(tmp_path, [1.0] * 40), tmp_path), Position(0, 0)) as loader:
        next(iter(loader))
    assert threading.active_count() == before


def test_a_crop_of_a_long_clip_is_read_alone_and_is_the_same(tmp_path: Path) -> None:
    (clip,) = write_clips(tmp_path, [50.0])
    reader = ClipReader(RATE)
    crop = reader.crop(clip, 80 * 1234, 4000)
    assert torch.equal(crop, reader.whole(clip)[80 * 1234 : 80 * 1234 + 4000])


def test_clips_of_other_rates_are_resampled(tmp_path: Path) -> None:
    setup = make_setup(write_clips(tmp_path, [1.0, 1.5], rate=16000), tmp_path)
    batches = [item for item in take(setup, epochs=1) if isinstance(item, Batch)]
    assert sorted(int(length) for batch in batches for length in batch.lengths) == [8000, 8000]


def test_cache_keeps_within_its_bytes() -> None:
    cache: LruCache[bytes] = LruCache(10, len)
    made = []

    def get(key: str, size: int) -> None:
        def make() -> bytes:
            made.append(key)
            return b"x" * size

        assert cache.get(key, make) == b"x" * size

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key, 4)
    assert made == ["a", "b", "c", "b"]
    assert cache.bytes <= 10
    get("huge", 100)
    assert cache.bytes <= 10
