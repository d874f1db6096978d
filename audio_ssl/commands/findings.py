"""What the command `check` finds out about an artifact, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.base.checksums import Seal, fault
from audio_ssl.base.documents import iterate_json_lines, read_json, read_yaml
from audio_ssl.base.errors import UserError

_NAMED = 20
"""Damaged files that are named; of more, their number."""


@dataclass
class Finding:
    """What was found out about one artifact."""

    path: Path
    kind: str
    """What it is, in a word or two."""
    files: int = 0
    """How many were read."""
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    """Name of a file to what is wrong with it."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing, but is not damage."""
    mend: str | None = None
    """The command that repairs it, or what else to do."""

    def look(self, name: str, path: Path, told: Seal | None = None) -> None:
        """Read a file and keep what is wrong with it."""
        wrong = fault(path, told, full=True) or _parse(path)
        if wrong is not None:
            self.damaged[name] = wrong
        else:
            self.files += 1
            self.bytes += path.stat().st_size


def finding_lines(finding: Finding) -> list[str]:
    """Return a finding as lines for a terminal."""
    if not finding.damaged:
        size = f"{finding.files} file{'s' * (finding.files != 1)}, {finding.bytes / 1e6:.1f} MB read"
        said = "; ".join([size, *finding.notes])
        return [f"{finding.path}: {finding.kind}, whole ({said})"]
    shown = [f"  {name} {wrong}" for name, wrong in list(finding.damaged.items())[:_NAMED]]
    more = len(finding.damaged) - len(shown)
    shown += [f"  and {more:,} more"] if more else []
    mend = [f"  to repair it: {finding.mend}"] if finding.mend else []
    return [f"{finding.path}: {finding.kind}, DAMAGED", *shown, *mend]


def _parse(path: Path) -> str | None:
    """Return what is wrong with a text that programs read, or None."""
    try:
        if path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".yaml":
            read_yaml(path)
        elif path.suffix == ".jsonl":
            for _ in iterate_json_lines(path, torn_end=True):
                pass
    except UserError as error:
        return error.what
    return None
