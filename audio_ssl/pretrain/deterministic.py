"""Kernels that give the same bits each time, so that on a GPU, too, a resumed run is the uninterrupted one.

On a CPU they all do. On a GPU some gradients (of convolutions, of attention) are sums in the order in which threads
happen to come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from audio_ssl.errors import UserError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(asked: bool) -> Iterator[None]:
    """Choose such kernels inside the block, where they are asked for and there is a GPU.

    Raises
    ------
    UserError
        If there is no such kernel for an operation.
    """
    if not asked or not torch.cuda.is_available():
        yield
        return
    # Read when the GPU's first product is asked for; a fixed workspace makes products repeat.
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    # To warn only would leave attention as it is.
    torch.use_deterministic_algorithms(True)
    try:
        with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32):
            yield
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        if "deterministic" not in text:
            raise
        raise UserError(text, where="$.deterministic", remedy="give deterministic=false") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
