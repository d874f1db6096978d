"""The judge condemns what it must: a fuzzer that lets everything pass finds nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz import damage, right
from tests.fuzz.harness import Case, Ended, Subject, judge


def case(tmp_path: Path, check: object = right.anything) -> Case:
    subject = Subject("toy", lambda folder: None, (), (), lambda out: [], check)  # type: ignore[arg-type]
    return Case(subject, tmp_path, tmp_path, tmp_path, "a.wav", "cut", b"ab", b"a")


def ended(status: int, stderr: str = "", hung: bool = False) -> Ended:
    return Ended(["extract"], status, hung, 0.1, "", stderr)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        (ended(1, "Traceback (most recent call last):\n  File\nValueError: no"), "traceback: ValueError: no"),
        (ended(2, "Traceback (most recent call last):\n  File\nValueError: no\nerror: no"), "traceback"),
        (ended(-9, hung=True), "hangs"),
        (ended(-11), "status -11"),
        (ended(1, "error: no"), "status 1"),
        (ended(2, ""), "not one line"),
        (ended(2, "error: a\nerror: b"), "not one line"),
        (ended(2, "error: a\nand more"), "not one line"),
        (ended(2, "error: " + "x" * 5000), "the line has 5007 characters"),
    ],
)
def test_what_must_not_happen_is_a_finding(tmp_path: Path, how: Ended, what: str) -> None:
    found = judge(case(tmp_path), how)
    assert found is not None
    assert found.startswith(what)


def test_a_right_result_and_one_line_are_none(tmp_path: Path) -> None:
    assert judge(case(tmp_path), ended(0)) is None
    assert judge(case(tmp_path), ended(2, "reading\nerror: a.wav: damaged (extract it again)\n")) is None


def test_a_file_that_is_lost_without_a_word_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"id": "whole.wav", "seconds": 1.0}\n')
    assert judge(case(tmp_path, right.audio), ended(0)) == "the damaged file is left out without a word"
    assert judge(case(tmp_path, right.audio), ended(0, "a.wav: damaged")) is None
    (tmp_path / "m.jsonl").write_text('{"id": "a.wav", "seconds": 1.0}\n')
    assert judge(case(tmp_path, right.audio), ended(0)) == "the whole file beside it is lost"


def test_an_output_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    found = judge(case(tmp_path, right.predictions), ended(0))
    assert found is not None
    assert found.startswith("what it wrote cannot be read: FileNotFoundError")


def test_damage_repeats_with_its_seed() -> None:
    data = b"id,text\n" + b"a,the sea is old\n" * 40
    for one in {*damage.YAML, *damage.JSON}:
        assert one(data, random.Random(3)) == one(data, random.Random(3))
        assert any(one(data, random.Random(seed)) != data for seed in range(5)), one.__name__
