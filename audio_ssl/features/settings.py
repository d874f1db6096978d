"""Settings of how features are computed: precision, device, batches, chunks, threads."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from audio_ssl.base.config import apply_overrides, structure
from audio_ssl.base.errors import UserError
from audio_ssl.models.fast.prepared import known_precision


@dataclass(frozen=True)
class Settings:
    """Settings of extraction. Features depend on the first three; the others change them by rounding only."""

    precision: str = "float32"
    """Of the model's arithmetic: float32, bfloat16, float16 (GPUs)."""

    chunk_seconds: float = 30.0
    """Longer clips are cut into equal chunks of at most this."""

    context_seconds: float = 2.0
    """Audio on either side of a chunk that the model sees but whose frames are not kept."""

    batch_seconds: float = 0.0
    """Audio in one batch, padding included; 0: 60, or 300 on a GPU."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:1 …"""

    workers: int = 0
    """Threads that decode ahead; 0: two, or up to sixteen beside a GPU."""

    ray_workers: int = 0
    """Processes on a Ray cluster; 0: one for each GPU, or for each two CPU cores."""

    def check(self) -> None:
        """Raise UserError for values out of range."""
        known_precision(self.precision, "$.precision")
        if not self.chunk_seconds > 0:
            raise UserError(f"must be above 0, but is {self.chunk_seconds}", where="$.chunk_seconds")
        for name in ("context_seconds", "batch_seconds", "workers", "ray_workers"):
            if not getattr(self, name) >= 0:
                raise UserError(f"must be at least 0, but is {getattr(self, name)}", where=f"$.{name}")
        self.torch_device()

    def torch_device(self, local_rank: int = 0) -> torch.device:
        """Return the device of the process with this number on its machine."""
        if self.device == "auto":
            gpus = torch.cuda.device_count()
            return torch.device("cuda", local_rank % gpus) if gpus else torch.device("cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError:
            raise UserError(f"must be auto, cpu or cuda, but is `{self.device}`", where="$.device") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError("no GPU can be used", where="$.device", remedy="leave device out, or give device=cpu")
        return device

    def on(self, device: torch.device) -> Settings:
        """Return the settings with what depends on the device filled in."""
        gpu = device.type == "cuda"
        workers = self.workers or min(os.cpu_count() or 1, 16 if gpu else 2)
        return dataclasses.replace(self, workers=workers, batch_seconds=self.batch_seconds or (300.0 if gpu else 60.0))


def read_settings(overrides: Sequence[str], workers: int = 0) -> Settings:
    """Return settings of ``key=value`` texts, checked.

    Examples
    --------
    >>> read_settings(["chunk_seconds=10"]).chunk_seconds
    10.0
    """
    settings = structure(Settings, {"workers": workers, **apply_overrides({}, overrides)})
    settings.check()
    return settings
