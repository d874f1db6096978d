"""An iteration of a recipe as its checks see it, with parts of the test's own."""

from __future__ import annotations

from torch import nn

from audio_ssl.models.frontends import conv
from audio_ssl.models.model import SSLModel
from audio_ssl.pretrain.checks import Round
from audio_ssl.pretrain.kinds.masked_prediction import Config, model_config

SMALL = conv.Config(channels=(6,) * 7)


def a_round(recipe: Config, encoder: nn.Module) -> Round:
    """Return a recipe with a frontend of width 6 and this encoder, built or made up."""
    frontend = conv.build(SMALL, 16000)
    return Round(recipe, frontend, encoder, lambda: SSLModel(model_config(recipe)))  # type: ignore[arg-type]
