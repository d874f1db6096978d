"""Seeds derived from their purpose, so that a resumed run needs no saved generator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed for a purpose.

    Examples
    --------
    >>> derive_seed(1, "mask", 7) == derive_seed(1, "mask", 7) != derive_seed(1, "mask", 8)
    True
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a generator on the CPU, seeded for a purpose."""
    return torch.Generator().manual_seed(derive_seed(*parts))


@contextmanager
def seeded(device: torch.device, *parts: int | str) -> Iterator[None]:
    """Seed torch's global generators within the block, for layers without a generator (dropout), and restore them."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(*parts))
        yield
