"""Whether the hidden states that objectives look at can be had: the point of a layer, and a layer for each codebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import UserError
from audio_ssl.models.points import Point, check_point
from audio_ssl.pretrain.checks import located
from audio_ssl.targets.spec import TargetSpec


def check_states(
    objectives: Sequence[Any], specs: Sequence[TargetSpec], encoder_config: Any, encoder: nn.Module
) -> None:
    """Raise UserError unless the encoder has the states that the objectives look at, all at one point of a layer.

    Parameters
    ----------
    objectives
        Their configs.
    specs
        What each teacher gives.
    encoder_config
        Its config.
    encoder
        Built from it.
    """
    points: list[Point] = [getattr(objective, "point", "output") for objective in objectives]
    layers = int(encoder.num_layers)  # type: ignore[arg-type]
    for number, (objective, point) in enumerate(zip(objectives, points, strict=True)):
        where = f"$.objectives[{number}]"
        with located(f"{where}.point"):
            check_point(point, encoder, kind_of(encoder_config))
        if point != points[0]:
            raise UserError(
                f"all objectives look at one `point` of a layer, but objective 0 at {points[0]} and this at {point}",
                where=where,
                remedy="give all of them `point: output`, the only one that other kinds of objectives know",
            )
        if getattr(objective, "layer_by_layer", False) and specs[objective.teacher].width > layers:
            raise UserError(
                f"`layer_by_layer` needs a layer for each of the teacher's {specs[objective.teacher].width} codebooks, "
                f"but the encoder has {layers}",
                where=f"{where}.layer_by_layer",
            )
