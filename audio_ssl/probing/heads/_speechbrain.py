"""Imports from speechbrain, without what it does to the rest of the program."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence speechbrain's news at import, and take away the stand-ins that it leaves among the modules.

    The stand-ins import optional packages, or warn, when anything looks at them, as `inspect` does with every module.

    speechbrain imports torchaudio wherever it is imported, but its searches never call it. Where torchaudio is missing,
    or was built for another torch and does not load, an empty module takes its place for as long as the import lasts.
    """
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    with _torchaudio_or_nothing():
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):
                if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
                    del sys.modules[name]


@contextmanager
def _torchaudio_or_nothing() -> Iterator[None]:
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        pass
    else:
        yield
        return
    modules = cast(dict[str, ModuleType | None], sys.modules)
    before = {name: modules.pop(name) for name in list(modules) if name.split(".")[0] == "torchaudio"}
    modules["torchaudio"] = ModuleType("torchaudio")
    try:
        yield
    finally:
        del modules["torchaudio"]
        modules.update(before)
