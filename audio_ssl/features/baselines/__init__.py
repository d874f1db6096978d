"""Baselines: features without training, with which models are compared. A file is a baseline.

Each has ``FEATURES``, the names that can be chosen (``librosa:mfcc+chroma``; empty where the baseline is one
thing), and a ``build(name, features)`` that makes the `FeatureSource`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.errors import UserError, unknown_name

if TYPE_CHECKING:
    from audio_ssl.features.source import FeatureSource

_FOLDER = "features/baselines"


def baselines() -> list[str]:
    """Return the names of all baselines.

    Examples
    --------
    >>> baselines()
    ['cqt', 'librosa', 'logmel']
    """
    return parts(_FOLDER)


def is_baseline(name: str) -> bool:
    """Return whether a name is that of a baseline, or of some of its features.

    Examples
    --------
    >>> is_baseline("logmel"), is_baseline("librosa:mfcc"), is_baseline("runs/mert")
    (True, True, False)
    """
    return name.partition(":")[0] in baselines()


def features_of(name: str, where: str = "$") -> tuple[str, ...]:
    """Return the features in a baseline's name: those after the colon, else all that the baseline has.

    Parameters
    ----------
    name
        ``BASELINE`` or ``BASELINE:FEATURE+FEATURE``.
    where
        Of the name in a document, for the error.

    Raises
    ------
    UserError
        If there is no such baseline or feature, or a feature is named twice.

    Examples
    --------
    >>> features_of("librosa:mfcc+chroma"), features_of("logmel")
    (('mfcc', 'chroma'), ())
    """
    kind, colon, asked = name.partition(":")
    known = cast(tuple[str, ...], load_part(_FOLDER, kind, where).FEATURES)
    if not colon:
        return known
    if not known:
        raise UserError(f"the baseline `{kind}` has no features to choose from", where=where, remedy=f"give {kind}")
    chosen = tuple(asked.split("+"))
    for feature in chosen:
        if feature not in known:
            raise unknown_name(f"feature of the baseline {kind}", feature, known, where)
    if len(set(chosen)) < len(chosen):
        raise UserError(f"`{name}` must name each feature once", where=where)
    return chosen


def open_baseline(name: str) -> FeatureSource:
    """Open a baseline as a source of features; UserError as of `features_of`, or where it needs a missing package."""
    features = features_of(name)
    return cast("FeatureSource", load_part(_FOLDER, name.partition(":")[0]).build(name, features))
