"""A training step of the base model beside its peers: audio seconds a second, peak memory, share of the machine's peak.

Every system runs in a process of its own. Ours stays up; each peer in turn takes steps alternately with it, so that
whatever else the machine does disturbs both alike, and ratios are medians over pairs. A step is forward, loss,
backward and AdamW on 4 x 5 s at 16 kHz (`--clips`, `--seconds`). Memory is the largest resident
size of a fresh process.

Run ``python benchmarks/pretrain.py``; prints a table and writes ``benchmarks/results/pretrain.json``.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import torch
from _pretrain_systems import BUILDERS, OURS, build, step  # type: ignore[import-not-found]
from _worker import Worker, answering  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json

RATE, CLIPS, SECONDS = 16_000, 4, 5
OTHER_WORK = ("speechbrain BEST-RQ",)
"""Systems of another network (mel frontend, 25 frames a second), which are no measure of ours."""


def step_gflops(clips: int, samples: int, layers: int = 12, dim: int = 768, ffn: int = 3072) -> float:
    """Return the additions and multiplications of a base step in 1e9, backward twice the forward; heads left out."""
    total, channels = 0.0, 1
    for index, (kernel, stride) in enumerate(((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))):
        samples = (samples - kernel) // stride + 1
        # The waveform needs no gradient.
        total += (2 if index == 0 else 3) * 2 * samples * channels * 512 * kernel
        channels = 512
    frames = samples
    blocks = layers * (4 * dim * dim + 2 * dim * ffn + 2 * frames * dim)
    positions = dim * (dim // 16) * 128
    return clips * (total + 3 * 2 * frames * (512 * dim + positions + blocks)) / 1e9


@dataclass
class Steps:
    """A system that takes a step for every line it is sent."""

    name: str
    worker: Worker
    precision: str
    options: argparse.Namespace
    seconds: list[float] = field(default_factory=list)

    def take_step(self) -> float:
        """Take a step; return its seconds."""
        self.seconds.append(self.worker.ask("step")["seconds"])
        return self.seconds[-1]


def started(name: str, precision: str, options: argparse.Namespace) -> Steps:
    """Start a system and take a first step, which is not counted."""
    command = [sys.executable, __file__, "--worker", name, "--precision", precision]
    command += ["--device", options.device, "--threads", str(options.threads)]
    command += ["--clips", str(options.clips), "--seconds", str(options.seconds)]
    command += ["--compile"] if options.compile else []
    worker = Worker(f"{name} ({precision})", command, options.threads)
    worker.ask("warm")
    return Steps(name, worker, precision, options)


def work(options: argparse.Namespace) -> None:
    """Be a worker: answer lines on standard input by lines of JSON."""
    answer = answering()
    torch.set_num_threads(options.threads)
    device = options.device
    system = build(options.worker, RATE, device)
    before = peak_bytes("cpu")
    if options.compile:
        # Ours as a recipe's `compile: true` does it.
        for module in system.blocks or [system.module]:
            module.compile()
    waveform = 0.1 * torch.randn(options.clips, options.seconds * RATE, generator=torch.Generator().manual_seed(0))
    waveform = waveform.to(device)
    optimizer = torch.optim.AdamW(system.module.parameters(), lr=1e-5, fused=True)
    for line in sys.stdin:
        if line.strip() == "end":
            answer(peak_bytes=peak_bytes(device), before_bytes=before)
            return
        for _ in range(3 if line.strip() == "warm" and device == "cuda" else 1):
            _machine.synchronize(device)
            begun = time.perf_counter()
            loss = step(system, optimizer, waveform, options.precision)
            _machine.synchronize(device)
        answer(seconds=time.perf_counter() - begun, loss=loss)


def peak_bytes(device: str) -> int:
    """Return the largest memory so far: resident (CPU, kilobytes on Linux) or allocated (GPU)."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compare(precision: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run ours beside every peer; return one row per system."""
    ours = started(OURS, precision, options)
    rows: list[dict[str, Any]] = []
    for name in options.peers:
        try:
            peer = started(name, precision, options)
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        pairs = [(ours.take_step(), peer.take_step()) for _ in range(options.rounds)]
        rows.append(row(peer, _machine.faster([a for a, _ in pairs], [b for _, b in pairs])))
        print_row(rows[-1])
    if not ours.seconds:
        ours.seconds = [ours.take_step() for _ in range(options.rounds)]
    rows.insert(0, row(ours, 1.0))
    print_row(rows[0])
    return rows


def row(system: Steps, ratio: float) -> dict[str, Any]:
    """End a system; return what it measured."""
    memory = system.worker.ask("end")
    system.worker.stop()
    seconds = statistics.median(system.seconds)
    return {
        "system": system.name,
        "precision": system.precision,
        "step_seconds": seconds,
        "audio_seconds_per_second": system.options.clips * system.options.seconds / seconds,
        "peak_bytes": memory["peak_bytes"],
        "before_bytes": memory["before_bytes"],
        "steps": len(system.seconds),
        "ours_is_faster": ratio,
        "same_network": system.name not in OTHER_WORK,
    }


def print_row(row: dict[str, Any]) -> None:
    speed, memory = row["audio_seconds_per_second"], row["peak_bytes"] / 1e9
    print(
        f"{row['system']:<44} {row['precision']:<9} {row['step_seconds']:>7.2f} s/step {speed:>7.2f} audio-s/s "
        f"{memory:>6.2f} GB   ours is {row['ours_is_faster']:.2f} x as fast",
        flush=True,
    )


def summarize(rows: list[dict[str, Any]], gflops: float, machine: _machine.Machine) -> list[dict[str, Any]]:
    """Return what ours reaches per precision: against the best peer, and of the machine's peak."""
    found = []
    for precision in dict.fromkeys(row["precision"] for row in rows):
        ours = next(row for row in rows if row["system"] == OURS and row["precision"] == precision)
        peers = [row for row in rows if row["same_network"] and row["system"] != OURS]
        same = [row for row in peers if row["precision"] == precision]
        whole = [row for row in peers if row["precision"] == "float32"]
        entry: dict[str, Any] = {
            "precision": precision,
            "share_of_peak": gflops / ours["step_seconds"] / machine.peak(precision),
        }
        if same:
            entry["faster_than_best_peer"] = min(row["ours_is_faster"] for row in same)
            entry["memory_of_leanest_peer"] = ours["peak_bytes"] / min(row["peak_bytes"] for row in same)
        if whole:
            # Not paired: ours in this precision beside the best peer in float32.
            fastest = min(row["step_seconds"] for row in whole)
            entry["faster_than_best_float32_peer"] = fastest / ours["step_seconds"]
        found.append(entry)
        print("  ".join(f"{key} {value:.2f}" if isinstance(value, float) else value for key, value in entry.items()))
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two peers and two rounds in float32, under two minutes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile every system")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of a step")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of a clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of steps per peer")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--peers", nargs="*", default=[name for name in BUILDERS if name != OURS])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pretrain.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.precisions = 2, ["float32"]
        options.peers = ["torchaudio hubert_pretrain_base", "transformers Wav2Vec2ForPreTraining"]
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.worker:
        work(options)
        return
    torch.set_num_threads(options.threads)
    before = _machine.measure(options.device)
    gflops = step_gflops(options.clips, options.seconds * RATE)
    print(
        f"{before.processor}, {before.threads} threads: {before.float32_gflops:.0f} GFLOP/s float32, "
        f"{before.bfloat16_gflops:.0f} bfloat16; a step is {gflops:.0f} GFLOP",
        flush=True,
    )
    rows = [row for precision in options.precisions for row in compare(precision, options)]
    # The better of before and after: the peak is that of the undisturbed machine.
    after = _machine.measure(options.device)
    machine = max(before, after, key=lambda found: found.float32_gflops)
    summary = summarize(rows, gflops, machine)
    settings = {
        "clips": options.clips,
        "seconds": options.seconds,
        "sample_rate": RATE,
        "rounds": options.rounds,
        "step_gflop": gflops,
    }
    settings |= {"compile": options.compile}
    write_json(options.out, {"settings": settings, "machine": machine.as_dict(), "rows": rows, "summary": summary})


if __name__ == "__main__":
    main()
