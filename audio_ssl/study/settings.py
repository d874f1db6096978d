"""What a study file says: how the sets are drawn, what is trained on them, and what is asked of the models."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.base.errors import UserError, unknown_name

TEST_SPEAKERS = ("refuse", "leave_out", "allow")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Pretraining:
    """What is trained on every set."""

    recipe: str
    """Name or path of a recipe."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of it; its manifest and seed are the study's to say."""


@dataclass(frozen=True)
class Column:
    """One question, asked of every model: a column of the table."""

    probe: str
    """Name or path of a probe; whether it trains the model too (``finetune``) makes it frozen or fine-tuned."""

    title: str = ""
    """Of the task, for the table: ASR, ST. The name of the probe if left out."""

    manifest: str | None = None
    """Manifest that it is asked on; left out: the pool."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of it; its manifest is said above."""


@dataclass(frozen=True)
class Study:
    """One study."""

    pretrain: Pretraining
    """The same for every set."""

    probes: dict[str, Column]
    """By the column's name, in the table's order."""

    sets: dict[str, dict[str, float]]
    """By the set's name, in the table's order: group to its share of the hours."""

    hours: float
    """Of every set, all groups together."""

    manifest: str | None = None
    """The pool that sets are drawn from; must be given."""

    by: str = "gender"
    """The attribute that makes the groups."""

    compare: tuple[str, str] = ("F", "M")
    """The two groups whose scores are compared; gaps are the first minus the second."""

    reference: str = "balanced"
    """The set that the others' gaps are compared with."""

    speaker_hours: float | None = None
    """At most this much of one speaker in a set."""

    splits: tuple[str, ...] = ("train",)
    """Splits of the pool that pretraining may see; empty: its clips have no splits, and all may be seen."""

    test_speakers: str = "refuse"
    """What if the pool has speakers or files of a column's test clips: refuse, leave_out (of pretraining), or allow,
    which the page then says."""

    seeds: tuple[int, ...] = (0,)
    """For each, every set is drawn and trained anew, and the probes' heads start from it."""

    untrained: bool = True
    """Ask the model with fresh weights, too: what the heads learn without any pretraining."""

    replicates: int = 10_000
    """Resamples of the speakers for an interval, and permutations for a p-value."""

    note: str = ""
    """Said on the page: what these clips can show, and what not."""


@dataclass(frozen=True)
class DrawnSet:
    """One set drawn by one seed, and its folder."""

    set: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class StudyFolders:
    """Where the parts of a study lie."""

    out: Path
    study: Study = field(repr=False)

    def places(self) -> list[DrawnSet]:
        """Return every set of every seed, all sets of a seed together."""
        return [
            DrawnSet(name, seed, self._of("sets", name, seed)) for seed in self.study.seeds for name in self.study.sets
        ]

    def untrained(self) -> list[DrawnSet]:
        """Return where the answers of models with fresh weights lie, one a seed."""
        return [DrawnSet("untrained", seed, self._of("", "untrained", seed)) for seed in self.study.seeds]

    def _of(self, above: str, name: str, seed: int) -> Path:
        folder = self.out / above / name
        return folder if len(self.study.seeds) == 1 else folder / f"seed_{seed}"


def check_study(study: Study) -> None:
    """Raise UserError for values that cannot work; the text has the key's path."""
    _check_pool(study)
    _check_sets(study)
    for key, names in (("probes", study.probes), ("sets", study.sets)):
        if not names:
            raise UserError("must name at least one", where=f"$.{key}")
        for name in names:
            if not _NAME.fullmatch(name) or name == "untrained":
                raise UserError(
                    f"`{name}` cannot be the name of a folder here: letters, digits, `_`, `-`, and not `untrained`",
                    where=f"$.{key}",
                )
    if study.test_speakers not in TEST_SPEAKERS:
        raise unknown_name("choice", study.test_speakers, TEST_SPEAKERS, "$.test_speakers")
    if not study.seeds or len(set(study.seeds)) != len(study.seeds):
        raise UserError("must name at least one, each once", where="$.seeds")
    if study.replicates < 100:
        raise UserError(f"must be at least 100, but is {study.replicates}", where="$.replicates")


def _check_pool(study: Study) -> None:
    if study.manifest is None:
        raise UserError("must be given", where="$.manifest", remedy="add manifest=POOL.jsonl")
    columns = [(f"probes.{name}.manifest", column.manifest) for name, column in study.probes.items()]
    for where, value in (("manifest", study.manifest), *columns):
        if value is not None and not Path(value).is_file():
            raise UserError(f"no such manifest: {value}", where=f"$.{where}")
    for key, hours in (("hours", study.hours), ("speaker_hours", study.speaker_hours)):
        if hours is not None and not (hours > 0 and math.isfinite(hours)):
            raise UserError(f"must be above 0, but is {hours}", where=f"$.{key}")


def _check_sets(study: Study) -> None:
    for name, shares in study.sets.items():
        if any(not 0 < share <= 1 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
            said = ", ".join(f"{group}: {share:g}" for group, share in shares.items()) or "nothing"
            raise UserError(f"shares must be above 0 and sum to 1, but are {said}", where=f"$.sets.{name}")
    if study.reference not in study.sets:
        raise unknown_name("set", study.reference, study.sets, "$.reference")
    groups = {group for shares in study.sets.values() for group in shares}
    for group in study.compare:
        if group not in groups:
            raise unknown_name("group", group, groups, "$.compare")
    if study.compare[0] == study.compare[1]:
        raise UserError(f"must be two groups, but is `{study.compare[0]}` twice", where="$.compare")
