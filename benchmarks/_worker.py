"""A system of a benchmark in a process of its own: it does a thing for every line it is sent, and answers in JSON.

So systems take turns without sharing memory or settings, and each holds the packages of its own only.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[1]


class Worker:
    """The side that asks.

    Parameters
    ----------
    name
        Of the system, for errors.
    command
        Starts the process, which calls `answering`.
    threads
        Of its products of matrices, for OpenMP.
    """

    def __init__(self, name: str, command: Sequence[str], threads: int) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(threads)
        )

    def ask(self, what: str) -> dict[str, Any]:
        """Send a line and wait for the answer; RuntimeError if the process ended instead."""
        source, sink = self._process.stdin, self._process.stdout
        assert source is not None
        assert sink is not None
        try:
            source.write(what + "\n")
            source.flush()
            line = sink.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """Send no more lines, and wait for the process to end."""
        self._process.communicate()


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that imports this checkout and has so many threads."""
    places = [str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": str(threads)}


def answering() -> Callable[..., None]:
    """Return what answers a line, by keyword, in the process that does the work.

    From now on whatever libraries print goes to the errors, so that it cannot get between the answers.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: float) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    return answer
