"""What a run began from, where that was a trained model: a part of the run's ``provenance.json``."""

from __future__ import annotations

from dataclasses import dataclass, field

from audio_ssl.artifacts.records import absent
from audio_ssl.base.documents import JsonObject


@dataclass(frozen=True)
class RunBeginning:
    """Which model a run began from, and which of its weights were taken."""

    model: str
    """As the recipe names it."""
    fingerprint: str
    """Hash of the model's settings and weights, all layers."""
    checkpoint: str | None = absent(None)
    """Folder of the checkpoint that heads were looked for in, inside the run that the model is of; None: the model is
    of no run, or its run has no checkpoint."""
    taken: tuple[str, ...] = ()
    """What began as it was in the model or beside it, in words."""
    fresh: tuple[str, ...] = ()
    """What began from random weights all the same, in words, each with the reason."""
    more: JsonObject = field(default_factory=dict)
