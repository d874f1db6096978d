"""Model cards: what a model is, what it heard, what it scored, as Markdown with the front matter model hubs read.

The front matter follows the Hugging Face model card specification (``license``, ``tags``, ``metrics``,
``model-index``). Nothing is claimed that the run's own files do not hold; intended use beyond research and known
limits of the data are for the author to add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.documents import dump_yaml
from audio_ssl.errors import UserError
from audio_ssl.metrics.names import metric_label
from audio_ssl.report.inputs import Result, RunFolder, read_input
from audio_ssl.report.numbers import MISSING, duration, interval, number, score
from audio_ssl.report.results import describe_result
from audio_ssl.report.runs import describe_run

_TASKS = {"asr": "automatic-speech-recognition", "st": "translation"}


def model_card(run: Path, results: Sequence[Path] = (), *, name: str | None = None, licence: str = "other") -> str:
    """Write the card of a pretrained model.

    Parameters
    ----------
    run
        The run folder.
    results
        Result folders of probes of this model; their scores enter the card.
    name
        The model's name; the folder's if not given.
    licence
        Identifier of the weights' licence, as hubs spell it.

    Returns
    -------
    str
        Markdown that begins with YAML front matter.

    Raises
    ------
    UserError
        `run` is no run folder or one of `results` no result folder.
    """
    found = read_input(run)
    if not isinstance(found, RunFolder):
        raise UserError("`run` must be a run folder (holds metrics.jsonl)", where=str(run))
    scored = []
    for path in results:
        result = read_input(path)
        if not isinstance(result, Result):
            raise UserError("`results` must be result folders (hold scores.json)", where=str(path))
        scored.append(describe_result(result, run.resolve().parent))
    title = name or run.resolve().name
    about = describe_run(found, run.resolve().parent)
    head = dump_yaml(_front_matter(title, licence, scored))
    parts = [f"---\n{head}---", f"# {_plain(title)}", _summary(about), _use(title)]
    parts += [_scores(scored)] if scored else []
    return "\n\n".join([*parts, _training(about), _origin(found.provenance)]) + "\n"


def _front_matter(title: str, licence: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    head: dict[str, Any] = {
        "license": licence,
        "library_name": "audio-ssl",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "self-supervised-learning", "feature-extraction"],
    }
    measured = [(one, value) for one in results if (value := _model_score(one)) is not None]
    if not measured:
        return head
    entries = [
        {
            "task": {"type": _TASKS.get(str(one["task"]), "audio-classification"), "name": str(one["name"])},
            "dataset": {"type": "private", "name": f"test split of {one['name']}"},
            "metrics": [{"type": str(one["main_metric"]), "value": round(value, 4)}],
        }
        for one, value in measured
    ]
    head["metrics"] = list(dict.fromkeys(str(one["main_metric"]) for one, _ in measured))
    head["model-index"] = [{"name": title, "results": entries}]
    return head


def _model_score(result: Mapping[str, Any]) -> float | None:
    value = (result["systems"][0]["metrics"].get(result["main_metric"]) or {}).get("value")
    return None if value is None else float(value)


def _summary(about: Mapping[str, Any]) -> str:
    recipe = about["recipe"]
    kinds = {
        word: _kinds(recipe.get(key))
        for word, key in (("Frontend", "frontend"), ("encoder", "encoder"), ("teachers", "teachers"))
    }
    built = "; ".join(f"{word}: {kind}" for word, kind in kinds.items() if kind)
    method = f" by {str(about['kind']).replace('_', ' ')}" if about["kind"] else ""
    words = f"A self-supervised audio model, pretrained{method} for {about['steps']:,} steps."
    return f"{words} {built}." if built else words


def _kinds(part: Any) -> str:
    parts = part if isinstance(part, list) else [part]
    return ", ".join(str(one["kind"]) for one in parts if isinstance(one, Mapping) and one.get("kind"))


def _use(title: str) -> str:
    return (
        "## Use\n\n```python\nfrom audio_ssl.model import SSLModel\n\n"
        f'model = SSLModel.from_pretrained("{_plain(title)}")\n'
        "hidden = model(waveform).hidden  # a list of [batch, frame, dim]; layer 0 is the encoder's input\n```"
    )


def _scores(results: Sequence[Mapping[str, Any]]) -> str:
    labels = list(dict.fromkeys(str(system["label"]) for one in results for system in one["systems"]))
    rows = [["Probe", "Score", *labels], ["---"] * 2 + ["---:"] * len(labels)]
    for one in results:
        cells = {}
        for system in one["systems"]:
            metric = system["metrics"].get(one["main_metric"]) or {}
            ends = interval(metric.get("low"), metric.get("high"), one["unit"])
            value = score(metric.get("value"), one["unit"])
            cells[str(system["label"])] = value if ends == MISSING else f"{value} ({ends})"
        arrow = "↑" if one["higher_is_better"] else "↓"
        label = f"{metric_label(one['main_metric'])} {arrow}"
        rows.append([_plain(str(one["name"])), label, *(cells.get(name, MISSING) for name in labels)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    verdicts = [(_plain(str(one["name"])), verdict["text"]) for one in results for verdict in one["verdicts"]]
    said = "\n".join(f"- {probe}: {words}" for probe, words in verdicts)
    return f"## Scores\n\nFrozen features, the same head for every column; 95 % intervals.\n\n{table}\n\n{said}"


def _training(about: Mapping[str, Any]) -> str:
    last = {key: value for key, value in about["last"].items() if not key.startswith("valid_")}
    lines = [f"- steps: {about['steps']:,}"]
    lines += [f"- loss at the end: {number(last['loss'])}"] if "loss" in last else []
    if about["audio_seconds_per_second"]:
        lines.append(f"- speed: {number(about['audio_seconds_per_second'])} seconds of audio per second")
    seconds = about["provenance"].get("seconds")
    lines += [f"- time: {duration(seconds)}"] if seconds else []
    lines += [f"- files left out: {about['errors']['count']:,}"] if about["errors"]["count"] else []
    return "## Training\n\n" + "\n".join(lines)


def _origin(provenance: Mapping[str, Any]) -> str:
    body = dump_yaml(dict(provenance)) if provenance else "none recorded\n"
    return f"## Provenance\n\n```yaml\n{body}```"


def _plain(text: str) -> str:
    """Keep a name from breaking out of the Markdown around it."""
    return text.replace("\n", " ").replace("|", "\\|").replace("`", "'").replace("<", "&lt;").replace('"', "'")
