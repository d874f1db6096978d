"""The first cases of every subject, with a fixed seed: a right result, or one line with status 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.harness import Server, Subject, cases
from tests.fuzz.subjects import SUBJECTS

SEED = 2026
CASES = 12


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_damage_ends_in_a_right_result_or_in_one_line(subject: Subject, server: Server, work: Path) -> None:
    findings = [finding for finding in cases(subject, server, work, SEED, range(CASES)) if finding is not None]
    assert not findings, "\n".join(map(str, findings))
