"""What the baselines share: one layer at 16 kHz, 50 frames/s as the speech models have, on the CPU in float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor

SAMPLE_RATE, HOP_SAMPLES = 16_000, 320


class Baseline:
    """A frame depends on the samples around it, never on the whole clip."""

    sample_rate, num_layers, device = SAMPLE_RATE, 1, torch.device("cpu")

    def statistics(self, blocks: Iterable[Tensor]) -> None:
        """Return None: a part of a clip does not depend on the rest."""

    def at(self, device: torch.device, precision: str) -> Self:
        """Return itself."""
        return self
