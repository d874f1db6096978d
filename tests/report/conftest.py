"""Run, result and fairness folders as the stages leave them, with made-up but plausible numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audio_ssl.metrics.families.music import KEYS
from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.resampling import bootstrap_sums, cluster_sums
from tests.report.models import make_models

WORDS = (
    "co",
    "to",
    "ryba",
    "voda",
    "kde",
    "jsme",
    "musíme",
    "ven",
    "lahev",
    "pluje",
    "nahoru",
    "opatrně",
    "krab",
    "ty",
)
HOSTILE = '<script>alert("x")</script> & <b>bold</b>'


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_run(folder: Path, steps: int = 400, codec: bool = True) -> Path:
    """Write a run of `steps` steps with 8 codebooks, validation every 50 steps and a codec teacher."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        decay = math.exp(-3.0 * step / steps)
        noise = float(rng.normal(0, 0.12))
        row: dict[str, Any] = {
            "step": step,
            "loss": 4.1 + 3.2 * decay + noise,
            "loss_codes": 3.6 + 2.9 * decay + noise,
            "loss_cqt": 0.42 + 0.5 * decay + float(rng.normal(0, 0.02)),
            "feature_penalty": 2.1 + 5.0 * decay,
            "lr": 5e-4 * min(step / 40, (steps - step + 1) / steps),
            "grad_norm": 1.2 + 6 * decay + abs(noise) * 4,
            "audio_seconds_per_second": 21.5 + float(rng.normal(0, 1.5)),
            "cqt_mse": 0.42 + 0.5 * decay + float(rng.normal(0, 0.02)),
            "skipped_steps": 1 if step > 210 else 0,
        }
        for book in range(8):
            row[f"accuracy_{book}"] = 0.31 * (1 - decay) / (1 + 0.45 * book) + abs(float(rng.normal(0, 0.008)))
            row[f"code_perplexity_{book}"] = 180 - 9 * book + float(rng.normal(0, 4))
        rows.append(row)
        if step % 50 == 0:
            rows.append({"step": step, "valid_loss": 4.25 + 3.1 * decay, "valid_cqt_mse": 0.45 + 0.5 * decay})
    if steps > 210:
        rows[210]["loss"] = float("nan")
    write_rows(folder / "metrics.jsonl", rows)
    (folder / "recipe.yaml").write_text(f"kind: masked_prediction\nseed: 1\nsteps: {steps}\n", encoding="utf-8")
    origin = {
        "finished": True,
        "recipe_hash": "9c1f0a7be26d4f35",
        "manifest_hash": "6f1ed002ab559585",
        "command": "audio-ssl pretrain demo data.manifest=manifests/pretrain.jsonl --out run",
        "started": "2026-01-05T10:00:00+00:00",
        "python": "3.11.2",
        "versions": {"audio-ssl": "0.1.0", "torch": "2.9.1"},
        "ended": "2026-01-05T10:04:51+00:00",
    }
    (folder / "provenance.json").write_text(json.dumps(origin), encoding="utf-8")
    bad = [("a/empty.wav", "empty file"), ("b/text.wav", "not an audio file"), ("c/zero.wav", "empty file")]
    write_rows(folder / "errors.jsonl", [{"path": path, "reason": reason} for path, reason in bad])
    if codec:
        make_codec(folder / "teachers" / "codec")
    return folder


def make_codec(folder: Path) -> None:
    rng = np.random.default_rng(6)
    folder.mkdir(parents=True)
    rows = [
        {
            "step": step,
            "loss": 2.0 + 4 * math.exp(-step / 60) + float(rng.normal(0, 0.1)),
            "loss_waveform": 0.05 + 0.1 * math.exp(-step / 60),
            **{f"perplexity_{book}": 90 + step * (0.4 - 0.03 * book) for book in range(8)},
        }
        for step in range(1, 201)
    ]
    for row in rows[49::50]:
        row |= {"valid_si_sdr": row["step"] / 50, "valid_mel_distance": 13.0 - row["step"] / 50}
        row |= {f"valid_code_usage_{book}": 0.95 - 0.05 * book for book in range(8)}
        row |= {f"valid_code_perplexity_{book}": 120.0 - 4 * book for book in range(8)}
    write_rows(folder / "metrics.jsonl", rows)
    recipe = "kind: codec\nsteps: 200\ncodec: {codebook_size: 256}\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")


def garble(words: Sequence[str], rate: float, rng: np.random.Generator) -> str:
    """Replace, drop or keep each word at random."""
    out = []
    for word in words:
        draw = rng.random()
        if draw < rate * 0.7:
            out.append(str(rng.choice(WORDS)))
        elif draw >= rate * 0.9:
            out.append(word)
    return " ".join(out)


def text_predictions(rate: float, clips: int, speakers: int, seed: int, hostile: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(clips):
        words = [str(word) for word in np.random.default_rng(1000 + index).choice(WORDS, 3 + index % 6)]
        speaker = index % speakers
        rows.append(
            {
                "id": f"level{index // 10:02d}/line-{index:03d}",
                "reference": " ".join(words),
                "hypothesis": garble(words, rate * (1.15 if speaker % 2 else 1.0), rng),
                "speaker": f"s{speaker}",
                "gender": "MF"[speaker % 2],
                "language": "cs",
                "seconds": 2.5,
            }
        )
    if hostile:
        rows[0] |= {"reference": f"{HOSTILE} {rows[0]['reference']}", "hypothesis": HOSTILE, "id": "<i>clip</i>"}
    return rows


def key_predictions(right: float, clips: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(clips):
        key = KEYS[index % len(KEYS)]
        answer = key if rng.random() < right else str(rng.choice(KEYS))
        rows.append({"id": f"tune{index}", "reference": key, "hypothesis": answer, "seconds": 30.0})
    return rows


def score_of(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    metric = get_metric(name)
    statistics = metric.statistics((row["reference"], row["hypothesis"]) for row in rows)
    sums, _ = cluster_sums(statistics, [row.get("speaker") or row["id"] for row in rows])
    value, low, high = bootstrap_sums(sums, metric.score, 200)
    return {
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "higher_is_better": metric.higher_is_better,
        "unit": metric.unit,
    }


def write_system(folder: Path, rows: list[dict[str, Any]], probe: str, task: str, metrics: Sequence[str], layers: int):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions.parquet")
    scored = {name: score_of(rows, name) for name in metrics}
    main = scored[metrics[0]]
    sign = 1 if main["higher_is_better"] else -1
    curve = [main["value"] - sign * abs(layer - 0.6 * layers) * 2.5 for layer in range(layers)]
    scores = {
        "probe": probe,
        "task": task,
        "model": "run",
        "model_fingerprint": "93ab12cd93ab12cd",
        "metrics": scored,
        "main_metric": metrics[0],
        "layers": [{"layer": n, "metric": metrics[0], "valid": value} for n, value in enumerate(curve)],
        "chosen_layer": round(0.6 * layers) if layers > 1 else 0,
        "layer_weights": [0.1, 0.2, 0.3, 0.25, 0.15][:layers] if layers > 1 else None,
        "counts": {
            "train": {"clips": 700, "seconds": 2100.0, "speakers": 8},
            "valid": {"clips": 90, "seconds": 250.0, "speakers": 8},
            "test": {"clips": len(rows), "seconds": 2.5 * len(rows), "speakers": 8},
        },
        "history": [
            {"step": step, "train_loss": 3 / step, "valid": main["value"] - sign * 60 / step}
            for step in range(20, 401, 20)
        ],
        "excluded": [{"id": "level03/line-099", "reason": "no transcript"}],
        "signature": f"{metrics[0]}|case:lower|version:0.1.0",
        "seconds_taken": 41.0,
    }
    (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")


def make_result(
    folder: Path, probe: str = "demo_asr", speakers: int = 8, clips: int = 96, hostile: bool = False
) -> Path:
    """Write the result of the ASR or key probe: the model, its untrained twin, log-mel frames."""
    for name, rate, seed in (("", 0.35, 1), ("untrained", 0.8, 2), ("logmel", 0.55, 3)):
        target = folder / "baselines" / name if name else folder
        layers = 1 if name == "logmel" else 5
        if probe == "demo_key":
            rows = key_predictions(1 - rate, clips, seed)
            write_system(target, rows, probe, "key", ("key_score", "accuracy"), layers)
        else:
            rows = text_predictions(rate, clips, speakers, seed, hostile)
            write_system(target, rows, probe, "asr", ("wer", "cer"), layers)
    origin = {"command": f"audio-ssl probe {probe} run --out {folder.name}", "seed": 1, "versions": {"torch": "2.9.1"}}
    (folder / "provenance.json").write_text(json.dumps(origin), encoding="utf-8")
    return folder


def fairness_data(refused: bool = True) -> dict[str, Any]:
    """Return a fairness report of the first version: refused for one speaker a group, or tested with twelve."""
    reason = "group F has 1 speaker, and at least 5 a group are needed" if refused else None
    speakers = 1 if refused else 12
    groups, comparisons = [], []
    for metric, unit, f_score, m_score, p_value in (
        ("wer", "%", 38.2, 33.9, 0.012),
        ("bleu", "BLEU", 11.4, 12.0, 0.31),
    ):
        of_metric = {"metric": metric, "unit": unit, "higher_is_better": metric == "bleu"}
        for group, value in (("F", f_score), ("M", m_score)):
            ends = {"low": None, "high": None} if refused else {"low": value - 3.1, "high": value + 3.4}
            counts = {"speakers": speakers, "clips": 143, "words": 812, "hours": 0.12}
            row = {"result": "demo", "by": "gender", **of_metric, "group": group, "value": value}
            groups.append({**row, **ends, **counts, "empty_references": 0})
        gap = f_score - m_score
        comparisons.append(
            {
                "result": "demo",
                "by": "gender",
                "a": "F",
                "b": "M",
                **of_metric,
                "difference": gap,
                "low": None if refused else gap - 2.0,
                "high": None if refused else gap + 2.2,
                "relative_symmetric": 100 * gap / (0.5 * (f_score + m_score)),
                "relative_to_b": 100 * gap / m_score,
                "direction": "",
                "p_value": None if refused else p_value,
                "refused": reason,
                "warning": None if refused else "fewer than 20 speakers a group: small gaps cannot be found",
            }
        )
    origin = {"by": ["gender"], "seed": 0, "replicates": 10000, "min_speakers": 5, "versions": {"audio_ssl": "0.0.1"}}
    return {"groups": groups, "comparisons": comparisons, "excluded": [], "limits": [], "provenance": origin}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def result_folder(tmp_path: Path) -> Path:
    return make_result(tmp_path / "demo_asr")


@pytest.fixture
def fairness_file(tmp_path: Path) -> Path:
    path = tmp_path / "fairness.json"
    path.write_text(json.dumps(fairness_data()), encoding="utf-8")
    return path


@pytest.fixture
def result_maker(tmp_path: Path) -> Callable[..., Path]:
    """Give `make_result` with a name below the test's folder."""
    return lambda name, **options: make_result(tmp_path / name, **options)


@pytest.fixture
def fairness_maker() -> Callable[..., dict[str, Any]]:
    return fairness_data


@pytest.fixture
def run_maker(tmp_path: Path) -> Callable[..., Path]:
    return lambda name, **options: make_run(tmp_path / name, **options)


@pytest.fixture
def hostile_text() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Give a folder with the results of two models on several tasks, and the results; tests must not change them."""
    folder = tmp_path_factory.mktemp("models")
    return folder, make_models(folder)
