"""Pooling of frames, changes of their rate, and the mix of layers that a probe has learned.

Pooling is done piece by piece: the mean, the maximum, or a mean weighted by learned attention.

At another rate a new frame is the mean of the old ones over its span of time, where old frame i spans the time from i
to i + 1 hops. That keeps a clip's mean and does not alias when the rate falls; when it rises, frames are repeated, with
a weighted mean at the borders. The last frame may cover less.

The learned mix is read from a result's ``head.safetensors`` and ``scores.json`` (`audio_ssl.probing.layer_heads`).
Layers are standardised or whitened by the statistics of the probe's training clips, then weighted; an attentive head
also has attention over frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from audio_ssl.artifacts.result import SCORES_FILE, read_scores
from audio_ssl.base.errors import UserError, shown


class Pool(Protocol):
    """Takes frames ``[..., frame, dim]`` in pieces."""

    def add(self, frames: Tensor) -> None:
        """Take some frames."""
        ...

    def result(self) -> Tensor:
        """Return ``[..., dim]``, float32."""
        ...


class MeanPool:
    """The mean frame, summed in float64 so that pieces do not matter."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, frames: Float[Tensor, "*axes frame dim"]) -> None:
        """Take some frames."""
        part = frames.sum(-2, dtype=torch.float64)
        self._sum = part if self._sum is None else self._sum + part
        self._count += frames.shape[-2]

    def result(self) -> Tensor:
        """Return the mean."""
        assert self._sum is not None
        return (self._sum / self._count).float()


class MaxPool:
    """The largest value of each dimension."""

    def __init__(self) -> None:
        self._largest: Tensor | None = None

    def add(self, frames: Float[Tensor, "*axes frame dim"]) -> None:
        """Take some frames."""
        part = frames.amax(-2)
        self._largest = part if self._largest is None else torch.maximum(self._largest, part)

    def result(self) -> Tensor:
        """Return the maximum."""
        assert self._largest is not None
        return self._largest.float()


class AttentionPooling(nn.Module):
    """Self-attentive pooling (Lin et al. 2017, arXiv 1703.03130): frames weighted by a softmax of learned scores.

    Parameters
    ----------
    dim
        Width of the frames.
    hidden_dim
        Width of the scoring layer.
    """

    def __init__(self, dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, 1, bias=False)

    def scores(self, frames: Float[Tensor, "*axes frame dim"]) -> Float[Tensor, "*axes frame"]:
        """Return the score of each frame, before the softmax."""
        return cast(Tensor, self.outer(torch.tanh(self.inner(frames)))).squeeze(-1)

    def forward(
        self, frames: Float[Tensor, "batch frame dim"], inside: Bool[Tensor, "batch frame"]
    ) -> Float[Tensor, "batch dim"]:
        """Return the weighted mean of each clip's frames."""
        weights = self.scores(frames).masked_fill(~inside, float("-inf")).softmax(-1)
        return (weights[..., None] * frames).sum(-2)


class AttentivePool:
    """The same over frames that come in pieces."""

    def __init__(self, attention: AttentionPooling) -> None:
        self._attention = attention
        self._largest = self._weight = self._sum = torch.zeros(())

    def add(self, frames: Float[Tensor, "*axes frame dim"]) -> None:
        """Take some frames."""
        scores = self._attention.scores(frames.float()).double()
        first = self._sum.ndim == 0
        largest = scores.amax(-1) if first else torch.maximum(self._largest, scores.amax(-1))
        weights = (scores - largest[..., None]).exp()
        total, weight = (weights[..., None] * frames).sum(-2), weights.sum(-1)
        if not first:
            fade = (self._largest - largest).exp()
            total, weight = total + self._sum * fade[..., None], weight + self._weight * fade
        self._largest, self._weight, self._sum = largest, weight, total

    def result(self) -> Tensor:
        """Return the weighted mean."""
        return (self._sum / self._weight[..., None]).float()


_TOLERANCE = 1e-6
"""Of an old frame: spans that miss a border by rounding only end on it."""


def frames_at(frames: int, step: float) -> int:
    """Return how many new frames cover `frames` old ones; `step` is old frames a new one.

    Examples
    --------
    >>> [frames_at(n, 1.5) for n in (1, 3, 4)]
    [1, 2, 3]
    """
    return math.ceil(frames / step - _TOLERANCE)


class RateChange:
    """Takes old frames in pieces and gives new ones as soon as they are complete.

    Parameters
    ----------
    step
        Old frames a new one: the old rate over the new.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._held: Tensor | None = None
        self._base = self._given = 0

    def add(self, frames: Float[Tensor, "layer frame dim"], last: bool) -> Float[Tensor, "layer new dim"]:
        """Return the new frames that are complete; all that are left with the `last` piece."""
        held = frames if self._held is None else torch.cat([self._held, frames], 1)
        end = self._base + held.shape[1]
        stop = frames_at(end, self._step) if last else math.floor(end / self._step + _TOLERANCE)
        edges = torch.arange(self._given, stop + 1, dtype=torch.float64, device=frames.device) * self._step - self._base
        new = _means(held, edges.clamp(max=held.shape[1])).to(frames.dtype)
        self._given = stop
        drop = min(held.shape[1], max(0, math.floor(stop * self._step) - self._base))
        self._held, self._base = held[:, drop:], self._base + drop
        return new


def _means(frames: Tensor, edges: Tensor) -> Tensor:
    """Return the mean of the frames between consecutive edges, which are numbers of frames."""
    if len(edges) < 2:
        return frames[:, :0]
    values = frames.double()
    sums = torch.cat([torch.zeros_like(values[:, :1]), values.cumsum(1)], 1)
    whole = edges.floor().long().clamp(max=frames.shape[1] - 1)
    integral = sums[:, whole] + (edges - whole)[:, None] * values[:, whole]
    return (integral[:, 1:] - integral[:, :-1]) / (edges[1:] - edges[:-1])[:, None]


HEAD_FILE = "head.safetensors"
_ATTENTION = "head.attention."


@dataclass(frozen=True)
class LearnedMix:
    """Layers mixed with the weights of a probe."""

    layers: tuple[int, ...]
    """Numbers of the layers that are mixed."""
    mean: Float[Tensor, "layer 1 dim"]
    """Mean of each layer, which is subtracted."""
    scale: Float[Tensor, "layer rows dim"]
    """Weight over standard deviation (one row), or weight times the whitening matrix."""
    attention: AttentionPooling | None
    """Attention of an attentive head."""

    def mix(self, layers: Sequence[Float[Tensor, "frame dim"]]) -> Float[Tensor, "frame dim"]:
        """Return the sum of the standardised or whitened layers by their weights."""
        mixed = torch.zeros_like(layers[0], dtype=torch.float32)
        for layer, mean, scale in zip(layers, self.mean, self.scale, strict=True):
            centred = layer.float() - mean.to(layer.device)
            mixed += centred * scale.to(layer.device) if len(scale) == 1 else centred @ scale.to(layer.device)
        return mixed


def read_learned(folder: Path, model: str, num_layers: int) -> LearnedMix:
    """Read the layer mix and the attention of a probe's head.

    Parameters
    ----------
    folder
        The probe's result.
    model
        Fingerprint of the model to extract with, which must be the probed one.
    num_layers
        Number of its hidden states.

    Raises
    ------
    UserError
        If there is no such result, or it belongs to another model.
    """
    scores, state = read_scores(folder), read_head(folder / HEAD_FILE)
    if scores.model_fingerprint != model:
        raise UserError(
            f"the result belongs to the model `{scores.model}` ({scores.model_fingerprint}), not to {model}",
            where=str(folder),
        )
    missing = [name for name in ("mean", "scale") if name not in state]
    if missing or len(state["mean"]) != num_layers:
        raise UserError(f"the result's {HEAD_FILE} does not fit the model", where=str(folder))
    chosen = scores.layer_of_head
    if chosen is not None and not 0 <= chosen < num_layers:
        raise UserError(
            f"`chosen_layer` must be one of the model's {num_layers} layers, but is {shown(chosen)}",
            where=str(folder / SCORES_FILE),
            remedy="run the probe again",
        )
    if chosen is not None or num_layers == 1:
        numbers = [chosen or 0]
        weights = torch.ones(1)
    elif "mix" in state:
        numbers, weights = list(range(num_layers)), state["mix"].softmax(0)
    else:
        raise UserError("the probe has neither chosen a layer nor learned a mix of layers", where=str(folder))
    scale = state["scale"][numbers] * weights[:, None, None]
    return LearnedMix(tuple(numbers), state["mean"][numbers], scale, _attention(state))


def read_head(path: Path) -> dict[str, Tensor]:
    """Return the weights of a probe's head, and the statistics of its layers; UserError if they cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"not the head of a probe's result: {error}", where=str(path)) from error


def _attention(state: dict[str, Tensor]) -> AttentionPooling | None:
    own = {name.removeprefix(_ATTENTION): value for name, value in state.items() if name.startswith(_ATTENTION)}
    if not own:
        return None
    hidden, dim = own["inner.weight"].shape
    attention = AttentionPooling(dim, hidden)
    attention.load_state_dict(own)
    return attention.eval().requires_grad_(False)
