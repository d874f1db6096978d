"""Systems over all probes: mean ranks, and the SUPERB score where probes are SUPERB's tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.errors import UserError
from audio_ssl.report.numbers import finite

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


def describe_ranks(systems: Sequence[str], questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rank systems over the questions that all of them answered.

    Parameters
    ----------
    systems
        Names of rows.
    questions
        Of a comparison: ``title, higher_is_better, cells``.

    Returns
    -------
    list
        ``system, mean_rank, borda, questions`` (how many), the best first; empty where fewer than two systems share
        fewer than two questions. Systems that answered less than the first one are left out.
    """
    from audio_ssl.metrics.ranks import rank_systems

    if not systems:
        return []
    asked = [one for one in questions if _value(one, systems[0]) is not None]
    whole = [name for name in systems if all(_value(one, name) is not None for one in asked)]
    if len(asked) < 2 or len(whole) < 2:
        return []
    table = {name: {one["title"]: float(_value(one, name) or 0.0) for one in asked} for name in whole}
    ranked = rank_systems(table, {one["title"]: bool(one["higher_is_better"]) for one in asked})
    return [
        {"system": name, "mean_rank": row.mean_rank, "borda": row.borda, "questions": len(asked)}
        for name, row in ranked.items()
    ]


def describe_superb(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Give each system's SUPERB score over the SUPERB tasks that it has.

    Parameters
    ----------
    metrics
        By system and probe: the scores of ``scores.json``.

    Returns
    -------
    list
        ``system, score, tasks, missing``; empty where no system has a probe of SUPERB's.
    """
    from audio_ssl.metrics.superb import OCTOBER_2021, superb_score

    rows = []
    for system, probes in metrics.items():
        found: dict[str, dict[str, float]] = {}
        for probe, scores in probes.items():
            task = SUPERB_TASKS.get(probe)
            if task is None:
                continue
            values = {name: finite((scores.get(name) or {}).get("value")) for name in OCTOBER_2021[task]}
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) == len(values):
                found[task] = known
        if found:
            try:
                score = superb_score(found)
            except UserError:
                continue
            rows.append({"system": system, "score": score.value, "tasks": sorted(found), "missing": score.missing})
    return rows


def _value(question: Mapping[str, Any], name: str) -> float | None:
    return finite((question["cells"].get(name) or {}).get("value"))
