"""The loss of heads that answer once a clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def class_loss(scores: Float[Tensor, "batch class"], targets: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return cross-entropy for class numbers, binary cross-entropy for zeros and ones."""
    wanted = torch.stack(list(targets))
    if wanted.ndim == 1:
        return F.cross_entropy(scores, wanted)
    return F.binary_cross_entropy_with_logits(scores, wanted)
