"""Subject of an audit, for whoever signs it: systems and their versions, test set, date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from audio_ssl import examples
from audio_ssl.artifacts.fairness_report import AuditStatement
from audio_ssl.base.errors import UserError
from audio_ssl.base.text import printable


@dataclass(frozen=True)
class About:
    """What was tested, in words that the report repeats."""

    systems: tuple[str, ...] = ()
    """Names, one for each result in their order; if empty, results are called after their files."""

    versions: tuple[str, ...] = ()
    """Versions, likewise; they distinguish several results of one system."""

    test_set: str | None = None
    """Name and version of the test set."""

    def check(self, results: int) -> None:
        """Raise UserError unless each result has a name (and a version), or none has."""
        for option, given in (("system", self.systems), ("version", self.versions)):
            if given and len(given) != results:
                raise UserError(
                    f"`{option}` must be given once for each of the {results} results, but was given {len(given)} times"
                )
            if any(not text.strip() for text in given):
                raise UserError(f"`{option}` must not be empty")
        if self.versions and not self.systems:
            raise UserError("`version` is of a system that has no name", remedy="give `--system NAME` as well")
        if len(set(self._called())) < len(self.systems):
            raise UserError(
                "two results have the same `system` and `version`",
                remedy="give `--version` once for each, all different",
            )

    def names(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Return what results are called: as their systems and versions, or after their files."""
        return dict(zip(paths, self._called(), strict=True)) if self.systems else _after_files(paths)

    def of(self, place: int) -> tuple[str | None, str | None]:
        """Return name and version of the system at a place, None where not given."""
        name = printable(self.systems[place]) if self.systems else None
        return name, printable(self.versions[place]) if self.versions else None

    def _called(self) -> list[str]:
        if not self.versions:
            return [printable(name) for name in self.systems]
        return [printable(f"{name} {version}") for name, version in zip(self.systems, self.versions, strict=False)]


def _after_files(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each result: the last part of its path, with the folders above where that is not unique."""
    given = {path.resolve(): path for path in paths}
    parts = {path: (*path.parts[:-1], path.stem if path.is_file() else path.name) for path in given}
    names: dict[Path, str] = {}
    for path, own in parts.items():
        depth = 1
        while depth < len(own) and sum(other[-depth:] == own[-depth:] for other in parts.values()) > 1:
            depth += 1
        same = sum(other[-depth:] == own[-depth:] for other in parts.values()) > 1
        names[given[path]] = path.name if same else "/".join(own[-depth:])
    return names


def statement(about: About, tolerance: float | None) -> AuditStatement:
    """Return what the report states of itself: date (UTC), test set and tolerance."""
    test_set = None if about.test_set is None else printable(about.test_set)
    return AuditStatement(datetime.now(UTC).date().isoformat(), test_set, tolerance)


@dataclass(frozen=True)
class Subject:
    """Subject of an audit, and how its texts are compared."""

    about: About
    """Systems, versions, test set."""

    normaliser: str
    """Normalisation of references and hypotheses."""


def with_example(paths: Sequence[Path], about: About, normaliser: str | None) -> tuple[list[Path], Subject]:
    """Replace names of examples by their tables, and fill in what the user did not state from their cards.

    Parameters
    ----------
    paths
        Paths or names. A file of that name takes precedence over an example.
    about, normaliser
        What the user stated. The card fills in the rest if the example is audited alone; beside other results its texts
        are compared in the same way as theirs.

    Returns
    -------
    The paths, and what the audit states.
    """
    named = examples.find(paths)
    tables = [examples.table(named[path]) if path in named else path for path in paths]
    if len(paths) != 1 or not named:
        return tables, Subject(about, normaliser or "none")
    card = examples.read_example(named[paths[0]])
    own = About((card.system,), (card.version,)) if not about.systems and not about.versions else about
    own = replace(own, test_set=card.test_set if about.test_set is None else about.test_set)
    return tables, Subject(own, card.normaliser if normaliser is None else normaliser)
