"""The linear probes of the benchmarks: what whitening must leave alone, and what a probe must find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_ssl.base.errors import AudioError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


def frames_of(clips: int, scales: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.linalg.qr(torch.randn(len(scales), len(scales), generator=generator))[0]
    return {str(i): 3 + torch.randn(200, len(scales), generator=generator) * scales @ mixed for i in range(clips)}


def test_whitened_training_frames_have_unit_covariance() -> None:
    from _linear_probes import whiten  # type: ignore[import-not-found]

    frames = frames_of(6, torch.tensor([10.0, 1.0, 0.1]))
    whiten(frames, ["0", "1", "2", "3"])
    seen = torch.cat([frames[name] for name in "0123"])
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(seen.T), torch.eye(3), atol=1e-3, rtol=0)
    # Held-out frames go by the same numbers, so theirs are near but not equal.
    held_out = torch.cov(torch.cat([frames["4"], frames["5"]]).T)
    assert 1e-3 < (held_out - torch.eye(3)).abs().max() < 0.5


def test_directions_of_rounding_errors_are_left_out() -> None:
    from _linear_probes import whiten

    frames = frames_of(4, torch.tensor([10.0, 1.0, 1e-5]))
    whiten(frames, list(frames))
    assert all(states.shape == (200, 2) for states in frames.values())


def test_answers_of_another_question_are_not_taken_up() -> None:
    from _learning import TASKS, asked  # type: ignore[import-not-found]
    from _linear_probes import Split

    tasks = [task for domain in TASKS.values() for task in domain]
    clip = clip_of("a", "test")
    assert len({asked(task, Split([], [], [clip])) for task in tasks}) == len(tasks)
    assert asked(tasks[0], Split([], [], [clip])) != asked(tasks[0], Split([], [], [replace(clip, start=1.0)]))


def means_of(clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means of two loud dimensions that say nothing together with quiet ones that tell three answers apart."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(3, size=clips)
    quiet = 0.05 * (np.eye(3)[answers] + 0.15 * rng.normal(size=(clips, 3)))
    loud = rng.normal(size=(clips, 1))
    mixed = np.concatenate([loud + quiet, loud + 0.05 * rng.normal(size=(clips, 1))], axis=1)
    return mixed.astype(np.float32), np.array(["a", "b", "c"])[answers]


def clip_of(name: str, split: str, **columns: Any) -> Clip:
    own = {key: columns.pop(key) for key in ("speaker", "tags") if key in columns}
    return Clip(id=name, path="x.wav", start=0.0, seconds=4.0, sample_rate=16_000, split=split, extra=columns, **own)


def test_clip_means_are_whitened_where_that_is_better() -> None:
    from _linear_probes import Split, Task, classify  # type: ignore[import-not-found]

    means, answers = means_of(600, 0)
    clips = [clip_of(str(i), "train", speaker=answer) for i, answer in enumerate(answers)]
    split = Split(clips[:400], clips[400:500], clips[500:])
    features = {
        clip.id: np.stack([np.zeros(4, np.float32) + number % 3, row])
        for number, (clip, row) in enumerate(zip(clips, means, strict=True))
    }
    counts, layer = classify(split, Task("speaker", "", "speaker", ""), features)
    # Standardised, the answers lie in a share of the variance that the strongest regularisation, tried first, hides.
    assert counts.of_all() > 97
    assert layer == 1


def test_both_ways_are_tried_at_every_strength() -> None:
    from _clip_probes import STRENGTHS, paths  # type: ignore[import-not-found]
    from _whitening import WAYS  # type: ignore[import-not-found]

    means, answers = means_of(300, 1)
    found = [
        [float((said == answers[200:]).mean()) for (said,) in course]
        for course in paths(means[:200], answers[:200], [means[200:]])
    ]
    assert [len(course) for course in found] == [len(STRENGTHS)] * len(WAYS)
    standardised, whitened = found
    assert max(whitened) > 0.95
    assert standardised[0] < 0.6


def test_a_question_with_several_answers_counts_pairs_of_clip_and_label() -> None:
    from _linear_probes import Split, Task, classify, labels_of

    rng = np.random.default_rng(2)
    has = rng.random((300, 2)) < 0.4
    clips = [
        clip_of(str(i), "train", tags=(*(name for name, one in zip(("bass", "drums"), row, strict=True) if one), "all"))
        for i, row in enumerate(has)
    ]
    features = {
        clip.id: (row + 0.2 * rng.normal(size=2)).astype(np.float32)[None] for clip, row in zip(clips, has, strict=True)
    }
    task = Task("instruments", "", "tags", "")
    # What every clip has is no question.
    assert labels_of(task, clips) == ["bass", "drums"]
    counts, _ = classify(Split(clips[:150], clips[150:200], clips[200:]), task, features)
    assert counts.metric == "frame_ap"
    assert counts.of_all() > 98
    assert counts.table.sum() == 2 * 100


def test_several_stretches_of_a_clip_lie_apart_and_take_their_notes_with_them() -> None:
    from _excerpts import excerpts  # type: ignore[import-not-found]

    notes = "; ".join(f"{at / 2:.4f} {at / 2 + 0.5:.4f} {60 + at}" for at in range(20))
    clip = replace(clip_of("tune", "test", notes=notes, beats="0.0/1 1.0/2 2.0/3"), seconds=10.0)
    found = excerpts(clip, 1.0, 4)
    assert [one.id for one in found] == ["tune", "tune 2", "tune 3", "tune 4"]
    assert {one.extra["of"] for one in found} == {"tune"}
    starts = sorted(one.start for one in found)
    assert np.allclose(np.diff(starts), 7.0 / 4)
    assert starts[-1] + 1.0 <= 0.8 * 10.0
    for one in found:
        pitches = [int(item.split()[2]) for item in str(one.extra["notes"]).split("; ")]
        first = int(one.start * 2)
        assert pitches == list(range(60 + first, 60 + first + len(pitches)))
        assert len(pitches) in (2, 3)
    # A clip that is too short is taken once, as a whole.
    short = replace(clip, seconds=0.8)
    assert [(one.start, one.seconds) for one in excerpts(short, 1.0, 4)] == [(0.0, 0.8)]


def test_stretches_of_a_clip_are_on_one_side_and_resampled_together() -> None:
    from _learning import TASKS, split_of

    (task,) = (task for task in TASKS["music"] if task.name == "instrument")
    clips = [
        replace(clip_of(f"{i}", "train" if i < 60 else "test", instrument="piano" if i % 2 else "flute"), seconds=9.0)
        for i in range(80)
    ]
    split = split_of(task, clips)
    sides = [{clip.extra["of"] for clip in part} for part in (split.train, split.valid, split.test)]
    assert not sides[0] & sides[1]
    assert len(split.test) == task.stretches * 20
    assert len(sides[2]) == 20


class Counting:
    """A system whose frames count samples by four; it says what it was given."""

    sample_rate, num_layers, dim, name, fingerprint = 16_000, 1, 1, "", "one"
    device, grid = torch.device("cpu"), FrameGrid(16_000, 4, 4)

    def __init__(self) -> None:
        self.given: list[list[int]] = []

    def __call__(self, waveform: Tensor, lengths: Tensor, **others: object) -> tuple[list[Tensor], Tensor]:
        self.given.append(lengths.tolist())
        return [waveform[:, ::4, None]], lengths // 4


def test_clips_are_decoded_once_and_heard_once_by_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    import _heard  # type: ignore[import-not-found]
    from _frame_probes import frames_of  # type: ignore[import-not-found]

    read: list[str] = []

    def read_clip(clip: Clip, sample_rate: int) -> np.ndarray:
        read.append(clip.id)
        if clip.id == "broken":
            raise AudioError("not audio")
        return np.arange(16 if clip.id == "a" else 8, dtype=np.float32)

    monkeypatch.setattr(_heard, "read_clip", read_clip)
    monkeypatch.setattr(_heard.Heard, "waves", {})
    # Two systems of one fingerprint, as a model in two precisions.
    first, second = Counting(), Counting()
    clips = [replace(clip_of(name, "test"), start=float(at)) for at, name in enumerate(("a", "b", "broken"))]
    frames = frames_of(clips[:1], first, step=2)
    assert (frames["a"].total, frames["a"].layers[0].flatten().tolist()) == (4, [0.0, 8.0])
    # The mean is that of all frames, also where every second one is held.
    means = {name: mean.tolist() for name, mean in _heard.pooled(clips, first).items()}
    assert means == {"a": [[6.0]], "b": [[2.0]]}
    assert (read, first.given) == (["a", "b", "broken"], [[16], [8]])
    assert set(_heard.pooled(clips, second)) == {"a", "b"}
    # What could not be read is tried again.
    assert (read[3:], second.given) == (["broken"], [[16, 8]])


def test_a_batch_has_clips_of_like_length_and_no_more_than_a_minute_with_its_padding() -> None:
    from _heard import BATCH_SECONDS, batches

    clips = [replace(clip_of(str(i), "test"), seconds=float(1 + i * 7 % 20)) for i in range(60)]
    found = batches(clips)
    assert sorted(clip.id for batch in found for clip in batch) == sorted(clip.id for clip in clips)
    assert all(len(batch) * batch[0].seconds <= BATCH_SECONDS for batch in found)
    assert max(batch[0].seconds - batch[-1].seconds for batch in found) <= 6
    assert batches([replace(clips[0], seconds=90.0)])[0][0].seconds == 90.0


def test_a_pitch_tracker_is_not_asked_who_speaks() -> None:
    from _learning import TASKS
    from _peers import MADE_FOR, made_for  # type: ignore[import-not-found]

    assert made_for("peer:torchcrepe", "notes")
    assert not made_for("peer:torchcrepe", "speaker")
    assert made_for("peer:resemblyzer", "speaker")
    assert made_for("runs/torchcrepe", "speaker")
    known = {task.name for domain in TASKS.values() for task in domain}
    assert {question for questions in MADE_FOR.values() for question in questions} <= known


def test_frames_are_scaled_in_the_way_that_the_validation_clips_prefer(monkeypatch: pytest.MonkeyPatch) -> None:
    import _frame_probes  # type: ignore[import-not-found]
    from _linear_probes import Split, Task
    from _whitening import Scaling, standardising  # type: ignore[import-not-found]

    generator = torch.Generator().manual_seed(0)
    chords = {str(number): number % 2 for number in range(24)}

    def frames_of(clips: list[Clip], source: object, step: int = 1) -> dict[str, Any]:
        found = {}
        for clip in clips:
            frames = torch.randn(40, 3, generator=generator) + 4 * torch.tensor([chords[clip.id], 0, 0])
            found[clip.id] = _frame_probes.Frames(40 * step, [frames.half()])
        return found

    def deaf(sample: Tensor) -> Any:
        return Scaling(sample.mean(0), torch.zeros(sample.shape[1]))

    monkeypatch.setattr(_frame_probes, "frames_of", frames_of)
    monkeypatch.setattr(_frame_probes, "STEPS", 300)
    clips = [clip_of(name, "train", chords=f"0 40 {('C:maj', 'F:min')[chord]}") for name, chord in chords.items()]
    split = Split(clips[:12], clips[12:18], clips[18:])
    for ways in ((deaf, standardising), (standardising, deaf)):
        monkeypatch.setattr(_frame_probes, "WAYS", ways)
        counts, layer, goodness = _frame_probes.ask_frames(split, Task("chords", "", "chords", ""), Counting())
        assert layer == 0
        assert goodness[0] > 90
        assert len(counts.clips) == 6
