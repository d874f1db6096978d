"""Imports from speechbrain, without what it does to the rest of the program."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from audio_ssl.catalog import torchaudio_or_nothing


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence speechbrain's news at import, and take away the stand-ins that it leaves among the modules.

    The stand-ins import optional packages, or warn, when anything looks at them, as `inspect` does with every module.

    speechbrain imports torchaudio wherever it is imported, but its searches never call it.
    """
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    with torchaudio_or_nothing():
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):
                if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
                    del sys.modules[name]
