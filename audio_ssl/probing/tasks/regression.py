"""Numbers of a clip, such as valence and arousal: MARBLE's emotion regression on EmoMusic (Yuan et al. 2023).

Heads see numbers standardised by the training clips; answers are in the unit of the manifest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.result import REMEDY
from audio_ssl.base.documents import find, read_object
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.task import Output, Task

_SCALE_FILE = "scale.json"


@dataclass(frozen=True)
class Config:
    """Which numbers."""

    columns: tuple[str, ...] = ("valence", "arousal")
    """Columns of the manifest that hold them; R² is averaged over these."""


class Regression(Task):
    """Columns as numbers."""

    kind = "regression"
    output: Output = "values"
    metrics: tuple[str, ...] = ("r2",)

    def __init__(self, config: Config) -> None:
        self._columns = list(config.columns)
        self.signature = f"columns {', '.join(config.columns)}"
        self._mean, self._deviation = torch.zeros(len(self._columns)), torch.ones(len(self._columns))

    @property
    def classes(self) -> list[str]:
        """Return the names of the numbers."""
        return self._columns

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        row = clip.row()
        for column in self._columns:
            value = row.get(column)
            if value is None:
                return f"no `{column}`"
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                return f"`{column}` must be a finite number, but is {value!r}"
        return None

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the mean and the deviation of the training clips; UserError for a number that never varies."""
        values = torch.tensor([self.reference(clip) for clip in clips], dtype=torch.float64)
        mean, deviation = values.mean(0), values.std(0, correction=0)
        for column, one, size in zip(self._columns, deviation.tolist(), values.abs().amax(0).tolist(), strict=True):
            if one <= 1e-9 * size:
                raise UserError(f"`{column}` is the same in all {len(clips)} training clips", where="$.task.columns")
        self._mean, self._deviation = mean, deviation

    def restore(self, classes: Sequence[str], folder: Path) -> None:
        """Take the mean and the deviation of the training clips from a result."""
        super().restore(classes, folder)
        path = folder / _SCALE_FILE
        found = read_object(path, remedy=REMEDY)
        parts = [find(found, column, dict, str(path)) for column in self._columns]
        mean, deviation = (
            torch.tensor([find(part, name, float, str(path)) for part in parts], dtype=torch.float64)
            for name in ("mean", "deviation")
        )
        self._mean, self._deviation = mean, deviation

    def target(self, clip: Clip) -> Float[Tensor, " value"]:
        """Return the standardised numbers."""
        values = torch.tensor(self.reference(clip), dtype=torch.float64)
        return ((values - self._mean) / self._deviation).float()

    def reference(self, clip: Clip) -> list[float]:
        """Return the numbers in the manifest's unit."""
        row = clip.row()
        return [float(row[column]) for column in self._columns]

    def hypothesis(self, prediction: Float[Tensor, " value"]) -> list[float]:
        """Return the numbers in the manifest's unit."""
        return (prediction.double().cpu() * self._deviation + self._mean).tolist()

    def files(self) -> dict[str, bytes]:
        """Return what brings a head's numbers back to the manifest's unit."""
        scale = {
            column: {"mean": mean, "deviation": deviation}
            for column, mean, deviation in zip(
                self._columns, self._mean.tolist(), self._deviation.tolist(), strict=True
            )
        }
        return {_SCALE_FILE: json.dumps(scale, indent=2).encode()}


def build(config: Config) -> Regression:
    """Make the task; UserError where no column is named, or one twice."""
    if not config.columns or len(set(config.columns)) != len(config.columns):
        raise UserError("must name at least one, each once", where="$.task.columns")
    return Regression(config)
