"""The processes of benchmarks: lines in, answers out, whatever the libraries in them print."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
CHILD = """
import os, sys
sys.path.insert(0, "benchmarks")
from _worker import answering
answer = answering()
for line in sys.stdin:
    print("a library says something")
    os.system("echo so does a program")
    if line.strip() == "end":
        sys.exit(3)
    answer(length=len(line) - 1, threads=int(os.environ["OMP_NUM_THREADS"]))
"""


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    monkeypatch.chdir(HOME)


def test_a_worker_answers_line_by_line_and_a_dead_one_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    from _worker import Worker  # type: ignore[import-not-found]

    worker = Worker("a system", [sys.executable, "-c", CHILD], 3)
    assert worker.ask("one") == {"length": 3, "threads": 3}
    assert worker.ask("seven") == {"length": 5, "threads": 3}
    with pytest.raises(RuntimeError, match="a system ended with status 3"):
        worker.ask("end")
    with pytest.raises(RuntimeError, match="a system ended with status 3"):
        worker.ask("again")
    worker.stop()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("a library says something\n") == err.count("so does a program\n") == 3


def test_a_worker_imports_this_checkout_before_what_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from _worker import environment

    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert environment(1)["PYTHONPATH"] == f"{HOME}{os.pathsep}elsewhere"
    monkeypatch.delenv("PYTHONPATH")
    assert environment(1)["PYTHONPATH"] == str(HOME)
