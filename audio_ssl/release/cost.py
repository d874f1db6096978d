"""What a run cost, from its metrics: hours of updates, hours of audio heard, and an estimate of the energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audio_ssl.documents import readable_rows
from audio_ssl.errors import UserError
from audio_ssl.shipped.facts import TrainingCost


def cost_of(run: Path, cores: float, watts_per_core: float) -> TrainingCost:
    """Return what a run's updates took.

    An update's time is its audio over its speed, both of which its row in ``metrics.jsonl`` has; pauses of a run that
    was stopped are then not counted, nor are teachers that were fitted before, nor validation.

    Parameters
    ----------
    run
        The run's folder.
    cores
        How many it computed on.
    watts_per_core
        Assumed draw of one busy core with its share of the machine.

    Raises
    ------
    UserError
        If the run has no update, or a number is not above 0.
    """
    for name, value in (("cores", cores), ("watts_per_core", watts_per_core)):
        if not value > 0:
            raise UserError(f"`{name}` must be above 0, but is {value:g}")
    # An update that was done again after a stop is in the file twice; the last one counts.
    rows: dict[tuple[Any, Any], dict[str, Any]] = {}
    for row in readable_rows(run / "metrics.jsonl"):
        if all(
            isinstance(row.get(name), int | float) for name in ("step", "audio_seconds", "audio_seconds_per_second")
        ):
            rows[row.get("iteration", 1), row["step"]] = row
    if not rows:
        raise UserError("the run has no update in metrics.jsonl", where=str(run))
    seconds, heard, before = 0.0, 0.0, dict[Any, float]()
    for (iteration, _), row in sorted(rows.items()):
        audio = row["audio_seconds"] - before.get(iteration, 0.0)
        before[iteration] = row["audio_seconds"]
        heard += audio
        seconds += audio / max(1e-9, row["audio_seconds_per_second"])
    return TrainingCost(len(rows), heard / 3600, seconds / 3600, cores, watts_per_core)
