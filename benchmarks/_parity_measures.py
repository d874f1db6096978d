"""What a parity row can have measured: a number that is no key of the recipe.

A row's ``measure`` is one of `MEASURES`, whose arguments are further keys of the row (``measure: rate, update: 100``),
or ``FAMILY.NAME`` for what ``agreement()`` of ``tests/parity/test_FAMILY.py`` returns.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audio_ssl.base import config as parts
from audio_ssl.base.catalog import load_part
from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import UserError
from audio_ssl.models.model import SSLModel, build_model
from audio_ssl.pretrain.checks import Round, check_teachers
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.masking import draw_masks
from audio_ssl.pretrain.optim import learning_rate
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.view import ModelShape
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig
from audio_ssl.targets.spec import is_online

HOME = Path(__file__).resolve().parents[1]
DRAWS = 2000
"""Clips over which shares of masked frames are averaged, as in the golden statistics."""


def measure(recipe: Recipe, name: str, arguments: Mapping[str, Any]) -> float:
    """Return a measurement; UserError for a name that there is not."""
    if name in MEASURES:
        return float(MEASURES[name](recipe, **arguments))
    family, dot, what = name.partition(".")
    if not dot:
        raise UserError(f"`measure` must be one of {sorted(MEASURES)} or FAMILY.NAME, but is {name}")
    found = agreement(family)
    if what not in found:
        raise UserError(
            f"`agreement()` of tests/parity/test_{family}.py has no `{what}`", remedy=f"it has {sorted(found)}"
        )
    return found[what]


@functools.cache
def agreement(family: str) -> Mapping[str, float]:
    """Return the largest relative differences between our learner and the reference's, by what was compared."""
    if str(HOME) not in sys.path:
        sys.path.insert(0, str(HOME))
    found: Mapping[str, float] = importlib.import_module(f"tests.parity.test_{family}").agreement()
    return found


def parameters(recipe: Recipe, stage: int = 0) -> float:
    """Return the trained weights of frontend and encoder, or of a codec, in millions."""
    with torch.device("meta"):
        codec = getattr(recipe, "codec", None)
        if isinstance(codec, CodecConfig):
            model: nn.Module = Codec(codec)
        else:
            model = SSLModel(masked_prediction.model_config(_stage(recipe, stage)))
    return sum(weight.numel() for weight in model.parameters()) / 1e6


def rate(recipe: Recipe, update: int, stage: int = 0) -> float:
    """Return the learning rate that an update (from 0) is made with."""
    config = load_part("pretrain/kinds", kind_of(recipe)).stages(recipe)[stage]
    return learning_rate(config.recipe.optim, update, config.steps)


def share_masked(recipe: Recipe, frames: int, stage: int = 0) -> float:
    """Return the mean share of masked frames of clips of `frames` frames."""
    mask = _stage(recipe, stage).mask
    assert mask is not None
    drawn = draw_masks(torch.full((DRAWS,), frames), frames, mask, range(DRAWS))
    return float(drawn.double().mean())


def ema_decay(recipe: Recipe, update: int, stage: int = 0) -> float:
    """Return the share of the teacher's old weights that stays at an update (from 0)."""
    small, model = _small(_stage(recipe, stage))
    teacher = next(teacher for teacher in small.teachers if is_online(teacher))
    return float(load_part("teachers", kind_of(teacher)).build_online(teacher, model).decay(update))


def gumbel_temperature(recipe: Recipe, update: int, stage: int = 0) -> float:
    """Return the temperature of the quantiser's Gumbel softmax at an update (from 0)."""
    config = _stage(recipe, stage)
    objective = next(one for one in config.objectives if kind_of(one) == "contrastive")
    return float(parts.build(objective, ModelShape(8, 8, layers=1), None).gumbel_temperature(update))


def start(recipe: Recipe, parameter: str, stage: int = 0) -> float:
    """Return the standard deviation at the start of the weights whose names match, over all of them together.

    The learner has one block; the names are ``model.…`` and ``heads.N.…``.
    """
    config, model = _small(_stage(recipe, stage))
    learner = nn.ModuleDict({"model": model})
    if any(part in parameter for part in ("heads", "*.codes")):
        heads = masked_prediction.build_heads(config, model, _specs(config, model))
        learner["heads"] = nn.ModuleList(head.module for head in heads)
    chosen = [value for name, value in learner.named_parameters() if fnmatch.fnmatch(name, parameter)]
    if not chosen:
        raise UserError(
            f"no weight's name matches `{parameter}`", remedy=f"{[name for name, _ in learner.named_parameters()]}"
        )
    return float(torch.cat([value.detach().flatten() for value in chosen]).double().std())


def _stage(recipe: Recipe, number: int) -> masked_prediction.Config:
    config = masked_prediction.stages(recipe)[number].recipe  # type: ignore[arg-type]
    assert isinstance(config, masked_prediction.Config)
    return config


@functools.lru_cache(maxsize=1)
def _small(config: masked_prediction.Config) -> tuple[masked_prediction.Config, SSLModel]:
    """Return the recipe with one block in its encoder, and its model with fresh weights, always the same."""
    encoder = dataclasses.replace(config.encoder, layers=1)  # type: ignore[type-var]
    # What EnCodec's weights are matters to its codes alone, and they may be out of reach.
    teachers = tuple(
        dataclasses.replace(teacher, random_weights=True) if hasattr(teacher, "random_weights") else teacher  # type: ignore[type-var]
        for teacher in config.teachers
    )
    # One that follows the model can average no more layers than there are.
    teachers = tuple(
        dataclasses.replace(teacher, layers=1) if is_online(teacher) else teacher  # type: ignore[type-var]
        for teacher in teachers
    )
    config = dataclasses.replace(config, encoder=encoder, teachers=teachers)
    return config, build_model(masked_prediction.model_config(config), torch.Generator().manual_seed(1))


def _specs(config: masked_prediction.Config, model: SSLModel) -> list[Any]:
    return check_teachers(Round(config, model.frontend, model.encoder, lambda: model))


MEASURES: Mapping[str, Callable[..., float]] = {
    "parameters": parameters,
    "rate": rate,
    "share_masked": share_masked,
    "ema_decay": ema_decay,
    "gumbel_temperature": gumbel_temperature,
    "start": start,
}
