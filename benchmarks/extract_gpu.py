"""Hidden states of HuBERT base on a GPU beside transformers: batches in memory, kernels, and a folder of FLAC files.

The same random weights everywhere. In memory: 20 clips of 15 s. A folder: decoding included, means over time of all
layers brought to the CPU. Shares are of the best matrix product of the same precision in the same run.

Run ``python benchmarks/extract_gpu.py --folder AUDIO``; prints and writes ``benchmarks/results/extract_gpu.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _machine  # type: ignore[import-not-found]
import soundfile
import torch
from _extract_clips import RATE, make  # type: ignore[import-not-found]
from _extract_gpu import FOLDER, compute, folder, kernels  # type: ignore[import-not-found]
from extract import HOME, gflops  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HOME / "data" / "asterisk.jsonl", help="audio or a manifest")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--long-seconds", type=float, default=3600.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="*", default=list(FOLDER), choices=list(FOLDER))
    parser.add_argument("--out", type=Path, default=HOME / "benchmarks" / "results" / "extract_gpu.json")
    options = parser.parse_args()
    machine = _machine.measure("cuda")
    print(
        f"{machine.processor}: {machine.float32_gflops / 1e3:.0f} TFLOP/s float32, "
        f"{machine.bfloat16_gflops / 1e3:.0f} bfloat16",
        flush=True,
    )
    half = machine.bfloat16_gflops
    peaks = {"float32": machine.float32_gflops, "bfloat16": half, "float16": half}
    result = {"machine": machine.as_dict(), "compute": compute(gflops, peaks), "kernels": kernels()}
    print(result["kernels"], flush=True)
    torch.cuda.empty_cache()
    if options.systems:
        files = make(options.folder, HOME / "data" / "extract_clips", options.clips, options.long_seconds)
        lengths = [soundfile.info(path).frames for path in files]
        result["folder"] = folder(files, options.systems, options.rounds)
        result["settings"] = {
            "clips": options.clips, "long_seconds": options.long_seconds, "rounds": options.rounds,
            "audio_seconds": sum(lengths) / RATE, "gflop": sum(map(gflops, lengths)),
        }  # fmt: skip
    write_json(options.out, result)


if __name__ == "__main__":
    main()
