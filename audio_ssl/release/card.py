"""The card of a shipped model: Markdown with the front matter of model hubs, written from facts and hashes alone.

The limits of a model are sentences, each with its reason in the facts. The documentation's table of the models that
ship is made here as well (``python benchmarks/tables.py`` writes it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audio_ssl.base.checksums import Seal
from audio_ssl.base.documents import dump_yaml
from audio_ssl.base.text import markdown_table
from audio_ssl.metrics.registry import metric_label
from audio_ssl.shipped import Shelf
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
    return markdown_table(
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
    table = markdown_table(("task", "score", *systems), rows)
    return f"## Scores\n\n{head}95 % intervals.\n\n{table}{_gaps(facts.gaps)}"


def _gaps(gaps: Sequence[PairedGap]) -> str:
    if not gaps:
        return ""
    rows = []
    for one in gaps:
        way = "" if one.covered is None else f"{one.covered:.0f} % of the way from log-mel"
        rows.append((one.task, one.other, f"{one.value:+.1f} [{one.low:+.1f}, {one.high:+.1f}]", way))
    said = "Differences on the same clips, in points; above 0 the model is better."
    return f"\n\n{said}\n\n" + markdown_table(("task", "beside", "difference", "of a published encoder"), rows)


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
    return f"## Audio it was trained on\n\n{said}\n\n" + markdown_table(
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
    return f"## Training\n\n{markdown_table(('', ''), [row for row in rows if row[1]])}\n\n{said}{command}"


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
    return f"## Files\n\n{markdown_table(('file', 'bytes', 'SHA-256'), rows)}\n\n{stored}{moved} {checked}"


def _citation(facts: ShippedFacts) -> str:
    return (
        "## Citation\n\n```bibtex\n@software{audio_ssl,\n"
        "  title = {audio\\_ssl: a speech and music representation suite},\n"
        f"  author = {{{{The audio\\_ssl authors}}}},\n  version = {{{facts.made_with}}},\n"
        f"  note = {{Model {facts.name}, fingerprint {facts.fingerprint}}}\n}}\n```"
    )


def limits_of(facts: ShippedFacts) -> list[str]:
    """Return the limits of a model, a sentence each."""
    return [*_of_the_form(facts), *_of_the_audio(facts), *_of_the_scores(facts)]


def _of_the_form(facts: ShippedFacts) -> Iterator[str]:
    yield f"It is small ({facts.parameters / 1e6:.1f} million parameters), made for machines without a GPU."
    yield f"It hears nothing above {facts.sample_rate / 2000:g} kHz, and channels are mixed to one."


def _of_the_audio(facts: ShippedFacts) -> Iterator[str]:
    total = sum(one.hours for one in facts.corpora) or 1.0
    made = [one for one in facts.corpora if one.made]
    if made:
        share = sum(one.hours for one in made) / total
        names = ", ".join(one.title for one in made)
        yield f"{share:.0%} of its audio is synthetic, made by this package ({names})."
    languages = sorted({language for one in facts.corpora for language in one.languages})
    if languages:
        yield f"Languages that its clips name: {', '.join(languages)}. Others are not known to work."
    female, male = (sum(getattr(one, key) for one in facts.corpora) for key in ("female_hours", "male_hours"))
    if female or male:
        yield (
            f"Of speech whose speaker's gender is known it heard {female:.2f} h of women and {male:.2f} h of men. "
            "Audit what is built on it with `audio-ssl fairness`."
        )
    else:
        yield "No clip names its speaker's gender. Audit what is built on it with `audio-ssl fairness`."
    if unnamed := [one for one in facts.corpora if not one.name]:
        yield f"{unnamed[0].hours:.2f} h of its audio are of no named corpus; their licence is not known."


def _of_the_scores(facts: ShippedFacts) -> Iterator[str]:
    if not facts.scores:
        yield "No scores are recorded: probe it on data of your own before relying on it."
        return
    if facts.gaps:
        yield from _of_the_gaps(facts)
        return
    for own in (row for row in facts.scores if row.system == facts.name):
        others = [row for row in facts.scores if row.task == own.task and row is not own]
        above = [row.system for row in others if _beyond(row, own)]
        level = [row.system for row in others if not _beyond(row, own) and not _beyond(own, row)]
        if above:
            yield f"{own.task}: {', '.join(above)} is better, intervals apart."
        if level:
            yield f"{own.task}: no statistically significant difference from {', '.join(level)}, as intervals overlap."


def _of_the_gaps(facts: ShippedFacts) -> Iterator[str]:
    for task in dict.fromkeys(one.task for one in facts.gaps):
        gaps = [one for one in facts.gaps if one.task == task]
        if above := [one.other for one in gaps if one.high < 0]:
            yield f"{task}: {', '.join(above)} is better on the same clips."
        if level := [one.other for one in gaps if one.low <= 0 <= one.high]:
            yield f"{task}: no statistically significant difference from {', '.join(level)} on the same clips."


def _beyond(one: ScoreRow, other: ScoreRow) -> bool:
    """Tell whether one score is better than another and their intervals do not overlap."""
    return one.low > other.high if one.higher_is_better else one.high < other.low


NONE = "No model ships with this version.\n"

_USE = """```
audio-ssl extract my_music/ {name} --pool mean --format parquet --out features
```

```python
import audio_ssl

model = audio_ssl.load("{name}")
for clip, features in model.stream("my_music", pool="mean"):
    ...
```
"""


def models_table(shelf: Shelf) -> str:
    """Return a table with a row for each model and how to use the first; a sentence if there is none."""
    rows = []
    for name in shelf.names():
        facts = shelf.facts(name)
        size = sum(file.stat().st_size for file in (shelf.root / name).iterdir())
        heard = f"{sum(one.hours for one in facts.corpora):.0f} h of audio"
        form = f"{facts.layers} x {facts.dim}, {facts.frames_per_second:g} frames/s at {facts.sample_rate} Hz"
        rows.append(f"| `{name}` | {facts.summary} | {form} | {size / 1e6:.1f} MB | {heard} | {facts.licence} |\n")
    head = "| name | what for | form | size | trained on | weights |\n|---|---|---|---|---|---|\n"
    return f"{head}{''.join(rows)}\n{_USE.format(name=shelf.names()[0])}" if rows else NONE
