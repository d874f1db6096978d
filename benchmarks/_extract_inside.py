"""Where the time of extraction goes, before there was a path for inference and now; what precision does to features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from _extract_systems import our_model  # type: ignore[import-not-found]
from _heard import pooled  # type: ignore[import-not-found]
from _linear_probes import Split, Task, classify  # type: ignore[import-not-found]
from torch.profiler import ProfilerActivity, profile

from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import read_manifest
from audio_ssl.features.source import ModelSource, open_source
from audio_ssl.models import padding
from audio_ssl.models.fast import cpu as products
from audio_ssl.models.fast.prepared import prepare
from audio_ssl.models.frontends import conv

SECONDS = 15
"""Of the clip that is looked at."""

KINDS = {
    "attention": ("scaled_dot_product",),
    "products": ("mm", "_linear_pointwise"),
    "convolutions": ("convolution", "conv2d"),
    "Fourier transforms": ("fft",),
    "GELU": ("gelu",),
    "norms": ("norm",),
    "sums": ("add", "sub", "mul"),
    "copies": ("copy_", "cat", "fill_", "zero_"),
}
"""Operations by parts of their names; the first that fits counts."""


def parts() -> dict[str, dict[str, float]]:
    """Return seconds of one core a second of audio, by kind of operation, of frontend and encoder."""
    cpu, waveform = torch.device("cpu"), 0.1 * torch.randn(1, SECONDS * 16_000)
    lengths, model = torch.tensor([waveform.shape[1]]), our_model()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    plain = products.is_inference
    for name in ("before", "now"):
        for module in (products, padding, conv):
            module.is_inference = plain if name == "now" else lambda x: False  # type: ignore[attr-defined]
        ready = prepare(model, "float32", cpu)._model if name == "now" else model
        with torch.inference_mode():
            features, frames = ready.frontend(waveform, lengths)
            found[f"frontend {name}"] = _by_kind(lambda r=ready: r.frontend(waveform, lengths))
            found[f"encoder {name}"] = _by_kind(lambda r=ready, f=features, n=frames: r.encoder(f, n))
    torch.set_num_threads(threads)
    return found


def _by_kind(run: Any) -> dict[str, float]:
    run()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    sums = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in found.key_averages():
        fits = (kind for kind, names in KINDS.items() if any(name in event.key for name in names))
        sums[next(fits, "other")] += event.self_cpu_time_total / 1e6 / SECONDS
    return {**sums, "all": sum(sums.values())}


def rounding(manifest: Path, clips: int = 20) -> list[dict[str, Any]]:
    """Return how far the states of HuBERT base, random weights, are from float32's: medians of relative errors."""
    cpu, model = torch.device("cpu"), our_model()
    chosen = np.random.default_rng(0).permutation(len(known := read_manifest(manifest)))[:clips]
    waves = [torch.from_numpy(read_clip(known[number], 16_000))[None] for number in chosen]
    exact = prepare(model, "float32", cpu)
    rounded = prepare(model, "bfloat16", cpu)
    pairs = [(rounded(wave).hidden, exact(wave).hidden) for wave in waves]
    errors = [[float((a - b).norm() / b.norm()) for a, b in zip(*pair, strict=True)] for pair in pairs]
    first, *_, last = np.median(errors, axis=0).tolist()
    rows = [{"system": "bfloat16", "clips": clips, "layer_0": first, "last_layer": last}]
    print(rows[-1], flush=True)
    return rows


def probe(manifest: Path, model: str, column: str = "language", train: int = 600, test: int = 400) -> dict[str, Any]:
    """Return the accuracy of linear probes on mean features in each precision, with intervals over clips.

    One probe is of the layer that the validation clips choose, the other of the last, to which all rounding adds up.
    """
    order = np.random.default_rng(0).permutation(len(clips := read_manifest(manifest)))
    clips = [clips[number] for number in order[: train + test]]
    split = Split(clips[: train * 4 // 5], clips[train * 4 // 5 : train], clips[train:])
    task = Task(column, manifest.stem, column, "")
    source, rows, exact = open_source(model), [], None
    assert isinstance(source, ModelSource)
    for precision in ("float32", "bfloat16"):
        features = pooled(clips, source.at(torch.device("cpu"), precision))
        exact = features if exact is None else exact
        apart = [np.linalg.norm(features[key][-1] - exact[key][-1]) / np.linalg.norm(exact[key][-1]) for key in exact]
        error = float(np.median(apart))
        for asked in (None, source.num_layers - 1):
            counts, layer = classify(split, task, features, asked)
            score = counts.interval()
            row = {"precision": precision, "layer": layer, "chosen": asked is None, "error": error}
            rows.append({**row, "value": score.value, "low": score.low, "high": score.high})
            print(rows[-1], flush=True)
    return {"task": f"{column}, {manifest.stem}", "model": Path(model).name, "test_clips": test, "rows": rows}
