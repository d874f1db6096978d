"""The plan of a study: everything it names is read, every set is drawn, and errors are raised before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audio_ssl.artifacts.study import read_origin
from audio_ssl.base import catalog
from audio_ssl.base.config import build, kind_of, load
from audio_ssl.base.errors import UserError
from audio_ssl.data.balance import Balance, Balanced, balance
from audio_ssl.data.columns import attribute
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.fairness.measures import check_task
from audio_ssl.fairness.tables.scalars import Spellings
from audio_ssl.pretrain.recipe import Recipe, open_recipe
from audio_ssl.probing.clips import choose_clips
from audio_ssl.probing.probe import Probe, read_probe
from audio_ssl.study.settings import Column, DrawnSet, Study, StudyFolders, check_study

_OURS_OF_RECIPE = ("data.manifest", "data.split", "data.valid_split", "seed")
_NAMED = 5
_FEW_SPEAKERS = 20


@dataclass(frozen=True)
class ProbedColumn:
    """A column with its probe."""

    name: str
    title: str
    """Of the task."""
    integration: str
    """frozen or fine-tuned."""
    probe: Probe
    task: str
    metrics: tuple[str, ...]
    """Metrics that groups are compared by; the first is the main metric."""
    tested: tuple[Clip, ...]
    """Clips of its test split that its task accepts."""


@dataclass(frozen=True)
class Known:
    """Speakers and files that are both in the pool and in the test clips."""

    speakers: tuple[str, ...]
    files: tuple[str, ...]
    left_out: int
    """Number of clips of the pool that were left out because of them."""

    def sentence(self) -> str | None:
        """Describe the overlap in words; None where there is none."""
        found = [_listed(one, what) for one, what in ((self.speakers, "speaker"), (self.files, "file")) if one]
        if not found:
            return None
        fate = f"{self.left_out} clips of the pool were left out of pretraining" if self.left_out else ""
        return f"the pool also has {' and '.join(found)} of the test clips{f'; {fate}' if fate else ''}"


@dataclass(frozen=True)
class StudyPlan:
    """A study that is ready to run."""

    name: str
    study: Study
    compare: tuple[str, str]
    """The groups by their normalised names: F and M, however the pool spells them."""
    recipe: Recipe
    questions: tuple[ProbedColumn, ...]
    drawn: dict[tuple[str, int], Balanced]
    """By set and seed."""
    known: Known
    warnings: tuple[str, ...]

    def settings(self, place: DrawnSet, manifest: Path) -> list[str]:
        """Return the pretraining settings of one set."""
        return [*self.study.pretrain.settings, f"data.manifest={manifest}", f"seed={place.seed}"]

    def ask(self, name: str, seed: int) -> tuple[str, list[str]]:
        """Return the probe of a column with its settings."""
        column = self.study.probes[name]
        return column.probe, _settings(self.study, column, seed)


def make_plan(name: str, overrides: Sequence[str] = ()) -> StudyPlan:
    """Read a study by name or path, and all it names.

    Parameters
    ----------
    name
        Name or path of a study.
    overrides
        ``key=value`` settings; ``manifest=POOL.jsonl`` must be among them.

    Raises
    ------
    UserError
        For a wrong key, an unknown recipe or probe, a probe that does not fit its clips, a pool with too little
        audio of a group, or test speakers in the pool where the study does not allow them.
    """
    path = catalog.find("recipes/studies", name)
    study = load(Study, path, overrides)
    check_study(study)
    recipe = _recipe(study)
    questions = _told_apart([_question(study, column) for column in study.probes])
    clips = [c for c in read_manifest(Path(str(study.manifest))) if not study.splits or c.split in study.splits]
    if not clips:
        raise UserError(f"the pool has no clip of {' or '.join(study.splits)}", where="$.splits")
    known, clips = _known(study, clips, questions)
    drawn = {}
    for place in StudyFolders(Path(), study).places():
        shares = Balance(study.by, study.sets[place.set])
        try:
            drawn[place.set, place.seed] = balance(
                clips, shares, study.hours, speaker_hours=study.speaker_hours, seed=place.seed
            )
        except UserError as error:
            raise _at(error, f"$.sets.{place.set}") from error
    warnings = [*_warnings(study, questions), *([said] if (said := known.sentence()) else [])]
    compare = _groups(study)
    return StudyPlan(_name_of(path), study, compare, recipe, questions, drawn, known, tuple(warnings))


def _name_of(path: Path) -> str:
    """Return the name of a study: that of its file, or the one recorded in its folder."""
    origin = read_origin(path.parent) if path.name == "study.yaml" else None
    return path.stem if origin is None else origin.study or path.stem


def _told_apart(questions: Sequence[ProbedColumn]) -> tuple[ProbedColumn, ...]:
    """Add the column's name to titles that several columns with the same use have."""
    times = Counter((one.title, one.integration) for one in questions)
    return tuple(
        replace(one, title=f"{one.title} ({one.name})") if times[one.title, one.integration] > 1 else one
        for one in questions
    )


def _recipe(study: Study) -> Recipe:
    for setting in study.pretrain.settings:
        key = setting.partition("=")[0]
        if key in _OURS_OF_RECIPE:
            raise UserError(f"the study sets `{key}` itself", where="$.pretrain.settings", remedy="remove it")
    try:
        recipe = open_recipe(study.pretrain.recipe, study.pretrain.settings)
    except UserError as error:
        raise _at(error, "$.pretrain") from error
    if recipe.max_minutes is not None:
        raise UserError(
            "`max_minutes` would stop the models after different numbers of updates",
            where="$.pretrain",
            remedy="give max_minutes=null; a stopped study continues with the same command",
        )
    return recipe


def _question(study: Study, name: str) -> ProbedColumn:
    column = study.probes[name]
    where = f"$.probes.{name}"
    for setting in column.settings:
        if setting.partition("=")[0] == "data.manifest":
            raise UserError(f"`{setting}` must be given as `manifest` of the column", where=f"{where}.settings")
    try:
        title, probe = read_probe(column.probe, _settings(study, column, study.seeds[0]))
    except UserError as error:
        raise _at(error, where) from error
    task = kind_of(probe.task)
    metrics = check_task(task, f"{where}.probe")
    clips = read_manifest(Path(str(probe.data.manifest)))
    try:
        # A probe that does not fit its clips is found before days of pretraining.
        parts, _ = choose_clips(clips, probe.data, build(probe.task))
    except UserError as error:
        raise _at(error, where) from error
    tested = tuple(clip for part in parts for clip in part["test"])
    read = Spellings(study.by).read
    found = {read(attribute(clip, study.by)) for clip in tested}
    missing = [group for group in _groups(study) if group not in found]
    if missing:
        raise UserError(
            f"the test clips (split `{probe.data.test_split}`) have no `{study.by}` {' or '.join(missing)}",
            where=where,
            remedy="check the manifest and the splits",
        )
    integration = "frozen" if probe.finetune is None else "fine-tuned"
    return ProbedColumn(name, column.title or title, integration, probe, task, metrics, tested)


def _groups(study: Study) -> tuple[str, str]:
    read = Spellings(study.by).read
    first, second = (read(group) or group for group in study.compare)
    return first, second


def _settings(study: Study, column: Column, seed: int) -> list[str]:
    # The untrained row replaces the baselines. The seed of the head is that of the study unless the column sets it.
    manifest = column.manifest or study.manifest
    return [f"data.manifest={manifest}", f"seeds=[{seed}]", "baselines=[]", *column.settings]


def _known(study: Study, clips: list[Clip], questions: Sequence[ProbedColumn]) -> tuple[Known, list[Clip]]:
    """Find speakers and files of the test clips in the pool. Refuse them, leave them out, or allow them."""
    tested = [clip for question in questions for clip in question.tested]
    speakers = {c.speaker for c in tested if c.speaker} & {c.speaker for c in clips if c.speaker}
    files = {c.path for c in tested} & {c.path for c in clips}
    known = Known(tuple(sorted(map(str, speakers))), tuple(sorted(files)), 0)
    said = known.sentence()
    if said is None or study.test_speakers == "allow":
        return known, clips
    if study.test_speakers == "refuse":
        raise UserError(
            said,
            where="$.test_speakers",
            remedy="test_speakers=leave_out excludes them from pretraining, test_speakers=allow keeps them and warns",
        )
    kept = [clip for clip in clips if clip.speaker not in speakers and clip.path not in files]
    if not kept:
        raise UserError(f"{said}; without them the pool is empty", where="$.test_speakers")
    return replace(known, left_out=len(clips) - len(kept)), kept


def _warnings(study: Study, questions: Sequence[ProbedColumn]) -> list[str]:
    found = []
    if len(study.seeds) == 1:
        found.append(
            "only one seed was used: differences between sets include the variance of drawing and training, which the "
            "confidence intervals over speakers do not cover"
        )
    fewest: dict[str, list[str]] = {}
    for question in questions:
        read = Spellings(study.by).read
        speakers = {(read(attribute(c, study.by)), c.speaker) for c in question.tested if c.speaker}
        counts = [sum(group == value for value, _ in speakers) for group in _groups(study)]
        if min(counts) < _FEW_SPEAKERS:
            said = " and ".join(f"{n} of {group}" for n, group in zip(counts, study.compare, strict=True))
            fewest.setdefault(said, []).append(question.name)
    for said, names in fewest.items():
        found.append(f"few test speakers of {', '.join(names)} ({said}): only large gaps can be detected")
    return found


def _listed(names: Sequence[str], what: str) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({', '.join(names[:_NAMED])}{more})"


def _at(error: UserError, where: str) -> UserError:
    """Put the path of the study's key before the place that an error names."""
    inner = error.where or ""
    return UserError(error.what, where=f"{where}: {inner}" if inner else where, remedy=error.remedy)
