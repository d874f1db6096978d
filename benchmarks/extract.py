"""All hidden states of HuBERT base for a folder of clips, beside its peers: speed, memory, share of the peak, equality.

Every system runs in a process of its own and goes through the whole folder once a round, decoding included; rounds
follow one another so that whatever else the machine does disturbs all alike, and ratios are medians over rounds. Peers
get files longer than 30 s in pieces of 30 s; ours cuts them itself. Operations are those of the convolutions and
products as they are written down, attention over at most 30 s included.

Run ``python benchmarks/extract.py``; prints a table and writes ``benchmarks/results/extract.json``. A short run:
``--clips 20 --long-seconds 120 --rounds 3``. s3prl needs an environment of its own: ``--s3prl PYTHON``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import numpy as np
import soundfile
import torch
from _extract_clips import RATE, make  # type: ignore[import-not-found]
from _extract_systems import BASE, BUILDERS, OURS, PIECE_SECONDS  # type: ignore[import-not-found]
from _worker import HOME, Worker, answering  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json

CHECKED = 3
"""Clips whose hidden states are compared."""


def gflops(samples: int) -> float:
    """Return the additions and multiplications of a clip in 1e9; attention over at most `PIECE_SECONDS`."""
    total, channels = 0.0, 1
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        samples = max(0, (samples - kernel) // stride + 1)
        total += 2 * samples * channels * 512 * kernel
        channels = 512
    seen: int = min(samples, PIECE_SECONDS * 50)
    block = 4 * 768 * 768 + 2 * 768 * 3072 + 2 * seen * 768
    return (total + 2 * samples * (512 * 768 + 768 * 48 * 128 + 12 * block)) / 1e9


def started(name: str, files: list[Path], options: argparse.Namespace) -> Worker:
    """Start a system and name it the files."""
    python = options.s3prl if name == "s3prl" else sys.executable
    command = [python, __file__, "--worker", name, "--threads", str(options.threads), "--clock", options.clock]
    worker: Worker = Worker(name, command, options.threads)
    worker.ask("\t".join(map(str, files)))
    return worker


def work(options: argparse.Namespace) -> None:
    """Be a worker: the first line names the files, ``run`` goes through them, another is where states are written."""
    answer = answering()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    with torch.inference_mode():
        run = BUILDERS[options.worker]()
        files = [Path(name) for name in sys.stdin.readline().rstrip("\n").split("\t")]
        shortest = sorted(files, key=lambda path: path.stat().st_size)
        for _ in run(shortest[:CHECKED]):
            pass
        answer(ready=1.0)
        for line in sys.stdin:
            begun = clock()
            if line.strip() == "run":
                frames = sum(len(states[-1]) for _, states in run(files))
                seconds = clock() - begun
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                answer(seconds=seconds, frames=frames, peak_bytes=peak)
            else:
                # Among the shortest half, so that padded batches do pad them.
                half = shortest[: len(files) // 2 + 1]
                chosen = dict(run(half))
                kept = {path.name: torch.stack(chosen[path.name][-12:]) for path in half[1::2][:CHECKED]}
                np.savez(line.strip(), **{name: states.numpy() for name, states in kept.items()})  # type: ignore[arg-type]
                answer(ready=1.0)


def compare(files: list[Path], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return what each system measured, round by round."""
    found: dict[str, list[dict[str, Any]]] = {}
    workers = []
    for name in options.systems:
        try:
            workers.append(started(name, files, options))
        except (RuntimeError, OSError) as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    for number in range(options.rounds):
        for worker in workers if number % 2 == 0 else workers[::-1]:
            told = worker.ask("run")
            found.setdefault(worker.name, []).append(told)
            print(f"round {number + 1}: {worker.name:<30} {told['seconds']:>7.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, worker in enumerate(workers):
            path = f"{folder}/{number}.npz"
            worker.ask(path)
            found[worker.name][0]["states"] = dict(np.load(path))
            worker.stop()
    return found


def summarize(
    found: dict[str, list[dict[str, Any]]], audio_seconds: float, work_gflop: float, machine: _machine.Machine
) -> list[dict[str, Any]]:
    """Return a row a system."""
    base, rows = found.get(BASE, found[OURS]), []
    for name, rounds in found.items():
        seconds = statistics.median(one["seconds"] for one in rounds)
        precision = "bfloat16" if name.endswith(" bfloat16") else "float32"
        expected, states = base[0]["states"], rounds[0]["states"]
        # A machine without instructions for bfloat16 computes in float32.
        peak = max(machine.peak(precision), machine.float32_gflops if precision == "bfloat16" else 0.0)
        rows.append(
            {
                "system": name,
                "seconds": [one["seconds"] for one in rounds],
                "audio_seconds_per_second": audio_seconds / seconds,
                "peak_bytes": max(one["peak_bytes"] for one in rounds),
                "share_of_peak": work_gflop / seconds / peak,
                "times_transformers": _machine.faster(
                    [one["seconds"] for one in rounds], [one["seconds"] for one in base]
                ),
                "largest_difference": max(float(np.abs(states[key] - expected[key]).max()) for key in expected),
            }
        )
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HOME / "data" / "asterisk.jsonl", help="audio or a manifest")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--long-seconds", type=float, default=3600.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: seconds of all threads, for busy machines"
    )
    parser.add_argument("--systems", nargs="+", default=list(BUILDERS), choices=list(BUILDERS))
    parser.add_argument("--s3prl", default="python-with-s3prl", help="the Python of an environment with s3prl")
    parser.add_argument("--profile", action="store_true", help="only: where the time goes, before and now")
    parser.add_argument(
        "--probe", metavar="MODEL", help="only: what precision does to states, and to a probe of this model"
    )
    parser.add_argument("--out", type=Path, default=HOME / "benchmarks" / "results" / "extract.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.worker:
        work(options)
        return
    result = json.loads(options.out.read_text()) if options.out.is_file() else {}
    torch.set_num_threads(options.threads)
    if options.profile or options.probe:
        import _extract_inside  # type: ignore[import-not-found]

        if options.profile:
            result["profile"] = _extract_inside.parts()
        if options.probe:
            result["rounding"] = _extract_inside.rounding(options.folder)
            result["probe"] = _extract_inside.probe(options.folder, options.probe)
    else:
        files = make(options.folder, HOME / "data" / "extract_clips", options.clips, options.long_seconds)
        lengths = [soundfile.info(path).frames for path in files]
        before = _machine.measure()
        found = compare(files, options)
        # The better of before and after: the peak is that of the undisturbed machine.
        machine = max(before, _machine.measure(), key=lambda one: one.float32_gflops)
        rows = summarize(found, sum(lengths) / RATE, sum(map(gflops, lengths)), machine)
        for row in rows:
            print({key: value for key, value in row.items() if key != "seconds"})
        settings = {"clips": options.clips, "long_seconds": options.long_seconds, "rounds": options.rounds}
        settings |= {"threads": options.threads, "clock": options.clock, "audio_seconds": sum(lengths) / RATE}
        result |= {"settings": settings, "machine": machine.as_dict(), "rows": rows}
    write_json(options.out, result)


if __name__ == "__main__":
    main()
