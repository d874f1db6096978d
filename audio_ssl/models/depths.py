"""Learning rates that fall with the depth of a layer, for training that begins from a trained model.

The lower a layer, the more general is what it has learned, and the less it should move. The topmost layer has the
learning rate itself, and each layer has `decay` times that of the layer above it (ELECTRA, Clark et al. 2020, arXiv
2003.10555; BEiT, Bao et al. 2022, arXiv 2106.08254). What lies below the first layer (the frontend, the projection of
its frames, the mask embedding, positions) counts as one more layer.
"""

from __future__ import annotations

from torch import nn

from audio_ssl.base.errors import UserError
from audio_ssl.models.model import SSLModel


def layer_depths(model: SSLModel) -> dict[str, int]:
    """Return the layer of each parameter by its name: 0 below the first layer, n in the n-th or after the last.

    Examples
    --------
    >>> from audio_ssl.models.encoders import gru
    >>> from audio_ssl.models.frontends import mel
    >>> from audio_ssl.models.model import ModelConfig
    >>> model = SSLModel(ModelConfig(mel.Config(), gru.Config(layers=2, dim=8), 16000))
    >>> found = layer_depths(model)
    >>> found["encoder.projection.weight"], found["encoder.layers.1.weight_ih_l0"]
    (0, 2)
    """
    encoder = model.encoder
    depths = dict.fromkeys((name for name, _ in model.named_parameters()), 0)
    for name, child in encoder.named_children():
        if isinstance(child, nn.ModuleList) and len(child) == encoder.num_layers:
            for number, layer in enumerate(child, 1):
                for inner, _ in layer.named_parameters():
                    depths[f"encoder.{name}.{number - 1}.{inner}"] = number
    for above in encoder.closing():
        depths |= dict.fromkeys(_names_in(model, above), encoder.num_layers)
    return depths


def _names_in(model: SSLModel, part: nn.Module) -> list[str]:
    inside = {id(parameter) for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in inside]


def check_layer_decay(decay: float, where: str) -> None:
    """Raise UserError for a decay that is not above 0 and at most 1."""
    if not 0 < decay <= 1:
        raise UserError(
            f"must be above 0 and at most 1, but is {decay:g}", where=where, remedy="1 gives all layers one rate"
        )


def rate_shares(model: SSLModel, decay: float) -> dict[str, float]:
    """Return the share of the learning rate of each parameter: ``decay ** (layers - depth)``.

    Examples
    --------
    >>> from audio_ssl.models.encoders import gru
    >>> from audio_ssl.models.frontends import mel
    >>> from audio_ssl.models.model import ModelConfig
    >>> model = SSLModel(ModelConfig(mel.Config(), gru.Config(layers=2, dim=8), 16000))
    >>> found = rate_shares(model, 0.5)
    >>> found["encoder.projection.weight"], found["encoder.layers.1.weight_ih_l0"]
    (0.25, 1.0)
    """
    return {name: decay ** (model.num_layers - depth) for name, depth in layer_depths(model).items()}
