"""Puts the weights that a run begins from in place, and tells what is taken and what begins fresh.

Frontend, encoder and mask embedding are always taken. What training has beside a model comes along where it is there,
fits and means the same: heads, the decoder of masked frames, teachers that follow the model, fitted teachers; of runs
of ours (`audio_ssl.pretrain.init_runs`) and of the files of other libraries (`audio_ssl.pretrain.init_files`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from audio_ssl.artifacts.run_beginning import RunBeginning
from audio_ssl.base.errors import UserError, located
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.pretrained import read_pretrained
from audio_ssl.interop.read import read_model
from audio_ssl.models.model import SSLModel, fingerprint
from audio_ssl.pretrain import init_runs
from audio_ssl.pretrain.init import Init, chosen_layers
from audio_ssl.pretrain.init_files import BesideFile
from audio_ssl.pretrain.init_runs import BesideRun, RunState, misfit, read_run_state
from audio_ssl.pretrain.learner import MaskedLearner, ObjectiveHead

if TYPE_CHECKING:  # it imports this module
    from audio_ssl.pretrain.kinds.masked_prediction import Config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedSource:
    """A trained model that a run begins from."""

    init: Init
    found: Pretrained
    """The model, with heads where it is of another library and its file has some."""

    run: RunState | None
    """None: the model is of no run of ours, or that has no checkpoint."""

    @property
    def model(self) -> SSLModel:
        """The model."""
        return self.found.model


def open_source(init: Init) -> TrainedSource:
    """Read the model that a run begins from, and what lies beside it; UserError where it cannot be read."""
    with located("$.init.model"):
        # Heads that do not fit their model are an error, unless nobody wants them.
        found = read_pretrained(init.model) if init.heads else Pretrained(read_model(init.model))
    return TrainedSource(init, found, read_run_state(init.model))


def bring_teachers(source: TrainedSource, config: Config, folder: Path) -> None:
    """Copy the fitted teachers of the source's run into a stage's folder, where its recipe has the same."""
    if source.run is not None and source.init.teachers:
        init_runs.bring_teachers(source.run, config, folder)


def begin_model(source: TrainedSource, model: SSLModel) -> None:
    """Give a model the weights of the source: all, or those of the chosen layers.

    Raises
    ------
    UserError
        If a weight is missing, is of no place in the model, or has another shape.
    """
    theirs = source.model.state_dict()
    if source.init.layers is not None:
        kept = chosen_layers(source.init.layers, source.model.num_layers)
        theirs = _of_layers(source.model, theirs, kept)
    wrong = misfit(model.state_dict(), theirs)
    if wrong is not None:
        raise UserError(
            f"the weights of {source.init.model} do not fit the recipe's model: {wrong}",
            where="$.init.model",
            remedy="leave frontend and encoder out of the recipe, so that they follow the model",
        )
    model.load_state_dict(theirs)


def _of_layers(model: SSLModel, state: Mapping[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    """Return weights with these layers alone, numbered anew."""
    names = {id(module): name for name, module in model.named_modules()}
    prefixes = [f"{names[id(layer)]}." for layer in model.encoder.alike()]
    found = {name: value for name, value in state.items() if not name.startswith(tuple(prefixes))}
    for new, old in enumerate(kept):
        inner = {name: value for name, value in state.items() if name.startswith(prefixes[old])}
        found |= {prefixes[new] + name.removeprefix(prefixes[old]): value for name, value in inner.items()}
    return found


def begin_learner(
    source: TrainedSource, config: Config, learner: MaskedLearner, heads: Sequence[ObjectiveHead], labels: Sequence[str]
) -> RunBeginning:
    """Give heads, decoder and teachers that follow the model what the source has for them, and say what that is.

    Parameters
    ----------
    source
        What the run begins from.
    config
        The recipe of the stage.
    learner
        With the source's model in it.
    heads
        Of the learner.
    labels
        Fingerprints of the stage's teachers, without those that follow the model, in order.
    """
    parts = [(f"teacher {number}", module) for number, module in learner.online.items()]
    parts += [(f"head {head.name}", head.module) for head in heads]
    parts += [] if learner.decoder is None else [("decoder", learner.decoder)]
    found = _found(source, config, learner, heads, labels)
    taken, fresh = [_of_model(source)], []
    for (name, module), state in zip(parts, found, strict=True):
        if isinstance(state, str):
            fresh += [f"{name} ({state})"] if module.state_dict() else []
            continue
        module.load_state_dict(state)
        taken += [name] if state else []
    record = RunBeginning(
        model=source.init.model,
        fingerprint=fingerprint(source.model),
        checkpoint=None if source.run is None else str(source.run.checkpoint),
        taken=tuple(taken),
        fresh=tuple(fresh),
    )
    logger.info("begun from %s (%s); taken: %s", record.model, record.fingerprint, "; ".join(taken))
    if source.run is not None:
        logger.info(
            "this is a new run with a schedule of its own; %s itself is lengthened by --resume and a larger `steps`",
            record.model,
        )
    if fresh:
        logger.info("begun with random weights: %s", "; ".join(fresh))
    return record


def _found(
    source: TrainedSource, config: Config, learner: MaskedLearner, heads: Sequence[ObjectiveHead], labels: Sequence[str]
) -> list[Mapping[str, Tensor] | str]:
    """Return the weights of teachers that follow the model, of heads and of the decoder, or why there are none."""
    count = len(learner.online) + len(heads) + (learner.decoder is not None)
    if not source.init.heads:
        return ["`init.heads` is false"] * count
    if source.init.layers is not None:
        return ["those of the model are for all of its layers"] * count
    run = source.run
    beside = BesideFile(source.found, config) if run is None else BesideRun(run, config, labels)
    found: list[Mapping[str, Tensor] | str]
    found = [beside.following(int(number), teacher) for number, teacher in learner.online.items()]
    found += [beside.head(number, head) for number, head in enumerate(heads)]
    return found + ([] if learner.decoder is None else [beside.decoder(learner.decoder)])


def _of_model(source: TrainedSource) -> str:
    total = source.model.num_layers
    if source.init.layers is None:
        return f"frontend and encoder of {total} layers"
    kept = ", ".join(str(layer + 1) for layer in chosen_layers(source.init.layers, total))
    return f"frontend and encoder with layers {kept} of {total}"
