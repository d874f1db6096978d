"""The `probe` stage: the model, then each baseline, with the same head on the same clips.

A result folder has ``probe.yaml`` (the exact question), ``predictions.parquet``, ``scores.json``, ``head.safetensors``,
``provenance.json`` and ``baselines/NAME/`` with the same files. What is finished is not done again.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from audio_ssl.atomic import atomic_write, write_json, write_text
from audio_ssl.config import build, dump_yaml, kind_of
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, hash_manifest, read_manifest
from audio_ssl.errors import UserError
from audio_ssl.features.source import BASELINES, UNTRAINED_PREFIX, FeatureSource, open_source
from audio_ssl.probing.dataset import Example, Excluded, FeatureCache, choose_clips, extract_examples, overlap_warnings
from audio_ssl.probing.fit import Fitted, fit
from audio_ssl.probing.predictions import write_predictions
from audio_ssl.probing.probe import Probe, plain, read_probe
from audio_ssl.probing.score import all_scores, higher_is_better, main_value
from audio_ssl.probing.system import System, statistics
from audio_ssl.probing.tasks._base import Task
from audio_ssl.progress import Progress

logger = logging.getLogger(__name__)


def run_probe(
    probe: str, model: str, out: Path, overrides: Sequence[str] = (), cache: FeatureCache | None = None
) -> Path:
    """Answer one question about a model and its baselines.

    Parameters
    ----------
    probe
        Name or path of a probe.
    model
        What `open_source` takes.
    out
        The result folder; a stopped probe goes on, another question in the same folder is refused.
    overrides
        ``key=value`` settings.
    cache
        Features of an earlier probe in this process; those of this one are added.

    Raises
    ------
    UserError
        For a wrong question, a model that is none, or clips that cannot be used.
    """
    name, question = read_probe(probe, overrides)
    task: Task = build(question.task)
    source = open_source(model)
    clips, excluded = choose_clips(read_manifest(Path(str(question.data.manifest))), question.data, task)
    task.learn(clips["train"])
    if task.output not in _head(question, source, task).outputs:
        raise UserError(f"the head `{kind_of(question.head)}` does not fit the task {task.kind}", where="$.head.kind")
    _claim(out, question, source)
    systems = [(out, source)] + [
        (out / "baselines" / baseline, open_source(_baseline(baseline, model)))
        for baseline in question.baselines
        if model not in BASELINES and not model.startswith(UNTRAINED_PREFIX)
    ]
    ledger = ErrorLedger(out / "errors.jsonl")
    cache = {} if cache is None else cache
    for folder, one in systems:
        if not (folder / "scores.json").exists():
            _answer(folder, name, question, task, one, clips, excluded, ledger, cache)
    return out


def _baseline(name: str, model: str) -> str:
    return f"{UNTRAINED_PREFIX}{model}" if name == "untrained" else name


def _head(question: Probe, source: FeatureSource, task: Task) -> Any:
    return build(question.head, source.dim, len(task.classes), task.output)


def _claim(out: Path, question: Probe, source: FeatureSource) -> None:
    """Write the question and where it comes from; refuse a folder that holds another one."""
    text = dump_yaml(question)
    path = out / "probe.yaml"
    origin = {
        "command": ["audio-ssl", *sys.argv[1:]],
        "model": source.name,
        "model_fingerprint": source.fingerprint,
        "manifest": {"path": question.data.manifest, "sha256": hash_manifest(Path(str(question.data.manifest)))},
        "seed": question.seed,
        "versions": {"audio_ssl": version("audio-ssl"), "torch": torch.__version__},
    }
    if path.exists():
        old = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
        same_model = old["model_fingerprint"] == source.fingerprint and old["manifest"] == origin["manifest"]
        if path.read_text(encoding="utf-8") != text or not same_model:
            raise UserError(
                "the folder holds the result of another question, model or manifest",
                where=str(out),
                remedy="choose another --out",
            )
        return
    write_json(out / "provenance.json", origin)
    write_text(path, text)


def _answer(
    folder: Path,
    name: str,
    question: Probe,
    task: Task,
    source: FeatureSource,
    clips: dict[str, list[Clip]],
    excluded: Sequence[Excluded],
    ledger: ErrorLedger,
    cache: FeatureCache,
) -> None:
    started = time.monotonic()
    head = _head(question, source, task)
    each = task.output != "tokens" and not head.needs_frames
    examples, unread = extract_examples(clips, task, each, source, ledger, cache)
    unfit = _leave_out_unfit(examples, head)
    fitted, curve, chosen = _fit_layers(question, task, source, examples, each)
    test = examples["test"]
    predictions = fitted.system.predict(test)
    test_clips = [example.clip for example in test]
    scores, unit, notes = all_scores(task, test_clips, predictions)
    with atomic_write(folder / "head.safetensors") as partial:
        save_file({k: v.contiguous() for k, v in fitted.system.state_dict().items()}, partial)
    write_predictions(folder / "predictions.parquet", task, test_clips, predictions)
    answer = {
        "probe": name,
        "task": task.kind,
        "model": source.name,
        "model_fingerprint": source.fingerprint,
        "metrics": scores,
        "main_metric": task.metrics[0],
        "interval_unit": unit,
        "layers": curve,
        "chosen_layer": chosen,
        "layer_weights": fitted.system.layer_weights(),
        "counts": {split: _counts(found) for split, found in examples.items()},
        "history": fitted.history,
        "excluded": [{"id": e.clip_id, "split": e.split, "reason": e.reason} for e in (*excluded, *unread, *unfit)],
        "warnings": overlap_warnings(clips) + notes,
        "signature": task.signature,
        "seconds_taken": time.monotonic() - started,
    }
    # Written last: a folder with scores is a finished one.
    write_json(folder / "scores.json", plain(answer))
    main = scores[task.metrics[0]]
    logger.info("%s on %s: %s %.2f %s", name, source.name, task.metrics[0], main["value"], main["unit"])


def _leave_out_unfit(examples: dict[str, list[Example]], head: Any) -> list[Excluded]:
    """Drop training clips the head cannot learn from, such as more characters than frames; test clips stay."""
    reasons = {e.clip.id: head.why_not(e.features.shape[1], e.target) for e in examples["train"]}
    unfit = [Excluded(clip_id, "train", reason) for clip_id, reason in reasons.items() if reason is not None]
    examples["train"] = [e for e in examples["train"] if reasons[e.clip.id] is None]
    if not examples["train"]:
        raise UserError(f"no training clip fits the head: {unfit[0].reason}")
    return unfit


def _fit_layers(
    question: Probe, task: Task, source: FeatureSource, examples: dict[str, list[Example]], each: bool
) -> tuple[Fitted, list[dict[str, Any]], int | None]:
    """Train on the mix of layers (frames), or on each layer and keep the best by validation (`each`: pooled clips)."""
    mean, scale = statistics(examples["train"])
    valid_clips = [example.clip for example in examples["valid"]]
    metric = task.metrics[0]

    def score(system: System) -> float:
        return main_value(task, valid_clips, system.predict(examples["valid"]))

    layers: list[int | None] = list(range(source.num_layers)) if each else [None]
    results: list[Fitted] = []
    with Progress(f"head on {source.name}", total=question.optim.steps * len(layers)) as progress:
        for layer in layers:
            results.append(
                fit(
                    lambda layer=layer: System(_head(question, source, task), mean, scale, layer),  # type: ignore[misc]
                    examples["train"],
                    score,
                    higher_is_better(metric),
                    question.optim,
                    question.seed,
                    progress,
                )
            )
    sign = 1 if higher_is_better(metric) else -1
    best = max(range(len(results)), key=lambda index: sign * results[index].valid)
    curve = [{"layer": n, "metric": metric, "valid": r.valid} for n, r in enumerate(results)] if each else []
    return results[best], curve, best if each else None


def _counts(examples: Sequence[Example]) -> dict[str, Any]:
    return {
        "clips": len(examples),
        "seconds": sum(example.clip.seconds for example in examples),
        "speakers": len({example.clip.speaker for example in examples if example.clip.speaker is not None}),
    }
