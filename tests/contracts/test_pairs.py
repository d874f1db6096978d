"""Differences of systems on the same clips, and the probes of single frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


def test_a_point_is_seen_where_clips_are_hard_for_both() -> None:
    from _pairs import ClipCounts, gap  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 60, 200)
    names = [str(number) for number in range(200)]

    def wrong(points: float) -> ClipCounts:
        counts = np.stack([hard + points + rng.normal(0, 0.5, 200), np.full(200, 100.0)], axis=1)
        return ClipCounts("CER", counts, names, names)

    mine, other = wrong(0.0), wrong(1.0)
    assert mine.interval().high > other.interval().low
    found = gap(mine, other)
    # Fewer errors are better.
    assert found.word == "above"
    assert found.value == pytest.approx(1.0, abs=0.2)
    assert found.p < 0.01
    assert gap(other, mine).word == "below"


@pytest.mark.parametrize("speakers", [5, 40])
def test_the_p_value_says_what_the_interval_says(speakers: int) -> None:
    from _pairs import ClipCounts, gap

    names, said = [str(speaker) for speaker in range(speakers)], set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        right = rng.binomial(100, rng.beta(8, 4, speakers)).astype(float)
        better = np.clip(right + rng.normal(2, 4, speakers), 0, 100)
        mine, other = (ClipCounts.ratio(np.stack([one, np.full(speakers, 100.0)], 1), names) for one in (better, right))
        found = gap(mine, other)
        # At the border the interval lies between two resamples.
        if abs(found.p - 0.05) > 0.005:
            assert (found.p < 0.05) == (found.word != "not significant")
            said.add(found.word)
    assert len(said) > 1


def test_clips_are_paired_by_their_names() -> None:
    from _pairs import ClipCounts, gap

    table = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    mine = ClipCounts("accuracy", table, ["a", "b", "c", "d"], ["a", "b", "c", "d"])
    other = ClipCounts("accuracy", table[::-1], ["d", "c", "b", "a"], ["d", "c", "b", "a"])
    found = gap(mine, other)
    assert (found.value, found.low, found.high, found.word) == (0, 0, 0, "not significant")


def test_counts_come_back_from_their_row() -> None:
    from _pairs import ClipCounts

    counts = ClipCounts("frame_ap", np.eye(3, 1024), ["a", "b", "c"], ["a", "a", "c"])
    again = ClipCounts.of_row(counts.row())
    assert np.array_equal(again.table, counts.table)
    assert (again.metric, again.clips, again.clusters) == (counts.metric, counts.clips, counts.clusters)


def test_the_way_to_a_peer_is_measured_where_there_is_one() -> None:
    from _pairs import covered

    assert covered(40, 50, 30, True) == pytest.approx(50)
    assert covered(80, 70, 90, False) == pytest.approx(50)
    assert covered(40, 50, 55, True) is None


def test_a_verdict_counts_tasks_that_beat_every_baseline() -> None:
    from learning import verdict  # type: ignore[import-not-found]

    def row(task: str, other: str, value: float, p: float) -> dict[str, object]:
        word = "above" if p < 0.05 else "not significant"
        found = {"task": task, "model": "m", "other": other, "peer": False, "word": word}
        return {**found, "value": value, "low": value - 1, "high": value + 1, "p": p}

    pairs = [row("key", "log-mel", 3, 0.001), row("key", "CQT", 2, 0.004)]
    pairs += [row("style", "log-mel", 3, 0.001), row("style", "CQT", 0.4, 0.4)]
    said = verdict(pairs, "m")
    assert said[0] == "key: above log-mel (+3.0 [+2.0, +4.0]); above CQT (+2.0 [+1.0, +3.0])"
    assert said[-1] == "m is above every baseline on 1 of 2 tasks (p by Holm over the tasks); not on style"


def test_a_linear_layer_of_frames_finds_notes_and_chords() -> None:
    from _frame_probes import _fit, _goodness  # type: ignore[import-not-found]

    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2000, 8, generator=generator)
    sounding = (frames[:, :3] > 1).float()
    layer = _fit(frames, sounding, 3)
    assert _goodness("notes", [layer(frames)], [sounding]) > 99
    assert _goodness("notes", [layer(torch.randn(2000, 8, generator=generator))], [sounding]) < 30
    # Frames without an answer teach nothing, and are not scored.
    chord = frames[:, :4].argmax(-1)
    chord[::2] = -100
    layer = _fit(frames, chord, 4)
    assert _goodness("chords", [layer(frames)], [chord]) > 95


def test_the_table_of_tasks_has_a_row_a_task_and_the_sentences_that_count() -> None:
    from tables import learning  # type: ignore[import-not-found]

    about = {"metric": "AP", "value": 70.0, "low": 69.0, "high": 71.0, "test_clips": 20}
    rows = [{"system": system, "task": task, **about} for task in ("key", "notes") for system in ("log-mel", "m")]
    pair = {"task": "key", "model": "m", "other": "log-mel", "peer": False, "word": "above", "p": 0.01}
    pairs = [{**pair, "value": 3.0, "low": 2.0, "high": 4.0}]
    found = {"updates": {}, "rows": rows, "pairs": pairs, "verdict": ["key: …", "m: 1 of 1"], "summary": ["m: 1 of 1"]}
    lines = learning({"music": found}).splitlines()
    assert lines[2] == "| task | log-mel | m |"
    assert lines[5] == "| notes (AP, 20 clips) | 70.0 [69.0, 71.0] | 70.0 [69.0, 71.0] |"
    assert any(line.startswith("| key, m | +3.0 [+2.0, +4.0], above |") for line in lines)
    assert lines[-1] == "- m: 1 of 1"
    assert "key: …" not in "\n".join(lines)


def test_a_student_keeps_a_share_of_what_its_teacher_gains() -> None:
    from _pairs import ClipCounts
    from learning import kept, kept_lines  # type: ignore[import-not-found]

    scores = {
        ("key", "accuracy"): {"log-mel": 60.0, "teacher": 80.0, "student": 78.0},
        ("characters", "CER"): {"log-mel": 50.0, "teacher": 40.0, "student": 42.0},
        ("style", "accuracy"): {"log-mel": 50.0, "teacher": 49.0, "student": 10.0},
    }
    answers = [
        ({"task": task, "system": system, "value": value}, ClipCounts(metric, np.ones((1, 2)), ["a"], ["a"]))
        for (task, metric), systems in scores.items()
        for system, value in systems.items()
    ]
    rows = kept(answers, "student", "teacher")
    assert [(row["task"], round(row["gain"]), round(row["kept"])) for row in rows] == [
        ("key", 20, 90),
        ("characters", 10, 80),
    ]
    said = kept_lines(rows)
    assert said[-1] == (
        "student keeps 85.0 % of the gain of teacher in the mean over 2 tasks, and 86.7 % of the 30.0 points of all of "
        "them"
    )
    assert kept_lines([]) == []
