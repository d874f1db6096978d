"""The sections that every recipe has; each kind in ``pretrain/kinds`` adds its own.

The defaults are those of MERT 95M (Li et al. 2023, arXiv 2306.00107; its released configuration), which follow HuBERT
(Hsu et al. 2021, arXiv 2106.07447) and wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477). A recipe file names only
what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.base import catalog
from audio_ssl.base.config import apply_overrides, kind_of, read_yaml, structure, unstructure
from audio_ssl.base.documents import dump_yaml
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.base.versions import VERSION, added, dated, fill_in, hashed
from audio_ssl.models.depths import check_layer_decay
from audio_ssl.pretrain.guards import Guards, check_guards
from audio_ssl.pretrain.optim import OptimConfig

KINDS = "pretrain/kinds"
ENGINES = "pretrain/engines"


@dataclass(frozen=True)
class DataConfig:
    """What is trained on."""

    manifest: str | None = None
    """The manifest (.jsonl); every run needs one."""

    split: str | None = None
    """Train on the clips of this split; null: on all clips that are not of a split held out for validation or test."""

    valid_split: str = "valid"
    """Validate on this split; where the manifest has none, `valid_share` of the speakers or tracks is held out."""

    valid_share: float = 0.05
    """Share held out where there is no `valid_split`, by a hash of track, speaker or clip; 0: no validation."""

    sample_rate: int = 24000
    """Of model and teachers, in Hz; clips of other rates are resampled."""

    crop_seconds: float = 5.0
    """Longest crop of a clip, in seconds (MERT: 5 s)."""

    min_seconds: float = 1.0
    """Shorter clips are left out and counted, in seconds (MERT: 3 s)."""

    seconds_per_update: float = 5120.0
    """Audio of one optimiser update, in seconds (MERT 95M: 1.42 h); micro-batches are accumulated up to it."""

    seconds_per_group: float | None = added(80.0, earlier=None)
    """Most audio of a group of clips of like length, padding included, in seconds (fairseq: the batch of one GPU; MERT
    95M: 16 crops of 5 s). An update is made of groups drawn at random; groups that crops do not fill leave it below
    `seconds_per_update`, as in fairseq. null, or more than two thirds of an update: an update is one group."""

    seconds_per_batch: float = 80.0
    """Most audio of one micro-batch, padding included, in seconds (MERT 95M: 16 crops of 5 s)."""

    targets: str | None = None
    """Folder of targets stored by `audio-ssl targets`; null: computed while training."""

    fit_hours: float | None = added(None)
    """Most audio that k-means and other quantisers are fitted to, in hours: whole clips drawn at random (HuBERT: 10 %
    of 960 h); null: all clips."""

    workers: int = 1
    """Threads that decode audio."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When the state is saved and validated."""

    every: int = 5000
    """Updates between checkpoints."""

    keep_last: int = 2
    """The newest checkpoints kept, besides the one of the lowest validation loss."""

    valid_every: int = 5000
    """Updates between validations."""

    valid_seconds: float = 1200.0
    """Most audio that one validation uses, in seconds."""


@dataclass(frozen=True)
class ProfileConfig:
    """Which updates are profiled."""

    first_update: int = 10
    """The first one, counted from where the run starts or resumes, so that it has warmed up."""

    updates: int = 3
    """Updates in the trace."""


@dataclass(frozen=True)
class Recipe:
    """What the recipes of all kinds share."""

    version: int = VERSION
    """Version of the keys, which a run writes. What a recipe leaves out means what it meant in its version. Without a
    version it is this one, but version 1 for a recipe with all the keys that runs wrote before there were versions."""

    seed: int = 1
    """Seed of everything drawn at random."""

    steps: int = 400_000
    """Optimiser updates (MERT 95M)."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the model under autocast; weights and optimiser stay float32."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU if there is one."""

    engine: str = "torch"
    """What runs the updates: a file of ``pretrain/engines``; torch is our own loop, fairseq2 its trainer."""

    data: DataConfig = field(default_factory=DataConfig)
    """Audio."""

    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """State on the disk."""

    guards: Guards = field(default_factory=Guards)
    """What stops a run that has gone wrong."""

    parallel: Literal["auto", "ddp", "fsdp2"] = "auto"
    """How several processes share the weights: every one holds all (ddp, and auto), or a part of them (fsdp2)."""

    weights_ema: float | None = None
    """Decay of a running average of the weights, which is then saved as the run's model (0.9999); null: none."""

    compile: bool = False
    """Compile the encoder with torch.compile: slow to start, faster on a GPU."""

    deterministic: bool = False
    """On a GPU, use only kernels that give the same bits each time, which are slower; a CPU always does."""

    profile: ProfileConfig | None = None
    """Write a trace of a few updates into ``RUN/profile``; null: none."""

    wandb: bool = False
    """Log to Weights & Biases, too."""

    max_minutes: float | None = None
    """Minutes from the start of the command after which it ends in good order, with a checkpoint, the model and its
    card; the same command with `--resume` continues, for as long again. null: when `steps` are done."""


_SHORT = {"init": "model"}
"""Keys that may be text, which then is the value of one of theirs: ``init=MODEL`` is ``init.model=MODEL``."""


def structure_recipe(data: Mapping[str, Any]) -> Recipe:
    """Build the config of a recipe's plain data; its top-level `kind` names a file of ``pretrain/kinds``.

    What a recipe of an earlier version leaves out means what it meant then (`audio_ssl.base.versions`).

    Raises
    ------
    UserError
        For a missing or unknown kind, and for all that `structure` and `check_values` refuse.
    """
    known = ", ".join(catalog.parts(KINDS))
    if not isinstance(data.get("kind"), str):
        raise UserError(f"a recipe needs a `kind`, one of: {known}", where="$.kind")
    module = catalog.load_part(KINDS, data["kind"], where="$.kind")
    given = dated(_in_full(data))
    keys = fill_in(module.Config, {k: v for k, v in given.items() if k != "kind"}, given["version"])
    recipe: Recipe = structure(module.Config, {**keys, "version": VERSION})
    check_values(recipe)
    return recipe


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, with ``key=value`` settings applied; no model that it begins from is read."""
    return structure_recipe(_read(name_or_path, overrides))


def open_recipe(name_or_path: str, overrides: Sequence[str] = (), run: Path | None = None) -> Recipe:
    """Read a recipe, and complete it by the model that it begins from, if it begins from one.

    Parameters
    ----------
    name_or_path, overrides
        As of `load_recipe`.
    run
        The run that may go on. Where it has a recipe, the model that it began from is not read again.

    Raises
    ------
    UserError
        For all that `load_recipe` refuses, and where the model cannot be read or the recipe contradicts it.
    """
    given = _read(name_or_path, overrides)
    recipe = structure_recipe(given)
    complete = catalog.load_part(KINDS, kind_of(recipe)).TRAITS.complete
    if complete is None:
        return recipe
    begun = None
    if run is not None and (run / RECIPE_FILE).is_file():
        begun = structure_recipe(read_yaml(run / RECIPE_FILE))
    completed: Recipe = complete(recipe, given, begun if type(begun) is type(recipe) else None)
    return completed


def _read(name_or_path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return a recipe's plain data with settings applied."""
    path = catalog.find("recipes", name_or_path)
    try:
        # Dated before any setting is applied, as the version follows from the file alone.
        data = dated(read_yaml(path))
    except UserError as error:
        raise UserError(error.what, where=f"{path}: {error.where}", remedy=error.remedy) from error
    return apply_overrides(_in_full(_in_all_iterations(data, overrides)), [_long(setting) for setting in overrides])


def _in_full(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's plain data with short forms spelt out."""
    return {
        key: {_SHORT[key]: value} if key in _SHORT and isinstance(value, str) else value for key, value in data.items()
    }


def _long(setting: str) -> str:
    """Return a setting of the command line with its short form spelt out; ``init=null`` and a mapping are none."""
    key, _, text = setting.partition("=")
    short = key in _SHORT and text not in _NO_NAME and not text.lstrip().startswith("{")
    return f"{key}.{_SHORT[key]}={text}" if short else setting


_NO_NAME = ("", "~", "null", "Null", "NULL")
"""What YAML reads as no value."""


def _in_all_iterations(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a recipe's plain data without what an iteration's own settings say of a key that is set for the run."""
    iterations = data.get("iterations")
    if not isinstance(iterations, list):
        return data
    keys = [override.partition("=")[0] for override in overrides]

    def kept(setting: Any) -> bool:
        key = str(setting).partition("=")[0]
        return not any(key == own or key.startswith(f"{own}.") for own in keys)

    def alone(iteration: Any) -> Any:
        if not isinstance(iteration, dict) or not isinstance(iteration.get("settings"), list):
            return iteration
        return {**iteration, "settings": [one for one in iteration["settings"] if kept(one)]}

    return {**data, "iterations": [alone(one) for one in iterations]}


def plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain data; `structure_recipe` reads it back to an equal one."""
    return {"kind": kind_of(recipe), **unstructure(recipe)}


def identity(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as the plain data that its hash is of: without keys that are younger and change nothing."""
    return {"kind": kind_of(recipe), **hashed(recipe)}


def recipe_yaml(recipe: Recipe) -> str:
    """Return a resolved recipe as YAML text: itself a recipe."""
    return dump_yaml(plain(recipe))


_ABOVE_ZERO = (
    *("steps", "data.sample_rate", "data.crop_seconds", "data.seconds_per_update", "data.seconds_per_batch"),
    *("data.workers", "checkpoint.every", "checkpoint.keep_last", "checkpoint.valid_every", "checkpoint.valid_seconds"),
    *("optim.lr", "optim.eps", "data.seconds_per_group", "data.fit_hours", "max_minutes"),
)
"""Numbers that must be above zero, in the order in which they are checked; the last three may be null."""


def check_values(recipe: Recipe) -> None:
    """Raise UserError for values of the shared sections that cannot work."""
    data, optim = recipe.data, recipe.optim
    if recipe.engine not in catalog.parts(ENGINES):
        raise unknown_name("engine", recipe.engine, catalog.parts(ENGINES), "$.engine")
    for key in _ABOVE_ZERO if recipe.profile is None else (*_ABOVE_ZERO, "profile.first_update", "profile.updates"):
        value = attrgetter(key)(recipe)
        if value is not None and not value > 0:
            raise UserError(f"`{key}` must be above 0, but is {value}", where=f"$.{key}")
    if data.seconds_per_batch < data.crop_seconds:
        raise UserError(
            f"`data.seconds_per_batch` must be at least `data.crop_seconds` = {data.crop_seconds}, but is "
            f"{data.seconds_per_batch}",
            where="$.data.seconds_per_batch",
        )
    if data.seconds_per_group is not None and data.seconds_per_group < data.crop_seconds:
        raise UserError(
            f"`data.seconds_per_group` must be at least `data.crop_seconds` = {data.crop_seconds}, or null, but is "
            f"{data.seconds_per_group}",
            where="$.data.seconds_per_group",
        )
    if not 0 <= data.min_seconds <= data.crop_seconds:
        raise UserError(
            f"`data.min_seconds` must lie between 0 and `data.crop_seconds` = {data.crop_seconds}, but is "
            f"{data.min_seconds}",
            where="$.data.min_seconds",
        )
    if not 0 <= data.valid_share < 1:
        raise UserError(
            f"`data.valid_share` must be a share below 1, but is {data.valid_share}", where="$.data.valid_share"
        )
    if not 0 < optim.fall_share <= 1:
        raise UserError(
            f"`optim.fall_share` must be a share above 0, but is {optim.fall_share}", where="$.optim.fall_share"
        )
    if optim.clip_norm is not None and not optim.clip_norm > 0:
        raise UserError(
            f"`optim.clip_norm` must be above 0 or null, but is {optim.clip_norm}", where="$.optim.clip_norm"
        )
    if optim.layer_decay is not None:
        check_layer_decay(optim.layer_decay, "$.optim.layer_decay")
    if recipe.weights_ema is not None and not 0 < recipe.weights_ema < 1:
        raise UserError(
            f"`weights_ema` must lie between 0 and 1 or be null, but is {recipe.weights_ema}", where="$.weights_ema"
        )
    check_guards(recipe.guards)
