"""Opens arrays in numpy's own format, whatever has become of the file."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_DAMAGED = (
    ValueError, TypeError, OverflowError, EOFError, MemoryError, RecursionError, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What numpy raises for headers that are cut or changed: it reads them as Python's literals."""


def open_npy(path: Path) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file, mapped and read-only; objects are refused, as only pickle reads them.

    Raises
    ------
    ValueError
        If the file is cut or damaged, or holds objects.
    OSError
        If it cannot be read.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        raise ValueError(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__) from error
