"""What CTC heads share: loss per character, greedy decoding by speechbrain, and how many frames a text needs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.probing.heads._base import Batch, Head
from audio_ssl.probing.tasks._base import Output

# speechbrain announces its settings at import; that is not this program's news.
logging.getLogger("speechbrain").setLevel(logging.WARNING)

from speechbrain.decoders.ctc import ctc_greedy_decode  # noqa: E402

# speechbrain leaves stand-ins among the modules that import optional packages, or warn, when anything looks at them, as
# `inspect` does with every module.
for _name, _module in list(sys.modules.items()):
    if type(_module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
        del sys.modules[_name]


class CTCBase(Head):
    """Characters from frames; class 0 is the blank (Graves et al. 2006)."""

    outputs: tuple[Output, ...] = ("tokens",)

    def logits(self, batch: Batch) -> Float[Tensor, "batch frame class"]:
        """Return the logits of blank and characters."""
        raise AssertionError("each CTC head has its own layers")

    def loss(self, batch: Batch, targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the CTC loss per character."""
        lengths = torch.tensor([len(target) for target in targets])
        log_probabilities = F.log_softmax(self.logits(batch), dim=-1).transpose(0, 1)
        return F.ctc_loss(log_probabilities, torch.cat(list(targets)) + 1, batch.frames, lengths)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the greedy decoding of each clip."""
        # speechbrain takes lengths as shares of the longest clip.
        shares = batch.frames / batch.features.shape[1]
        decoded = ctc_greedy_decode(F.log_softmax(self.logits(batch), dim=-1), shares, blank_id=0)
        return [torch.tensor(tokens, dtype=torch.long) - 1 for tokens in decoded]

    def why_not(self, frames: int, target: Tensor) -> str | None:
        """CTC needs a frame for each character, and one more between equal neighbours."""
        needed = len(target) + int((target[1:] == target[:-1]).sum())
        return None if needed <= frames else f"{len(target)} characters need {needed} frames, but there are {frames}"
