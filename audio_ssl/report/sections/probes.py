"""Each probe in detail: its test set, every score, layers and runs, confusions, single clips, what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.clips import Sounds, word_changes
from audio_ssl.report.comparison import question_id
from audio_ssl.report.html import Block, Figure, Fold, Section, Table, linked, make_table
from audio_ssl.report.numbers import MISSING, count, duration, finite, interval, number, score
from audio_ssl.report.sections.probe_figures import (
    confusion_figures,
    grid_figure,
    history_figure,
    layer_figure,
    systems_of,
    trial_figure,
    value_figures,
    weight_figure,
)
from audio_ssl.report.sections.scores import direction

_MOST_OPEN = 2
_MOST_UNLISTED = 3


def probes_section(
    results: Sequence[Mapping[str, Any]],
    questions: Sequence[Mapping[str, Any]],
    sounds: Sequence[Sounds] = (),
) -> Section:
    """Show every probe in detail: what the models share, then each model's answers in a fold of its own.

    The folds are closed where there are more than `_MOST_OPEN` results.

    Parameters
    ----------
    results, questions
        Of the report's JSON; a question names its results by position.
    sounds
        Excerpts of each result's clips; none if empty.
    """
    blocks = []
    for question in questions:
        places = question["results"]
        group = [results[place] for place in places]
        folds = tuple(
            Fold(
                summary=_summary(results[place]),
                inside=_detail(results[place], place, sounds[place] if sounds else {}),
                open=len(results) <= _MOST_OPEN,
            )
            for place in places
        )
        blocks.append(_question(question, group, folds))
    return Section("probes", "Probe by probe", tuple(blocks))


def contents(questions: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Return id and title of every question; nothing where there are at most three."""
    if len(questions) <= _MOST_UNLISTED:
        return ()
    return tuple((question_id(one), str(one["title"])) for one in questions)


def _question(question: Mapping[str, Any], results: Sequence[Mapping[str, Any]], folds: tuple[Fold, ...]) -> Block:
    return Block(
        id=question_id(question),
        heading=str(question["title"]),
        figures=_kept([layer_figure(results, f"layers-{question['results'][0]}")]),
        tables=_tables([_metric_table(results), _cost_table(results, folds[0].open)]),
        folds=folds,
    )


def _summary(result: Mapping[str, Any]) -> Markup:
    """Name the model with its main score, and say that there are warnings, for they may be out of sight."""
    main, unit = result["main_metric"], result["unit"]
    metric = result["systems"][0]["metrics"].get(main) or {}
    ends = interval(metric.get("low"), metric.get("high"), unit)
    between = Markup(' <span class="whole">({})</span>').format(ends) if ends != MISSING else ""
    mind = f" · {count(len(result['warnings']), 'warning')}" if result["warnings"] else ""
    return Markup("<strong>{}</strong> {} {}{}{}").format(
        result["model_label"], metric_label(main), score(metric.get("value"), unit), between, mind
    )


def _detail(result: Mapping[str, Any], index: int, heard: Sounds) -> Block:
    figures = [
        grid_figure(result, f"grid-{index}"),
        weight_figure(result, f"weights-{index}"),
        history_figure(result, f"history-{index}"),
        trial_figure(result, f"trials-{index}"),
        *value_figures(result, f"values-{index}"),
        *confusion_figures(result, f"confusion-{index}"),
    ]
    return Block(
        id=f"probe-{index}",
        lead=_lead(result),
        warnings=tuple(result["warnings"]),
        figures=_kept(figures),
        tables=_tables([_pair_table(result), _excluded_table(result)]),
        examples=tuple(_example(one, heard, _changes(result, one)) for one in result["examples"]),
    )


def _kept(figures: Iterable[Figure | None]) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _tables(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None)


def _lead(result: Mapping[str, Any]) -> tuple[str, ...]:
    parts = [f"Model: {result['model']}." if result["model"] else ""]
    for split, found in result["counts"].items():
        if not isinstance(found, Mapping):
            continue
        words = [count(int(found["clips"]), "clip")] if finite(found.get("clips")) is not None else []
        words += [duration(found["seconds"])] if finite(found.get("seconds")) is not None else []
        words += [count(int(found["speakers"]), "speaker")] if found.get("speakers") else []
        parts.append(f"{str(split).capitalize()}: {', '.join(words)}.")
    if result["folds"]:
        parts.append(f"{result['folds']} folds, each tested once.")
    signature = f"Score signature: {result['signature']}." if result["signature"] else ""
    decoder = f"Search: {result['decoder']}." if result["decoder"] else ""
    return tuple(line for line in (" ".join(filter(None, parts)), _chosen(result), signature, decoder) if line)


def _chosen(result: Mapping[str, Any]) -> str:
    """Say which run the validation clips chose."""
    chosen = result["systems"][0]["chosen"]
    if not chosen or all(finite(one.get("lr")) is None for one in chosen):
        return ""
    runs = []
    for one in chosen:
        layer = finite(one.get("layer"))
        where = "mix of layers" if layer is None else f"layer {number(layer)}"
        whitened = ", whitened" if one.get("whiten") is True else ""
        runs.append(f"{where}{whitened}, learning rate {one.get('lr')}, seed {one.get('seed')}")
    return (
        f"Chosen on the validation clips{' of the folds' if len(chosen) > 1 else ''}: {'; '.join(dict.fromkeys(runs))}."
    )


MOST_COLUMNS = 3
"""Systems that stand side by side beside a picture; more of them are rows."""


def _metric_table(results: Sequence[Mapping[str, Any]]) -> Table:
    systems = systems_of(results)
    first = results[0]["systems"][0]["metrics"]
    if len(results) == 1 and len(systems) <= MOST_COLUMNS:
        rows: list[tuple[str | Markup, ...]] = []
        for name, metric in first.items():
            cells = [_score_cell(system, name) for _, system in systems]
            rows.append((metric_label(name), direction(bool(metric.get("higher_is_better", True))), *cells))
        head = ("Score", "Direction", *(name[:1].upper() + name[1:] for name, _ in systems))
        return make_table("Every score on the test set, with its 95 % interval", head, rows, text_columns=(1,))
    names = [
        f"{metric_label(name)} {'↑' if bool(metric.get('higher_is_better', True)) else '↓'}"
        for name, metric in first.items()
    ]
    rows = [(label, *(_score_cell(system, name) for name in first)) for label, system in systems]
    return make_table("Every score on the test set, with its 95 % interval", ("System", *names), rows, sticky=True)


def _score_cell(system: Mapping[str, Any], name: str) -> str | Markup:
    metric = system["metrics"].get(name) or {}
    unit = metric.get("unit") or ""
    value = linked(score(metric.get("value"), unit), system)
    ends = interval(metric.get("low"), metric.get("high"), unit)
    return value if ends == MISSING else Markup('{} <span class="whole">({})</span>').format(value, ends)


def _cost_table(results: Sequence[Mapping[str, Any]], shown: bool) -> Table | None:
    rows = []
    for name, system in systems_of(results):
        cost = system["cost"]
        if not cost:
            continue
        memory = finite(cost.get("peak_memory_bytes"))
        parameters = finite(cost.get("parameters"))
        rows.append(
            (
                name,
                *(duration(cost.get(f"{stage}_seconds")) for stage in ("extract", "fit", "predict")),
                MISSING if parameters is None else f"{parameters:,.0f}",
                MISSING if memory is None else f"{memory / 1e9:.2f} GB",
                duration(cost.get("audio_seconds")),
            )
        )
    if not rows:
        return None
    head = ("System", "Extract", "Fit", "Predict", "Trained parameters", "Peak memory", "Audio")
    note = "Extraction costs nothing where an earlier probe has left its features. Memory is that of the whole process."
    return make_table("What it cost", head, rows, notes=(note,), sticky=True, folded=not shown)


def _pair_table(result: Mapping[str, Any]) -> Table | None:
    rows = [
        (one["reference"], one["hypothesis"], f"{one['clips']:,}", score(100 * one["clips"] / one["of"], "%"))
        for one in result["confused_pairs"]
    ]
    if not rows:
        return None
    head = ("Reference", "Answered", "Clips", "Share of the reference's clips")
    return make_table("Classes most often taken for another", head, rows, text_columns=(1,))


def _excluded_table(result: Mapping[str, Any]) -> Table | None:
    rows: list[tuple[str, str]] = []
    for one in result["excluded"]:
        if isinstance(one, Mapping):
            name = next((str(one[key]) for key in ("id", "name", "class", "path") if one.get(key)), "–")
            rows.append((name, str(one.get("reason") or "–")))
        else:
            rows.append((str(one), "–"))
    rows += [(f"{one['count']:,} in errors.jsonl", one["reason"]) for one in result["errors"]["reasons"]]
    if not rows:
        return None
    shown, left = rows[:12], len(rows) - 12
    notes = (f"{left:,} more are in the JSON beside this page.",) if left > 0 else ()
    return make_table(f"Left out ({len(rows):,})", ("What", "Reason"), shown, text_columns=(1,), notes=notes)


def _changes(result: Mapping[str, Any], one: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what of reference and answer is marked as different."""
    reference, answer = str(one["reference"]), str(one["hypothesis"])
    if result["values"]:
        # Numbers are near or far, not the same or different.
        return [("only-reference", reference), ("only-answer", answer)]
    if (result["confusion"] or result["confused_pairs"]) and reference != answer:
        # A class is right or wrong as a whole, however many words its name has.
        return [("missing", reference), ("added", answer)]
    return word_changes(reference, answer)


def _example(one: Mapping[str, Any], heard: Sounds, changes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    about = ", ".join(str(one[key]) for key in ("speaker", "gender", "language", "track", "artist") if one.get(key))
    return {
        "which": one["which"],
        "id": one["id"],
        "about": about,
        "score": "" if one["score"] is None else score(one["score"], one["unit"]),
        "changes": changes,
        "marked": any(kind in ("missing", "added") for kind, _ in changes),
        "sound": heard.get(one["id"], ""),
    }
