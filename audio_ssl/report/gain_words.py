"""The report's first sentence: on how many probes a model beats all its baselines, and by what that was told.

Nothing here is known beforehand. A probe counts where the model is better than each baseline beyond chance; where a
baseline is better, or not told apart, that is said next, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.report.numbers import finite

Results = Sequence[Mapping[str, Any]]


def gain_sentence(results: Results, name: str = "") -> str:
    """Say all of `gain_sentences` in one string."""
    return " ".join(gain_sentences(results, name))


def gain_sentences(results: Results, name: str = "") -> list[str]:
    """Say on how many probes a model is better than every baseline, then which baselines are not behind it.

    Parameters
    ----------
    results
        Of one model, as `describe_result` gives them, each with a verdict on one baseline or more.
    name
        What the model is called where there are several.

    Examples
    --------
    >>> twin = {"baseline": "untrained", "label": "untrained twin", "low": 1.0, "over": "40 clips"}
    >>> gain_sentences([{"name": "key", "verdicts": [{**twin, "decided": True, "better": True}]}])
    ['Pretraining beats the untrained twin on the one probe, by a paired 95 % interval over clips.']
    """
    verdicts = [verdict for result in results for verdict in result["verdicts"]]
    labels = list(dict.fromkeys(str(verdict["label"]) for verdict in verdicts))
    # Only the untrained twin tells what the training gave; beside spectra alone the architecture counts, too.
    twin = any(verdict["baseline"] == "untrained" for verdict in verdicts)
    subject = name or ("Pretraining" if twin else "The model")
    better = [str(one["name"]) for one in results if all(_is(verdict, True) for verdict in one["verdicts"])]
    verb = "beats" if better or len(results) > 1 else "does not beat"
    found = [f"{subject} {verb} {_baselines(results, labels)} {_share(len(better), len(results))}, {_means(results)}."]
    if better and len(better) < len(results):
        found.append(f"It does on {one_of(better, 'and')}.")
    model = name or "the model"
    found += _others(results, labels, True, f"Better than {model}")
    return found + _others(results, labels, False, f"No statistically significant difference from {model}")


def one_of(names: Sequence[str], last: str) -> str:
    """Join names in words.

    Examples
    --------
    >>> one_of(["a", "b", "c"], "and"), one_of(["a"], "or")
    ('a, b and c', 'a')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _is(verdict: Mapping[str, Any], better: bool) -> bool:
    return bool(verdict["decided"]) and verdict["better"] is better


def _baselines(results: Results, labels: Sequence[str]) -> str:
    """Name the baselines; one that was not asked everywhere says so."""
    named = []
    for label in labels:
        asked = sum(any(verdict["label"] == label for verdict in one["verdicts"]) for one in results)
        named.append(label if asked == len(results) else f"{label} on {asked} of them")
    return f"the {named[0]}" if len(named) == 1 else f"every baseline ({', '.join(named)})"


def _share(better: int, total: int) -> str:
    if total == 1:
        return "on the one probe"
    if better == total:
        return "on both probes" if total == 2 else f"on all {total} probes"
    return f"on {better or 'none'} of {total} probes"


def _means(results: Results) -> str:
    """Say what told systems apart: paired intervals and what they are over, or separate intervals."""
    paired, apart = [], []
    for result in results:
        for verdict in result["verdicts"]:
            if finite(verdict.get("low")) is None:
                apart.append(str(result["name"]))
            else:
                # "24 speakers"
                noun = str(verdict.get("over") or "clips").partition(" ")[2] or "clips"
                paired.append(noun if noun.endswith("s") else f"{noun}s")
    if not paired:
        return "by separate 95 % intervals that do not overlap"
    several = len(paired) > 1
    text = f"by {'' if several else 'a '}paired 95 % interval{'s' if several else ''} over "
    text += one_of(list(dict.fromkeys(paired)), "or")
    if apart:
        names = one_of(list(dict.fromkeys(apart)), "and")
        text += f", and on {names} by separate ones that do not overlap"
    return text


def _others(results: Results, labels: Sequence[str], decided: bool, heading: str) -> list[str]:
    """Name the baselines that are better (`decided`), or not told apart, each with its probes."""
    found = []
    for label in labels:
        names = [
            str(one["name"])
            for one in results
            for verdict in one["verdicts"]
            if verdict["label"] == label
            and (_is(verdict, False) if decided else not (_is(verdict, True) or _is(verdict, False)))
        ]
        if names:
            found.append(f"{label} on {one_of(names, 'and')}")
    return [f"{heading}: {'; '.join(found)}."] if found else []
