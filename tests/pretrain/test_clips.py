from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.data.subsets import hold_out, limit_seconds, long_enough
from audio_ssl.pretrain.recipe import DataConfig
from audio_ssl.pretrain.selection import select_clips


def clip(name: str, seconds: float = 2.0, **row: str) -> Clip:
    return Clip(name, f"{name}.wav", 0.0, seconds, 16000, **row)


def manifest(tmp_path: Path, *clips: Clip) -> str:
    write_manifest(tmp_path / "m.jsonl", clips)
    return str(tmp_path / "m.jsonl")


def ids(clips: tuple[Clip, ...]) -> list[str]:
    return [one.id for one in clips]


def test_splits_of_the_manifest_are_used(tmp_path: Path) -> None:
    path = manifest(tmp_path, *(clip(s, split=s) for s in ("train", "valid", "test", "train-clean-100", "test-other")))
    chosen = select_clips(DataConfig(manifest=path))
    assert ids(chosen.train) == ["train", "train-clean-100"]
    assert ids(chosen.valid) == ["valid"]
    assert ids(select_clips(DataConfig(manifest=path, split="test")).train) == ["test"]
    with pytest.raises(UserError, match=r"no clip is of split `dev`; splits of the manifest: test, test-other, train"):
        select_clips(DataConfig(manifest=path, split="dev"))


def test_without_a_validation_split_whole_speakers_or_tracks_are_held_out(tmp_path: Path) -> None:
    clips = [clip(f"{speaker}-{n}", speaker=speaker) for speaker in "abcdefghij" for n in range(4)]
    chosen = select_clips(DataConfig(manifest=manifest(tmp_path, *clips), valid_share=0.2))
    assert len(chosen.valid) == 8
    assert {one.speaker for one in chosen.valid}.isdisjoint({one.speaker for one in chosen.train})
    assert chosen.held_out.startswith("20.0%")
    pieces = tuple(clip(f"song{song}.flac#{n:03d}") for song in range(5) for n in range(3))
    train, valid = hold_out(pieces, 0.05)
    assert len(valid) == 3
    assert len({one.id.partition("#")[0] for one in valid}) == 1
    assert len(train) == 12
    assert hold_out(tuple(reversed(pieces)), 0.05)[1] == tuple(reversed(valid))


def test_nothing_is_held_out_of_one_clip_or_at_share_zero() -> None:
    assert hold_out((clip("a"),), 0.5) == ((clip("a"),), ())
    assert hold_out((clip("a"), clip("b")), 0.0)[1] == ()


def test_a_manifest_of_test_clips_alone_is_trained_on_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = manifest(tmp_path, *(clip(f"c{n}", split="test-other") for n in range(4)))
    with caplog.at_level(logging.WARNING):
        chosen = select_clips(DataConfig(manifest=path, valid_share=0.0))
    assert len(chosen.train) == 4
    assert "test-other" in caplog.text


def test_a_missing_manifest_is_named() -> None:
    with pytest.raises(UserError, match=r"`data.manifest` is missing.*data.manifest=M.jsonl"):
        select_clips(DataConfig())
    with pytest.raises(UserError, match="no such manifest"):
        select_clips(DataConfig(manifest="nowhere.jsonl"))


def test_short_clips_are_left_out_and_written_down(tmp_path: Path) -> None:
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    kept = long_enough([clip("long"), clip("short", 0.5)], 1.0, ledger)
    assert ids(kept) == ["long"]
    (row,) = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    assert (row["id"], row["reason"], row["seconds"]) == ("short", "shorter than 1 s", 0.5)
    with pytest.raises(UserError, match=r"all 1 clips are shorter than .* the longest has 0.5 s"):
        long_enough([clip("short", 0.5)], 1.0, ledger)


def test_validation_is_limited_by_the_seconds_its_crops_take() -> None:
    clips = [clip(str(n), 10.0) for n in range(20)]
    assert len(limit_seconds(clips, 12.0, longest=4.0)) == 3
    assert limit_seconds(clips, 12.0, 4.0) == limit_seconds(clips[::-1], 12.0, 4.0)
