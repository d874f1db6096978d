"""Reads a guide of the documentation and does what it says, with small models.

A guide's blocks of a console hold commands (after ``$ ``) and what they print, its Python blocks are run as they are. A
comment before a block says what is added to a command so that it takes seconds::

    <!-- in small: pretrain steps=2 encoder.layers=1 -->

Words are only added, never taken away or changed, so a command that is wrong stays wrong. Lines that the guide shows
must be printed; digits may differ.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audio_ssl import __main__

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?:<!-- in small: ([^>]*) -->\n)?```(console|python)\n(.*?)```", re.DOTALL)
_ADDED = re.compile(r"[a-z][\w.]*=\S+|--replicates \d+")


@dataclass(frozen=True)
class Command:
    """One line of a console, with what the guide says that it prints."""

    words: list[str]
    printed: list[str]


@dataclass(frozen=True)
class Block:
    """A block of a guide."""

    language: str
    text: str
    added_to: str
    """The command of ``audio-ssl`` that gets `added`; empty where there is none."""

    added: list[str]

    def commands(self) -> list[Command]:
        """Return the commands of a console, in their order."""
        found: list[Command] = []
        for line in self.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append(Command(shlex.split(line[2:]), []))
            else:
                found[-1].printed.append(line)
        return found


def blocks(text: str) -> list[Block]:
    """Return the blocks of a guide that can be run."""
    found = []
    for small, language, body in _BLOCK.findall(text):
        name, _, added = small.partition(" ")
        assert not _ADDED.sub("", added).strip(), f"only settings are added: {small}"
        found.append(Block(language, body, name, shlex.split(added)))
    return found


def follow(text: str, printed: Callable[[], str]) -> None:
    """Do what a guide says, in the current folder.

    Parameters
    ----------
    text
        The guide, in Markdown.
    printed
        Returns what was printed since it was last called.
    """
    names: dict[str, object] = {}
    for block in blocks(text):
        if block.language == "python":
            exec(compile(block.text, "guide", "exec"), names)
            continue
        done = [_run(command, block, printed) for command in block.commands()]
        assert not block.added_to or block.added_to in done, f"no command of the block is `{block.added_to}`"


def _run(command: Command, block: Block, printed: Callable[[], str]) -> str:
    """Run a command; return the command of ``audio-ssl`` that it is, or nothing."""
    words = _ours(command.words)
    if not words:
        return ""
    out = words.index("--out") if "--out" in words else len(words)
    added = block.added if words[0] == block.added_to else []
    printed()
    status = __main__.run([*words[:out], *added, *words[out:]])
    said = printed()
    assert status == 0, f"{shlex.join(command.words)}\n{said}"
    lines = [_without_digits(line) for line in said.splitlines()]
    for line in command.printed:
        assert _without_digits(line) in lines, f"{shlex.join(command.words)} does not print {line!r}, but\n{said}"
    return words[0]


def _ours(words: list[str]) -> list[str]:
    """Return what a command gives to ``audio-ssl``: its own words, or those after what starts several processes."""
    if words[0] == "audio-ssl":
        return words[1:]
    if words[0] == "torchrun":
        return words[words.index("audio_ssl") + 1 :]
    if words[0] == "sbatch":
        return _of_job(words[1:])
    if words[:2] == ["hf", "download"]:
        # What it fetches is there already: a model with random weights.
        assert Path(words[words.index("--local-dir") + 1]).is_dir()
        return []
    assert words[:2] == ["pip", "install"], f"nobody knows how to run {words[0]}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in re.findall(r"[\w-]+", (re.search(r"\[(.*)\]", words[2]) or [""])[0]):
        assert extra in extras, f"there is no extra `{extra}`"
    return []


def _of_job(words: list[str]) -> list[str]:
    """Let a job script start its processes by a stand-in for srun, which says what it was given."""
    tools = Path("tools_of_slurm")
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (tools / "srun").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools.resolve()}:{os.environ['PATH']}"}
    script = ROOT / words[0]
    done = subprocess.run(["bash", script, *words[1:]], env=environment, capture_output=True, text=True, check=True)
    program, *given = done.stdout.splitlines()
    assert program == "audio-ssl"
    return given


def _without_digits(line: str) -> str:
    return re.sub(r"\d+", "N", line.strip())
