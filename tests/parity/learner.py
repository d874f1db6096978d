"""What the parity tests share: a recipe's learner in small, with the reference's weights, mask and targets.

`learner` builds it as a run does, by `masked_prediction`, from the published recipe with smaller sizes; `run` gives it
one batch under a given mask. Each ``test_FAMILY.py`` has ``agreement()``, which returns the largest relative
differences by name; its tests and ``benchmarks/parity.py`` read the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from audio_ssl.data.loader import Batch
from audio_ssl.interop.weight_names import common_name, fairseq_name
from audio_ssl.models.model import build_model
from audio_ssl.pretrain import learner as masked
from audio_ssl.pretrain.checks import Round, check_teachers
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.learner import StepOutput
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.spec import TargetSpec

NO_DROPOUT = [
    "encoder.dropout=0.0",
    "encoder.attention_dropout=0.0",
    "encoder.activation_dropout=0.0",
    "encoder.input_dropout=0.0",
    "encoder.layer_drop=0.0",
]
"""The references were run without: dropout draws differ from library to library."""

GOLDEN_SIZES = [
    "encoder.layers=2",
    "encoder.dim=32",
    "encoder.ffn_dim=64",
    "encoder.heads=4",
    "frontend.channels=[16,16,16,16,16,16,16]",
    "encoder.position_kernel_frames=16",
    "encoder.position_groups=4",
]
"""The common shape of the models in ``tests/golden``."""

THEIR_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
"""The same by transformers' names."""

THEIR_NO_DROPOUT: dict[str, Any] = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
)
"""`NO_DROPOUT` by transformers' names."""


def learner(
    recipe: str, overrides: Sequence[str], specs: Sequence[TargetSpec] | None = None, stage: int = 0
) -> masked.MaskedLearner:
    """Build a recipe's learner in training mode.

    Parameters
    ----------
    recipe
        Name of a published recipe.
    overrides
        Smaller sizes, no dropout.
    specs
        What the teachers give, where the reference's have fewer classes; None: what the recipe's teachers do.
    stage
        Number of the iteration.
    """
    config: Any = masked_prediction.stages(load_recipe(recipe, overrides))[stage].recipe  # type: ignore[arg-type]
    model = build_model(masked_prediction.model_config(config), torch.Generator().manual_seed(0))
    online = masked_prediction.build_online(config, model)
    if specs is None:
        previous = None if stage == 0 else model.encoder
        specs = check_teachers(Round(config, model.frontend, model.encoder, lambda: model, previous=previous))
    heads = masked_prediction.build_heads(config, model, specs)
    return masked_prediction.build_learner(config, model, heads, online).train()


@dataclass(frozen=True)
class Run:
    """What a learner made of one batch."""

    output: StepOutput
    hidden: list[Tensor]
    features: Tensor
    gradients: dict[str, Tensor]


def run(module: masked.MaskedLearner, waveform: Tensor, mask: Tensor, targets: Sequence[Tensor], step: int = 0) -> Run:
    """Run forward and backward on clips of one length, under a given mask; gradients are of the loss's sum."""
    clips, samples = waveform.shape
    lengths = torch.full((clips,), samples)
    frames = module.model.grid.num_frames(lengths)
    batch = Batch(waveform, lengths, tuple(targets), frames, tuple(range(clips)), float(clips))
    seen: dict[str, Any] = {}
    handles = [
        part.register_forward_hook(lambda _, __, output, name=name: seen.setdefault(name, output))  # type: ignore[misc]
        for name, part in (("frontend", module.model.frontend), ("encoder", module.model.encoder))
    ]
    with mock.patch.object(masked, "draw_masks", return_value=mask):
        output = module(batch, torch.Generator().manual_seed(0), step)
    for handle in handles:
        handle.remove()
    module.zero_grad()
    output.loss_sum.backward()
    gradients = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    return Run(output, seen["encoder"], seen["frontend"][0], gradients)


def fairseq_names(module: masked.MaskedLearner, heads: Mapping[str, str], group_norm: bool = True) -> dict[str, str]:
    """Return fairseq's name of each of the learner's weights, ours as keys.

    Parameters
    ----------
    module
        The learner.
    heads
        Names of the heads' weights, ours (``heads.0.projection.weight``) to theirs; a name left out here is left out of
        the result too.
    group_norm
        Whether the frontend has a group norm, whose weights fairseq keeps at another place than layer norms.
    """
    names = dict(heads)
    for name, _ in module.model.named_parameters():
        ours = re.sub(r"\.parametrizations\.weight\.original(\d)", lambda found: f".weight_{'gv'[int(found[1])]}", name)
        theirs = fairseq_name(common_name(ours), group_norm)
        names[f"model.{name}"] = theirs
    return names


def load(module: masked.MaskedLearner, names: Mapping[str, str], weights: Mapping[str, Tensor]) -> None:
    """Give the learner the reference's weights; one that no weight of ours takes is an error."""
    taken = set(names.values())
    assert set(weights) == taken, (sorted(set(weights) - taken), sorted(taken - set(weights)))
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for ours, theirs in names.items():
            parameters[ours].copy_(weights[theirs].reshape(parameters[ours].shape))


def by_their_names(
    gradients: Mapping[str, Tensor], names: Mapping[str, str], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return our gradients by their names, in their shapes."""
    found = {names[name]: value for name, value in gradients.items()}
    return {name: value.reshape(like[name].shape) for name, value in found.items()}
