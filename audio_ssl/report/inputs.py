"""The inputs of a report: run folders, result folders and fairness reports, recognised by the files that they hold.

Baselines such as log-mel and CQT frames do not depend on the model. A result that lacks one therefore borrows it from
another result of the same probe on the same manifest. An untrained twin belongs to its model and is never lent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from audio_ssl.artifacts.fairness_report import FairnessReport, read_fairness
from audio_ssl.artifacts.result import (
    QUESTION_FILE,
    SCORES_FILE,
    UNDEFINED,
    UNTRAINED,
    MetricResult,
    ProbeScores,
    ResultOrigin,
    baselines_of,
    is_result,
    read_origin,
    read_scores,
)
from audio_ssl.artifacts.result_tables import (
    COMPARISONS_FILE,
    PREDICTIONS_FILE,
    ComparisonRow,
    TrialRow,
    read_comparisons,
    read_table,
    read_trials,
)
from audio_ssl.artifacts.run import ERRORS_FILE, METRICS_FILE, RunFolder, read_run_folder
from audio_ssl.base.checksums import require_whole
from audio_ssl.base.documents import JsonObject, as_object, iterate_json_lines, read_json, read_yaml
from audio_ssl.base.errors import UserError

EXPECTED = (
    f"a run folder (holds {METRICS_FILE}), a result folder (holds {SCORES_FILE}), "
    "or the report.json of `audio-ssl fairness` (holds groups and comparisons)"
)


Tuning = Literal["frozen", "lora", "full"]
"""What of a model was trained: nothing, adapters, its own weights."""

NOT_MEASURED = MetricResult(UNDEFINED)
"""The score of a metric that the probe does not have."""


@dataclass(frozen=True)
class ScoredSystem:
    """One scored system: the probed model, or one of its baselines."""

    name: str
    scores: ProbeScores
    predictions: tuple[JsonObject, ...] = ()
    """Columns of the user's manifest, and the answer's."""
    file: Path | None = None
    """The file of the predictions; of tasks without training that of the comparisons; None if there is no such file."""
    classes: tuple[str, ...] = ()
    """Names of the classes, tokens or values, in the order of the predictions' scores."""
    trials: tuple[TrialRow, ...] = ()
    """Of verification."""
    comparisons: tuple[ComparisonRow, ...] = ()
    """Of tasks without training."""

    def score_of(self, metric: str) -> MetricResult:
        """Return one of the scores; an undefined one where the system does not have it."""
        return self.scores.metrics.get(metric, NOT_MEASURED)


@dataclass(frozen=True)
class Result:
    """A probe's result as `audio-ssl probe` leaves it."""

    path: Path
    model: ScoredSystem
    baselines: tuple[ScoredSystem, ...]
    origin: ResultOrigin
    errors: tuple[JsonObject, ...]
    question: JsonObject = field(default_factory=dict)
    """The settings of the probe (``probe.yaml``); empty if they are not recorded."""

    @property
    def tuning(self) -> Tuning:
        """Return what of the model was trained beside the head."""
        finetune = self.question.get("finetune")
        if not isinstance(finetune, dict):
            return "frozen"
        return "full" if finetune.get("lora") is None else "lora"


@dataclass(frozen=True)
class Fairness:
    """What a fairness audit found."""

    path: Path
    data: JsonObject
    """The file as it was written."""
    report: FairnessReport


@dataclass(frozen=True)
class Inputs:
    """All inputs of one report, in the order in which they were given."""

    runs: tuple[RunFolder, ...]
    results: tuple[Result, ...]
    fairness: tuple[Fairness, ...]


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read every input of a report.

    Raises
    ------
    UserError
        No input is given, one does not exist, is none of the three known things, or holds a damaged file.
    """
    if not paths:
        raise UserError("a report needs at least one input", remedy=f"give {EXPECTED}")
    read = [read_input(Path(path)) for path in paths]
    return Inputs(
        runs=tuple(one for one in read if isinstance(one, RunFolder)),
        results=tuple(one for one in read if isinstance(one, Result)),
        fairness=tuple(one for one in read if isinstance(one, Fairness)),
    )


def read_input(path: Path) -> RunFolder | Result | Fairness:
    """Read one input of any of the three kinds."""
    if not path.exists():
        raise UserError("there is no such file or folder", where=str(path), remedy=f"give {EXPECTED}")
    if path.is_dir():
        if is_result(path):
            return _read_result(path)
        if (path / METRICS_FILE).is_file():
            return read_run_folder(path)
        raise UserError(f"expected {EXPECTED}, but found {_contents(path)}", where=str(path), remedy=_nearby(path))
    data = read_json(path) if path.suffix == ".json" else None
    if isinstance(data, dict) and {"groups", "comparisons"} <= data.keys():
        return Fairness(path, data, read_fairness(path))
    found = f"a JSON file with {_keys(data)}" if path.suffix == ".json" else f"the file {path.name}"
    raise UserError(f"expected {EXPECTED}, but found {found}", where=str(path))


def _read_result(path: Path) -> Result:
    question = path / QUESTION_FILE
    return Result(
        path=path,
        model=_read_system(path, "model"),
        baselines=tuple(_read_system(one, one.name) for one in baselines_of(path)),
        origin=read_origin(path),
        errors=_read_rows(path / ERRORS_FILE),
        question=as_object(read_yaml(question) or {}, str(question)) if question.is_file() else {},
    )


def _read_system(folder: Path, name: str) -> ScoredSystem:
    scores = read_scores(folder)
    require_whole(folder, "run the same probe into this folder again: it answers what is damaged again")
    answers = read_table(folder / PREDICTIONS_FILE)
    files = (folder / one for one in (PREDICTIONS_FILE, COMPARISONS_FILE))
    file = next((one for one in files if one.is_file()), None)
    return ScoredSystem(
        name, scores, answers.rows, file, answers.classes, read_trials(folder), read_comparisons(folder)
    )


def _read_rows(path: Path) -> tuple[JsonObject, ...]:
    """Read JSON Lines; a last line without its newline is still being written and is left out when torn."""
    if not path.is_file():
        return ()
    return tuple(row for _, row in iterate_json_lines(path, torn_end=True, nan_is_null=True))


def _contents(folder: Path) -> str:
    names = sorted(one.name + ("/" if one.is_dir() else "") for one in folder.iterdir())
    if not names:
        return "an empty folder"
    return "a folder with " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _nearby(folder: Path) -> str | None:
    fit = sorted(
        one.name
        for one in folder.iterdir()
        if one.is_dir() and any((one / name).is_file() for name in (SCORES_FILE, METRICS_FILE))
    )
    return f"did you mean the folders inside it: {', '.join(fit)}?" if fit else None


def _keys(data: object) -> str:
    return f"the keys {', '.join(map(str, data)) or '(none)'}" if isinstance(data, dict) else f"a {type(data).__name__}"


_WITHOUT_EFFECT = ("manifest", "features", "memory_gb")
"""Keys of ``data`` that say where clips and features lie. Manifests are compared by their hash."""


@dataclass(frozen=True)
class _Asked:
    """What two results must have in common to share a baseline."""

    probe: str
    metric: str
    manifest: str
    """Hash of its file."""
    question: JsonObject
    clips: JsonObject


def share_baselines(results: Sequence[Result]) -> tuple[Result, ...]:
    """Return the results, each with the baselines of all results of the same probe on the same clips.

    A result without its question or the hash of its manifest lends and borrows nothing.
    """
    lent = [
        (asked, baseline)
        for result in results
        if (asked := _asked(result)) is not None
        for baseline in result.baselines
        if baseline.name != UNTRAINED
    ]
    return tuple(_with(result, lent) for result in results)


def _with(result: Result, lent: Sequence[tuple[_Asked, ScoredSystem]]) -> Result:
    asked = _asked(result)
    known = {baseline.name: baseline for baseline in result.baselines}
    for other, baseline in lent:
        # A baseline that is probed by name is not its own baseline.
        same = baseline.scores.model_fingerprint == result.model.scores.model_fingerprint
        if other == asked and not same:
            known.setdefault(baseline.name, baseline)
    return replace(result, baselines=tuple(known.values()))


def _asked(result: Result) -> _Asked | None:
    """Return the settings and the clips of a result; None if they are not recorded."""
    told = result.origin.manifest.sha256 if result.origin.manifest else None
    if not result.question or told is None:
        return None
    data = result.question.get("data")
    data = data if isinstance(data, dict) else {}
    question = {key: value for key, value in result.question.items() if key not in ("baselines", "data")}
    clips = {key: value for key, value in data.items() if key not in _WITHOUT_EFFECT}
    return _Asked(result.model.scores.probe, result.model.scores.main_metric, told, question, clips)
