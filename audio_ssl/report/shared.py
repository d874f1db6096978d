"""Baselines that every model of a report stands beside, although they were asked once.

Log-mel and CQT frames give the same answers whichever model they were asked beside. So a model that was probed alone
borrows them from another model's result, where both were asked the same question of the same manifest. An untrained
twin belongs to its own model and is never lent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from audio_ssl.report.inputs import Result, ScoredSystem

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
