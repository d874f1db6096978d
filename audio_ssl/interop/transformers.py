"""Names of weights in transformers' HuBERT and wav2vec 2.0 models and in ours, both ways.

Covers ``HubertModel`` and ``Wav2Vec2Model`` with group or layer norm, post-LN or pre-LN, and both namings of weight
norm (``weight_g`` before torch 2.1's parametrisations, ``parametrizations.weight.original0`` after).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from audio_ssl.errors import UserError
from audio_ssl.model import SSLModel

_POSITIONS = "encoder.pos_conv_embed.conv"
_OLD_WEIGHT_NORM = {
    f"{_POSITIONS}.weight_g": f"{_POSITIONS}.parametrizations.weight.original0",
    f"{_POSITIONS}.weight_v": f"{_POSITIONS}.parametrizations.weight.original1",
}
_BLOCK_PARTS = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.out_proj",
    "attention_norm": "layer_norm",
    "inner": "feed_forward.intermediate_dense",
    "outer": "feed_forward.output_dense",
    "final_norm": "final_layer_norm",
}
_OUTER_PARTS = {
    "encoder.feature_norm": "feature_projection.layer_norm",
    "encoder.projection": "feature_projection.projection",
    "encoder.norm": "encoder.layer_norm",
}


def their_name(ours: str) -> str:
    """Return transformers' name of one of our weights.

    Examples
    --------
    >>> their_name("encoder.blocks.3.query.weight")
    'encoder.layers.3.attention.q_proj.weight'
    >>> their_name("frontend.norms.0.bias")
    'feature_extractor.conv_layers.0.layer_norm.bias'
    """
    if ours == "encoder.mask_embedding":
        return "masked_spec_embed"
    part, _, leaf = ours.rpartition(".")
    if part in _OUTER_PARTS:
        return f"{_OUTER_PARTS[part]}.{leaf}"
    if ours.startswith("encoder.positions.conv"):
        return ours.replace("encoder.positions.conv", _POSITIONS, 1)
    pieces = ours.split(".")
    if ours.startswith("encoder.blocks."):
        return f"encoder.layers.{pieces[2]}.{_BLOCK_PARTS[pieces[3]]}.{leaf}"
    inner = "conv" if pieces[1] == "convs" else "layer_norm"
    return f"feature_extractor.conv_layers.{pieces[2]}.{inner}.{leaf}"


def load_transformers_weights(model: SSLModel, state: Mapping[str, Tensor]) -> None:
    """Copy the weights of a transformers model into ours.

    Parameters
    ----------
    model
        With the conv frontend and the transformer encoder, of the same sizes.
    state
        The other model's ``state_dict()``.

    Raises
    ------
    UserError
        If a weight is missing, left over, or of another shape; it is named.
    """
    theirs = {_OLD_WEIGHT_NORM.get(name, name): value for name, value in state.items()}
    ours = {name: their_name(name) for name in model.state_dict()}
    missing = sorted(set(ours.values()) - theirs.keys())
    unexpected = sorted(theirs.keys() - set(ours.values()))
    for thing, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise UserError(f"{thing} weights: {', '.join(names)}")
    for name, value in model.state_dict().items():
        if value.shape != theirs[ours[name]].shape:
            raise UserError(
                f"the weight `{ours[name]}` must have the shape {list(value.shape)}, but has "
                f"{list(theirs[ours[name]].shape)}"
            )
    model.load_state_dict({name: theirs[other] for name, other in ours.items()})


def to_transformers_weights(model: SSLModel) -> dict[str, Tensor]:
    """Return our weights under transformers' names."""
    return {their_name(name): value for name, value in model.state_dict().items()}
