"""The card of a shipped model: Markdown with the front matter of model hubs, written from facts and hashes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.documents import dump_yaml
from audio_ssl.integrity import Seal
from audio_ssl.metrics.names import metric_label
from audio_ssl.release.limits import limits_of
from audio_ssl.shipped.facts import HeardCorpus, PairedGap, ScoreRow, ShippedFacts

_COPYLEFT = re.compile(r"\bL?GPL\b|\bBY-(?:NC-)?SA\b")
_TERMS = re.compile(r"\bNC\b|\bND\b|research|not known|none stated")


def render(facts: ShippedFacts, seals: Mapping[str, Seal]) -> str:
    """Return the card.

    Parameters
    ----------
    facts
        What is known of the model.
    seals
        Length and hash of its files.
    """
    parts = [
        f"---\n{dump_yaml(_front_matter(facts))}---",
        f"# {facts.name}\n\n{facts.summary}",
        _size(facts),
        _use(facts),
        _scores(facts),
        "## Limits\n\n" + "\n".join(f"- {one}" for one in limits_of(facts)),
        _audio(facts),
        _training(facts),
        _licence(facts),
        _files(facts, seals),
        _citation(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: ShippedFacts) -> dict[str, Any]:
    languages = sorted({language for one in facts.corpora for language in one.languages})
    head: dict[str, Any] = {
        "license": facts.licence.lower(),
        "library_name": "audio-ssl",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "speech", "music", "self-supervised-learning", "feature-extraction"],
    }
    head |= {"language": languages} if languages else {}
    if own := [row for row in facts.scores if row.system == facts.name]:
        head["model-index"] = [{"name": facts.name, "results": [_entry(row) for row in own]}]
    return head


def _entry(row: ScoreRow) -> dict[str, Any]:
    return {
        "task": {"type": "audio-classification", "name": row.task},
        "dataset": {"type": "private", "name": f"held-out clips of {row.task}"},
        "metrics": [{"type": row.metric.lower(), "value": round(row.value, 2)}],
    }


def _size(facts: ShippedFacts) -> str:
    return _table(
        ("", ""),
        [
            ("frontend, encoder", f"{facts.frontend}, {facts.encoder}"),
            ("blocks, width", f"{facts.layers}, {facts.dim}"),
            ("parameters", f"{facts.parameters:,}"),
            ("input", f"mono at {facts.sample_rate:,} Hz; files of any rate are resampled"),
            ("output", f"{facts.layers + 1} hidden states of {facts.frames_per_second:g} frames a second"),
            ("fingerprint", facts.fingerprint),
        ],
    )


def _use(facts: ShippedFacts) -> str:
    return (
        "## Use\n\nIt comes with the package; nothing is downloaded.\n\n```python\nimport audio_ssl\n\n"
        f'model = audio_ssl.load("{facts.name}")\nfor clip, features in model.stream("my_music", pool="mean"):\n    ...'
        f"\n```\n\n```\naudio-ssl extract my_music/ {facts.name} --out features\n```"
    )


def _scores(facts: ShippedFacts) -> str:
    scores = facts.scores
    if not scores:
        return "## Scores\n\nNone are recorded."
    systems = list(dict.fromkeys(row.system for row in scores))
    rows = []
    for task in dict.fromkeys(row.task for row in scores):
        cells = {row.system: row for row in scores if row.task == task}
        first = next(iter(cells.values()))
        label = f"{metric_label(first.metric)} {'↑' if first.higher_is_better else '↓'}"
        rows.append((task, label, *(_score(cells.get(system)) for system in systems)))
    head = "Held-out clips; frozen features, the same linear probe for every column, layer chosen on validation clips; "
    table = _table(("task", "score", *systems), rows)
    return f"## Scores\n\n{head}95 % intervals.\n\n{table}{_gaps(facts.gaps)}"


def _gaps(gaps: Sequence[PairedGap]) -> str:
    if not gaps:
        return ""
    rows = []
    for one in gaps:
        way = "" if one.covered is None else f"{one.covered:.0f} % of the way from log-mel"
        rows.append((one.task, one.other, f"{one.value:+.1f} [{one.low:+.1f}, {one.high:+.1f}]", way))
    said = "Differences on the same clips, in points; above 0 the model is better."
    return f"\n\n{said}\n\n" + _table(("task", "beside", "difference", "of a published encoder"), rows)


def _score(row: ScoreRow | None) -> str:
    return "" if row is None else f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]"


def _audio(facts: ShippedFacts) -> str:
    rows = [
        (one.title, f"{one.hours:.2f}", f"{one.clips:,}", "synthetic" if one.made else "as published", one.licence)
        for one in facts.corpora
    ]
    total = sum(one.hours for one in facts.corpora)
    said = (
        f"{total:.2f} hours of distinct audio, heard {facts.cost.heard_hours / max(total, 1e-9):.1f} times on average."
    )
    return f"## Audio it was trained on\n\n{said}\n\n" + _table(
        ("corpus", "hours", "clips", "sound", "licence of the audio"), rows
    )


def _training(facts: ShippedFacts) -> str:
    cost = facts.cost
    rows = [
        ("updates", f"{cost.updates:,}"),
        ("audio heard in them", f"{cost.heard_hours:.3g} h"),
        ("compute", f"{cost.hours:.3g} h on {cost.cores:g} cores, {cost.core_hours:.3g} core-hours"),
        ("energy", f"about {cost.kilowatt_hours:.2g} kWh, an estimate"),
        ("recipe, manifest (hashes)", f"{facts.recipe_hash}, {facts.manifest_hash}"),
        ("audio_ssl", facts.made_with),
        ("packages", ", ".join(f"{name} {version}" for name, version in facts.versions)),
    ]
    said = (
        f"Energy is core-hours times {cost.watts_per_core:g} W a core, which is assumed and not measured. The hours "
        "are those of updates; fitting teachers, validation and what was tried before are not in them."
    )
    command = f"\n\nOne command trains it:\n\n```\n{facts.command}\n```" if facts.command else ""
    return f"## Training\n\n{_table(('', ''), [row for row in rows if row[1]])}\n\n{said}{command}"


def _licence(facts: ShippedFacts) -> str:
    bound = [one for one in facts.corpora if _COPYLEFT.search(one.licence)]
    other = [one for one in facts.corpora if one not in bound and _TERMS.search(one.licence)]
    said = [
        f"**Weights.** Whatever rights the authors of audio_ssl have in these weights, they license under "
        f"{facts.licence}.",
        "**Audio.** The weights were computed from the audio above, and no audio is in this folder. That audio keeps "
        "its own licences. Whether weights count as a work derived from the audio is not settled, and may depend on "
        "the country and on the use; the licence of the weights does not claim to answer it.",
    ]
    if bound:
        said.append(
            f"**Copyleft and share-alike.** Corpora with such terms: {_list(bound)}. Who must rule them out should "
            "take advice, or train the recipe without these corpora."
        )
    if other:
        said.append(f"**Other terms.** Look at the licence of {_list(other)} before a commercial use.")
    credit = "\n".join(f"- {one.title}: {one.citation}" for one in facts.corpora)
    return "## Licence\n\n" + "\n\n".join(said) + f"\n\n**Credit** for the audio, as its licences ask:\n\n{credit}"


def _list(corpora: Sequence[HeardCorpus]) -> str:
    return ", ".join(one.title for one in corpora)


def _files(facts: ShippedFacts, seals: Mapping[str, Seal]) -> str:
    rows = [(f"`{name}`", f"{one.bytes:,}", f"`{one.sha256}`") for name, one in sorted(seals.items())]
    stored = {
        "float32": "The weights are stored as they were trained.",
        "float16": "Matrices are stored in float16 and vectors in float32; the model is read as float32.",
        "bfloat16": "Matrices are stored in bfloat16 and vectors in float32; the model is read as float32.",
    }[facts.weights]
    moved = f" That moves the last hidden state by {facts.rounding:.2%} of its size." if facts.rounding else ""
    checked = "`audio_ssl.load` compares each file with its hash and refuses any other."
    return f"## Files\n\n{_table(('file', 'bytes', 'SHA-256'), rows)}\n\n{stored}{moved} {checked}"


def _citation(facts: ShippedFacts) -> str:
    return (
        "## Citation\n\n```bibtex\n@software{audio_ssl,\n"
        "  title = {audio\\_ssl: a speech and music representation suite},\n"
        f"  author = {{{{The audio\\_ssl authors}}}},\n  version = {{{facts.made_with}}},\n"
        f"  note = {{Model {facts.name}, fingerprint {facts.fingerprint}}}\n}}\n```"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )
