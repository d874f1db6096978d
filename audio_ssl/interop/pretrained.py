"""Reads a model with the heads of its pretraining."""

from __future__ import annotations

import logging
from pathlib import Path

from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.read import open_model
from audio_ssl.interop.settings import ModelSettings
from audio_ssl.shipped import SHIPPED, Shelf

logger = logging.getLogger(__name__)


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
    found = open_model(name_or_path, ModelSettings(), shelf, heads=True)
    for line in (*_taken(found), *(f"left out: {reason}" for reason in found.left_out)):
        logger.info("%s: %s", name_or_path, line)
    return found


def _taken(found: Pretrained) -> list[str]:
    """Return a line about each head."""
    lines = []
    if found.codes:
        sizes = sorted({len(head.projection.weight if head.codes is None else head.codes) for head in found.codes})
        lines.append(
            f"{len(found.codes)} head{'s' if len(found.codes) > 1 else ''} of {' and '.join(map(str, sizes))} codes"
        )
    if found.contrastive is not None:
        books, size, _ = found.contrastive.vectors.shape
        lines.append(f"a quantiser of {books} codebooks of {size} codes, and the projections beside it")
    if found.regression is not None:
        lines.append("a linear head for an average of layers")
    if found.reconstruction is not None:
        lines.append(f"a linear head for {len(found.reconstruction.weight)} bins")
    if found.average is not None:
        more = "" if found.average.sums is None else f", and {len(found.average.sums)} online codebooks"
        lines.append(f"the running average of {len(found.average.weights)} weights{more}")
    return [f"it has of its pretraining {line}" for line in lines]
