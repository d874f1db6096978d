"""The losses of heads that answer once a clip, for several copies of a head at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.probing.tasks._base import Output

OUTPUTS: tuple[Output, ...] = ("class", "tags", "values")


def clip_losses(
    outputs: Float[Tensor, "run batch class"], targets: Sequence[Tensor], values: bool = False
) -> Float[Tensor, " run"]:
    """Return the mean loss of each run.

    Cross-entropy for class numbers, binary cross-entropy for zeros and ones, squared error for `values`.

    Examples
    --------
    >>> clip_losses(torch.zeros(2, 3, 4), [torch.tensor(0)] * 3)
    tensor([1.3863, 1.3863])
    """
    wanted = torch.stack(list(targets))
    runs, clips = outputs.shape[:2]
    if wanted.ndim == 1:
        flat = F.cross_entropy(outputs.flatten(0, 1), wanted.repeat(runs), reduction="none")
        return flat.view(runs, clips).mean(1)
    loss = F.mse_loss if values else F.binary_cross_entropy_with_logits
    return loss(outputs, wanted.expand_as(outputs), reduction="none").mean((1, 2))
