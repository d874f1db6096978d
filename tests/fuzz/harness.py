"""One damaged input after the other through the command line, and what may come of it.

Allowed are a right result with status 0, and one line with status 2. A traceback, a hang, a crash, an error of several
lines, a result that is wrong without a word: each is a finding.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fuzz.damage import Damage

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 30.0
LONGEST_LINE = 1500


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    argv: Sequence[str]
    status: int
    hung: bool
    seconds: float
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All that it said."""
        return self.stdout + self.stderr


Commands = Callable[[Path], list[list[str]]]
Judge = Callable[["Case", Ended], str | None]


@dataclass(frozen=True)
class Subject:
    """A kind of artifact: how a whole one is made, what is damaged, who reads it, and when a result is right."""

    name: str
    make: Callable[[Path], None]
    """Fills an empty folder."""
    files: Sequence[str]
    """Patterns of what is damaged, one of them in each case."""
    damages: Sequence[Damage]
    commands: Commands
    """Run in the damaged folder, with a folder for outputs; one of them in each case."""
    right: Judge
    """Returns what is wrong with a result of status 0, or None."""


@dataclass(frozen=True)
class Case:
    """One damaged input."""

    subject: Subject
    folder: Path
    """With the damaged file in its place."""
    out: Path
    """For outputs; empty before."""
    clean: Path
    """The folder before the damage."""
    file: str
    damage: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Finding:
    """What must not happen."""

    subject: str
    file: str
    damage: str
    number: int
    argv: Sequence[str]
    what: str
    text: str = field(repr=False, default="")

    def __str__(self) -> str:
        return f"{self.subject}/{self.file} {self.damage} (case {self.number}): {self.what}\n  {' '.join(self.argv)}"


class Server:
    """The process that runs commands."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.fuzz.server"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, argv: Sequence[str], cwd: Path, logs: Path, limit: float = LIMIT_SECONDS) -> Ended:
        """Run one command."""
        logs.mkdir(parents=True, exist_ok=True)
        assert self._process.stdin is not None
        request = {"argv": list(argv), "cwd": str(cwd), "out": str(logs), "limit": limit}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        said = [(logs / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")]
        return Ended(argv, answer["status"], answer["hung"], answer["seconds"], *said)

    def _read(self) -> dict[str, object]:  # type: ignore[type-arg]
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline() or '{"gone": true}')
        assert "gone" not in answer, "the process that runs commands has ended"
        return answer  # type: ignore[no-any-return]


def judge(case: Case, ended: Ended) -> str | None:
    """Return what is wrong with how a command ended, or None."""
    if ended.hung:
        return f"hangs: more than {LIMIT_SECONDS:.0f} s"
    if "Traceback (most recent call last)" in ended.text:
        return f"traceback: {ended.stderr.strip().splitlines()[-1][:300]}"
    if ended.status == 0:
        try:
            return case.subject.right(case, ended)
        except Exception as error:
            return f"what it wrote cannot be read: {type(error).__name__}: {error}"[:300]
    if ended.status != 2:
        return f"status {ended.status}"
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    if len(errors) != 1 or not ended.stderr.rstrip("\n").splitlines()[-1].startswith(("error: ", "See `audio-ssl")):
        return f"not one line at the end: {ended.stderr[-300:]!r}"
    if len(errors[0]) > LONGEST_LINE:
        return f"the line has {len(errors[0])} characters"
    return None


def cases(
    subject: Subject, server: Server, work: Path, seed: int, numbers: Sequence[int] | None = None
) -> Iterator[Finding | None]:
    """Damage, run and judge, for ever or the numbers given; None where all is well."""
    clean = work / subject.name / "clean"
    if not clean.exists():
        clean.mkdir(parents=True)
        subject.make(clean)
    for number in numbers if numbers is not None else count():
        yield _one(subject, server, clean, work / subject.name, seed, number)


def _one(subject: Subject, server: Server, clean: Path, work: Path, seed: int, number: int) -> Finding | None:
    rng = random.Random(f"{seed} {subject.name} {number}")
    folder, out = work / "damaged", work / "out"
    for place in (folder, out):
        shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(clean, folder, symlinks=True)
    out.mkdir()
    files = sorted({path for pattern in subject.files for path in folder.glob(pattern) if path.is_file()})
    chosen, damage = rng.choice(files), rng.choice(list(subject.damages))
    before = chosen.read_bytes()
    after = damage(before, rng)
    chosen.write_bytes(after)
    file = str(chosen.relative_to(folder))
    case = Case(subject, folder, out, clean, file, damage.__name__, before, after)
    ended = server.run(rng.choice(subject.commands(out)), folder, work / "logs")
    what = judge(case, ended)
    return None if what is None else Finding(subject.name, file, damage.__name__, number, ended.argv, what, ended.text)
