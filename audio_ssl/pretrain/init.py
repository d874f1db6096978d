"""What a run begins from: a trained model in place of random weights, and what the recipe then becomes.

Continued pretraining ("Don't stop pretraining", Gururangan et al. 2020, arXiv 2004.10964): a model of any library goes
on with other audio, other teachers or another learning rate. `Init` is the key ``init`` of a recipe, and `complete`
makes the recipe that of the model it begins from:

- **What the model is follows the model**: frontend, encoder, sample rate, normalisation. A recipe that names another
  value contradicts it, which is an error with both values. What only matters in training (dropout, layer drop) follows
  the recipe, as do masks, losses and optimiser.
- **The model stands for the iterations before it.** In a recipe of several iterations (HuBERT) those before the first
  that hears ``previous`` are left out, and its ``previous`` is the model.

The completed recipe names all of this, so it is a recipe of its own. A run that goes on is completed from its own
``recipe.yaml``, and the model it once began from need not be there any more. `audio_ssl.pretrain.init_weights` puts the
weights in place.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from audio_ssl.base.config import kind_of, traits_of, unstructure
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import UserError, located, shown
from audio_ssl.interop.read import open_model
from audio_ssl.interop.settings import ModelSettings
from audio_ssl.models.interfaces import EncoderTraits, FrontendTraits
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.shipped import SHIPPED
from audio_ssl.targets.spec import PREVIOUS, hears

if TYPE_CHECKING:  # it imports this module
    from audio_ssl.pretrain.kinds.masked_prediction import Config, Iteration

logger = logging.getLogger(__name__)

Traits = TypeVar("Traits", FrontendTraits, EncoderTraits)


@dataclass(frozen=True)
class Init:
    """What a model begins from."""

    model: str
    """The model whose weights are taken, as every command names one: a run, a checkpoint of one, a saved model, one
    that ships, or a model of another library. ``init=MODEL`` is short for ``init.model=MODEL``."""

    layers: int | str | tuple[int, ...] | None = None
    """Which of its layers are taken: the first ones (``6``), every n-th from the first on (``every:2``: 1, 3, 5, ...),
    or these, counted from 1 (``[1, 7, 12]``); null: all."""

    heads: bool = True
    """Take heads, decoder and the state of teachers that follow the model where they are there and fit; false: they are
    fresh."""

    teachers: bool = True
    """Take the fitted teachers of a run (k-means, quantisers, its codec) where the recipe has the same, so that its
    codes keep their meaning and the heads fit; false: they are fitted to this run's audio."""

    freeze_updates: int = 0
    """Updates in which the model stays as it is, while heads and decoder learn; 0: everything learns from the
    start."""


def check_init(init: Init, steps: int) -> None:
    """Raise UserError for values of ``init`` that cannot be; `steps` are the updates of the run."""
    if not 0 <= init.freeze_updates < steps:
        raise UserError(
            f"`init.freeze_updates` must be at least 0 and below `steps` = {steps}, but is {init.freeze_updates}",
            where="$.init.freeze_updates",
            remedy="0 lets the whole model learn from the start",
        )


def open_init(init: Init) -> SSLModel:
    """Read the model that a run begins from; UserError where there is none, or it cannot be read."""
    with located("$.init.model"):
        # Nothing is said of heads: what becomes of them is told where they are taken.
        return open_model(init.model, ModelSettings(), SHIPPED, heads=init.heads).model


def chosen_layers(layers: int | str | tuple[int, ...] | None, total: int) -> list[int]:
    """Return the numbers of the layers that are taken, counted from 0.

    Parameters
    ----------
    layers
        As `Init.layers`.
    total
        Layers of the model.

    Raises
    ------
    UserError
        If the model has no such layers, or `layers` is none of these forms.

    Examples
    --------
    >>> chosen_layers(2, 12), chosen_layers("every:5", 12), chosen_layers((1, 12), 12)
    ([0, 1], [0, 5, 10], [0, 11])
    """
    if layers is None:
        return list(range(total))
    numbers: Sequence[int] = ()
    if isinstance(layers, int):
        numbers = range(1, layers + 1)
    elif isinstance(layers, tuple):
        numbers = layers
    elif (every := layers.removeprefix("every:")) != layers and every.isascii() and every.isdecimal() and int(every):
        numbers = range(1, total + 1, int(every))
    if not numbers or list(numbers) != sorted(set(numbers)) or not 1 <= numbers[0] <= numbers[-1] <= total:
        raise UserError(
            f"`init.layers` must be a number of first layers, every:N, or a rising list of layers, from 1 to the "
            f"model's {total}, but is {shown(layers)}",
            where="$.init.layers",
            remedy="for example init.layers=2, init.layers=every:2 or init.layers=[1,2]; null takes all",
        )
    return [number - 1 for number in numbers]


def shape_of(model: SSLModel, init: Init) -> ModelConfig:
    """Return the settings of a model with the layers that a run takes of it."""
    if init.layers is None:
        return model.config
    kept = chosen_layers(init.layers, model.num_layers)
    if len(model.encoder.alike()) != model.num_layers:
        raise UserError(
            f"the layers of a {kind_of(model.config.encoder)} encoder cannot be chosen, as they are not alike",
            where="$.init.layers",
            remedy="leave `init.layers` out",
        )
    encoder: Any = model.config.encoder
    return dataclasses.replace(model.config, encoder=dataclasses.replace(encoder, layers=len(kept)))


def complete(config: Config, given: JsonObject, begun: Config | None = None) -> Config:
    """Return a recipe with what follows from the model that it begins from; without ``init``, as it is.

    Parameters
    ----------
    config
        The recipe.
    given
        Its plain data, as the file and the command line name it.
    begun
        The completed recipe of the run that goes on; None: the run is new, and the model is read.

    Raises
    ------
    UserError
        If there is no such model, it has no such layers, or the recipe contradicts it.
    """
    if config.init is None:
        return config
    if begun is None:
        theirs = shape_of(open_init(config.init), config.init)
    else:
        rate = begun.data.sample_rate
        theirs = ModelConfig(begun.frontend, begun.encoder, rate, begun.normalize, begun.normalize_epsilon)
    _check_rate(config, given, theirs)
    for key in ("normalize", "normalize_epsilon"):
        if key in given and getattr(config, key) != getattr(theirs, key):
            raise _contradiction(f".{key}", getattr(config, key), getattr(theirs, key))
    completed = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, sample_rate=theirs.sample_rate),
        frontend=_followed(FrontendTraits, config.frontend, given.get("frontend"), theirs.frontend, ".frontend"),
        encoder=_followed(EncoderTraits, config.encoder, given.get("encoder"), theirs.encoder, ".encoder"),
        normalize=theirs.normalize,
        normalize_epsilon=theirs.normalize_epsilon,
    )
    return _without_first_iterations(completed, config.init.model)


def check_same_model(alone: Config, run: Config) -> None:
    """Raise UserError where the settings of an iteration make its model another than the one that the run begins from.

    Parameters
    ----------
    alone
        The iteration's own recipe.
    run
        The completed recipe of the run.
    """
    _followed(EncoderTraits, alone.encoder, unstructure(alone.encoder), run.encoder, ".encoder")


def _followed(traits: type[Traits], own: Any, given: Mapping[str, Any] | None, theirs: Any, where: str) -> Any:
    """Return a part of the model: as the model's, but for keys of training alone, which the recipe decides.

    Parameters
    ----------
    traits
        What the part's file says of it, among others which keys matter in training alone.
    own
        The part's config in the recipe, a default where it names none.
    given
        What the recipe says of the part; None: nothing.
    theirs
        The config of the model.
    where
        The part's key path, after the ``$``.
    """
    if given is None:
        return theirs
    if kind_of(own) != kind_of(theirs):
        raise _contradiction(f"{where}.kind", kind_of(own), kind_of(theirs))
    changes: dict[str, Any] = {}
    training = traits_of(theirs, traits).training
    for field in dataclasses.fields(theirs):
        mine, found, path = getattr(own, field.name), getattr(theirs, field.name), f"{where}.{field.name}"
        if field.name in training:
            changes[field.name] = mine
        elif field.name in given and _are_parts(found):
            changes[field.name] = _all_followed(traits, mine, given[field.name], found, path)
        elif field.name in given and mine != found:
            raise _contradiction(path, mine, found)
    return dataclasses.replace(theirs, **changes)


def _are_parts(value: object) -> bool:
    """Return whether a value is the frontends that a frontend is made of."""
    return isinstance(value, tuple) and bool(value) and dataclasses.is_dataclass(value[0])


def _all_followed(
    traits: type[Traits], own: Sequence[Any], given: Any, theirs: Sequence[Any], where: str
) -> tuple[Any, ...]:
    if len(own) != len(theirs):
        raise _contradiction(where, [kind_of(one) for one in own], [kind_of(one) for one in theirs])
    parts = zip(own, given, theirs, strict=True)
    return tuple(_followed(traits, *one, where=f"{where}[{number}]") for number, one in enumerate(parts))


def _check_rate(config: Config, given: JsonObject, theirs: ModelConfig) -> None:
    """Raise UserError where a recipe names another sample rate than that of the model's waveforms."""
    rate = config.data.sample_rate
    if "sample_rate" not in (given.get("data") or {}) or rate == theirs.sample_rate:
        return
    assert config.init is not None
    name, mark = config.init.model, "&" if "?" in config.init.model else "?"
    raise UserError(
        f"`data.sample_rate` is {rate} in the recipe, but the model that `init` begins from hears {theirs.sample_rate} "
        f"Hz, and audio of any rate is resampled to that; at {rate} Hz its weights would hear every tone and every "
        "frame at another place",
        where="$.data.sample_rate",
        remedy=f"give data.sample_rate={theirs.sample_rate}; or init='{name}{mark}sample_rate={rate}' to do it all the "
        "same",
    )


def _contradiction(path: str, own: object, theirs: object) -> UserError:
    key = path.removeprefix(".")
    remedy = f"give the model's value, or a recipe without `{key}`, such as continue_hubert_mine: it follows the model"
    if key == "encoder.layers" and isinstance(own, int) and isinstance(theirs, int) and own < theirs:
        remedy = f"give init.layers={own} to begin from its first {own} layers, or leave `{key}` out"
    return UserError(
        f"`{key}` is {_plainly(own)} in the recipe, but {_plainly(theirs)} in the model that `init` begins from",
        where=f"${path}",
        remedy=remedy,
    )


def _plainly(value: object) -> str:
    """Return a value as a recipe spells it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return shown(unstructure(value))
    return value if isinstance(value, str) else shown(list(value) if isinstance(value, tuple) else value)


def _without_first_iterations(config: Config, name: str) -> Config:
    """Return a recipe from the first iteration on that hears ``previous``, which is the model it begins from."""
    own = [_hearing(iteration.teachers, name) for iteration in config.iterations]
    alone = dataclasses.replace(config, teachers=_hearing(config.teachers, name) or config.teachers)
    first = next((number for number, teachers in enumerate(own) if teachers is not None), None)
    if first is None:
        return alone
    if first:
        logger.info(
            "`init`: iteration %d is the first of this run, as %s stands for the model before it", first + 1, name
        )
    begin: Iteration = dataclasses.replace(config.iterations[first], teachers=own[first] or ())
    return dataclasses.replace(alone, iterations=(begin, *config.iterations[first + 1 :]))


def _hearing(teachers: Sequence[object], name: str) -> tuple[object, ...] | None:
    """Return teachers with ``previous`` replaced by a model; None where none of them hears it."""
    found = [hears(teacher) and teacher.model == PREVIOUS for teacher in teachers]  # type: ignore[attr-defined]
    if not any(found):
        return None
    pairs = zip(teachers, found, strict=True)
    return tuple(dataclasses.replace(one, model=name) if there else one for one, there in pairs)  # type: ignore[type-var]
