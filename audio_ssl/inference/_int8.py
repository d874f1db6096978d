"""Linear layers with weights of 8 bits and activations that are made so as they come, by torch's quantised engines.

Weights have a scale per output. Activations have one per clip, so that a clip's values are the same in any batch.
Without dot products of 8 bits that add up in 32 (VNNI), sums of two saturate in 16 bits: activations then have 7.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")
"""In the order of choice."""


def engine() -> str | None:
    """Return the engine of this machine; None: there is none."""
    if not hasattr(torch, "quantize_per_channel"):
        return None
    known = torch.backends.quantized.supported_engines
    return next((name for name in ENGINES if name in known), None)


def has_vnni() -> bool:
    """Return whether products of 8 bits add up in 32."""
    checks = ("_is_vnni_supported", "_is_avx512_vnni_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


class Int8Linear(nn.Module):
    """A linear map of the frames of one clip.

    Parameters
    ----------
    weight, bias
        In float32.
    """

    def __init__(self, weight: Float[Tensor, "dim inputs"], bias: Tensor | None) -> None:
        super().__init__()
        scale = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny).double()
        places = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            # Newer versions of torch deprecate tensors of this kind; their quantised products take no other weights.
            warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)
            whole = torch.quantize_per_channel(weight.float().contiguous(), scale, places, 0, torch.qint8)
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = engine() or before
        self._packed = torch.ops.quantized.linear_prepack(whole, None if bias is None else bias.detach().float())
        torch.backends.quantized.engine = before
        self._seven_bits = not has_vnni()

    def forward(self, x: Float[Tensor, "*axes inputs"]) -> Float[Tensor, "*axes dim"]:
        """Return the map; all of `x` shares a scale."""
        y: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, self._seven_bits)
        return y
