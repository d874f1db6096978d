"""What no weight tells: sample rate, normalisation, heads. From the caller or from a file, never guessed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from audio_ssl.errors import UserError

logger = logging.getLogger(__name__)

FAIRSEQ_EPSILON = 1e-5
"""Added to a clip's variance by torch's layer norm, with which fairseq, fairseq2 and torchaudio standardise."""

HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Width to heads of every published model of the wav2vec 2.0 family (base, large, x-large, XLS-R 1B and 2B)."""


class Given(NamedTuple):
    """What the caller said; None: nothing."""

    normalize: bool | None = None
    sample_rate: int | None = None
    heads: int | None = None


class UnsaidError(UserError):
    """Something about a model that neither its files nor the caller say.

    Parameters
    ----------
    what, where, remedy
        As of `UserError`; without a remedy, that for who calls a function of Python.
    missing
        The settings.
    """

    def __init__(self, what: str, where: Path | str, missing: Sequence[str], remedy: str | None = None) -> None:
        self.missing = tuple(missing)
        values = {
            "normalize": "normalize=True or False (are waveforms standardised?)",
            "sample_rate": "sample_rate=16000",
        }
        wanted = " and ".join(values.get(name, f"{name}=12") for name in missing)
        remedy = remedy or f"give {wanted}, as the model's authors document it"
        super().__init__(what, where=str(where), remedy=remedy)


@contextmanager
def sensible(where: Path | str | None) -> Iterator[None]:
    """Turn what settings of a wrong type or size raise into a sentence that names the file."""
    place = None if where is None else str(where)
    try:
        yield
    except UserError as error:
        raise UserError(error.what, where=error.where or place, remedy=error.remedy) from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the model's settings make no sense: {error}", where=place) from error


def settings(given: Given, found: Mapping[str, Any], source: str, where: Path | str) -> tuple[bool, int]:
    """Return normalisation and rate: the caller's, else those found under ``normalize`` and ``sample_rate``.

    Parameters
    ----------
    given
        The caller's.
    found
        What `source` says, or nothing.
    source
        Where they would stand, for errors and the log.
    where
        The model.

    Raises
    ------
    UserError
        If neither says them.
    """
    missing = [
        name for name in ("normalize", "sample_rate") if getattr(given, name) is None and found.get(name) is None
    ]
    if missing:
        names = " and ".join(f"`{name}`" for name in missing)
        raise UnsaidError(
            f"{names} of the model cannot be told from its weights, and {source} does not say", where, missing
        )
    for name in ("normalize", "sample_rate"):
        said, stands = getattr(given, name), found.get(name)
        if said is not None and stands is not None and said != stands:
            logger.info("%s: %s=%s as given, though %s says %s", where, name, said, source, stands)
    normalize = found["normalize"] if given.normalize is None else given.normalize
    rate = found["sample_rate"] if given.sample_rate is None else given.sample_rate
    number = isinstance(rate, int | float) and not isinstance(rate, bool) and float(rate).is_integer() and rate > 0
    if not isinstance(normalize, bool) or not number:
        raise UserError(
            f"`normalize` must be true or false and `sample_rate` a number of Hz, but are {normalize!r} and {rate!r}",
            where=str(where),
        )
    return normalize, int(rate)


def heads_of(given: Given, found: object, dim: int, where: Path | str) -> int:
    """Return the attention heads: the caller's, the file's, or those of all published models of this width.

    Raises
    ------
    UserError
        If none of them tells, or they do not divide the width.
    """
    heads = given.heads if given.heads is not None else found if found is not None else HEADS.get(dim)
    if heads is None:
        raise UnsaidError(
            f"`heads` of a model of width {dim} cannot be told from its weights",
            where,
            ["heads"],
        )
    if given.heads is not None and found is not None and given.heads != found:
        logger.info("%s: heads=%s as given, though the file says %s", where, heads, found)
    if not isinstance(heads, int) or heads < 1 or dim % heads:
        raise UserError(f"`heads` must divide the width {dim}, but is {heads}", where=str(where))
    return heads
