"""How fast graphs of ONNX and torch.export are on a CPU, beside the model itself here, and how far they are from it.

One process, the same waveforms for all: eight clips of 4 to 6 seconds in one padded batch, and one clip of 30 seconds.
All hidden states are computed. Rounds take turns, the first one is not counted, and a figure is the median of seconds
of audio over seconds of the processor, divided by the threads. Models are `small` and HuBERT base with random weights.

Run ``python benchmarks/graphs.py``; it prints tables and writes ``benchmarks/results/graphs.json``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.base.files import write_json
from audio_ssl.interop.graphs.agreement import Graph, example_clip
from audio_ssl.interop.graphs.onnx import open_onnx
from audio_ssl.interop.graphs.write import INT8_FILE, ONNX_FILE, TORCH_FILE, export_onnx, export_torch
from audio_ssl.interop.read import read_model
from audio_ssl.models.encoders import transformer
from audio_ssl.models.fast.prepared import Precision, prepare
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel, build_model

RATE = 16_000
BATCHES = {"8 clips of 4 to 6 s": [4.0 + number * 2 / 7 for number in range(8)], "1 clip of 30 s": [30.0]}
RESULT = Path(__file__).parent / "results" / "graphs.json"


def batch_of(seconds: list[float]) -> tuple[Tensor, Tensor]:
    """Return clips of these lengths, padded."""
    clips = [example_clip(number, round(one * RATE), RATE) for number, one in enumerate(seconds)]
    return pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


def ours(model: SSLModel, precision: Precision) -> Graph:
    """Return the model as `extract` runs it."""
    prepared = prepare(model, precision, torch.device("cpu"))
    return lambda waveform, lengths: prepared(waveform, lengths).hidden


def systems_of(model: SSLModel, name: str, folder: Path, threads: int) -> tuple[dict[str, Graph], dict[str, float]]:
    """Return what to time, and the largest error of each graph's layers in percent."""
    made = export_onnx(model, folder / "onnx", name=name, int8=True)
    traced = export_torch(model, folder / "torch", name=name)
    module = torch.export.load(folder / "torch" / TORCH_FILE).module()
    found = {
        "audio_ssl": ours(model, "float32"),
        "audio_ssl, bfloat16": ours(model, "bfloat16"),
        "onnxruntime": open_onnx(folder / "onnx" / ONNX_FILE, threads),
        "onnxruntime, int8": open_onnx(folder / "onnx" / INT8_FILE, threads),
        "torch.export": lambda waveform, lengths: module(waveform, lengths),
    }
    errors = [100 * max(file.relative_error) for file in (*made.files, *traced.files)]
    return found, dict(zip(("onnxruntime", "onnxruntime, int8", "torch.export"), errors, strict=True))


@torch.inference_mode()
def times_real_time(graphs: dict[str, Graph], seconds: list[float], rounds: int, threads: int) -> dict[str, float]:
    """Return each system's speed."""
    waveform, lengths = batch_of(seconds)
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds + 1):
        for name, graph in graphs.items():
            started = time.process_time()
            graph(waveform, lengths)
            taken[name].append(time.process_time() - started)
    return {name: threads * sum(seconds) / statistics.median(found[1:]) for name, found in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = ModelConfig(conv.Config(), transformer.Config(), RATE)
    models = {"small": read_model("small"), "HuBERT base": build_model(base, torch.Generator().manual_seed(0)).eval()}
    result: dict[str, Any] = {
        "machine": _machine.measure().as_dict(),
        "rounds": options.rounds,
        "models": {},
    }
    for name, model in models.items():
        with tempfile.TemporaryDirectory() as folder:
            graphs, errors = systems_of(model, name, Path(folder), options.threads)
            speeds = {
                what: times_real_time(graphs, seconds, options.rounds, options.threads)
                for what, seconds in BATCHES.items()
            }
        result["models"][name] = {"times_real_time": speeds, "error_percent": errors}
        print(f"\n{name}: times real time on a core, ratio to audio_ssl, error of the hidden states")
        for what, found in speeds.items():
            for system, speed in found.items():
                error = f"{errors[system]:.2g} %" if system in errors else ""
                print(f"  {what:22} {system:22} {speed:8.1f} {speed / found['audio_ssl']:6.2f}  {error}")
    write_json(options.out, result)


if __name__ == "__main__":
    main()
