"""Results of two models on several probes, as the harness leaves them: small, made up, but with every key and file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from audio_ssl.metrics.families.ranking import ROC_AUC, Rankings
from audio_ssl.metrics.families.verification import eer
from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.resampling import bootstrap_sums, cluster_sums

LAYERS, LRS, SEEDS = 5, (1e-4, 1e-3, 1e-2), (0, 1, 2)
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SENTENCE = ("north", "wind", "sun", "were", "disputing", "which", "was", "stronger", "when", "a", "traveler", "came")
TAGS = ("guitar", "vocal", "slow", "techno", "strings")
SKILL = {"runs/mert": 0.85, "exports/wav2vec2": 0.8, "untrained": 0.3, "logmel": 0.45}
"""How good each system is; the two models are close."""


def tone(folder: Path, name: str, pitch: float) -> Path:
    """Write five seconds of a tone."""
    folder.mkdir(parents=True, exist_ok=True)
    time = np.arange(5 * 16_000) / 16_000
    soundfile.write(folder / f"{name}.wav", 0.2 * np.sin(2 * np.pi * pitch * time), 16_000)
    return folder / f"{name}.wav"


def clip(index: int, audio: Path) -> dict[str, Any]:
    """Return the manifest's columns of a clip."""
    return {
        "id": f"clip-{index:03d}",
        "path": str(audio),
        "start": 0.5,
        "seconds": 4.5,
        "sample_rate": 16_000,
        "speaker": f"s{index % 8}",
        "gender": "MF"[index % 2],
        "split": "test",
    }


def answers(task: str, skill: float, clips: int, seed: int, audio: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return predictions and class names; who is more skilled is right more often."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(99)
    rows = []
    classes: Sequence[str] = {"tagging": TAGS, "emotion": ("valence", "arousal"), "keyword": WORDS}.get(task, ())
    if task == "speaker":
        classes = [f"speaker {n:02d}" for n in range(40)]
    for index in range(clips):
        row = clip(index, audio)
        if task == "asr":
            words = list(truth.choice(SENTENCE, 5 + index % 4))
            said = [w if rng.random() < skill else str(rng.choice(SENTENCE)) for w in words if rng.random() < 0.97]
            row |= {"text": " ".join(words), "reference": " ".join(words), "hypothesis": " ".join(said)}
        elif task in ("keyword", "speaker"):
            right = index % len(classes)
            scores = rng.normal(size=len(classes))
            scores[right] += 3.5 * skill
            # Two classes that sound alike.
            scores[(right + 1) % len(classes)] += 1.0
            best = int(scores.argmax())
            row |= {"reference": classes[right], "hypothesis": classes[best], "scores": scores.tolist()}
        elif task == "tagging":
            has = truth.random(len(TAGS)) < 0.35
            scores = 3 * skill * has + rng.normal(size=len(TAGS))
            row |= {"reference": [t for t, h in zip(TAGS, has, strict=True) if h], "scores": scores.tolist()}
            row["hypothesis"] = [t for t, s in zip(TAGS, scores, strict=True) if s > 1]
        elif task == "emotion":
            values = truth.normal(size=2)
            row["reference"] = values.tolist()
            row["hypothesis"] = (skill * values + 0.5 * rng.normal(size=2)).tolist()
        else:
            row |= {"reference": row["speaker"], "embedding": rng.normal(size=4).tolist()}
        rows.append(row)
    return rows, list(classes)


def trials(rows: Sequence[dict[str, Any]], skill: float, seed: int) -> list[dict[str, Any]]:
    """Return scored pairs."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for i, a in enumerate(rows) for b in rows[:i]]
    return [
        {
            "clip_a": a["id"],
            "clip_b": b["id"],
            "same": a["speaker"] == b["speaker"],
            "score": float(np.tanh(skill * (a["speaker"] == b["speaker"]) + 0.4 * rng.normal())),
        }
        for a, b in pairs
    ]


def measure(
    name: str, rows: Sequence[dict[str, Any]], classes: Sequence[str], pairs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Score as the harness does, with a stand-in interval for rankings."""
    if name == "eer":
        scores = np.array([one["score"] for one in pairs])
        value = eer(scores, np.array([one["same"] for one in pairs]))
        found = (value, value - 2, value + 2)
    elif name == "roc_auc":
        table = np.array([row["scores"] for row in rows])
        has = np.array([[tag in row["reference"] for tag in classes] for row in rows])
        value = Rankings(has, table, classes).score(ROC_AUC).value
        found = (value, value - 3, min(value + 3, 100.0))
    else:
        metric = get_metric(name, classes)
        statistics = metric.statistics((row["reference"], row["hypothesis"]) for row in rows)
        found = bootstrap_sums(cluster_sums(statistics, [row["speaker"] for row in rows])[0], metric.score, 200)
    higher = name not in ("wer", "cer", "eer")
    return {**dict(zip(("value", "low", "high"), found, strict=True)), "higher_is_better": higher, "unit": "%"}


METRICS = {
    "asr": ("wer", "cer"),
    "keyword": ("accuracy", "macro_f1"),
    "speaker": ("accuracy",),
    "tagging": ("roc_auc",),
    "emotion": ("r2",),
    "verification": ("eer",),
}


def write_answer(
    folder: Path, model: str, kind: str, task: str, clips: int, audio: Path, folds: int = 0, layers: int = LAYERS
) -> None:
    """Write the files of one system."""
    folder.mkdir(parents=True, exist_ok=True)
    skill = SKILL.get(kind, SKILL.get(model, 0.5))
    seed = sorted(SKILL).index(kind if kind in SKILL else model)
    rows, classes = answers(task, skill, clips, seed, audio)
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"task": task, "classes": json.dumps(classes)})
    pq.write_table(table, folder / "predictions.parquet")
    pairs = trials(rows, skill, seed) if task == "verification" else []
    if pairs:
        pq.write_table(pa.Table.from_pylist(pairs), folder / "trials.parquet")
    metrics = {name: measure(name, rows, classes, pairs) for name in METRICS[task]}
    main = METRICS[task][0]
    up = metrics[main]["higher_is_better"]
    rng = np.random.default_rng(seed)
    layered = task in ("keyword", "speaker", "tagging", "emotion", "verification")
    count = 1 if kind == "logmel" else layers
    runs = []
    for layer in range(count) if layered else (None,):
        for lr in LRS:
            for one in SEEDS:
                lost = 5 * abs((layer or 0) - 0.6 * count) + 4 * abs(np.log10(lr) + 3) + abs(rng.normal())
                gone = lr == LRS[-1] and layer == 0
                valid = None if gone else metrics[main]["value"] + (-lost if up else lost)
                runs.append({"layer": layer, "lr": lr, "seed": one, "valid": valid, "steps": 200, "diverged": gone})
    if folds:
        runs = [{**run, "fold": fold} for fold in range(folds) for run in runs]
    curve = []
    for layer in range(count) if layered else ():
        values = [run["valid"] for run in runs if run["layer"] == layer and run["lr"] == 1e-3]
        mean = sum(values) / len(values)
        ends = {"low": min(values), "high": max(values)}
        curve.append({"layer": layer, "metric": main, "valid": mean, **ends, "lr": 1e-3})
    best = round(0.6 * count) if count > 1 else 0
    chosen = {"layer": best if layered else None, "lr": 1e-3, "seed": 1}
    scores = {
        "probe": f"{task}_mini",
        "task": task,
        "model": kind if kind in SKILL else model,
        "model_fingerprint": f"print of {kind if kind == 'logmel' else kind + model}",
        "main_metric": main,
        "signature": "none",
        "metrics": metrics,
        "interval_unit": "speakers",
        "folds": folds,
        "runs": runs,
        "chosen": [chosen] * folds if folds else chosen,
        "chosen_layer": None if folds else chosen["layer"],
        "layers": curve,
        "layer_weights": None if layered else [0.1, 0.2, 0.4, 0.2, 0.1][:count],
        "history": [
            {"step": n, "train_loss": 1 / n, "valid": metrics[main]["value"] + (-30 if up else 30) / n}
            for n in range(50, 250, 50)
        ],
        "decoder": "beam 8, no language model" if task == "asr" else None,
        "counts": {s: {"clips": clips, "seconds": 4.5 * clips, "speakers": 8} for s in ("train", "valid", "test")},
        "excluded": [],
        "warnings": ["3 of 45 runs diverged"] if layered else [],
        "cost": {
            "extract_seconds": 31.5 if kind == "model" else 2.0,
            "fit_seconds": 12.25,
            "predict_seconds": 0.5,
            "parameters": 76_800,
            "peak_memory_bytes": 1_234_000_000,
            "audio_seconds": 13.5 * clips,
        },
        "seconds_taken": 44.0,
    }
    (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")


def make_models(folder: Path, tasks: Sequence[str] = tuple(METRICS), clips: int = 48) -> list[Path]:
    """Write the results of two models and their baselines on each task; return their folders, model by model."""
    audio = tone(folder / "audio", "tone", 440.0)
    made = []
    for model in ("runs/mert", "exports/wav2vec2"):
        for task in tasks:
            out = folder / "results" / model.replace("/", "-") / task
            size = 80 if task == "speaker" else clips
            folds = 3 if task == "emotion" else 0
            write_answer(out, model, "model", task, size, audio, folds)
            for baseline in ("untrained", "logmel"):
                write_answer(out / "baselines" / baseline, model, baseline, task, size, audio, folds)
            made.append(out)
    return made
