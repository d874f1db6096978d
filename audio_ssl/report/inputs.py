"""What a report is made from: run folders, result folders and fairness reports, told apart by the files they hold.

Baselines that every model of a report stands beside, although they were asked once.

Log-mel and CQT frames give the same answers whichever model they were asked beside. So a model that was probed alone
borrows them from another model's result, where both were asked the same question of the same manifest. An untrained
twin belongs to its own model and is never lent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audio_ssl.artifacts.fairness_report import FairnessReport, read_fairness
from audio_ssl.artifacts.records import from_json
from audio_ssl.artifacts.result_tables import read_table
from audio_ssl.artifacts.run import METRICS_FILE, RunFolder, read_run_folder
from audio_ssl.base.checksums import require_whole
from audio_ssl.base.documents import (
    JsonObject,
    as_object,
    iterate_json_lines,
    read_json,
    read_object,
    read_yaml,
)
from audio_ssl.base.errors import UserError

EXPECTED = (
    f"a run folder (holds {METRICS_FILE}), a result folder (holds scores.json), "
    "or the report.json of `audio-ssl fairness` (holds groups and comparisons)"
)


@dataclass(frozen=True)
class MetricScore:
    """One score on the test set, in its unit, with its 95 % interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    unit: str = ""
    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredSystem:
    """One scored system: the probed model, or one of its baselines."""

    name: str
    scores: dict[str, Any]
    predictions: tuple[dict[str, Any], ...]
    file: Path | None = None
    """Where the predictions (of tasks without training: the comparisons) lie; None where there are none."""
    classes: tuple[str, ...] = ()
    """Names of the classes, tokens or values, in the order of the predictions' scores."""
    trials: tuple[dict[str, Any], ...] = ()
    """Of verification: ``clip_a, clip_b, same, score``."""
    comparisons: tuple[dict[str, Any], ...] = ()
    """Of tasks without training: what was compared."""

    def score_of(self, metric: str) -> MetricScore:
        """Return one of the scores; an undefined one where the system does not have it."""
        found = self.scores["metrics"].get(metric)
        return from_json(MetricScore, found, metric) if isinstance(found, dict) else MetricScore()


@dataclass(frozen=True)
class Result:
    """A probe's result as `audio-ssl probe` leaves it."""

    path: Path
    model: ScoredSystem
    baselines: tuple[ScoredSystem, ...]
    provenance: dict[str, Any]
    errors: tuple[dict[str, Any], ...]
    question: dict[str, Any] = field(default_factory=dict)
    """The probe as it was asked (``probe.yaml``), empty where that is not known."""


@dataclass(frozen=True)
class Fairness:
    """What a fairness audit found."""

    path: Path
    data: dict[str, Any]
    """The file as it was written."""
    report: FairnessReport


@dataclass(frozen=True)
class Inputs:
    """Everything one report shows, in the order it was given."""

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
    """Read one input, whichever of the three it is."""
    if not path.exists():
        raise UserError("there is no such file or folder", where=str(path), remedy=f"give {EXPECTED}")
    if path.is_dir():
        if (path / "scores.json").is_file():
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
    folder = path / "baselines"
    inner = sorted(folder.iterdir()) if folder.is_dir() else []
    return Result(
        path=path,
        model=_read_system(path, "model"),
        baselines=tuple(_read_system(one, one.name) for one in inner if (one / "scores.json").is_file()),
        provenance=_read_optional(path / "provenance.json"),
        errors=_read_rows(path / "errors.jsonl"),
        question=_read_recipe(path / "probe.yaml"),
    )


def _read_system(folder: Path, name: str) -> ScoredSystem:
    scores = read_object(folder / "scores.json")
    if not isinstance(scores.get("metrics"), dict):
        raise UserError(f"`metrics` is missing; found {_keys(scores)}", where=str(folder / "scores.json"))
    require_whole(folder, "run the same probe into this folder again: it answers what is damaged again")
    _check_shape(scores, folder / "scores.json")
    rows, classes = _read_table(folder / "predictions.parquet")
    trials, _ = _read_table(folder / "trials.parquet")
    comparisons, _ = _read_table(folder / "comparisons.parquet")
    files = (folder / name for name in ("predictions.parquet", "comparisons.parquet"))
    file = next((one for one in files if one.is_file()), None)
    return ScoredSystem(name, scores, rows, file, classes, trials, comparisons)


def _check_shape(scores: dict[str, Any], path: Path) -> None:
    """Raise UserError for scores whose parts are not what the page goes through."""
    lists = {key: scores[key] for key in ("excluded", "runs", "layers", "warnings") if scores.get(key)}
    wrong = [key for key, value in lists.items() if not isinstance(value, list)]
    wrong += [f"metrics.{key}" for key, value in scores["metrics"].items() if not isinstance(value, dict)]
    if not wrong:
        wrong = ["layers" for one in lists.get("layers", ()) if not isinstance(one, dict)]
    if wrong:
        raise UserError(f"`{wrong[0]}` is not what a result holds there", where=str(path), remedy="run the probe again")


def _read_table(path: Path) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """Return the rows of a table and the class names in its metadata; nothing where there is no such file."""
    found = read_table(path)
    return found.rows, found.classes


def _read_optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _read_recipe(path: Path) -> dict[str, Any]:
    return as_object(read_yaml(path) or {}, str(path)) if path.is_file() else {}


def _read_rows(path: Path) -> tuple[dict[str, Any], ...]:
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
        if one.is_dir() and any((one / name).is_file() for name in ("scores.json", METRICS_FILE))
    )
    return f"did you mean the folders inside it: {', '.join(fit)}?" if fit else None


def _keys(data: Any) -> str:
    return f"the keys {', '.join(map(str, data)) or '(none)'}" if isinstance(data, dict) else f"a {type(data).__name__}"


_OWN = "untrained"
_WITHOUT_EFFECT = ("manifest", "features", "memory_gb")
"""Of ``data``: where clips and features lie. Manifests are compared by their hash."""


def share_baselines(results: Sequence[Result]) -> tuple[Result, ...]:
    """Return the results, each with the baselines of all that were asked the same.

    A result without its question or the hash of its manifest lends and borrows nothing.
    """
    lent: list[tuple[tuple[Any, ...], ScoredSystem]] = [
        (asked, baseline)
        for result in results
        if (asked := _asked(result)) is not None
        for baseline in result.baselines
        if baseline.name != _OWN
    ]
    return tuple(_with(result, lent) for result in results)


def _with(result: Result, lent: Sequence[tuple[tuple[Any, ...], ScoredSystem]]) -> Result:
    asked = _asked(result)
    known = {baseline.name: baseline for baseline in result.baselines}
    for other, baseline in lent:
        # A baseline that is probed by name is not its own baseline.
        same = baseline.scores.get("model_fingerprint") == result.model.scores.get("model_fingerprint")
        if other == asked and not same:
            known.setdefault(baseline.name, baseline)
    return replace(result, baselines=tuple(known.values()))


def _asked(result: Result) -> tuple[Any, ...] | None:
    """Return what was asked of which clips; None where that is not known."""
    manifest = result.provenance.get("manifest")
    told = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not result.question or told is None:
        return None
    data = result.question.get("data")
    data = data if isinstance(data, dict) else {}
    question = {key: value for key, value in result.question.items() if key not in ("baselines", "data")}
    clips = {key: value for key, value in data.items() if key not in _WITHOUT_EFFECT}
    return result.model.scores.get("probe"), result.model.scores.get("main_metric"), told, question, clips
