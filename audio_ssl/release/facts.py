"""Facts of a run: what it was trained on, what training cost, and how its model scored.

The training clips are grouped by corpus, with licences, hours, languages and genders. The cost is the time of the
updates, the hours of audio in them, and an estimate of the energy. Scores are those of the model and of the systems
beside it in ``benchmarks/results/learning.json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import METRICS_FILE, read_updates
from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml
from audio_ssl.base.documents import JsonObject, as_object, find, read_object
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.columns import attribute
from audio_ssl.data.corpus import Corpus, load_corpus
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.registry import find_metric
from audio_ssl.pretrain.recipe import structure_recipe
from audio_ssl.pretrain.selection import select_clips
from audio_ssl.shipped.facts import HeardCorpus, PairedGap, ScoreRow, TrainingCost

COLUMN = "corpus"
"""Of a manifest's row: the name of the corpus that its clip is from."""

_UNNAMED = Corpus(
    name="",
    title="clips of no named corpus",
    description="",
    licence="not known",
    citation="not known",
    size="",
    layout="",
    splits={},
)


def heard_in(run: Path, manifest: Path | None = None) -> tuple[HeardCorpus, ...]:
    """Return the corpora of a run's training clips, largest first.

    Parameters
    ----------
    run
        The run; its recipe says which clips were trained on.
    manifest
        Where the run's manifest lies now; None: where the recipe says.

    Raises
    ------
    UserError
        If the recipe or the manifest cannot be read.
    """
    data = structure_recipe(read_yaml(run / RECIPE_FILE)).data
    if manifest is not None:
        data = dataclasses.replace(data, manifest=str(manifest))
    shortest = getattr(data, "min_seconds", 0.0)
    return by_corpus(clip for clip in select_clips(data).train if clip.seconds >= shortest)


def by_corpus(clips: Iterable[Clip]) -> tuple[HeardCorpus, ...]:
    """Return clips by corpus: that of their column ``corpus``, else one with the name of a folder above them."""
    known = set(catalog.names("corpora"))
    groups: dict[str, list[Clip]] = {}
    # A mix of corpora has several rows of a clip that comes more than once in an epoch.
    for clip in {(clip.path, clip.start, clip.seconds): clip for clip in clips}.values():
        groups.setdefault(_corpus_of(clip, known), []).append(clip)
    found = [_heard(load_corpus(name).card if name else _UNNAMED, group) for name, group in groups.items()]
    if not found:
        raise UserError("the run has no training clip")
    return tuple(sorted(found, key=lambda one: -one.hours))


def _corpus_of(clip: Clip, known: set[str]) -> str:
    said = clip.extra.get(COLUMN)
    if isinstance(said, str) and said in known:
        return said
    # `manifest NAME --fetch` puts a corpus into data/NAME.
    return next((part for part in reversed(Path(clip.path).parts[:-1]) if part in known), "")


def _heard(card: Corpus, clips: Sequence[Clip]) -> HeardCorpus:
    def hours(gender: str) -> float:
        return sum(clip.seconds for clip in clips if attribute(clip, "gender") == gender) / 3600

    return HeardCorpus(
        name=card.name,
        title=card.title,
        licence=card.licence,
        citation=card.citation,
        made=card.made,
        clips=len(clips),
        hours=sum(clip.seconds for clip in clips) / 3600,
        languages=tuple(sorted({clip.language for clip in clips if clip.language})),
        female_hours=hours("F"),
        male_hours=hours("M"),
    )


def cost_of(run: Path, cores: float, watts_per_core: float) -> TrainingCost:
    """Return what a run's updates took.

    The time of an update is its audio divided by its speed, both in its row of ``metrics.jsonl``. Pauses of a stopped
    run, fitting of teachers and validation are not counted.

    Parameters
    ----------
    run
        The run's folder.
    cores
        How many it computed on.
    watts_per_core
        Assumed draw of one busy core with its share of the machine.

    Raises
    ------
    UserError
        If the run has no update, or a number is not above 0.
    """
    for name, value in (("cores", cores), ("watts_per_core", watts_per_core)):
        if not value > 0:
            raise UserError(f"`{name}` must be above 0, but is {value:g}")
    # An update that was done again after a stop is in the file twice; the last one counts.
    rows: dict[tuple[int, int], tuple[float, float]] = {}
    for row in read_updates(run, strict=False):
        so_far, speed = row.number("audio_seconds"), row.number("audio_seconds_per_second")
        if so_far is not None and speed is not None:
            rows[row.iteration or 1, row.step] = so_far, speed
    if not rows:
        raise UserError(f"the run has no update in {METRICS_FILE}", where=str(run))
    seconds, heard, before = 0.0, 0.0, dict[int, float]()
    for (iteration, _), (so_far, speed) in sorted(rows.items()):
        audio = so_far - before.get(iteration, 0.0)
        before[iteration] = so_far
        heard += audio
        seconds += audio / max(1e-9, speed)
    return TrainingCost(len(rows), heard / 3600, seconds / 3600, cores, watts_per_core)


_NEEDED = ("system", "task", "metric", "value", "low", "high")


def scores_of(results: Path, system: str) -> tuple[tuple[ScoreRow, ...], tuple[PairedGap, ...]]:
    """Return the scores of a system and of all others on the same tasks, and its paired differences from them.

    Parameters
    ----------
    results
        ``benchmarks/results/learning.json``: sections with ``rows`` and, of comparisons clip by clip, ``pairs``.
    system
        What the model is called there.

    Raises
    ------
    UserError
        If a row lacks a key, or no row is of this system.
    """
    sections = {name: one for name, one in read_object(results).items() if isinstance(one, dict)}
    rows = [_row(row, where) for row, where in _items(sections, "rows", results)]
    asked = {row.task for row in rows if row.system == system}
    if not asked:
        raise unknown_name("system", system, {row.system for row in rows}, where=str(results))
    gaps = [
        _gap(row, where)
        for row, where in _items(sections, "pairs", results)
        if as_object(row, where)["model"] == system
    ]
    return tuple(row for row in rows if row.task in asked), tuple(gaps)


def _items(sections: Mapping[str, JsonObject], key: str, results: Path) -> Iterator[tuple[object, str]]:
    for name, section in sections.items():
        found = section.get(key)
        if isinstance(found, list):
            yield from ((row, f"{results}: $.{name}.{key}[{number}]") for number, row in enumerate(found))


def _gap(item: object, where: str) -> PairedGap:
    row = as_object(item, where)
    covered = row.get("covered")
    task, other = find(row, "task", str, where), find(row, "other", str, where)
    value, low, high = (float(find(row, key, float, where)) for key in ("value", "low", "high"))
    way = covered if isinstance(covered, float) else None
    return PairedGap(task, other, value, low, high, bool(row.get("peer")), way)


def _row(value: object, where: str) -> ScoreRow:
    row = as_object(value, where)
    system, task, metric = (find(row, key, str, where) for key in _NEEDED[:3])
    score, low, high = (float(find(row, key, float, where)) for key in _NEEDED[3:])
    layer = row.get("layer")
    known = find_metric(metric.lower())
    higher = known is None or known.higher_is_better
    return ScoreRow(task, system, metric, score, low, high, higher, layer if isinstance(layer, int) else None)
