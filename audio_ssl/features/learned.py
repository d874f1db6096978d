"""What a probe has learned about layers and frames: the mix of layers and the attention over frames that its head saw.

Read from a result folder's ``head.safetensors`` and ``scores.json`` (`audio_ssl.probing.system`): layers standardised
or whitened by the probe's training clips, then weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.documents import read_object
from audio_ssl.errors import UserError, shown
from audio_ssl.features.pool import Attention

HEAD_FILE, SCORES_FILE = "head.safetensors", "scores.json"
_ATTENTION = "head.attention."


@dataclass(frozen=True)
class Learned:
    """Layers mixed as a probe mixes them."""

    layers: tuple[int, ...]
    """Layers with a part in it."""
    mean: Float[Tensor, "layer 1 dim"]
    """Of each, taken away."""
    scale: Float[Tensor, "layer rows dim"]
    """Weight over deviation (one row), or weight times the matrix that whitens."""
    attention: Attention | None
    """Of an attentive head."""

    def mix(self, layers: Sequence[Float[Tensor, "frame dim"]]) -> Float[Tensor, "frame dim"]:
        """Return the sum of the standardised or whitened layers by their weights."""
        mixed = torch.zeros_like(layers[0], dtype=torch.float32)
        for layer, mean, scale in zip(layers, self.mean, self.scale, strict=True):
            centred = layer.float() - mean.to(layer.device)
            mixed += centred * scale.to(layer.device) if len(scale) == 1 else centred @ scale.to(layer.device)
        return mixed


def is_result(text: str) -> bool:
    """Tell whether a text names the folder of a probe's result."""
    return (Path(text) / SCORES_FILE).is_file()


def read_learned(folder: Path, model: str, num_layers: int) -> Learned:
    """Read what a probe has learned.

    Parameters
    ----------
    folder
        The probe's result.
    model
        Fingerprint of the model to extract with, which must be the one the probe has asked.
    num_layers
        Its hidden states.

    Raises
    ------
    UserError
        If there is no such result, or it is one of another model.
    """
    scores, state = _read(folder)
    if scores.get("model_fingerprint") != model:
        raise UserError(
            f"the probe asked the model `{scores.get('model')}` ({scores.get('model_fingerprint')}), not {model}",
            where=str(folder),
        )
    missing = [name for name in ("mean", "scale") if name not in state]
    if missing or len(state["mean"]) != num_layers:
        raise UserError(f"the result's {HEAD_FILE} does not fit the model", where=str(folder))
    chosen = scores.get("chosen_layer")
    if chosen is not None and (not isinstance(chosen, int) or not 0 <= chosen < num_layers):
        raise UserError(
            f"`chosen_layer` must be one of the model's {num_layers} layers, but is {shown(chosen)}",
            where=str(folder / SCORES_FILE),
            remedy="run the probe again",
        )
    if chosen is not None or num_layers == 1:
        numbers = [0 if chosen is None else int(chosen)]
        weights = torch.ones(1)
    elif "mix" in state:
        numbers, weights = list(range(num_layers)), state["mix"].softmax(0)
    else:
        raise UserError("the probe has neither chosen a layer nor mixed them", where=str(folder))
    scale = state["scale"][numbers] * weights[:, None, None]
    return Learned(tuple(numbers), state["mean"][numbers], scale, _attention(state))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        return read_object(folder / SCORES_FILE), load_file(folder / HEAD_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"not a probe's result: {error}", where=str(folder / HEAD_FILE)) from error


def _attention(state: dict[str, Tensor]) -> Attention | None:
    own = {name.removeprefix(_ATTENTION): value for name, value in state.items() if name.startswith(_ATTENTION)}
    if not own:
        return None
    hidden, dim = own["inner.weight"].shape
    attention = Attention(dim, hidden)
    attention.load_state_dict(own)
    return attention.eval().requires_grad_(False)
