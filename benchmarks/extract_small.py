"""How fast a small model turns files into features on a CPU, beside librosa's log-mel of the same; and its load time.

Files are decoded and resampled to 16 kHz by each system, with soxr's high quality in both. Ours gives all hidden states
by `Model.stream`; librosa's gives 80 log-mel bands every 20 ms, a file at a time, and once more with files shared
by a process a thread. Each round of a system is a process of its own, and rounds take turns. Figures are multiples of
real time: seconds of audio over seconds of the clock, or, with ``--clock cpu`` for busy machines, over seconds of the
processor divided by the threads. Loading is measured apart, in a process that has imported torch.

Run ``python benchmarks/extract_small.py``; it writes ``benchmarks/results/extract_small.json``, and models that ship
are measured beside the planned shapes. ``python benchmarks/tables.py`` makes the table. Files are those of the demo's
corpora (``data/*.jsonl``): Ogg at 44.1 and 22 kHz, FLAC at 24 kHz.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import torch
from _small_shapes import SHAPES, save  # type: ignore[import-not-found]

from audio_ssl.atomic import write_json
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.shipped import SHIPPED

HOME = Path(__file__).resolve().parents[1]
RATE = 16_000
CORPORA = ("game_music", "fillets", "rendered_scores")
LIBROSA, LIBROSA_SHARED = "librosa log-mel", "librosa log-mel, a process a thread"
GOAL = 150.0
LOADS = 3


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


def run(system: str, model: str, clips: Sequence[Clip], threads: int, precision: str) -> int:
    """Go through the clips once; return the frames."""
    if system == LIBROSA:
        return sum(map(log_mel, clips))
    if system == LIBROSA_SHARED:
        with ProcessPoolExecutor(threads) as pool:
            return sum(pool.map(log_mel, clips, chunksize=4))
    import audio_ssl

    loaded = audio_ssl.load(model)
    settings = audio_ssl.Settings(device="cpu", workers=threads, precision=precision)
    return sum(features.shape[1] for _, features in loaded.stream(clips, settings=settings))


def work(options: argparse.Namespace) -> None:
    """Be a worker: measure one round and print it."""
    torch.set_num_threads(options.threads)
    clips = chosen(options.clips)
    # Imports, compiled parts of librosa and caches of the disk are not what is measured.
    run(options.worker, options.model, clips[:: max(1, len(clips) // 6)], options.threads, options.precision)
    started, cpu = time.perf_counter(), _cpu_seconds()
    frames = run(options.worker, options.model, clips, options.threads, options.precision)
    seconds, spent = time.perf_counter() - started, _cpu_seconds() - cpu
    print(json.dumps({"seconds": seconds, "cpu_seconds": spent, "frames": frames}))


def _cpu_seconds() -> float:
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def measure(system: str, model: str, options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Run one round of a system in a process of its own."""
    words = ["--worker", system, "--model", model, "--precision", precision]
    words += ["--clips", str(options.clips), "--threads", str(options.threads)]
    return _ask([__file__, *words], options.threads)


def load_seconds(model: str) -> float:
    """Return the seconds that a model takes to load once torch is imported, the median of several processes."""
    program = (
        "import json, sys, time, torch; begun = time.perf_counter(); import audio_ssl; audio_ssl.load(sys.argv[1]);"
        "print(json.dumps({'seconds': time.perf_counter() - begun}))"
    )
    return statistics.median(float(_ask(["-c", program, model], 1)["seconds"]) for _ in range(LOADS))


def _ask(words: Sequence[str], threads: int) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(systems: dict[str, tuple[str, str]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row a system; `systems` are names to models and precisions, none for librosa."""
    audio_seconds = sum(clip.seconds for clip in chosen(options.clips))
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for number in range(options.rounds):
        names = list(systems)
        for name in names if number % 2 == 0 else names[::-1]:
            model, precision = systems[name]
            kind = name if name in (LIBROSA, LIBROSA_SHARED) else "ours"
            rounds[name].append(measure(kind, model, options, precision))
            print(f"round {number + 1}: {name:<50} {rounds[name][-1]}", flush=True)
    rows = []
    for name, found in rounds.items():
        if options.clock == "cpu":
            # One process of librosa has one thread; what it would give with more is the other row.
            threads = 1 if name == LIBROSA else options.threads
            seconds = [one["cpu_seconds"] / threads for one in found]
        else:
            seconds = [one["seconds"] for one in found]
        model, precision = systems[name]
        row = {"system": name, "precision": precision, "seconds": seconds}
        row |= {"times_real_time": audio_seconds / statistics.median(seconds)}
        rows.append(row | ({"load_seconds": load_seconds(model)} if model and precision == "float32" else {}))
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40, help="of each corpus")
    parser.add_argument("--rounds", type=int, default=3)
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
        systems = {LIBROSA: ("", ""), LIBROSA_SHARED: ("", "")}
        systems |= {f"`{name}`": (f"shipped:{name}", "float32") for name in SHIPPED.names()}
        for number, name in enumerate(SHAPES):
            path = str(save(name, Path(folder) / str(number)))
            systems[name] = (path, "float32")
        systems[f"{name}, int8"] = (path, "int8")
        rows = compare(systems, options)
    clips = chosen(options.clips)
    settings = {"clips": len(clips), "audio_seconds": sum(clip.seconds for clip in clips), "rounds": options.rounds}
    settings |= {"threads": options.threads, "clock": options.clock, "goal": GOAL}
    write_json(options.out, {"settings": settings, "machine": _machine.measure(int8=True).as_dict(), "rows": rows})


if __name__ == "__main__":
    main()
