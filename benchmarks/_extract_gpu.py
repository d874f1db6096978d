"""The parts of ``extract_gpu.py``: batches in memory, which kernels take the time, and a folder of files."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from _extract_systems import our_model, read, their_model  # type: ignore[import-not-found]
from torch import Tensor
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from audio_ssl.models.fast.prepared import prepare

GPU, RATE, REPEATS = torch.device("cuda"), 16_000, 20
Run = Callable[[list[Path]], Iterator[tuple[str, Tensor]]]
"""Files to names and means ``[layer, dim]``."""

CLIPS, SECONDS = 20, 15
"""Of one batch."""

KINDS = {
    "attention": ("flash", "fmha", "attention"),
    "convolutions": ("conv", "fprop", "implicit", "wgrad", "cudnn"),
    "products": ("gemm", "gemv", "cutlass", "nvjet", "xmma", "splitk"),
    "Fourier transforms": ("fft",),
    "norms": ("norm",),
    "GELU": ("gelu",),
    "copies": ("copy", "memcpy", "memset", "index", "cat", "fill", "gather"),
    "sums": ("elementwise", "reduce"),
}
"""Kernels by parts of their names; the first that fits counts."""


def compute(gflops_of: Callable[[int], float], peaks: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row a system: audio seconds a second, share of the peak of its products, distance from float32."""
    waveform = 0.1 * torch.randn(CLIPS, SECONDS * RATE, device=GPU, generator=torch.Generator(GPU).manual_seed(0))
    lengths = torch.full((CLIPS,), SECONDS * RATE)
    theirs = their_model().to(GPU)

    def one_by_one() -> list[Tensor]:
        found = [theirs(row[None], output_hidden_states=True).hidden_states for row in waveform]
        return [torch.cat(states) for states in zip(*found, strict=True)]

    def lowered(run: Callable[[], Any]) -> Callable[[], Any]:
        def run_lowered() -> Any:
            with torch.autocast("cuda", torch.bfloat16):
                return run()

        return run_lowered

    def together() -> Any:
        return theirs(waveform, output_hidden_states=True).hidden_states

    systems: dict[str, tuple[str, Callable[[], Any]]] = {
        "transformers, clip by clip": ("float32", one_by_one),
        "transformers, clip by clip, bfloat16": ("bfloat16", lowered(one_by_one)),
        "transformers, one batch, bfloat16": ("bfloat16", lowered(together)),
    }
    for precision in ("float32", "bfloat16", "float16"):
        ready = prepare(our_model(), precision, GPU)
        systems[f"audio_ssl {precision}"] = (precision, lambda r=ready: r(waveform, lengths).hidden)  # type: ignore[misc]
    rows, exact = [], None
    with torch.inference_mode():
        for name, (precision, run) in systems.items():
            states = [state.float() for state in run()]
            exact = states if exact is None else exact
            apart = max(float((a - b).norm() / b.norm()) for a, b in zip(states, exact, strict=True))
            del states
            torch.cuda.reset_peak_memory_stats()
            seconds = timed(run)
            rate = CLIPS * SECONDS / seconds
            rows.append(
                {
                    "system": name,
                    "seconds": seconds,
                    "audio_seconds_per_second": rate,
                    "share_of_peak": CLIPS * gflops_of(SECONDS * RATE) / seconds / peaks[precision],
                    "peak_bytes": torch.cuda.max_memory_allocated(),
                    "largest_relative_error": apart,
                }
            )
            print(
                f"{name:<40} {rate:>9.0f} audio-s/s, {rows[-1]['share_of_peak']:.2f} of peak, {apart:.1e}", flush=True
            )
    return rows


def timed(run: Callable[[], Any]) -> float:
    """Return the median seconds of a run."""
    found = []
    for number in range(REPEATS + 3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if number >= 3:
            found.append(time.perf_counter() - started)
    return statistics.median(found)


def kernels(precision: str = "bfloat16") -> dict[str, float]:
    """Return microseconds of the GPU a second of audio by kind of kernel."""
    waveform, lengths = 0.1 * torch.randn(CLIPS, SECONDS * RATE, device=GPU), torch.full((CLIPS,), SECONDS * RATE)
    ready = prepare(our_model(), precision, GPU)  # type: ignore[arg-type]
    with torch.inference_mode():
        ready(waveform, lengths)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            ready(waveform, lengths)
            torch.cuda.synchronize()
    sums = dict.fromkeys([*KINDS, "other"], 0.0)
    names: dict[str, float] = {}
    for event in found.events():
        if event.device_type == DeviceType.CUDA:
            spent = event.self_device_time_total / (CLIPS * SECONDS)
            low = event.name.lower()
            fits = (kind for kind, parts in KINDS.items() if any(part in low for part in parts))
            sums[next(fits, "other")] += spent
            names[event.name[:110]] = names.get(event.name[:110], 0.0) + spent
    for name, spent in sorted(names.items(), key=lambda one: -one[1])[:14]:
        print(f"{spent:8.2f} us/s  {name}", flush=True)
    return {**sums, "all": sum(sums.values())}


def folder(files: list[Path], systems: list[str], rounds: int) -> list[dict[str, Any]]:
    """Return a row a system: seconds for a folder, decoding included, means over time of all layers on the CPU.

    Systems take turns; the first round is not counted.
    """
    runs = {name: FOLDER[name]() for name in systems}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    means: dict[str, dict[str, Tensor]] = {}
    for number in range(rounds + 1):
        for name, run in runs.items():
            torch.cuda.synchronize()
            started = time.perf_counter()
            with torch.inference_mode():
                means[name] = dict(run(files))
            seconds[name].append(time.perf_counter() - started)
            print(f"round {number}: {name:<44} {seconds[name][-1]:7.2f} s", flush=True)
    rows = []
    for name in runs:
        shorter = [
            path.name for path in files if path.name in means[name] and path.stat().st_size < files[-1].stat().st_size
        ]
        apart = [
            float((means[name][key] - means[systems[0]][key]).norm() / means[systems[0]][key].norm()) for key in shorter
        ]
        rows.append({"system": name, "seconds": seconds[name][1:], "largest_relative_error": max(apart)})
    return rows


def _ours(precision: str) -> Run:
    from audio_ssl.features.load import Model
    from audio_ssl.features.settings import Settings

    model = Model(our_model()).to(GPU)

    def run(files: list[Path]) -> Iterator[tuple[str, Tensor]]:
        for clip, mean in model.stream(files, pool="mean", settings=Settings(precision=precision)):
            yield Path(clip.path).name, mean

    return run


def _loop(precision: str, build: Callable[[], Callable[[Tensor], Iterable[Tensor]]]) -> Run:
    hidden_of = build()

    def run(files: list[Path]) -> Iterator[tuple[str, Tensor]]:
        for path in files:
            sums, frames = torch.zeros(1, device=GPU), 0
            for wave in read(path):
                with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
                    states = torch.stack([state[0].float() for state in hidden_of(wave.to(GPU)[None])][-13:])
                sums, frames = sums + states.sum(1), frames + states.shape[1]
            yield path.name, (sums / frames).cpu()

    return run


def _transformers() -> Callable[[Tensor], Iterable[Tensor]]:
    model = their_model().to(GPU)
    return lambda wave: model(wave, output_hidden_states=True).hidden_states


FOLDER: dict[str, Callable[[], Run]] = {
    "transformers": lambda: _loop("float32", _transformers),
    "transformers bfloat16": lambda: _loop("bfloat16", _transformers),
    "audio_ssl float32": lambda: _ours("float32"),
    "audio_ssl bfloat16": lambda: _ours("bfloat16"),
    "audio_ssl float16": lambda: _ours("float16"),
}
