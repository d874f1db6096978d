"""Models side by side: a row for each model or baseline, a column for each probe, and differences from the first model.

Two results belong to one question if their probes and main metrics have the same names. Two systems are the same if
their fingerprints are, so a baseline that comes with every result stands in the table once.

Systems have mean ranks over all probes, and a SUPERB score if probes are SUPERB's tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from audio_ssl.artifacts.result import UNTRAINED, MetricResult
from audio_ssl.base.errors import UserError
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.inputs import NOT_MEASURED, Result, ScoredSystem, Tuning
from audio_ssl.report.language.phrases import label_of
from audio_ssl.report.language.scores import settings_differ
from audio_ssl.report.language.tuning import tuned_name
from audio_ssl.report.numbers import finite
from audio_ssl.report.paired import PairedComparison, SystemPairs
from audio_ssl.report.probe_summary import link_to

_Key = tuple[str, str, Tuning, int]
"""Kind (model, untrained, logmel …), fingerprint, what was trained of it, and how often the same was seen for one probe
before."""


@dataclass(frozen=True)
class ComparedCell:
    """The main score of one system on one probe."""

    value: float | None
    low: float | None
    high: float | None
    best: bool
    """Whether no system of the probe has a better one."""
    predictions: str | None
    """Where the predictions lie, from the report's folder."""


@dataclass(frozen=True)
class ComparedQuestion:
    """One probe, with every system that was asked."""

    name: str
    metric: str
    unit: str
    higher_is_better: bool
    warnings: tuple[str, ...]
    cells: Mapping[str, ComparedCell]
    """By system, in the order of the table's rows."""
    first: str
    """The first model, to which the others are compared."""
    differences: tuple[PairedComparison, ...]
    """Each other system minus the first model."""
    title: str
    results: tuple[int, ...]
    """Positions of the results in the report."""

    @property
    def id(self) -> str:
        """Where on the page the question is answered."""
        return f"question-{self.results[0]}"


@dataclass(frozen=True)
class MeanRank:
    """The mean rank of a system over the probes that all ranked systems answered."""

    system: str
    mean_rank: float
    borda: float
    questions: int
    """How many probes."""


@dataclass(frozen=True)
class SuperbStanding:
    """The SUPERB score of a system over the SUPERB tasks that it has."""

    system: str
    score: float
    tasks: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ModelComparison:
    """All systems of all results beside one another."""

    systems: tuple[str, ...]
    """Names of rows, models first."""
    models: int
    """How many of the systems are models."""
    of_results: tuple[Mapping[str, str], ...]
    """Of each result, the rows of its systems."""
    questions: tuple[ComparedQuestion, ...]
    ranks: tuple[MeanRank, ...]
    superb: tuple[SuperbStanding, ...]


def compare_models(results: Sequence[Result], home: Path, pairs: SystemPairs) -> ModelComparison:
    """Put all systems of all results beside one another.

    Parameters
    ----------
    results
        As read from their folders, in the order they are to be shown.
    home
        The report's folder, from which links lead to the predictions.
    pairs
        Compares the systems.
    """
    keys = _keys(results)
    names = _names(results, keys)
    questions: dict[tuple[str, str], list[int]] = {}
    for index, result in enumerate(results):
        questions.setdefault((name_of(result), main_of(result)), []).append(index)
    rows = _order(dict.fromkeys(key for one in keys for key in one))
    several = len({name for name, _ in questions}) < len(questions)
    systems = [names[key] for key in rows]
    asked = []
    for (name, main), places in questions.items():
        found: dict[str, ScoredSystem] = {}
        for place in places:
            for key, system in zip(keys[place], _systems(results[place]), strict=True):
                found.setdefault(names[key], system)
        question = _question([results[place] for place in places], found, systems, home, pairs)
        title = f"{name} ({metric_label(main)})" if several else name
        asked.append(replace(question, title=title, results=tuple(places)))
    return ModelComparison(
        systems=tuple(systems),
        models=sum(key[0] == "model" for key in rows),
        of_results=tuple(
            {system.name: names[key] for system, key in zip(_systems(result), row, strict=True)}
            for result, row in zip(results, keys, strict=True)
        ),
        questions=tuple(asked),
        ranks=rank_models(systems, asked),
        superb=superb_standings(_scores(results, keys, names)),
    )


def _scores(
    results: Sequence[Result], keys: Sequence[Sequence[_Key]], names: Mapping[_Key, str]
) -> dict[str, dict[str, dict[str, MetricResult]]]:
    """Return all scores by system, probe and metric."""
    found: dict[str, dict[str, dict[str, MetricResult]]] = {}
    for result, row in zip(results, keys, strict=True):
        for key, system in zip(row, _systems(result), strict=True):
            found.setdefault(names[key], {}).setdefault(name_of(result), system.scores.metrics)
    return found


def name_of(result: Result) -> str:
    """Return the probe's name."""
    return result.model.scores.probe or result.path.name


def main_of(result: Result) -> str:
    """Return the name of the main metric."""
    return result.model.scores.main_metric


def _systems(result: Result) -> tuple[ScoredSystem, ...]:
    return (result.model, *result.baselines)


def _keys(results: Sequence[Result]) -> list[list[_Key]]:
    """Return a key for each system of each result; the model's comes first."""
    seen: dict[tuple[str, ...], int] = {}
    out = []
    for result in results:
        row = []
        for system in _systems(result):
            mark = system.scores.model_fingerprint or system.scores.model or str(result.path)
            kind = "model" if system is result.model else system.name
            # Baselines without weights are the same whatever is done to the model.
            tuning: Tuning = result.tuning if kind in ("model", UNTRAINED) else "frozen"
            again = 0
            if kind == "model":
                asked = (kind, mark, tuning, name_of(result), main_of(result))
                again = seen.get(asked, 0)
                seen[asked] = again + 1
            row.append((kind, mark, tuning, again))
        out.append(row)
    return out


def _names(results: Sequence[Result], keys: Sequence[Sequence[_Key]]) -> dict[_Key, str]:
    """Name each row: as short as the models' names allow, and no two alike."""
    full: dict[_Key, str] = {}
    owners: dict[_Key, _Key] = {}
    for result, row in zip(results, keys, strict=True):
        full.setdefault(row[0], result.model.scores.model or result.path.name)
        for key in row[1:]:
            owners.setdefault(key, row[0])
    short = dict(zip(full, shorten(list(full.values())), strict=True))
    several = len({tuning for _, _, tuning, _ in full}) > 1
    names = {key: tuned_name(name, key[2]) if several else name for key, name in short.items()}
    # Numbered before the baselines take their names.
    names = _numbered(names)
    kinds = [kind for kind, *_ in owners]
    for key, owner in owners.items():
        alone = kinds.count(key[0]) == 1
        names[key] = label_of(key[0]) if alone else f"{label_of(key[0])} of {names[owner]}"
    return _numbered(names)


def _numbered(names: Mapping[_Key, str]) -> dict[_Key, str]:
    """Add numbers to names that occur more than once, from the second on."""
    taken: dict[str, int] = {}
    out = {}
    for key, name in names.items():
        taken[name] = taken.get(name, 0) + 1
        out[key] = name if taken[name] == 1 else f"{name} ({taken[name]})"
    return out


def shorten(names: Sequence[str]) -> list[str]:
    """Return the last parts of paths, as many as tell them apart; names that are no paths are kept.

    Examples
    --------
    >>> shorten(["runs/a/model", "runs/b/model"]), shorten(["runs/mert", "logmel"])
    (['a/model', 'b/model'], ['mert', 'logmel'])
    """
    parts = [PurePath(name).parts or (name,) for name in names]
    for length in range(1, max(map(len, parts), default=1)):
        short = ["/".join(one[-length:]) for one in parts]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


def _order(keys: Mapping[_Key, None]) -> list[_Key]:
    kinds = ["model", UNTRAINED, "logmel"]
    return sorted(keys, key=lambda key: (kinds.index(key[0]) if key[0] in kinds else len(kinds), key[0]))


def _question(
    results: Sequence[Result],
    found: Mapping[str, ScoredSystem],
    order: Sequence[str],
    home: Path,
    pairs: SystemPairs,
) -> ComparedQuestion:
    """Compare the systems of one probe; `found` has the first model first, the cells are in `order`."""
    main = main_of(results[0])
    first_name, first = next(iter(found.items()))
    measured = first.score_of(main)
    higher = measured.higher_is_better
    scores = {name: found[name].score_of(main) for name in order if name in found}
    values = {name: value for name, one in scores.items() if (value := finite(one.value)) is not None}
    best = (max if higher else min)(values.values()) if values else None
    return ComparedQuestion(
        name=name_of(results[0]),
        metric=main,
        unit=measured.unit,
        higher_is_better=higher,
        warnings=_warnings(results),
        cells={
            name: ComparedCell(
                value=values.get(name),
                low=finite(one.low),
                high=finite(one.high),
                best=len(values) > 1 and values.get(name) == best,
                predictions=link_to(found[name].file, home),
            )
            for name, one in scores.items()
        },
        first=first_name,
        differences=tuple(
            replace(pairs.compare(found[name], first, main), system=name) for name in scores if name != first_name
        ),
        title="",
        results=(),
    )


def _warnings(results: Sequence[Result]) -> tuple[str, ...]:
    of_models = [result.model.scores for result in results]
    settings = {
        "signature": list(dict.fromkeys(one.signature for one in of_models)),
        "decoder": list(dict.fromkeys(one.decoder or "none" for one in of_models)),
    }
    name = name_of(results[0])
    return tuple(settings_differ(name, setting, used) for setting, used in settings.items() if len(used) > 1)


SUPERB_TASKS = {
    "phones_superb": "pr",
    "asr_superb": "asr",
    "keyword_superb": "ks",
    "speaker_id_superb": "sid",
    "speaker_verification_superb": "asv",
    "intent_superb": "ic",
    "slots_superb": "sf",
    "emotion_superb": "er",
}
"""Probes that ask SUPERB's questions in its way, and its names for them."""


def rank_models(systems: Sequence[str], questions: Sequence[ComparedQuestion]) -> tuple[MeanRank, ...]:
    """Rank systems over the questions that all of them answered, the best first.

    Systems that answered less than the first one are left out. There are no ranks of fewer than two systems, or over
    fewer than two questions.
    """
    from audio_ssl.metrics.leaderboards import rank_systems

    if not systems:
        return ()
    asked = [one for one in questions if _value(one, systems[0]) is not None]
    whole = [name for name in systems if all(_value(one, name) is not None for one in asked)]
    if len(asked) < 2 or len(whole) < 2:
        return ()
    table = {name: {one.title: _value(one, name) or 0.0 for one in asked} for name in whole}
    ranked = rank_systems(table, {one.title: one.higher_is_better for one in asked})
    return tuple(MeanRank(name, row.mean_rank, row.borda, len(asked)) for name, row in ranked.items())


def superb_standings(scores: Mapping[str, Mapping[str, Mapping[str, MetricResult]]]) -> tuple[SuperbStanding, ...]:
    """Return the SUPERB score of each system that has a probe of SUPERB's; `scores` are by system, probe and metric."""
    from audio_ssl.metrics.leaderboards import OCTOBER_2021, superb_score

    rows = []
    for system, probes in scores.items():
        found: dict[str, dict[str, float]] = {}
        for probe, metrics in probes.items():
            task = SUPERB_TASKS.get(probe)
            if task is None:
                continue
            values = {name: finite(metrics.get(name, NOT_MEASURED).value) for name in OCTOBER_2021[task]}
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) == len(values):
                found[task] = known
        if found:
            try:
                score = superb_score(found)
            except UserError:
                continue
            rows.append(SuperbStanding(system, score.value, tuple(sorted(found)), tuple(score.missing)))
    return tuple(rows)


def _value(question: ComparedQuestion, name: str) -> float | None:
    cell = question.cells.get(name)
    return None if cell is None else cell.value
