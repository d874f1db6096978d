"""The settings of a study: how the sets are drawn, what is trained on them, and what the models are probed on."""

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
    """The pretraining, the same on every set."""

    recipe: str
    """Name or path of a recipe."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of the recipe. The study sets its manifest and its seed."""


@dataclass(frozen=True)
class Column:
    """A column of the table: one probe, run on every model."""

    probe: str
    """Name or path of a probe. The column is called fine-tuned if the probe has ``finetune``, else frozen."""

    title: str = ""
    """Title of the task in the table, such as ASR or ST (default: the name of the probe)."""

    manifest: str | None = None
    """Manifest of the probe's clips (default: the pool)."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of the probe, without its manifest."""


@dataclass(frozen=True)
class Study:
    """A study."""

    pretrain: Pretraining
    """The pretraining, the same on every set."""

    probes: dict[str, Column]
    """Columns by name, in the order of the table."""

    sets: dict[str, dict[str, float]]
    """Sets by name, in the order of the table: group to its share of the hours."""

    hours: float
    """Hours of every set, all groups together."""

    manifest: str | None = None
    """Manifest of the pool that the sets are drawn from; required."""

    by: str = "gender"
    """Column whose values are the groups."""

    compare: tuple[str, str] = ("F", "M")
    """The two groups that are compared. A gap is the score of the first minus that of the second."""

    reference: str = "balanced"
    """The set whose gaps are the reference for those of the other sets."""

    speaker_hours: float | None = None
    """Maximum hours per speaker in a set."""

    splits: tuple[str, ...] = ("train",)
    """Splits of the pool that sets are drawn from; empty: the whole pool."""

    test_speakers: str = "refuse"
    """What to do if speakers or files of test clips are in the pool: ``refuse`` the study, ``leave_out`` their clips
    from pretraining, or ``allow`` them with a warning on the page."""

    seeds: tuple[int, ...] = (0,)
    """Random seeds. For each seed every set is drawn, every model is trained and every head is initialised anew."""

    untrained: bool = True
    """Also probe a model with random weights, which shows what the heads learn without pretraining."""

    replicates: int = 10_000
    """Number of bootstrap and permutation replicates."""

    note: str = ""
    """Note for the page: what these clips can and cannot show."""


@dataclass(frozen=True)
class DrawnSet:
    """The draw of a set by one seed, and its folder."""

    set: str
    seed: int
    folder: Path


@dataclass(frozen=True)
class StudyFolders:
    """The folders of a study."""

    out: Path
    study: Study = field(repr=False)

    def places(self) -> list[DrawnSet]:
        """Return every set of every seed, ordered by seed."""
        return [
            DrawnSet(name, seed, self._of("sets", name, seed)) for seed in self.study.seeds for name in self.study.sets
        ]

    def untrained(self) -> list[DrawnSet]:
        """Return the folders of models with random weights, one per seed."""
        return [DrawnSet("untrained", seed, self._of("", "untrained", seed)) for seed in self.study.seeds]

    def _of(self, above: str, name: str, seed: int) -> Path:
        folder = self.out / above / name
        return folder if len(self.study.seeds) == 1 else folder / f"seed_{seed}"


def check_study(study: Study) -> None:
    """Raise UserError for values that cannot work. The message names the key."""
    _check_pool(study)
    _check_sets(study)
    for key, names in (("probes", study.probes), ("sets", study.sets)):
        if not names:
            raise UserError("must name at least one", where=f"$.{key}")
        for name in names:
            if not _NAME.fullmatch(name) or name == "untrained":
                raise UserError(
                    f"`{name}` must be made of letters, digits, `_`, `-` and `.`, and must not be `untrained`",
                    where=f"$.{key}",
                )
    if study.test_speakers not in TEST_SPEAKERS:
        raise unknown_name("choice", study.test_speakers, TEST_SPEAKERS, "$.test_speakers")
    if not study.seeds or len(set(study.seeds)) != len(study.seeds):
        raise UserError("must have at least one seed, and none twice", where="$.seeds")
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
