"""The machine that a benchmark runs on: its name, threads, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 1536
"""Side of the square matrices: 7 GFLOP a product, beyond the caches of a core."""

GPU_SIDE = 8192
"""The same on a GPU."""


@dataclass(frozen=True)
class Machine:
    """What figures of speed depend on."""

    processor: str
    """Model name."""

    threads: int
    """Of torch."""

    device: str
    """``cpu`` or ``cuda``."""

    torch: str
    """Version."""

    float32_gflops: float
    """Matrix products a second, in 1e9 additions and multiplications."""

    bfloat16_gflops: float
    """The same in bfloat16."""

    def peak(self, precision: str) -> float:
        """Return the GFLOP/s of a precision."""
        return self.bfloat16_gflops if precision == "bfloat16" else self.float32_gflops

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def processor(device: str = "cpu") -> str:
    """Return the model name of the processor or the GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def matmul_gflops(dtype: torch.dtype, device: str = "cpu", seconds: float = 1.0) -> float:
    """Return the best rate of a matrix product among a few ways to ask for it.

    The best of many runs, because the peak is what the machine can do when nothing disturbs it. A product is asked for
    both as a matrix product and as a convolution of width 1, which other libraries compute on a CPU.

    Parameters
    ----------
    dtype
        Of the matrices.
    device
        Where they lie.
    seconds
        How long to try.
    """
    side = GPU_SIDE if device == "cuda" else SIDE
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    image, kernel = left.view(1, side, 1, side).permute(0, 3, 1, 2), right.view(side, side, 1, 1)
    ways: list[Callable[[], Tensor]] = [lambda: left @ right]
    if device == "cpu":
        ways.append(lambda: F.conv2d(image, kernel))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for way in ways:
            synchronize(device)
            started = time.perf_counter()
            way()
            synchronize(device)
            best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9


def synchronize(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure(device: str = "cpu", seconds: float = 1.0) -> Machine:
    """Measure the machine for about twice `seconds`."""
    return Machine(
        processor=processor(device),
        threads=torch.get_num_threads(),
        device=device,
        torch=torch.__version__,
        float32_gflops=matmul_gflops(torch.float32, device, seconds),
        bfloat16_gflops=matmul_gflops(torch.bfloat16, device, seconds),
    )


def faster(ours: list[float], theirs: list[float]) -> float:
    """Return the median over paired runs of their seconds over ours."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
