"""data2vec's learner beside fairseq's: its own teacher's targets, loss, gradients, and a step of the average."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.targets.teachers.ema import EmaTeacher
from tests.parity.learner import GOLDEN_SIZES, NO_DROPOUT, by_their_names, fairseq_names, learner, load, run
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference, golden

SMALL = [
    *GOLDEN_SIZES,
    *NO_DROPOUT,
    "encoder.layers=3",
    "encoder.position_layers=3",
    "encoder.position_kernel_frames=7",
    "teachers.0.layers=2",
]
FORMS = {"published": "feed_forward", "after_residual": "output"}
"""What golden calls the targets, and the `point` that they come from."""
HEADS = {"heads.0.projection.weight": "final_proj.weight", "heads.0.projection.bias": "final_proj.bias"}


def small(form: str) -> MaskedLearner:
    """Return the recipe's learner in the golden sizes, with the reference's weights in student and teacher."""
    point = [] if form == "published" else [f"teachers.0.point={FORMS[form]}"]
    theirs, module = golden("data2vec"), learner("data2vec_base", [*SMALL, *point])
    load(module, fairseq_names(module, HEADS, group_norm=False), theirs.weights)
    follow(module)
    give(teacher(module), module, theirs.under("teacher"))
    return module


def teacher(module: MaskedLearner) -> EmaTeacher:
    """Return the recipe's one teacher."""
    found: Any = module.online["0"]
    return found


def follow(module: MaskedLearner) -> None:
    """Give the teacher all weights of the model, as it has them at the start."""
    teacher(module).model.load_state_dict(module.model.state_dict())


def give(one: EmaTeacher, module: MaskedLearner, theirs: Mapping[str, Tensor]) -> None:
    """Give the teacher the reference's average, which is of its encoder alone."""
    mine, names = dict(one.model.named_parameters()), teachers_names(module)
    assert set(names.values()) == set(theirs)
    with torch.no_grad():
        for ours, other in names.items():
            mine[ours].copy_(theirs[other])


def teachers_names(module: MaskedLearner) -> dict[str, str]:
    """Return fairseq's name, inside its encoder, of each of the teacher's weights that it has."""
    return {
        ours.removeprefix("model."): other.removeprefix("encoder.")
        for ours, other in fairseq_names(module, {}, group_norm=False).items()
        if other.startswith("encoder.")
    }


@functools.cache
def agreement() -> dict[str, float]:
    """Return relative differences from fairseq's code, of the published targets and of those after the residual sum."""
    found: dict[str, float] = {}
    for form in FORMS:
        found |= {f"{name}_{form}": value for name, value in _compare(form).items()}
    return found | _step()


def _compare(form: str) -> dict[str, float]:
    theirs, module = golden("data2vec"), small(form)
    mask, wanted = theirs["input/mask"].bool(), theirs.under(form)
    ours = run(module, theirs["input/waveform"], mask, ())
    names = fairseq_names(module, HEADS, group_norm=False)
    gradients = by_their_names(ours.gradients, names, theirs.weights)
    samples = torch.full((len(mask),), theirs["input/waveform"].shape[1])
    spreads = [ours.output.metrics[name] for name in ("target_variance", "prediction_variance")]
    return {
        "features": difference(ours.features, theirs["features"]),
        "hidden": max(map(difference, ours.hidden, theirs["hidden"])),
        "targets": difference(teacher(module)(theirs["input/waveform"], samples)[mask], wanted["targets"]),
        "predictions": difference(module.heads[0].projection(ours.hidden[-1][mask]), wanted["predictions"]),  # type: ignore[operator,union-attr]
        "loss": difference(ours.output.loss_sum, wanted["loss_sum"]),
        "frames": difference(ours.output.count, theirs["sample_size"]),
        "target_variance": difference(spreads[0][0] / spreads[0][1], wanted["target_var"]),
        "prediction_variance": difference(spreads[1][0] / spreads[1][1], wanted["pred_var"]),
        "gradients": assert_gradients(gradients, theirs.under(f"{form}/grad"), tolerance=float("inf")),
    }


def _step() -> dict[str, float]:
    """Compare the average after one update: 15,001 updates of the reference are our update 15,000, counted from 0."""
    theirs, module = golden("data2vec"), small("published")
    names, about = teachers_names(module), theirs.about["ema_step"]
    student, parameters = theirs.under("ema_step/student"), dict(module.model.named_parameters())
    with torch.no_grad():
        for ours, other in names.items():
            parameters[ours].copy_(student[other])
    module.after_update(about["num_updates"] - 1, lambda x: x)
    mine, after = dict(teacher(module).model.named_parameters()), theirs.under("ema_step/teacher_after")
    own = [name for name in parameters if name not in names]
    return {
        "decay": abs(teacher(module).decay(about["num_updates"]) - about["decay"]),
        "averages": max(difference(mine[ours], after[other]) for ours, other in names.items()),
        "shared": max(difference(mine[name], parameters[name]) for name in own),
    }


def assert_fairseq(found: Mapping[str, float], form: str, states: Sequence[str]) -> None:
    """Hold states, loss, spread and gradients of a form of the targets to fairseq's."""
    for name in states:
        assert found[f"{name}_{form}"] < STATES, name
    for name in ("loss", "frames", "target_variance", "prediction_variance"):
        assert found[f"{name}_{form}"] < LOSS, name
    assert found[f"gradients_{form}"] < GRADIENTS


def assert_follows_as_fairseq(found: Mapping[str, float]) -> None:
    """Hold a step of the average to fairseq's."""
    assert found["decay"] < 1e-9
    assert found["averages"] < 1e-6
    assert found["shared"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_states_targets_loss_and_every_gradient_are_fairseq_s(form: str) -> None:
    assert_fairseq(agreement(), form, ("features", "hidden", "targets", "predictions"))


def test_the_average_takes_in_an_update_as_fairseq_s_does() -> None:
    assert_follows_as_fairseq(agreement())


@pytest.mark.parametrize("recipe", ["data2vec_base", "data2vec2_base"])
def test_the_decay_is_fairseq_s_at_twelve_updates(recipe: str) -> None:
    values = golden("schedules").about["values"][f"ema_decay/{recipe}"]
    one = teacher(learner(recipe, [*SMALL, "decoder=null"]))
    assert [one.decay(number) for number in values["updates"]] == pytest.approx(values["value"], abs=1e-9)
