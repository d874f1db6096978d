"""Everything that can be wrong with a recipe of masked prediction, found before any work starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from audio_ssl import config as parts
from audio_ssl.catalog import load_part
from audio_ssl.config import kind_of
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.pretrain.kinds.codec import frame_grid
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.teachers import PREVIOUS, CodecRun, build_teacher, codec_recipe, model_loader
from audio_ssl.teachers._base import needs_fit

_CPU = torch.device("cpu")


@contextmanager
def located(where: str) -> Iterator[None]:
    """Give UserErrors raised inside the key path they are about, where they have none."""
    try:
        yield
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=where, remedy=error.remedy) from error


def check_objectives(objectives: Sequence[Any], specs: Sequence[TargetSpec]) -> None:
    """Raise UserError unless every objective names a teacher whose targets it can use."""
    if not objectives:
        raise UserError("a recipe needs at least one objective", where="$.objectives")
    for number, objective in enumerate(objectives):
        where = f"$.objectives[{number}]"
        index = objective.teacher
        if not 0 <= index < len(specs):
            raise UserError(
                f"`teacher` must be the index of one of the {len(specs)} teachers, but is {index}",
                where=f"{where}.teacher",
            )
        with located(where):
            parts.build(objective, 2, specs[index])


def check_teachers(
    recipe: Recipe, teachers: Sequence[Any], codec: CodecRun | None, grid: FrameGrid, where: str, first: bool
) -> list[TargetSpec]:
    """Raise UserError unless every teacher can be made and counts frames as the frontend does.

    Parameters
    ----------
    recipe
        Gives sample rate and device.
    teachers
        Their configs.
    codec
        How a codec is trained where an `rvq` teacher has no path.
    grid
        Of the frontend.
    where
        Key path of the teachers.
    first
        Whether there is no earlier iteration whose model a teacher could use.

    Returns
    -------
    What each teacher will give.
    """
    if not teachers:
        raise UserError("a recipe needs at least one teacher", where=where)
    specs = []
    for index, config in enumerate(teachers):
        place = f"{where}[{index}]"
        with located(place):
            spec = _spec(recipe, config, codec, grid, first)
            grid.require_same_rate(spec.grid, "the frontend", f"teacher {index} (`{kind_of(config)}`)")
        specs.append(spec)
    return specs


def _spec(recipe: Recipe, config: Any, codec: CodecRun | None, grid: FrameGrid, first: bool) -> TargetSpec:
    kind = kind_of(config)
    if kind == "rvq" and config.path is None:
        return _codec_spec(recipe, codec)
    if getattr(config, "model", None) == PREVIOUS:
        if first:
            raise UserError(f"`model` is {PREVIOUS}, but there is no earlier iteration")
        return TargetSpec("codes", 1, config.clusters, grid)
    if needs_fit(config):
        features = load_part("teachers", kind).Features(config, recipe.data.sample_rate, _CPU, model_loader(_CPU))
        return TargetSpec("codes", 1, config.clusters, features.grid)
    return build_teacher(config, recipe.data.sample_rate, _CPU).spec


def _codec_spec(recipe: Recipe, codec: CodecRun | None) -> TargetSpec:
    if codec is None:
        raise UserError(
            "the rvq teacher has no codec: `path` is null",
            remedy="give `path`, the run folder of a codec, or a `codec` section with the recipe to train one by",
        )
    with located("$.codec"):
        config = codec_recipe(recipe, codec)
    sizes = config.codec
    return TargetSpec("codes", sizes.codebooks, sizes.codebook_size, frame_grid(config))
