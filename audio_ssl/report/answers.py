"""What the model answered: the best and worst clips beside their references, and which class was taken for which."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audio_ssl.report.paired import additive

MAX_CLASSES = 36
_PER_END = 4
_TONICS = ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")
_FLATS = {"db": "c#", "eb": "d#", "gb": "f#", "ab": "g#", "bb": "a#", "cb": "b", "fb": "e"}
_KEY = re.compile(r"([a-g][#b♯♭-]?)[ _:]*(maj(?:or)?|min(?:or)?|m)?", re.IGNORECASE)


def examples(rows: Sequence[Mapping[str, Any]], metric_name: str, task: str | None) -> list[dict[str, Any]]:
    """Choose the clips with the best and the worst scores.

    Parameters
    ----------
    rows
        Predictions: ``id, reference, hypothesis``; lists of tags are written as one line.
    metric_name
        The metric that ranks single clips where it is a sum over clips; translations are ranked by chrF, because the
        BLEU of one sentence is mostly zero. Other metrics rank tags by how many agree.
    task
        The probe's task.

    Returns
    -------
    list
        At most eight: ``id, reference, hypothesis, score, which`` (best or worst) and what else names the clip.
    """
    metric = additive("chrf" if task == "st" else metric_name)
    ranked = []
    for row in rows:
        reference, hypothesis = _line(row.get("reference")), _line(row.get("hypothesis"))
        if not isinstance(row.get("reference"), str) or metric is None:
            quality, shown = _agreement(row.get("reference"), row.get("hypothesis")), None
        else:
            shown = float(metric.score(np.asarray(metric.per_clip(reference, hypothesis), dtype=np.float64)))
            if math.isnan(shown):  # The reference is empty, so the clip has no score of its own.
                continue
            quality = shown if metric.higher_is_better else -shown
        ranked.append((quality, len(reference), str(row.get("id")), reference, hypothesis, shown, row))
    # Among equals the longer reference goes first: it shows more. The id settles the rest, for a stable page.
    ranked.sort(key=lambda one: (-one[0], -one[1], one[2]))
    best = ranked[:_PER_END]
    worst = sorted(ranked[max(len(best), len(ranked) - _PER_END) :], key=lambda one: (one[0], -one[1], one[2]))
    unit = metric.unit if metric else ""
    return [_example(one, "best", unit) for one in best] + [_example(one, "worst", unit) for one in worst]


def _example(ranked: tuple[Any, ...], which: str, unit: str) -> dict[str, Any]:
    _, _, clip, reference, hypothesis, shown, row = ranked
    about = {key: row[key] for key in ("speaker", "gender", "language") if row.get(key)}
    return {
        "which": which,
        "id": clip,
        "reference": reference,
        "hypothesis": hypothesis,
        "score": shown,
        "unit": unit,
        **about,
    }


def _line(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value if value is not None else "")


def _agreement(reference: Any, hypothesis: Any) -> float:
    wanted, got = (set(value) if isinstance(value, list | tuple) else {value} for value in (reference, hypothesis))
    return len(wanted & got) / len(wanted | got) if wanted | got else 1.0


def word_changes(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Align two texts word by word, as pairs of kind (``same``, ``missing``, ``added``) and words.

    Examples
    --------
    >>> word_changes("the small fish", "the fish swims")
    [('same', 'the'), ('missing', 'small'), ('same', 'fish'), ('added', 'swims')]
    """
    wanted, got = reference.split(), hypothesis.split()
    out = []
    for tag, start, stop, other_start, other_stop in difflib.SequenceMatcher(
        a=wanted, b=got, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            out.append(("same", " ".join(wanted[start:stop])))
            continue
        if stop > start:
            out.append(("missing", " ".join(wanted[start:stop])))
        if other_stop > other_start:
            out.append(("added", " ".join(got[other_start:other_stop])))
    return out


def confusion(rows: Sequence[Mapping[str, Any]], task: str | None) -> dict[str, Any] | None:
    """Count which class was answered for which, for tasks with one class a clip.

    Returns
    -------
    dict or None
        ``labels`` and ``counts[reference][answer]``; None for tasks whose answers are texts or lists, and where there
        are more than `MAX_CLASSES` classes. Musical keys run in semitones, major before minor.
    """
    if task in ("asr", "st", "tagging") or not rows or not all(_is_class(row) for row in rows):
        return None
    found = {str(row[side]) for row in rows for side in ("reference", "hypothesis")}
    if not 2 <= len(found) <= MAX_CLASSES:
        return None
    labels = sorted(found, key=_class_order)
    place = {label: index for index, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for row in rows:
        counts[place[str(row["reference"])]][place[str(row["hypothesis"])]] += 1
    return {"labels": labels, "counts": counts}


def _is_class(row: Mapping[str, Any]) -> bool:
    return all(isinstance(row.get(side), str | int) for side in ("reference", "hypothesis"))


def _class_order(label: str) -> tuple[int, int, str]:
    match = _KEY.fullmatch(label.strip())
    if not match:
        return (2, 0, label)
    tonic = match[1].lower().replace("♯", "#").replace("♭", "b").replace("-", "b")
    tonic = _FLATS.get(tonic, tonic)
    mode = (match[2] or "maj").lower()
    return (int(mode.startswith("mi") or mode == "m"), _TONICS.index(tonic) if tonic in _TONICS else 12, label)
