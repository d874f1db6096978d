"""What a probe file says: the task, the head, the clips, and how the head is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from audio_ssl import catalog
from audio_ssl.config import PartOf, kind_of, load
from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Data:
    """Which clips train, choose and test."""

    manifest: str | None = None
    """Manifest with all three splits; must be given."""

    train_split: str = "train"
    """Trains the head."""

    valid_split: str = "valid"
    """Chooses the layer and when to stop."""

    test_split: str = "test"
    """Scored once."""

    where: dict[str, str] = field(default_factory=dict)
    """Only clips whose columns have these values, for example {language: cs}."""

    max_seconds: float = 30.0
    """Longer clips are left out, and counted."""

    max_train_clips: int | None = None
    """At most this many training clips, evenly spread."""


@dataclass(frozen=True)
class Optim:
    """How the head is trained; AdamW with a constant rate."""

    lr: float = 1e-3
    """Learning rate."""

    steps: int = 500
    """Most updates."""

    batch_clips: int = 16
    """Clips of an update."""

    weight_decay: float = 0.0
    """Of AdamW."""

    clip_norm: float = 5.0
    """Largest norm of the gradients."""

    eval_every: int = 50
    """Updates between scores on the validation clips."""

    patience: int = 5
    """Evaluations without improvement before the training stops."""


@dataclass(frozen=True)
class Probe:
    """One question."""

    task: Annotated[object, PartOf("probing/tasks")]
    """What is asked."""

    head: Annotated[object, PartOf("probing/heads")]
    """What is trained on the frozen features; the same for the model and its baselines."""

    data: Data = field(default_factory=Data)
    """The clips."""

    optim: Optim = field(default_factory=Optim)
    """The training of the head."""

    seed: int = 0
    """Of the head's weights and the order of the clips."""

    baselines: tuple[str, ...] = ("untrained", "logmel")
    """What the model stands beside: untrained (its twin with fresh weights), logmel, cqt."""


KNOWN_BASELINES = ("untrained", "logmel", "cqt")


def read_probe(name: str, overrides: Sequence[str] = ()) -> tuple[str, Probe]:
    """Return a probe's name and content, checked.

    Raises
    ------
    UserError
        If there is no such probe, a key is wrong, no manifest is given, or head and task do not fit.
    """
    path = catalog.find("probes", name)
    probe = load(Probe, path, overrides)
    if probe.data.manifest is None:
        raise UserError("must be given", where="$.data.manifest", remedy="add data.manifest=M.jsonl")
    if not Path(probe.data.manifest).is_file():
        raise UserError(f"no such manifest: {probe.data.manifest}", where="$.data.manifest")
    for index, baseline in enumerate(probe.baselines):
        if baseline not in KNOWN_BASELINES:
            known = ", ".join(KNOWN_BASELINES)
            raise UserError(f"unknown baseline `{baseline}`; known: {known}", where=f"$.baselines[{index}]")
    for key in ("steps", "batch_clips", "eval_every", "patience"):
        if getattr(probe.optim, key) < 1:
            raise UserError(f"`{key}` must be at least 1", where=f"$.optim.{key}")
    return _title(path, probe), probe


def _title(path: Path, probe: Probe) -> str:
    """Return the name for tables: the file's, or the task's when a result's own probe.yaml is run again."""
    return path.stem if path.stem != "probe" else kind_of(probe.task)


def plain(value: Any) -> Any:
    """Return JSON data without NaN: what is not a number is null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
