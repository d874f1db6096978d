"""What a checkpoint of another library has beside its model: heads of its pretraining, for a run that begins from it.

`audio_ssl.interop.pretrained` reads them in a form of no library (`audio_ssl.interop.heads`); here they become the
weights of objectives, decoders and teachers. Code heads serve the objectives in the order of both. They are taken only
where the teacher can have the labels that they were trained on: a k-means that is fitted to the run's own audio cannot,
one that is given by its `path`, and a codec of fixed weights (EnCodec), can.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audio_ssl.base.config import kind_of
from audio_ssl.interop.heads import CodeHead, LinearWeights, Pretrained
from audio_ssl.pretrain.init_runs import misfit
from audio_ssl.pretrain.learner import ObjectiveHead
from audio_ssl.pretrain.objectives.masked_codes import MaskedCodes
from audio_ssl.targets.spec import is_online, needs_fit

if TYPE_CHECKING:  # it imports this module
    from audio_ssl.pretrain.kinds.masked_prediction import Config

logger = logging.getLogger(__name__)

State = Mapping[str, Tensor]
_CLOSE = 1e-6


class BesideFile:
    """Finds what a file has for the parts of a learner.

    Parameters
    ----------
    found
        What it has.
    config
        The recipe of the stage that begins.
    """

    def __init__(self, found: Pretrained, config: Config) -> None:
        self._found, self._config = found, config
        self._codes = list(found.codes)
        self._following: set[int] = set()

    def following(self, index: int, teacher: nn.Module) -> State | str:
        """Return the state of a teacher that follows the model, or why there is none."""
        average = self._found.average
        if average is None:
            return "the file has no average of the model; it begins as the model itself"
        weights = {**self._found.model.state_dict(), **average.weights}
        state = {**teacher.state_dict(), **{f"model.{name}": value for name, value in weights.items()}}
        if any(name.startswith("codebooks.") for name in state):
            if average.sums is None or average.sizes is None:
                return "the file has no codebooks"
            state |= {"codebooks.sums": average.sums, "codebooks.sizes": average.sizes}
        wrong = misfit(teacher.state_dict(), state)
        if wrong is None:
            self._following.add(index)
        return wrong or state

    def head(self, number: int, head: ObjectiveHead) -> State | str:
        """Return the weights of a head, or why there are none; `following` was asked for all teachers before."""
        objective: Any = self._config.objectives[number]
        kind, found = kind_of(objective), self._found
        if kind == "masked_codes":
            return self._code_head(objective, head)
        if kind == "contrastive":
            return "the file has no quantiser" if found.contrastive is None else self._contrastive(objective, head)
        one = {"distillation": found.regression, "reconstruction": found.reconstruction}.get(kind)
        if one is None:
            return f"the file has no head for {kind}"
        return _fitting(head, _linear("projection", one))

    def decoder(self, decoder: nn.Module) -> State | str:
        """Return why there is no decoder: none is read from other libraries."""
        return "the file has none"

    def _contrastive(self, objective: Any, head: ObjectiveHead) -> State | str:
        theirs = self._found.contrastive
        assert theirs is not None, "asked by `head`"
        state = {
            "quantizer.vectors": theirs.vectors,
            **_linear("quantizer.choice", theirs.choice),
            **_linear("project_context", theirs.project_context),
            **_linear("project_codes", theirs.project_codes),
        }
        found = _other_temperature(objective, theirs.temperature) or _fitting(head, state)
        gumbel = theirs.gumbel
        if isinstance(found, str) or gumbel is None or gumbel.updates is None:
            return found
        fallen = max(gumbel.end, gumbel.start * gumbel.decay**gumbel.updates)
        if abs(fallen - objective.gumbel_start) > _CLOSE:
            logger.warning(
                "head %s: the temperature of its Gumbel softmax had fallen to %.3g, but begins at %g; to go on from "
                "there, give the objective `gumbel_start: %.3g`",
                *(head.name, fallen, objective.gumbel_start, fallen),
            )
        return found

    def _code_head(self, objective: Any, head: ObjectiveHead) -> State | str:
        assert isinstance(head.module, MaskedCodes), "of its kind"
        books, classes = head.module.codebooks, head.module.classes
        theirs, self._codes = self._codes[:books], self._codes[books:]
        if len(theirs) < books:
            there = len(self._found.codes)
            return f"the file has {there or 'no'} code heads" + (f", and {books} more are needed" if there else "")
        temperatures = (one.temperature for one in theirs if one.codes is not None)
        found = (
            self._other_labels(objective.teacher)
            or _other_place(objective, theirs)
            or _other_codes(theirs, classes)
            or next(filter(None, (_other_temperature(objective, one) for one in temperatures)), None)
            or _fitting(head, _code_state(objective, theirs))
        )
        if not isinstance(found, str) and not is_online(self._config.teachers[objective.teacher]):
            logger.info(
                "head %s: its labels must be those that the file's head was trained on, by the same numbers, which no "
                "file holds; the accuracy before the first update shows whether they are",
                head.name,
            )
        return found

    def _other_labels(self, index: int) -> str | None:
        """Return why the labels of a teacher cannot be those that the heads were trained on; None: they can."""
        teacher = self._config.teachers[index]
        kind = kind_of(teacher)
        if is_online(teacher):
            return None if index in self._following else f"the {kind} teacher begins anew"
        # A store of targets brings its own teachers.
        if needs_fit(teacher) and self._config.data.targets is None:
            return (
                f"the {kind} teacher is fitted to this run's audio, so its labels are not those of the file; name the "
                f"code book that these were made with as teachers.{index}.path"
            )
        return None


def _other_temperature(objective: Any, theirs: float) -> str | None:
    """Return why a head of cosines gives other logits than in its file; None: it does not."""
    if abs(objective.temperature - theirs) <= _CLOSE:
        return None
    return f"its `temperature` is {objective.temperature:g}, that of the file's head {theirs:g}"


def _other_place(objective: Any, theirs: Sequence[CodeHead]) -> str | None:
    """Return why heads look at other states than an objective does; None: they do not."""
    places = [book - len(theirs) for book in range(len(theirs))] if objective.layer_by_layer else [-1] * len(theirs)
    if [head.layer for head in theirs] != places:
        return f"the heads of the file are of the hidden layers {[head.layer for head in theirs]}, counted from the end"
    if {head.point for head in theirs} != {objective.point}:
        return f"the heads of the file take states at the point {theirs[0].point}, the recipe at {objective.point}"
    return None


def _other_codes(theirs: Sequence[CodeHead], classes: int) -> str | None:
    """Return why heads are for other numbers of codes; None: they are not."""
    for head in theirs:
        rows = len(head.projection.weight if head.codes is None else head.codes)
        if rows - head.special != classes:
            return f"the head of the file is for {rows - head.special} codes, the teacher has {classes}"
    return None


def _code_state(objective: Any, theirs: Sequence[CodeHead]) -> State:
    """Return the weights of an objective of codes, by its names, without the symbols of fairseq's dictionaries."""
    codes = [head.codes for head in theirs if head.codes is not None]
    kept = [_without_symbols(head) for head in theirs]
    if objective.layer_by_layer:
        layers = [_linear(f"projections.{book}", one) for book, one in enumerate(kept)]
        state = {name: value for layer in layers for name, value in layer.items()}
    else:
        state = {
            "projection.weight": torch.cat([one.weight for one in kept]),
            "projection.bias": torch.cat([one.bias for one in kept]),
        }
    if len({tuple(one.shape) for one in codes}) == 1:
        state["codes"] = torch.stack([one[head.special :] for one, head in zip(codes, theirs, strict=True)])
    return state


def _without_symbols(head: CodeHead) -> LinearWeights:
    """Return the projection of a head; where it gives the logits itself, without those of no label."""
    if head.codes is not None:
        return head.projection
    return LinearWeights(head.projection.weight[head.special :], head.projection.bias[head.special :])


def _linear(name: str, layer: LinearWeights) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def _fitting(head: ObjectiveHead, state: State) -> State | str:
    return misfit(head.module.state_dict(), state) or state
