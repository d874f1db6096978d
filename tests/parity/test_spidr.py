"""SpidR's learner beside its package: states, targets, loss, gradients, codebooks and average (``tests/golden``)."""

from __future__ import annotations

import functools

from tests.parity.test_dinosr import assert_agrees, compared, small, teacher
from tests.reference import golden


@functools.cache
def agreement() -> dict[str, float]:
    """Return relative differences from SpidR's package."""
    return compared("spidr_style", "spidr", layer_by_layer=True)


def test_targets_loss_gradients_codebooks_and_average_are_the_reference_s() -> None:
    assert_agrees(agreement())


def test_the_last_layer_s_norm_is_the_one_weight_without_a_part_in_the_loss() -> None:
    theirs = golden("spidr")
    assert theirs.about["without_gradient"] == [
        f"student.layers.2.final_layer_norm.{part}" for part in ("weight", "bias")
    ]
    module = small("spidr_style", theirs, layer_by_layer=True)
    assert teacher(module).spec.width == module.heads[0].depth == 2
    assert module.heads[0].point == "feed_forward"
