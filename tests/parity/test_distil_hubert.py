"""DistilHuBERT's learner, built by the recipe, beside transformers' HuBERT with the heads and the loss of s3prl."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.frames import FrameGrid
from audio_ssl.interop.weight_names import common_name
from audio_ssl.targets.spec import TargetSpec
from tests.parity.learner import GOLDEN_SIZES, NO_DROPOUT, THEIR_NO_DROPOUT, THEIR_SIZES, learner, run
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference

SMALL = [*GOLDEN_SIZES, *NO_DROPOUT, "encoder.activation_dropout=0.0"]
LAYERS, WIDTH = 3, 24
GRID = FrameGrid(16000, 320, 400)


class SplitHeads(nn.Module):
    """The heads as they are published: one wide layer, GELU, and a product of each part with a matrix of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, dim * LAYERS)
        self.weight = nn.Parameter(torch.zeros(LAYERS, dim, WIDTH))
        self.bias = nn.Parameter(torch.zeros(LAYERS, WIDTH))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``[clip, layer, frame, dim]``."""
        parts = F.gelu(self.first(hidden)).reshape(*hidden.shape[:2], LAYERS, -1)
        return (torch.einsum("btnd,ndw->btnw", parts, self.weight) + self.bias).transpose(1, 2)


class Published(nn.Module):
    """The student: transformers' HuBERT, which has DistilHuBERT's form as a setting, and the heads."""

    def __init__(self, feature_norm: bool) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import HubertConfig, HubertModel
        sizes: Any = {**THEIR_SIZES, **THEIR_NO_DROPOUT, "apply_spec_augment": False}
        self.model = HubertModel(HubertConfig(**sizes, feat_proj_layer_norm=feature_norm))
        self.heads = SplitHeads(THEIR_SIZES["hidden_size"])

    def forward(self, waveform: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return hidden states and predictions; features' gradients are scaled as in the code."""
        scaled = self.model.feature_extractor.register_forward_hook(lambda _m, _a, out: Scaled.apply(out))
        output = self.model(waveform, output_hidden_states=True)
        scaled.remove()
        return list(output.hidden_states), self.heads(output.last_hidden_state)


class Scaled(torch.autograd.Function):
    """Gradients of the features times 0.1."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 0.1


def published_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the loss of the code, a mean over clips, layers and frames."""
    loss = F.l1_loss(predicted, wanted, reduction="none").mean()
    return loss - F.logsigmoid(F.cosine_similarity(predicted, wanted, dim=-1)).mean()


def named(module: Any) -> dict[str, str]:
    """Return the published student's name of each weight of the model."""
    return {f"model.{name}": f"model.{common_name(name)}" for name, _ in module.model.named_parameters()}


def copy(module: Any, peer: Published) -> dict[str, str]:
    """Give the published student our weights; return its names of the model's."""
    names, theirs = named(module), dict(peer.named_parameters())
    with torch.no_grad():
        for ours, weight in module.named_parameters():
            if ours in names:
                theirs[names[ours]].copy_(weight.view_as(theirs[names[ours]]))
        for layer, head in enumerate(module.heads[0].heads):
            rows = slice(layer * head[0].out_features, (layer + 1) * head[0].out_features)
            peer.heads.first.weight[rows], peer.heads.first.bias[rows] = head[0].weight, head[0].bias
            peer.heads.weight[layer], peer.heads.bias[layer] = head[2].weight.T, head[2].bias
    return names


def compare(feature_norm: bool, *overrides: str) -> dict[str, float]:
    """Return the largest relative differences of what the recipe builds, by what was compared."""
    torch.manual_seed(0)
    settings = [*SMALL, f"encoder.feature_norm={str(feature_norm).lower()}", *overrides]
    module = learner("distil_hubert", settings, [TargetSpec("values", LAYERS * WIDTH, None, GRID, LAYERS)])
    peer = Published(feature_norm)
    names = copy(module, peer)
    waveform = torch.randn(2, 8000)
    wanted = torch.randn(2, GRID.num_frames(8000), LAYERS, WIDTH)
    found = run(module, waveform, torch.zeros(0), (wanted.flatten(2),))
    hidden, predicted = peer(waveform)
    loss = published_loss(predicted, wanted.transpose(1, 2))
    loss.backward()
    count, theirs = int(found.output.count), dict(peer.named_parameters())
    ours = {names[name]: value / count for name, value in found.gradients.items() if name in names}
    heads = [found.gradients[f"heads.0.heads.{layer}.2.weight"].T / count for layer in range(LAYERS)]
    first = [found.gradients[f"heads.0.heads.{layer}.0.weight"] / count for layer in range(LAYERS)]
    assert theirs["heads.weight"].grad is not None
    assert theirs["heads.first.weight"].grad is not None
    return {
        "hidden": max(difference(mine, state) for mine, state in zip(found.hidden, hidden, strict=True)),
        "loss": difference(found.output.loss_sum / count, loss),
        "gradients": max(
            assert_gradients(
                {name: value.reshape(theirs[name].shape) for name, value in ours.items()},
                {name: theirs[name].grad for name in ours if theirs[name].grad is not None},  # type: ignore[misc]
                tolerance=float("inf"),
            ),
            difference(torch.stack(heads), theirs["heads.weight"].grad),
            difference(torch.cat(first), theirs["heads.first.weight"].grad),
        ),
    }


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences from the published student, without a norm of the features."""
    return compare(feature_norm=False)


@pytest.mark.parametrize("feature_norm", [False, True])
def test_learner_is_the_published_one(feature_norm: bool) -> None:
    found = compare(feature_norm) if feature_norm else agreement()
    assert found["hidden"] < STATES
    assert found["loss"] < LOSS
    assert found["gradients"] < GRADIENTS


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("objectives.0.cosine=0.9", "loss"),
        ("feature_penalty=1.0", "loss"),
        ("feature_grad_mult=1.0", "gradients"),
        ("encoder.pre_norm=true", "hidden"),
    ],
)
def test_another_setting_does_not_agree(override: str, what: str) -> None:
    assert compare(False, override)[what] > 1e-3
