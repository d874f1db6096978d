"""Reads a model with the heads of its pretraining."""

from __future__ import annotations

from pathlib import Path

from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.read import read_model
from audio_ssl.shipped import SHIPPED, Shelf


def read_pretrained(name_or_path: str | Path, *, shelf: Shelf = SHIPPED) -> Pretrained:
    """Read any supported model, and the heads of its pretraining that its file holds.

    Parameters
    ----------
    name_or_path
        As `audio_ssl.interop.read.read_model` takes it, settings in the name included.
    shelf
        The models that ship.

    Returns
    -------
    Pretrained
        Without heads where the file has none, or none that an objective of ours computes exactly. Runs and models of
        ours have none here either: their heads lie beside the recipe that says what they are.

    Raises
    ------
    UserError
        As `read_model` does, and where the weights of a head do not fit together.
    """
    return Pretrained(read_model(name_or_path, shelf=shelf))
