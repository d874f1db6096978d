"""Labels say what they are, and those that say nothing stop the run."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audio_ssl.artifacts.records import read_record, to_json, write_record
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.targets.health import (
    LABELS_FILE,
    LabelCounter,
    Labels,
    TeacherLabels,
    check_labels,
    judge,
    measure,
    read_labels,
)
from audio_ssl.targets.spec import TargetSpec

GRID = FrameGrid(16000, 320, 400)
CODES = TargetSpec("codes", 2, 4, GRID)
VALUES = TargetSpec("values", 3, None, GRID)
CLIPS = [Clip(f"clip{i}", f"{i}.wav", 0.0, 2.0, 16000) for i in range(5)]


@dataclass(frozen=True)
class Named:
    """As much of a teacher as the numbers need."""

    spec: TargetSpec
    fingerprint: str = "abc"

    def __call__(self, waveform: Tensor) -> Tensor:
        raise AssertionError


def row_of(spec: TargetSpec, *targets: Tensor) -> TeacherLabels:
    (row,) = measure(["toy"], [Named(spec)], [(target,) for target in targets], 10**9)
    return row


def even_codes(frames: int = 400) -> Tensor:
    return (torch.arange(frames)[:, None] + torch.arange(2)) % 4


def test_numbers_of_codes() -> None:
    skewed = torch.tensor([[0, 1], [0, 1], [0, 3], [2, 3]])
    row = row_of(CODES, skewed, skewed)
    assert (row.teacher, row.clips, row.frames, row.classes) == ("toy", 2, 8, 4)
    assert (row.frames_per_second, row.hop_samples, row.edge) == (50.0, 320, "valid")
    assert row.codebooks is not None
    first, second = row.codebooks
    bits = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert (first.lowest, first.highest, first.used, first.unused_share) == (0, 2, 2, 0.5)
    assert first.commonest_share == 0.75
    assert first.entropy_bits == pytest.approx(bits)
    assert first.perplexity == pytest.approx(2**bits)
    assert second.perplexity == pytest.approx(2.0)


def test_numbers_of_values_do_not_depend_on_how_frames_are_split() -> None:
    values = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)) * 2 + 5
    values[:, 1] = 0.25
    row, split = row_of(VALUES, values), row_of(VALUES, *torch.split(values, 70))
    assert row.mean == pytest.approx(float(values.double().mean()))
    assert row.std == pytest.approx(float(values.double().std(correction=0)))
    assert (row.lowest, row.highest) == (float(values.min()), float(values.max()))
    assert row.constant_share == pytest.approx(1 / 3)
    assert split.std == pytest.approx(row.std)
    assert split.clips == 5


def test_a_teacher_without_a_frame_has_a_row_and_is_not_judged(tmp_path: Path) -> None:
    row = row_of(CODES)
    assert row.frames == 0
    judge([row], tmp_path)


def test_healthy_labels_are_not_complained_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    judge([row_of(CODES, even_codes()), row_of(VALUES, torch.randn(200, 3))], tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("spec", "targets", "what"),
    [(CODES, torch.ones(200, 2).long(), "one code to all frames"), (VALUES, torch.ones(200, 3), "values that never")],
)
def test_labels_that_are_all_alike_are_refused(tmp_path: Path, spec: TargetSpec, targets: Tensor, what: str) -> None:
    with pytest.raises(UserError, match=rf"teacher 1 \(toy\) gave {what}.*200 of 1 clips.*silent audio"):
        judge([row_of(CODES, even_codes()), row_of(spec, targets)], tmp_path)
    # A few frames may well be alike.
    judge([row_of(spec, targets[:50])], tmp_path)


def test_codes_hardly_used_are_warned_of_where_frames_are_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    codes = even_codes()
    codes[:, 1] = 3
    codes[0, 1] = 0
    judge([row_of(CODES, codes)], tmp_path)
    assert "nearly all frames have one code in codebooks 1 of 2" in caplog.text
    assert "unused" not in caplog.text
    caplog.clear()
    wide = TargetSpec("codes", 1, 30, GRID)
    judge([row_of(wide, even_codes(400)[:, :1])], tmp_path)
    assert "up to 87% of the codes are unused in its codebook" in caplog.text
    caplog.clear()
    judge([row_of(wide, even_codes(200)[:, :1])], tmp_path)
    assert caplog.text == ""
    values = torch.randn(200, 3)
    values[:, :2] = 0
    judge([row_of(VALUES, values)], tmp_path)
    assert "67% of its bins never change" in caplog.text


def test_counting_takes_memory_for_codes_not_for_frames() -> None:
    counter = LabelCounter("toy", CODES, "abc")
    sizes = []
    for _ in range(20):
        counter.add(even_codes())
        sizes.append(sum(x.nbytes for x in vars(counter).values() if isinstance(x, Tensor)))
    assert len(set(sizes)) == 1
    assert counter.frames == 8000


def test_counting_stops_at_a_number_of_frames() -> None:
    (row,) = measure(["toy"], [Named(CODES)], [(even_codes(),)] * 10, 1000)
    assert (row.clips, row.frames) == (3, 1200)


def test_a_run_looks_once_and_judges_every_time(tmp_path: Path) -> None:
    asked = []

    def whole(clip: Clip) -> tuple[Tensor, ...]:
        asked.append(clip.id)
        if clip.id == "clip1":
            raise AudioError("damaged")
        assert torch.get_num_threads() == 1
        return (torch.zeros(200, 2, dtype=torch.int64),)

    for _ in range(2):
        with pytest.raises(UserError, match="gave one code to all frames, 800 of 4 clips"):
            check_labels(["toy"], [Named(CODES)], whole, CLIPS, tmp_path)
    assert sorted(asked) == [clip.id for clip in CLIPS]
    # Other teachers are looked at again.
    assert read_labels(tmp_path / LABELS_FILE, ["other"]) is None


def refuse(clip: Clip) -> tuple[Tensor, ...]:
    pytest.fail(f"asked for {clip.id}")


def test_a_run_takes_the_numbers_of_its_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = tmp_path / "store"
    store.mkdir()
    write_record(store / LABELS_FILE, Labels((row_of(CODES, even_codes()),)))
    with caplog.at_level(logging.WARNING):
        check_labels(["toy"], [Named(CODES)], refuse, CLIPS, tmp_path, store)
    assert read_labels(tmp_path / LABELS_FILE, ["abc"]) == read_labels(store / LABELS_FILE, ["abc"])
    assert (tmp_path / LABELS_FILE).read_bytes() == (store / LABELS_FILE).read_bytes()


def test_the_file_has_the_keys_of_codes_or_of_values(tmp_path: Path) -> None:
    path, about = tmp_path / LABELS_FILE, ["teacher", "fingerprint", "targets", "frames_per_second", "hop_samples"]
    write_record(path, Labels((row_of(CODES, even_codes()), row_of(VALUES, torch.randn(9, 3)), row_of(CODES))))
    codes, values, empty = to_json(read_record(Labels, path))["teachers"]
    assert list(empty) == [*about, "edge", "clips", "frames"]
    assert list(codes) == [*empty, "classes", "codebooks"]
    assert list(values) == [*empty, "bins", "mean", "std", "lowest", "highest", "constant_share"]
    assert list(codes["codebooks"][0]) == [
        "lowest", "highest", "used", "unused_share", "entropy_bits", "perplexity", "commonest_share",
    ]  # fmt: skip
