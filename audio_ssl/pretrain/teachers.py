"""Makes teachers ready: what must be fitted or trained first is made in the run's folder, once.

A teacher that is fitted (`kmeans`, `mel_rvq`, `hidden`) and has no path is fitted to the training clips, and its state
kept as ``teachers/INDEX/KIND.safetensors``. A teacher of a codec (`rvq`) without a path gets a codec that the run
trains first, by the recipe's `codec` section.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import TEACHERS_FOLDER
from audio_ssl.base import config as parts
from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.files import atomic_write
from audio_ssl.base.progress import track
from audio_ssl.base.seeds import generator
from audio_ssl.data.manifest import Clip
from audio_ssl.interop.read import read_model
from audio_ssl.models.model import SSLModel
from audio_ssl.models.weights import WEIGHTS_FILE
from audio_ssl.pretrain.jobs import StageContext
from audio_ssl.pretrain.kinds.codec import Config as CodecRecipe
from audio_ssl.pretrain.recipe import Recipe, load_recipe
from audio_ssl.targets.spec import PREVIOUS, TargetSpec, Teacher, hears, needs_fit, teacher_traits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodecRun:
    """A codec trained at the start of a run, for an `rvq` teacher without a path."""

    recipe: str = "codec_tiny"
    """Name or path of a recipe of kind `codec`."""

    steps: int | None = None
    """Updates of the codec; null: `share` of the run's own `steps`."""

    share: float = 0.5
    """Updates of the codec as a share of the run's `steps`, where `steps` here is null."""


def prepare_teachers(
    recipe: Recipe, teachers: Sequence[object], codec: CodecRun | None, context: StageContext
) -> list[Teacher]:
    """Build the teachers of a stage; fit or train those that need it, once.

    Parameters
    ----------
    recipe
        Gives seed, sample rate and data.
    teachers
        Their configs, in order.
    codec
        How to train a codec where an `rvq` teacher has no path.
    context
        Where to keep what is fitted, and what to fit to.
    """
    ready = [_complete(recipe, index, config, codec, context) for index, config in enumerate(teachers)]
    for index, config in enumerate(ready):
        untrained = teacher_traits(config).untrained
        if untrained is not None and untrained(config):
            logger.warning(
                "teacher %d has random weights: its targets are meaningless and serve to try a recipe only", index
            )
    return [build_teacher(config, recipe.data.sample_rate, context.device) for config in ready]


def build_teacher(config: Any, sample_rate: int, device: torch.device) -> Teacher:
    """Build a teacher whose config is complete; one that listens to a model is given the way to open it."""
    traits = teacher_traits(config)
    if not (traits.path and config.path is not None) and not (hears(config) and config.model is not None):
        return _build_once(config, sample_rate, device)
    teacher: Teacher = parts.build(config, sample_rate, device, **_dependencies(config, device))
    return teacher


def spec_before_fit(config: Any, sample_rate: int, device: torch.device) -> TargetSpec:
    """Return what a teacher that has yet to be fitted will give; UserError where it cannot be made."""
    spec_of = teacher_traits(config).spec_before_fit
    assert spec_of is not None, "a part with `fit` has it"
    return spec_of(config, sample_rate, device, **_dependencies(config, device))


def _dependencies(config: Any, device: torch.device) -> dict[str, Any]:
    """Return what a teacher is given beside its config: a way to open the model it listens to."""
    return {"load_model": model_loader(device)} if hears(config) else {}


@lru_cache(maxsize=4)
def _build_once(config: Any, sample_rate: int, device: torch.device) -> Teacher:
    """Build a teacher that is nothing but its config: the check before a run and the run itself share it."""
    teacher: Teacher = parts.build(config, sample_rate, device)
    return teacher


def model_loader(device: torch.device) -> Callable[[str], SSLModel]:
    """Return the function that opens a model of any library; teachers get it from here, as they lie below models."""
    return lambda name: read_model(name).to(device)


def _complete(recipe: Recipe, index: int, config: Any, codec: CodecRun | None, context: StageContext) -> Any:
    """Return a teacher's config with its paths filled in."""
    folder = _home(recipe, context) / TEACHERS_FOLDER
    if teacher_traits(config).codec and config.path is None:
        return dataclasses.replace(config, path=str(_codec(recipe, codec, folder / "codec", context)))
    if hears(config) and config.model == PREVIOUS:
        config = dataclasses.replace(config, model=str(context.previous))
    if not needs_fit(config):
        return config
    path = folder / str(index) / f"{kind_of(config)}.safetensors"
    if not path.is_file():
        _fit(recipe, index, config, path, context)
    return dataclasses.replace(config, path=str(path))


def _codec(recipe: Recipe, codec: CodecRun | None, folder: Path, context: StageContext) -> Path:
    """Return the folder of a run's codec, trained if it is not there."""
    assert codec is not None, "refused by check_teachers"
    if (folder / WEIGHTS_FILE).is_file() and not (
        folder.is_relative_to(context.folder) and (folder / RECIPE_FILE).is_file()
    ):
        # A target store, or the run that this one begins from, brings the codec its codes are of, however long that
        # one was trained.
        return folder
    logger.info("a codec for the rvq teacher is trained first, in %s", folder)
    begun = folder / RECIPE_FILE
    if begun.is_file():
        # Gone on with as it was begun, whatever the recipe of that name has become.
        codec = dataclasses.replace(codec, recipe=str(begun), steps=load_recipe(str(begun)).steps)
    return context.run_recipe(codec_recipe(recipe, codec), folder)


def _home(recipe: Recipe, context: StageContext) -> Path:
    """Return the folder of fitted teachers: the target store's, where a first stage reads from one, else its own."""
    if recipe.data.targets is not None and context.previous is None:
        stored = Path(recipe.data.targets)
        if (stored / TEACHERS_FOLDER).is_dir():
            return stored
    return context.folder


def codec_recipe(recipe: Recipe, codec: CodecRun) -> CodecRecipe:
    """Return the recipe of the codec that a run trains first: on the run's own audio, at its sample rate."""
    base = load_recipe(codec.recipe)
    if not isinstance(base, CodecRecipe):
        raise UserError(f"`{codec.recipe}` is no recipe of a codec", where="$.codec.recipe")
    steps = codec.steps if codec.steps is not None else max(1, round(codec.share * recipe.steps))
    mine = recipe.data
    data = dataclasses.replace(
        base.data,
        manifest=mine.manifest,
        split=mine.split,
        valid_split=mine.valid_split,
        valid_share=mine.valid_share,
        sample_rate=mine.sample_rate,
        # A corpus of short clips trains its codec, too.
        min_seconds=min(base.data.min_seconds, mine.min_seconds),
        workers=mine.workers,
    )
    sizes = dataclasses.replace(base.codec, sample_rate=mine.sample_rate)
    checkpoint = dataclasses.replace(base.checkpoint, every=min(base.checkpoint.every, recipe.checkpoint.every))
    return dataclasses.replace(
        base,
        seed=recipe.seed,
        steps=steps,
        device=recipe.device,
        engine=recipe.engine,
        data=data,
        codec=sizes,
        checkpoint=checkpoint,
    )


def _fit(recipe: Recipe, index: int, config: Any, path: Path, context: StageContext) -> None:
    name = kind_of(config)
    long_enough = [clip for clip in context.clips.train if clip.seconds >= recipe.data.min_seconds]
    clips = clips_to_fit(long_enough, recipe.data.fit_hours, recipe.seed)
    logger.info("fitting teacher %d (%s) to %d clips", index, name, len(clips))
    fit = teacher_traits(config).fit
    assert fit is not None, "asked by `needs_fit`"
    state = fit(
        config,
        _waveforms(clips, f"fit {name}", context),
        recipe.data.sample_rate,
        generator(recipe.seed, "fit", index),
        device=context.device,
        **_dependencies(config, context.device),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(state, partial)


def clips_to_fit(clips: Sequence[Clip], hours: float | None, seed: int) -> list[Clip]:
    """Return as many clips, drawn at random and in their order, as last `hours` together; None: all.

    All teachers of a run are fitted to the same clips.
    """
    if hours is None:
        return list(clips)
    drawn, left = [], hours * 3600
    for place in torch.randperm(len(clips), generator=generator(seed, "fit clips")).tolist():
        if left <= 0:
            break
        drawn.append(place)
        left -= clips[place].seconds
    return [clips[place] for place in sorted(drawn)]


def _waveforms(clips: Sequence[Clip], what: str, context: StageContext) -> Iterator[Tensor]:
    for clip in track(clips, what):
        try:
            yield context.reader.whole(clip)
        except AudioError as error:
            context.ledger.record(clip.path, error.reason, id=clip.id)
