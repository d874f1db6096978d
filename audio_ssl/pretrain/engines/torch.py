"""Our own loop on torch alone, the default: `audio_ssl.pretrain.loop`."""

from __future__ import annotations

from audio_ssl.pretrain.loop import train
from audio_ssl.pretrain.recipe import Recipe

__all__ = ["check", "train"]


def check(recipe: Recipe) -> None:
    """Refuse nothing: recipes are written for this engine."""
