"""fairseq's checkpoints of HuBERT, wav2vec 2.0, data2vec audio and MERT, and WavLM's, which have the same form.

Such a ``.pt`` file is a pickle of weights, settings, dictionaries and the trainer's state. Only the first two are read,
and nothing in it is run (`audio_ssl.interop.pickle_reader`). fairseq itself is not needed.

The settings in fairseq's checkpoints, as plain data, and our `ModelConfig`.

Old files have one flat ``args``; newer ones have ``cfg`` with sections ``task`` and ``model``, and a fine-tuned model
keeps the pretrained model's settings in ``w2v_args``; WavLM's files have a flat ``cfg``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.interop._fairseq_heads import FairseqTraining, heads_of_fairseq, symbols_of
from audio_ssl.interop.find_heads import HeadSizes, HeadTable, LabelSets
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.pickle_reader import plain
from audio_ssl.interop.settings import (
    FAIRSEQ_EPSILON,
    ModelSettings,
    Preparation,
    heads_of,
    invalid_settings,
    preparation_of,
)
from audio_ssl.interop.weight_names import common_name, fairseq_name
from audio_ssl.interop.weights import (
    Name,
    build_from,
    checked_table,
    encoder_sizes,
    frontend_sizes,
    identity,
    not_taken,
    relative_positions,
)
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig

_SETTINGS = ("cfg", "args")
_AVERAGE = "_ema"
_PREFIXES = ("w2v_encoder.w2v_model.", "w2v_model.", "")
"""Prefixes of names in fine-tuned models, and in others."""
_HEADS = (
    *("final_proj", "label_embs_concat", "quantizer.", "project_q.", "project_inp.", "target_glu.", "input_quantizer."),
    *("w2v_encoder.proj.", "proj.", "encoder_cqt_model.", "encoder_mel_model.", "logit_temp", "heads.", "_codebook"),
)
"""Prefixes of the names of parts that are trained with the encoder and left out here."""


def is_fairseq(content: object) -> bool:
    """Return whether a file's content is a checkpoint of fairseq's: weights beside settings."""
    return isinstance(content, dict) and "model" in content and any(content.get(key) is not None for key in _SETTINGS)


def read_fairseq_content(content: Any, path: Path, given: ModelSettings, heads: bool = False) -> Pretrained:
    """Make a model of what a checkpoint holds.

    Parameters
    ----------
    content
        Of the ``.pt`` file at `path`.
    given
        What the caller says, instead of the file's settings. WavLM's files lack the sample rate.
    heads
        Whether to take the heads of pretraining; the log names what is left out.

    Raises
    ------
    UserError
        If it is not such a checkpoint, a weight is missing, unexpected or misshapen, or a setting is missing or not
        supported.
    """
    if not is_fairseq(content):
        raise UserError("not a checkpoint of fairseq: it has no `model` beside `cfg` or `args`", where=str(path))
    key = next(key for key in _SETTINGS if content.get(key) is not None)
    try:
        data = plain(content[key])
    except UnpicklingError as error:
        raise UserError(f"`{key}` cannot be read: {error}", where=str(path)) from error
    if not isinstance(data, dict):
        raise UserError(f"`{key}` holds no settings", where=str(path))
    found = FairseqSettings(data)
    state = _weights(content["model"], path)
    prefix = next(p for p in _PREFIXES if not p or any(name.startswith(f"{p}feature_extractor.") for name in state))
    group_norm = f"{prefix}feature_extractor.conv_layers.1.2.1.weight" not in state

    def name(common: str) -> str:
        return prefix + fairseq_name(common, group_norm)

    prepared = preparation_of(given, found.preparation(), f"its `{key}`", path)
    with invalid_settings(path):
        config = config_of(found, state, name, group_norm, prepared, given, path)
    parts = tuple(f"{p}{head}" for p in dict.fromkeys((prefix, "")) for head in _HEADS)
    assert isinstance(config.encoder, transformer.Config)
    assert isinstance(config.frontend, conv.Config)
    # Where the widths are the same, fairseq projects nothing.
    dim, features = config.encoder.dim, config.frontend.channels[-1]
    defaults = identity(dim) if dim == features else {}
    model = build_from(
        config,
        state,
        lambda ours: name(common_name(ours)),
        heads=parts,
        defaults=defaults,
        where=path,
        say=not heads,
    )
    if not heads:
        return Pretrained(model)
    ours = {name(common_name(one)): one for one in model.state_dict()}
    with invalid_settings(path):
        training = found.training(content)
    table = HeadTable(state, prefix, HeadSizes(dim, features), path)
    average = _average(content["model"], path)
    return heads_of_fairseq(table, training, average, ours, bool(prefix)).with_model(model, not_taken(state, parts))


def _weights(table: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors of the table; data2vec's and DinoSR's averages of themselves are tables within it."""
    if not isinstance(table, dict):
        raise UserError("`model` holds no table of weights", where=str(path))
    tables = (_AVERAGE, "_pre_encoder_cnn", "_pre_encoder_ln", "_pre_encoder_proj")
    return checked_table({name: value for name, value in dict.items(table) if name not in tables}, path)


def _average(table: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the average of itself that a model of data2vec or DinoSR holds; {} if there is none."""
    return checked_table(table[_AVERAGE], path) if table.get(_AVERAGE) else {}


_DROPOUTS = {
    "dropout": ("dropout",),
    "attention_dropout": ("attention_dropout",),
    "activation_dropout": ("activation_dropout",),
    "input_dropout": ("dropout_input",),
    "layer_drop": ("layerdrop", "encoder_layerdrop"),
}
_ONLY: dict[str, object] = {
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "conv_pos_batch_norm": False,
    "quantize_input": False,
    "feature_extractor_cqt": False,
    "subln": False,
    "do_cnn_feat_stable_layernorm": False,
}
"""Keys for which our encoder supports the default value alone."""
_LISTS, _TEXT = 100, 2000
"""Layers and characters that a description of a frontend may come to."""


class FairseqSettings:
    """Settings of a checkpoint, looked up in the sections that may have them.

    Parameters
    ----------
    content
        The plain data of the file's ``args`` or ``cfg``.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        task, model = _section(content, "task"), _section(content, "model")
        pretrained = _section(model, "w2v_args") or _section(content, "w2v_args")
        # Settings of the network of a fine-tuned model are with the pretrained one; those of audio, with the last task.
        self._last = [model, content, _section(pretrained, "model"), pretrained]
        self._model = [_section(pretrained, "model"), pretrained, model, content]
        self._preparation = [task, model, content, _section(pretrained, "task"), pretrained]

    def model(self, key: str, default: Any = None) -> Any:
        """Return a setting of the network."""
        return next(_said(self._model, key), default)

    def dropouts(self) -> dict[str, Any]:
        """Return the dropouts of the last training, under our names."""
        found = {ours: [value for key in keys for value in _said(self._last, key)] for ours, keys in _DROPOUTS.items()}
        return {ours: float(values[0]) for ours, values in found.items() if values}

    def training(self, content: Mapping[str, Any]) -> FairseqTraining:
        """Return what the settings and the rest of the file's content say of the training of its heads."""
        labels = next(_said(self._preparation, "labels"), None)
        try:
            state, history = (plain(content.get(key)) for key in ("task_state", "optimizer_history"))
        except UnpicklingError as error:
            raise UserError(f"the settings of its training cannot be read: {error}") from error
        state, history = state or {}, history or [{}]
        updates = history[-1].get("num_updates") if isinstance(history[-1], dict) else None
        return FairseqTraining(
            temperature=float(self.model("logit_temp", 0.1)),
            highest_scale=float(self.model("learnable_temp_max", 100.0)),
            latent_temperatures=self.model("latent_temp"),
            negatives=self.model("num_negatives"),
            updates=updates if isinstance(updates, int) else None,
            sets=LabelSets(symbols_of(state.get("dictionaries")), len(labels) if isinstance(labels, list) else None),
        )

    def preparation(self) -> ModelSettings:
        """Return normalisation and sample rate, where the file has them."""
        return ModelSettings(*(next(_said(self._preparation, key), None) for key in Preparation._fields))


def config_of(
    found: FairseqSettings,
    state: Mapping[str, Tensor],
    name: Name,
    group_norm: bool,
    prepared: Preparation,
    given: ModelSettings,
    where: Path | str,
) -> ModelConfig:
    """Return our config of a checkpoint: sizes from its weights, all else from its settings.

    Parameters
    ----------
    found
        The settings.
    state, name
        Weights, and the way from common names to theirs.
    group_norm
        Whether the frontend has a group norm, and no other norm.
    prepared
        How waveforms are prepared.
    given
        What the caller said of heads.
    where
        The file, for errors.

    Raises
    ------
    UserError
        If a setting is missing or is not supported by our encoder; the text names it.
    """
    for key, value in _ONLY.items():
        if found.model(key, value) != value:
            raise UserError(f"`{key}` must be {value!r} to be read, but is {found.model(key)!r}", where=str(where))
    pre_norm = found.model("layer_norm_first")
    if pre_norm is None:
        raise UserError("`layer_norm_first` is missing in the file's settings", where=str(where))
    sizes = encoder_sizes(state, name, where)
    relax = found.model("attention_relax", -1)
    encoder = transformer.Config(
        **sizes._asdict(),
        heads=heads_of(given, found.model("encoder_attention_heads"), sizes.dim, where),
        pre_norm=bool(pre_norm),
        deepnorm=bool(found.model("deepnorm", False)),
        attention_relax=float(relax) if relax > 0 else None,
        relative_positions=relative_positions(state, name, found.model("max_distance"), where),
        **found.dropouts(),
    )
    layers = found.model("conv_feature_layers")
    strides = None if layers is None else [layer[2] for layer in conv_layers(layers, where)]
    frontend = frontend_sizes(state, name, strides, group_norm, where)
    return ModelConfig(frontend, encoder, prepared.sample_rate, prepared.normalize, FAIRSEQ_EPSILON)


def conv_layers(text: object, where: Path | str) -> list[tuple[int, int, int]]:
    """Return the layers of a frontend: channels, kernel, stride; fairseq evaluates such a text, this reads it.

    Examples
    --------
    >>> conv_layers("[(512, 10, 5)] + [(512, 3, 2)] * 2", "model.pt")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    """
    try:
        layers = _value(ast.parse(str(text)[:_TEXT], mode="eval").body)
        if isinstance(layers, list) and all(isinstance(layer, tuple | list) and len(layer) == 3 for layer in layers):
            return [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in layers]
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        pass
    raise UserError(
        f"`conv_feature_layers` must be a list of (channels, kernel, stride), but is {text!r}", where=str(where)
    )


def _value(node: ast.expr) -> Any:
    """Return the value of sums and multiples of lists and tuples of whole numbers."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return left + right
        if (
            isinstance(node.op, ast.Mult)
            and isinstance(left, list)
            and isinstance(right, int)
            and len(left) * right <= _LISTS
        ):
            return left * right
    raise ValueError


def _said(parts: Sequence[Mapping[str, Any]], key: str) -> Iterator[Any]:
    """Yield the values of a key; references to other keys (``${task.normalize}``) and blanks (``???``) do not count."""
    for part in parts:
        value = part.get(key)
        if value is not None and not (isinstance(value, str) and value.startswith(("${", "???"))):
            yield value


def _section(content: object, key: str) -> Mapping[str, Any]:
    section = content.get(key) if isinstance(content, Mapping) else None
    return section if isinstance(section, Mapping) else {}
