"""A trace of a few updates by torch's profiler, in Chrome's format: open it at ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from audio_ssl.atomic import atomic_write
from audio_ssl.pretrain.recipe import ProfileConfig


@contextmanager
def profiled(config: ProfileConfig | None, folder: Path) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each update; ``folder/trace.json`` appears when the profiled ones are done."""
    if config is None:
        yield lambda: None
        return
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    # The update before the first is recorded and thrown away, as the profiler itself has to start.
    wait, warmup = max(0, config.first_update - 2), min(1, config.first_update - 1)

    def write(profiler: torch.profiler.profile) -> None:
        with atomic_write(folder / "trace.json") as partial:
            profiler.export_chrome_trace(str(partial))

    with torch.profiler.profile(
        activities=activities,
        schedule=torch.profiler.schedule(wait=wait, warmup=warmup, active=config.updates, repeat=1),
        on_trace_ready=write,
        record_shapes=True,
    ) as profiler:
        yield profiler.step
