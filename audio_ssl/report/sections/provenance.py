"""Where the numbers come from: hashes, versions, seeds, times, and the commands that make them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from audio_ssl.artifacts.records import to_json
from audio_ssl.artifacts.result import ResultOrigin
from audio_ssl.base.documents import JsonObject
from audio_ssl.report.html import Block, Fold, Section, Table, make_table
from audio_ssl.report.language.methods import AGAIN_HEADING, AGAIN_LEAD
from audio_ssl.report.pages import PlacedSection, ReportPage
from audio_ssl.report.summary import ReportSummary

_FIRST = (
    "command", "seed", "model", "model_fingerprint", "manifest", "manifest_hash", "recipe_hash", "teachers",
    "finished", "started", "ended", "seconds", "python", "versions",
)  # fmt: skip
_MOST_OPEN, _MOST_COMMANDS = 4, 12
_PROGRAMS = ("audio-ssl", "__main__.py")


def provenance_section(report: ReportSummary) -> Section:
    """Show the provenance of every input and how to make it again."""
    blocks = []
    commands: list[str] = []
    closed = len(report.runs) + len(report.results) + len(report.fairness) > _MOST_OPEN
    sources: list[tuple[str, str, str, JsonObject, str | None]] = [
        ("Run", run.name, run.path, to_json(run.provenance), None) for run in report.runs
    ]
    sources += [("Probe", one.name, one.path, _recorded(one.provenance), one.model) for one in report.results]
    for index, (kind, name, path, provenance, model) in enumerate(sources):
        table = provenance_table(f"{kind} {name} ({path})", provenance)
        if table:
            blocks.append(Block(id=f"origin-{index}", tables=(replace(table, folded=closed),)))
        made = provenance.get("command")
        commands.append(command_line(made) if made else _command(kind, path, model))
    for index, audit in enumerate(report.fairness):
        provenance = audit.get("provenance") or {}
        table = provenance_table(f"Fairness audit ({audit['path']})", provenance)
        if table:
            blocks.append(Block(id=f"origin-fairness-{index}", tables=(replace(table, folded=closed),)))
        commands += [command_line(provenance["command"])] if provenance.get("command") else []
    typed = tuple(dict.fromkeys(commands))
    again = Block(id="again", heading=AGAIN_HEADING, lead=(AGAIN_LEAD,), commands=typed)
    if len(typed) > _MOST_COMMANDS:
        fold = Fold(f"{len(typed)} commands", Block(id="commands", commands=typed))
        again = replace(again, commands=(), folds=(fold,))
    return Section("provenance", "Provenance", (*blocks, *((again,) if commands else ())))


def _recorded(origin: ResultOrigin) -> JsonObject:
    """Return what a result has recorded of its origin."""
    return {key: value for key, value in to_json(origin).items() if value not in (None, "", [], {})}


def provenance_table(caption: str, provenance: JsonObject) -> Table | None:
    """Write nested provenance as rows of dotted name and value; None where there is none.

    Examples
    --------
    >>> provenance_table("Run", {"seed": 1, "versions": {"torch": "2.9"}}).rows
    (('seed', '1'), ('versions', 'torch 2.9'))
    """
    order = sorted(provenance, key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST), key))
    rows = [row for key in order for row in _flatten(key, provenance[key])]
    return make_table(caption, ("What", "Value"), rows, text_columns=(1,)) if rows else None


def _flatten(name: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and name.endswith("versions"):
        return [(name, ", ".join(f"{package} {version}" for package, version in value.items()))]
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in _flatten(f"{name}.{key}", inner)]
    if name.split(".")[-1] == "command":
        return [(name, command_line(value))]
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return [row for index, item in enumerate(value) for row in _flatten(f"{name}[{index}]", item)]
        return [(name, ", ".join(map(str, value)) or "none")]
    return [(name, "none" if value is None else str(value))]


def command_line(command: object) -> str:
    """Write a recorded command as it is typed: without the folder the program was installed in."""
    words = list(map(str, command)) if isinstance(command, list | tuple) else _split(str(command))
    if words and PurePath(words[0]).name in _PROGRAMS:
        words[0] = "audio-ssl"
    return shlex.join(words)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # A quote is left open: not a shell command, so show it as one word.
        return [command]


def _command(kind: str, path: str, model: str | None) -> str:
    """Return a command that makes a run or a result again, where none is recorded."""
    if kind == "Run":
        return shlex.join(["audio-ssl", "pretrain", f"{path}/recipe.yaml", "--out", f"{path}-again"])
    return shlex.join(["audio-ssl", "probe", f"{path}/probe.yaml", model or "MODEL", "--out", f"{path}-again"])


def _origins(page: ReportPage) -> Section:
    return provenance_section(page.summary)


SECTIONS = (PlacedSection(ReportPage, 90, _origins),)
