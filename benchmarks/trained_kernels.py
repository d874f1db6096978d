"""What one update does to constant-Q kernels that are weights: nnAudio's as they are, and divided by their peaks.

Run ``python benchmarks/trained_kernels.py``. Both begin as the same transform, 84 bins from C1 at 16 kHz, and are
trained by one update of AdamW on the sum of the log magnitudes of a tone in noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from nnAudio.features.cqt import CQT1992v2
from torch import Tensor, nn

from audio_ssl.models.frontends import nnaudio

RATE, LEARNING_RATE = 16_000, 5e-4


def tone() -> Tensor:
    """Return a second of 440 Hz in noise, ``[1, sample]``."""
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.05
    return (noise + torch.sin(2 * torch.pi * 440 * torch.arange(RATE) / RATE))[None]


def change(module: nn.Module, magnitudes: Callable[[Tensor], Tensor]) -> float:
    """Return the mean change of the magnitudes by one update, as a share of their mean."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE)
    before = magnitudes(tone())
    torch.log(before + 1e-3).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    with torch.no_grad():
        return float((magnitudes(tone()) - before).abs().mean() / before.mean())


def main() -> None:
    """Print the change of both."""
    theirs = CQT1992v2(sr=RATE, hop_length=320, pad_mode="constant", trainable=True, verbose=False)
    ours = nnaudio.build(nnaudio.Config(), RATE)
    for name, share in {"nnAudio": change(theirs, theirs), "divided by peaks": change(ours, ours.values)}.items():
        print(f"{name:<17} one update at {LEARNING_RATE:g} changes the magnitudes by {share:.1%} of their mean")


if __name__ == "__main__":
    main()
