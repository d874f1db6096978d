"""A speech and music representation suite: waveform models, teachers, pretraining, probes, fairness."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_ssl.features.load import Model, load

__version__ = version("audio-ssl")
__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for, so that ``audio-ssl --help`` answers at once."""
    if name in ("Model", "load"):
        from audio_ssl.features import load as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
