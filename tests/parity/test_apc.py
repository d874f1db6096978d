"""APC against its public code's formula, written anew here: s3prl, ``upstream/apc/apc.py`` and ``pretrain/apc``.

There the first GRU reads the frames; dropout follows every layer and each layer but the first adds its input; a linear
map of the last predicts the frame five ahead, and the loss is the mean absolute error.
"""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.base.seeds import generator
from audio_ssl.data.loader import Batch
from audio_ssl.models.model import build_model
from audio_ssl.pretrain.kinds import masked_prediction as kind
from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.teachers import mel
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference

SMALL = ["encoder.dim=24", "encoder.dropout=0.0", "frontend.n_mels=20", "teachers.0.n_mels=20"]


class Apc(nn.Module):
    """The published network, for one clip without padding."""

    def __init__(self, bands: int, dim: int, layers: int) -> None:
        super().__init__()
        self.rnn_layers = nn.ModuleList(
            nn.GRU(width, dim, batch_first=True) for width in (bands, *(dim,) * (layers - 1))
        )
        self.postnet = nn.Linear(dim, bands)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        states: list[Tensor] = []
        x = frames
        for number, layer in enumerate(self.rnn_layers):
            y = layer(x)[0]
            x = y if number == 0 else y + x
            states.append(x)
        return self.postnet(x), states


@functools.cache
def agreement(recipe: str = "apc") -> dict[str, float]:
    """Return the largest relative differences to the public code's learner, by what was compared."""
    config = load_recipe(recipe, SMALL)
    assert isinstance(config, kind.Config)
    teacher = mel.build(config.teachers[0], 16000, torch.device("cpu"))  # type: ignore[arg-type]
    model = build_model(kind.model_config(config), generator(1))
    learner = MaskedLearner(model, kind.build_heads(config, model, [teacher.spec]), config.mask, None, 0.0, 1.0)
    torch.manual_seed(0)
    theirs = Apc(20, 24, 3)
    named = {f"model.encoder.layers.{number}": f"rnn_layers.{number}" for number in range(3)}
    named["heads.0.projection"] = "postnet"

    def ours_from(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            f"{ours}.{name.rpartition('.')[2]}": value
            for ours, other in named.items()
            for name, value in tensors.items()
            if name.startswith(f"{other}.")
        }

    left = learner.load_state_dict(ours_from(dict(theirs.named_parameters())), strict=False)
    assert left.missing_keys == ["model.encoder.mask_embedding"]
    lengths = (16000, 12800)
    clips = [torch.randn(samples, generator=generator(samples)) for samples in lengths]
    targets = [teacher(clip) for clip in clips]
    frames = torch.tensor([len(target) for target in targets])
    batch = Batch(
        pad_sequence(clips, batch_first=True),
        torch.tensor(lengths),
        (pad_sequence(targets, batch_first=True),),
        frames,
        (5, 6),
        0.0,
    )
    output = learner(batch, generator(2), 0)
    output.loss_sum.backward()
    with torch.no_grad():
        hidden = model(batch.waveform, batch.lengths).hidden
    # The mean of a batch without padding; here a sum, as clips of two lengths are weighted by their frames.
    loss, count, found = torch.zeros(()), 0, {"features": 0.0, "hidden": 0.0}
    for row, target in enumerate(targets):
        predicted, states = theirs(target[None, :-5])
        loss = loss + nn.functional.l1_loss(predicted, target[None, 5:]) * (len(target) - 5)
        count += len(target) - 5
        for state, other in zip(hidden[1:], states, strict=True):
            found["hidden"] = max(found["hidden"], difference(state[row : row + 1, : len(target) - 5], other))
        found["features"] = max(found["features"], difference(hidden[0][row, : len(target), :20], target))
    loss.backward()
    assert [float(value) for value in output.metrics["loss_mel"]] == [float(output.loss_sum.detach()), count]
    found["loss"] = difference(output.loss_sum, loss)
    own = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
    their = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    return found | {"gradients": assert_gradients(own, ours_from(their), GRADIENTS)}


@pytest.mark.parametrize("recipe", ["apc", "apc_tiny"])
def test_learner_equals_the_public_code(recipe: str) -> None:
    found = agreement(recipe)
    assert max(found["features"], found["hidden"]) < STATES
    assert found["loss"] < LOSS


def test_dropout_follows_every_layer_as_there() -> None:
    config = load_recipe("apc", [*SMALL[2:], "encoder.dim=24", "encoder.dropout=0.5"])
    assert isinstance(config, kind.Config)
    model = build_model(kind.model_config(config), generator(1)).train()
    torch.manual_seed(0)
    states = model(torch.randn(1, 16000)).hidden
    # What a layer adds is zero where it was dropped: half of its numbers, the last layer's too.
    for before, after in zip((torch.zeros_like(states[1]), *states[1:]), states[1:], strict=False):
        assert float(((after - before) == 0).double().mean()) == pytest.approx(0.5, abs=0.05)
