"""What else makes errors more or less frequent: how long a clip is, how fast and how loud it is spoken."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError

Array = npt.NDArray[np.float64]


class Standardised(NamedTuple):
    """Numbers with mean 0 and standard deviation 1."""

    values: Array
    mean: float
    sd: float
    """What one unit is in the numbers given."""


class Design(NamedTuple):
    """Columns for `fit_mixed_model`."""

    columns: dict[str, Array]
    """``[clip]``, by name; the group's is 1 for the first group, 0 for the second."""

    per: dict[str, str]
    """What a covariate's ratio is per, in words."""

    notes: tuple[str, ...]
    """Which covariates were left out, and why."""


def standardise(values: npt.ArrayLike, name: str = "values") -> Standardised:
    """Centre and scale numbers.

    Parameters
    ----------
    values
        ``[clip]``.
    name
        What errors call them.

    Raises
    ------
    UserError
        If a number is not finite, or all are equal.

    Examples
    --------
    >>> standardise([1.0, 3.0])
    Standardised(values=array([-1.,  1.]), mean=2.0, sd=1.0)
    """
    array = np.asarray(values, dtype=np.float64)
    bad = int(np.sum(~np.isfinite(array)))
    if bad or not array.size:
        raise UserError(f"`{name}` must be finite, but is not in {bad} of {array.size} clips")
    mean, sd = float(array.mean()), float(array.std())
    if sd <= 1e-9 * max(1.0, abs(mean)):
        raise UserError(f"`{name}` is {mean:g} in every clip: it explains nothing")
    return Standardised((array - mean) / sd, mean, sd)


def group_design(group: str, first: npt.NDArray[np.bool_], seconds: Array, words: Array, level_dbfs: Array) -> Design:
    """Return a group and the covariates that are recorded for every clip and vary.

    Parameters
    ----------
    group
        What the group's column is called.
    first
        Which clips are of the first group, ``[clip]``.
    seconds, words, level_dbfs
        Length, words of the reference, and level of each clip, ``[clip]``; NaN where not recorded. Length enters as
        a logarithm, words as words per second.
    """
    columns, per, notes = {group: first.astype(np.float64)}, {}, []
    known = np.where(seconds > 0, seconds, np.nan)
    covariates = {"seconds": np.log(known), "words_per_second": words / known, "level_dbfs": level_dbfs}
    for name, values in covariates.items():
        missing = int(np.sum(~np.isfinite(values)))
        if missing:
            notes.append(f"`{name}` is left out: not recorded in {missing} of {len(values)} clips")
            continue
        try:
            column = standardise(values, name)
        except UserError as error:
            notes.append(f"left out: {error.what}")
            continue
        columns[name] = column.values
        per[name] = {
            "seconds": f"{np.exp(column.sd):.2f} times as long",
            "words_per_second": f"{column.sd:.2g} words/s more",
            "level_dbfs": f"{column.sd:.2g} dB louder",
        }[name]
    return Design(columns, per, tuple(notes))
