"""Validation: when it is due, and what it measures."""

from __future__ import annotations

import logging

from audio_ssl.data.loader import Loader, Position
from audio_ssl.pretrain.checkpoint import TrainingState
from audio_ssl.pretrain.distributed import Team, agreed
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.log import MetricsLog, NoLog
from audio_ssl.pretrain.update import Updater

logger = logging.getLogger(__name__)


def validation_due(job: TrainingJob, step: int) -> bool:
    """Return whether a job validates after a step."""
    return job.valid is not None and (step % job.recipe.checkpoint.valid_every == 0 or step == job.steps)


def validate(job: TrainingJob, updater: Updater, team: Team) -> dict[str, float]:
    """Return the metrics of the validation clips."""
    assert job.valid is not None, "asked by `validation_due`"
    with Loader(job.valid, Position(0, 0), 1, team.rank, team.world_size) as loader:
        return updater.validate(item for item, _ in agreed(loader, team))


def validate_before(
    job: TrainingJob, updater: Updater, state: TrainingState, log: MetricsLog | NoLog, team: Team
) -> None:
    """Validate before the first update of a run that begins from a trained model, and log that as step 0."""
    if state.step > 0 or job.training.begun is None or job.valid is None or job.step_offset > 0:
        return
    values = validate(job, updater, team)
    with team.together():
        log.write(0, values)
    if team.leads:
        telling = {name: value for name, value in values.items() if name == "valid_loss" or "accuracy" in name}
        logger.info("before the first update: %s", ", ".join(f"{name} {value:.4g}" for name, value in telling.items()))
