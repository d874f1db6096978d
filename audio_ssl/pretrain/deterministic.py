"""Kernels that give the same bits each time, so that on a GPU, too, a resumed run is the uninterrupted one.

On a CPU they all do. On a GPU some gradients (of convolutions, of attention) are sums in the order in which threads
happen to come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(asked: bool) -> Iterator[None]:
    """Choose such kernels inside the block, where they are asked for and there is a GPU; warn of what has none."""
    if not asked or not torch.cuda.is_available():
        yield
        return
    # Read when the GPU's first product is asked for; a fixed workspace makes products repeat.
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
