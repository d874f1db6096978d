"""CPC against its public code's formula, written anew here: facebookresearch/CPC_audio, ``cpc/{model,transformers}.py``
and ``cpc/criterion/criterion.py``.

Five convolutions with a norm over channels and ReLU, an LSTM, and for each of twelve steps a causal transformer layer
with relative positions whose output is multiplied with the frame ahead and with the negatives: mean over channels,
cross-entropy, mean over the frames all of whose steps lie in the window, sum over steps.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.seeds import generator
from audio_ssl.data.loader import Batch
from audio_ssl.models.model import build_model
from audio_ssl.pretrain.kinds import masked_prediction as kind
from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.view import View
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference

DIM, STEPS, HEADS, SAMPLES = 16, 12, 2, 20480
FRAMES = (SAMPLES - 465) // 160 + 1
SMALL = [
    f"frontend.channels={[DIM] * 5}",
    f"encoder.dim={DIM}",
    "objectives.0.negatives=10",
    f"objectives.0.heads={HEADS}",
    "objectives.0.dropout=0.0",
]


class ChannelNorm(nn.Module):
    """Norm over channels, by the variance without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(1, DIM, 1)), nn.Parameter(torch.zeros(1, DIM, 1))

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - x.mean(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5)
        return scaled * self.weight + self.bias


class Layer(nn.Module):
    """The predictor of one step."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.Wq, self.Wk, self.Wv, self.Wo = (nn.Linear(DIM, DIM, bias=False) for _ in range(4))
        # Column s holds the distance frames - 1 - s.
        self.Krelpos = nn.Parameter(torch.randn(DIM // HEADS, frames))
        self.ln_multihead, self.ln_ffnetwork = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.lin1, self.lin2 = nn.Linear(DIM, 8 * DIM), nn.Linear(8 * DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        clips, frames, _ = x.shape
        q, k, v = (
            w(x).view(clips, frames, HEADS, -1).transpose(1, 2).flatten(0, 1) for w in (self.Wq, self.Wk, self.Wv)
        )
        # A column of zeros, and the rows move to where each distance belongs.
        moved = F.pad(q @ self.Krelpos, (1, 0)).view(len(q), frames + 1, frames)[:, 1:]
        future = torch.full((frames, frames), -math.inf).triu(1)
        weights = ((q @ k.mT + moved) / math.sqrt(k.shape[-1]) + future).softmax(-1)
        y = (weights @ v).view(clips, HEADS, frames, -1).transpose(1, 2).flatten(2)
        y = self.ln_multihead(x + self.Wo(y))
        return self.ln_ffnetwork(y + self.lin2(torch.relu(self.lin1(y))))


class CpcAudio(nn.Module):
    """Encoder, context and predictors."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 10, 5), (DIM, 8, 4), (DIM, 4, 2), (DIM, 4, 2), (DIM, 4, 2))
        self.convs = nn.ModuleList(nn.Conv1d(inputs, DIM, kernel, stride) for inputs, kernel, stride in sizes)
        self.norms = nn.ModuleList(ChannelNorm() for _ in sizes)
        self.gar = nn.LSTM(DIM, DIM, batch_first=True)
        self.predictors = nn.ModuleList(Layer(FRAMES - STEPS) for _ in range(STEPS))

    def forward(self, waveform: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, context and the loss of each step; `negatives` are places in the window of each frame."""
        x = waveform[:, None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)))
        features = x.transpose(1, 2)
        context = self.gar(features)[0]
        early = FRAMES - STEPS
        others = features[torch.arange(len(features))[:, None, None], negatives[:, :early]]
        losses = []
        for ahead, predictor in enumerate(self.predictors, 1):
            predicted = predictor(context[:, :early])[:, :, None]
            right = features[:, ahead : ahead + early, None]
            scores = (predicted * torch.cat([right, others], 2)).mean(-1)
            # Ours leaves out the negatives that are the right frame.
            same = negatives[:, :early] == torch.arange(ahead, ahead + early)[:, None]
            scores = scores.masked_fill(F.pad(same, (1, 0)), -math.inf)
            losses.append(F.cross_entropy(scores.flatten(0, 1), torch.zeros(scores[..., 0].numel(), dtype=torch.long)))
        return features, context, torch.stack(losses)


def ours_from(theirs: dict[str, Tensor], gradient: bool) -> dict[str, Tensor]:
    """Return parameters or gradients of the reference by our names."""
    # Ours divides by the variance with bias: the same map with weights that much smaller.
    ratio = ((DIM - 1) / DIM) ** 0.5
    named = {}
    for layer in range(5):
        for leaf in ("weight", "bias"):
            named[f"model.frontend.convs.{layer}.{leaf}"] = theirs[f"convs.{layer}.{leaf}"]
            value = theirs[f"norms.{layer}.{leaf}"].flatten()
            scale = 1.0 if leaf == "bias" else 1 / ratio if gradient else ratio
            named[f"model.frontend.norms.{layer}.{leaf}"] = value * scale
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        named[f"model.encoder.layers.0.{name}"] = theirs[f"gar.{name}"]
    parts = {"query": "Wq", "key": "Wk", "value": "Wv", "out": "Wo", "inner": "lin1", "outer": "lin2"}
    parts |= {"attention_norm": "ln_multihead", "final_norm": "ln_ffnetwork"}
    for step in range(STEPS):
        for ours, other in parts.items():
            for leaf in ("weight", "bias"):
                if f"predictors.{step}.{other}.{leaf}" in theirs:
                    named[f"heads.0.steps.{step}.{ours}.{leaf}"] = theirs[f"predictors.{step}.{other}.{leaf}"]
        # Theirs know the distances of their window, ours two more, which nothing reaches.
        distances = theirs[f"predictors.{step}.Krelpos"].flip(1).T
        named[f"heads.0.steps.{step}.distances"] = F.pad(distances, (0, 0, 0, 116 - len(distances)))
    return named


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences to the public code's learner, by what was compared."""
    config = load_recipe("cpc", SMALL)
    assert isinstance(config, kind.Config)
    model = build_model(kind.model_config(config), generator(1))
    learner = MaskedLearner(model, kind.build_heads(config, model, []), config.mask, None, 0.0, 1.0)
    torch.manual_seed(0)
    theirs = CpcAudio()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    left = learner.load_state_dict(ours_from(dict(theirs.named_parameters()), gradient=False), strict=False)
    assert left.missing_keys == ["model.encoder.mask_embedding"]

    waveform = torch.randn(2, SAMPLES, generator=generator(3))
    batch = Batch(waveform, torch.full((2,), SAMPLES), (), torch.full((2,), FRAMES), (5, 6), 0.0)
    output = learner(batch, generator(2), 0)
    output.loss_sum.backward()
    found = model(waveform)
    view = View(found.hidden, found.features, batch.frames, None, None, generator(2), 0, batch.keys)
    features, context, losses = theirs(waveform, learner.heads[0].draw(view))  # type: ignore[operator]
    pairs = 2 * (FRAMES - STEPS)
    assert float(output.metrics["loss_cpc"][1]) == pairs
    (losses.sum() * pairs / STEPS).backward()
    own = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
    their = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    return {
        "features": difference(found.features, features),
        "hidden": difference(found.hidden[-1], context),
        "loss": difference(STEPS * output.loss_sum / pairs, losses.sum()),
        "gradients": assert_gradients(own, ours_from(their, gradient=True), GRADIENTS),
    }


def test_learner_equals_the_public_code() -> None:
    found = agreement()
    assert max(found["features"], found["hidden"]) < STATES
    assert found["loss"] < LOSS
