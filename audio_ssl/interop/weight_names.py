"""Names of our weights in transformers, torchaudio, fairseq and fairseq2.

transformers' names serve as the common ones: those of the other libraries follow from them.
"""

from __future__ import annotations

import re

_BLOCK_PARTS = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.out_proj",
    "gate": "attention.gru_rel_pos_linear",
    "gate_scale": "attention.gru_rel_pos_const",
    "attention_norm": "layer_norm",
    "inner": "feed_forward.intermediate_dense",
    "outer": "feed_forward.output_dense",
    "final_norm": "final_layer_norm",
}
_OUTER_PARTS = {
    "encoder.mask_embedding": "masked_spec_embed",
    "encoder.feature_norm": "feature_projection.layer_norm",
    "encoder.projection": "feature_projection.projection",
    "encoder.norm": "encoder.layer_norm",
    "encoder.positions": "encoder.pos_conv_embed",
    # One table for all layers, which lies in the first.
    "encoder.relative.embedding": "encoder.layers.0.attention.rel_attn_embed",
}
_FAIRSEQ = (
    (r"^masked_spec_embed$", "mask_emb"),
    (r"^feature_projection\.layer_norm\.", "layer_norm."),
    (r"^feature_projection\.projection\.", "post_extract_proj."),
    (r"^encoder\.pos_conv_embed\.conv\.", "encoder.pos_conv.0."),
    (r"^encoder\.pos_conv_embed\.layers\.(\d+)\.conv\.", r"encoder.pos_conv.\1.0."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"\.layers\.(\d+)\.layer_norm\.", r".layers.\1.self_attn_layer_norm."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
    (r"\.attention\.rel_attn_embed\.", ".attention.relative_attention_bias."),
    (r"\.attention\.gru_rel_pos_linear\.", ".attention.grep_linear."),
    (r"\.attention\.gru_rel_pos_const$", ".attention.grep_a"),
    (r"\.attention\.", ".self_attn."),
)
_FAIRSEQ2 = (
    (r"^masked_spec_embed$", "masker.temporal_mask_embed"),
    (r"^feature_projection\.layer_norm\.", "encoder_frontend.post_extract_layer_norm."),
    (r"^feature_projection\.projection\.", "encoder_frontend.model_dim_proj."),
    (r"^encoder\.pos_conv_embed\.layers\.(\d+)\.", r"encoder_frontend.pos_encoder.layers.\1."),
    (r"^encoder\.pos_conv_embed\.conv\.", "encoder_frontend.pos_encoder.conv."),
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
    (r"^feature_extractor\.conv_layers\.", "encoder_frontend.feature_extractor.layers."),
    (r"\.layers\.(\d+)\.final_layer_norm\.", r".layers.\1.ffn_layer_norm."),
    (r"^encoder\.layers\.(\d+)\.layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
    (r"\.feed_forward\.intermediate_dense\.", ".ffn.inner_proj."),
    (r"\.feed_forward\.output_dense\.", ".ffn.output_proj."),
    (r"\.attention\.out_proj\.", ".self_attn.output_proj."),
    (r"\.attention\.", ".self_attn."),
)


def common_name(ours: str) -> str:
    """Return transformers' name of one of our weights.

    Examples
    --------
    >>> common_name("encoder.blocks.3.query.weight")
    'encoder.layers.3.attention.q_proj.weight'
    >>> common_name("frontend.norms.0.bias")
    'feature_extractor.conv_layers.0.layer_norm.bias'
    """
    for part, theirs in _OUTER_PARTS.items():
        if ours == part or ours.startswith(f"{part}."):
            return theirs + ours.removeprefix(part)
    pieces = ours.split(".")
    if ours.startswith("encoder.blocks."):
        return ".".join(["encoder.layers", pieces[2], _BLOCK_PARTS[pieces[3]], *pieces[4:]])
    inner = "conv" if pieces[1] == "convs" else "layer_norm"
    return f"feature_extractor.conv_layers.{pieces[2]}.{inner}.{pieces[3]}"


def torchaudio_name(common: str) -> str:
    """Return torchaudio's name, where query, key and value of WavLM have been taken apart.

    Examples
    --------
    >>> torchaudio_name("encoder.layers.0.attention.q_proj.weight")
    'encoder.transformer.layers.0.attention.q_proj.weight'
    """
    if common.startswith("feature_projection."):
        return f"encoder.{common}"
    return re.sub(r"^encoder\.", "encoder.transformer.", common)


def fairseq_name(common: str, group_norm: bool) -> str:
    """Return fairseq's name; its norm of a group has another place than norms of layers.

    Examples
    --------
    >>> fairseq_name("encoder.layers.0.layer_norm.weight", group_norm=True)
    'encoder.layers.0.self_attn_layer_norm.weight'
    >>> fairseq_name("feature_extractor.conv_layers.0.layer_norm.weight", group_norm=False)
    'feature_extractor.conv_layers.0.2.1.weight'
    """
    place = "2" if group_norm else "2.1"
    name = re.sub(r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", rf"\1.{place}.", common)
    for pattern, replacement in _FAIRSEQ:
        name = re.sub(pattern, replacement, name)
    return name


def fairseq2_name(common: str, group_norm: bool, pre_norm: bool) -> str:
    """Return fairseq2's name; the encoder's own norm has another place before the blocks than after them.

    Examples
    --------
    >>> fairseq2_name("encoder.layers.3.attention.q_proj.weight", group_norm=True, pre_norm=False)
    'encoder.layers.3.self_attn.q_proj.weight'
    >>> fairseq2_name("encoder.layer_norm.bias", group_norm=True, pre_norm=False)
    'encoder_frontend.layer_norm.bias'
    >>> fairseq2_name("feature_extractor.conv_layers.0.layer_norm.bias", group_norm=True, pre_norm=False)
    'encoder_frontend.feature_extractor.layers.0.group_norm.bias'
    """
    name = common
    if group_norm:
        name = re.sub(r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", r"\1.group_norm.", name)
    if not pre_norm:
        name = re.sub(r"^encoder\.layer_norm\.", "encoder_frontend.layer_norm.", name)
    for pattern, replacement in _FAIRSEQ2:
        name = re.sub(pattern, replacement, name)
    return name
