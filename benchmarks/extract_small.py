"""How fast a small model turns files into features on a CPU, beside librosa's log-mel of the same; and its load time.

Files are decoded and resampled to 16 kHz by each system, with soxr's high quality in both. Ours gives all hidden states
by `Model.stream`; librosa's gives 80 log-mel bands every 20 ms, with the files shared by a process a thread. A system
is a process of its own, rounds take turns, and the first one is not counted. Figures are multiples of real time:
seconds of audio over seconds of the clock, or, with ``--clock cpu`` for busy machines, over seconds of the processor
divided by the threads. Loading is measured apart, in processes that have imported torch.

Run ``python benchmarks/extract_small.py``; it writes ``benchmarks/results/extract_small.json``, and models that ship
are measured beside the planned shapes. ``python benchmarks/tables.py`` makes the table. Files are those of the demo's
corpora (``data/*.jsonl``): Ogg at 44.1 and 22 kHz, FLAC at 24 kHz.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import torch
from _small_shapes import SHAPES, save  # type: ignore[import-not-found]
from _worker import HOME, Worker, answering, environment  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.shipped import SHIPPED

RATE = 16_000
CORPORA = ("game_music", "fillets", "rendered_scores")
LIBROSA = "librosa log-mel"
GOAL = 150.0


def chosen(clips: int) -> list[Clip]:
    """Return clips of each corpus, evenly from its manifest; whole files only where librosa needs no offset."""
    found: list[Clip] = []
    for corpus in CORPORA:
        rows = [clip for clip in read_manifest(HOME / "data" / f"{corpus}.jsonl") if clip.seconds >= 1.0]
        found += rows[:: max(1, len(rows) // clips)][:clips]
    return found


def log_mel(clip: Clip) -> int:
    """Return the frames of librosa's log-mel of a clip."""
    import librosa
    import numpy as np

    waveform, _ = librosa.load(clip.path, sr=RATE, mono=True, offset=clip.start, duration=clip.seconds)
    power = librosa.feature.melspectrogram(y=waveform, sr=RATE, n_fft=400, hop_length=320, n_mels=80)
    return int(np.log(power + 1e-6).shape[1])


def runner(system: str, model: str, threads: int, precision: str) -> Callable[[Sequence[Clip]], int]:
    """Return what goes through clips once and gives the number of frames."""
    if system == LIBROSA:

        def shared(clips: Sequence[Clip]) -> int:
            # Imported before the processes are forked.
            first = log_mel(clips[0])
            with ProcessPoolExecutor(threads) as pool:
                return first + sum(pool.map(log_mel, clips[1:], chunksize=2))

        return shared
    import audio_ssl

    loaded = audio_ssl.load(model)
    settings = audio_ssl.Settings(device="cpu", workers=threads, precision=precision)
    return lambda clips: sum(features.shape[1] for _, features in loaded.stream(clips, settings=settings))


def work(options: argparse.Namespace) -> None:
    """Be a worker: measure a round for each line that comes, and answer with it."""
    answer = answering()
    torch.set_num_threads(options.threads)
    clips = chosen(options.clips)
    run = runner(options.worker, options.model, options.threads, options.precision)
    # Compiled parts of librosa and caches of the disk are not what is measured.
    run(clips[:: max(1, len(clips) // 4)])
    for _ in sys.stdin:
        begun, cpu = time.perf_counter(), _cpu_seconds()
        frames = run(clips)
        answer(seconds=time.perf_counter() - begun, cpu_seconds=_cpu_seconds() - cpu, frames=frames)


def _cpu_seconds() -> float:
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def started(system: str, model: str, options: argparse.Namespace, precision: str) -> Worker:
    """Start a system."""
    words = ["--worker", system, "--model", model, "--precision", precision]
    words += ["--clips", str(options.clips), "--threads", str(options.threads)]
    worker: Worker = Worker(system, [sys.executable, __file__, *words], options.threads)
    return worker


def load_seconds(model: str, clock: str, times: int) -> float:
    """Return the seconds that a model takes to load once torch is imported, the median of several processes."""
    counted = "time.process_time" if clock == "cpu" else "time.perf_counter"
    program = (
        f"import sys, time, torch; begun = {counted}(); import audio_ssl; audio_ssl.load(sys.argv[1]);"
        f"print({counted}() - begun)"
    )
    command = [sys.executable, "-c", program, model]
    done = [
        subprocess.run(command, env=environment(1), capture_output=True, text=True, check=True) for _ in range(times)
    ]
    return statistics.median(float(one.stdout) for one in done)


def compare(systems: dict[str, tuple[str, str]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row a system; `systems` are names to models and precisions."""
    audio_seconds = sum(clip.seconds for clip in chosen(options.clips))
    workers = {name: started(name, model, options, precision) for name, (model, precision) in systems.items()}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for number in range(options.rounds):
        for name in list(systems)[:: 1 if number % 2 == 0 else -1]:
            rounds[name].append(workers[name].ask("again"))
            print(f"round {number + 1}: {name:<50} {rounds[name][-1]}", flush=True)
    for worker in workers.values():
        worker.stop()
    rows = []
    for name, found in rounds.items():
        cpu = [one["cpu_seconds"] / options.threads for one in found]
        seconds = cpu if options.clock == "cpu" else [one["seconds"] for one in found]
        model, precision = systems[name]
        row: dict[str, Any] = {"system": name, "precision": precision, "seconds": seconds}
        row |= {"times_real_time": audio_seconds / statistics.median(seconds)}
        if model and precision == "float32":
            row["load_seconds"] = load_seconds(model, options.clock, options.loads)
        rows.append(row)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40, help="of each corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", type=int, default=3, help="how often each model is loaded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for busy machines")
    parser.add_argument("--out", type=Path, default=HOME / "benchmarks" / "results" / "extract_small.json")
    for name in ("--worker", "--model", "--precision"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.worker:
        work(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        systems = {LIBROSA: ("", "")}
        systems |= {f"`{name}`": (f"shipped:{name}", "float32") for name in SHIPPED.names()}
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            systems |= {f"`{name}`, bfloat16": (f"shipped:{name}", "bfloat16") for name in SHIPPED.names()}
        for number, name in enumerate(SHAPES):
            path = str(save(name, Path(folder) / str(number)))
            systems[name] = (path, "float32")
        rows = compare(systems, options)
    clips = chosen(options.clips)
    settings = {"clips": len(clips), "audio_seconds": sum(clip.seconds for clip in clips), "rounds": options.rounds}
    settings |= {"threads": options.threads, "clock": options.clock, "goal": GOAL}
    write_json(options.out, {"settings": settings, "machine": _machine.measure().as_dict(), "rows": rows})


if __name__ == "__main__":
    main()
