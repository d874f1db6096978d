"""Input of the mixed model: checks, covariates, and rows that are clips, or speakers where that is equivalent.

Covariates are what else changes the error rate: the length of a clip, its speech rate and its level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from audio_ssl.base.errors import UserError

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_COLLINEAR = 1e-9
"""A column is collinear if the others leave a smaller share of its variance unexplained."""


@dataclass(frozen=True)
class DesignRows:
    """Rows sorted by speaker; the first column is the intercept, the others are centred and scaled."""

    errors: Array
    log_words: Array
    columns: Array
    speakers: Codes
    names: tuple[str, ...]
    scales: tuple[float, ...]
    constant: tuple[bool, ...]
    """Columns that are constant in all clips of a speaker."""

    clip_errors: Array
    clip_log_words: Array
    clip_speakers: Codes
    log_constant: float
    """The clips' log likelihood minus that of the rows."""

    separated: str
    """Reason why there is no estimate; empty if there is one."""

    @property
    def clips(self) -> int:
        """Number of clips."""
        return len(self.clip_errors)

    def clip_expected(self, beta: Array, rates: Array) -> Array:
        """Return the errors expected of each clip, given the speakers' rates."""
        predictor = self.columns @ beta
        if len(self.errors) < self.clips:
            predictor = predictor[self.clip_speakers]
        return np.asarray(np.exp(self.clip_log_words + predictor) * rates[self.clip_speakers])


def prepare(
    errors: npt.ArrayLike, words: npt.ArrayLike, speakers: npt.ArrayLike, design: Mapping[str, npt.ArrayLike]
) -> DesignRows:
    """Return the rows, checked and sorted; arguments and errors are those of `fit_mixed_model`."""
    clip_speakers = np.asarray(speakers)
    if clip_speakers.ndim != 1 or not len(clip_speakers) or clip_speakers.dtype.kind not in "iu":
        raise UserError("`speakers` must have one whole number for each of one clip or more")
    if clip_speakers.min() < 0:
        raise UserError("`speakers` must be 0 or more in every clip", remedy="leave out clips of unknown speakers")
    clip_errors, clip_words = (
        _numbers(name, values, len(clip_speakers)) for name, values in (("errors", errors), ("words", words))
    )
    if (clip_errors < 0).any():
        raise UserError("`errors` must be 0 or more")
    if (clip_words <= 0).any():
        raise UserError("`words` must be above 0 in every clip", remedy="leave out clips with an empty reference")
    if not clip_errors.any():
        raise UserError(f"there are no errors in {len(clip_speakers)} clips: no rates to compare")
    _, codes, counts = np.unique(clip_speakers, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    codes, first = codes[order].astype(np.intp), np.cumsum(counts) - counts
    clip_errors, clip_words = clip_errors[order], clip_words[order]
    columns = np.empty((len(codes), len(design)))
    for index, (name, values) in enumerate(design.items()):
        columns[:, index] = _numbers(name, values, len(codes))[order]
    constant = (True, *(bool((column == column[first][codes]).all()) for column in columns.T))
    between = sum(constant)
    if len(counts) <= between:
        raise UserError(
            f"too few speakers ({len(counts)}): an intercept and {between - 1} columns that differ only between "
            f"speakers need at least {between + 1}"
        )
    scaled, scales = _scale(columns, tuple(design))
    separated = _separated(scaled, columns, clip_errors, tuple(design))
    log_words = np.log(clip_words)
    rows = (clip_errors, log_words, scaled, codes)
    log_constant = 0.0
    if all(constant):
        sums = np.asarray(np.bincount(codes, clip_errors), np.float64)
        log_sums = np.log(np.bincount(codes, clip_words))
        rows = (sums, log_sums, scaled[first], np.arange(len(counts)))
        log_constant = float(clip_errors @ log_words - gammaln(clip_errors + 1).sum())
        log_constant -= float(sums @ log_sums - gammaln(sums + 1).sum())
    clips = (clip_errors, log_words, codes)
    return DesignRows(*rows, tuple(design), scales, constant, *clips, log_constant, separated)


def _numbers(name: str, values: npt.ArrayLike, length: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise UserError(f"`{name}` must have one number for each of {length} clips, but has shape {array.shape}")
    bad = int(np.sum(~np.isfinite(array)))
    if bad:
        raise UserError(f"`{name}` must be finite, but is not in {bad} of {length} clips")
    return array


def _scale(columns: Array, names: tuple[str, ...]) -> tuple[Array, tuple[float, ...]]:
    """Return an intercept and the columns with mean 0 and standard deviation 1, and the divisors."""
    means, scales = columns.mean(0), columns.std(0)
    for name, mean, scale in zip(names, means, scales, strict=True):
        if scale <= 1e-12 * max(1.0, abs(mean)):
            raise UserError(f"column `{name}` is {mean:g} in every clip: it explains nothing", remedy="leave it out")
    scaled = np.empty((len(columns), len(names) + 1))
    scaled[:, 0] = 1
    scaled[:, 1:] = (columns - means) / scales
    correlations = scaled[:, 1:].T @ scaled[:, 1:] / len(columns)
    for index in range(1, len(names)):
        before = correlations[:index, :index]
        explained = correlations[index, :index] @ np.linalg.solve(before, correlations[:index, index])
        if 1 - explained < _COLLINEAR:
            others = ", ".join(f"`{name}`" for name in names[:index])
            raise UserError(f"column `{names[index]}` is a sum of multiples of {others}", remedy="leave one out")
    return scaled, (1.0, *scales.tolist())


def _separated(scaled: Array, columns: Array, errors: Array, names: tuple[str, ...]) -> str:
    """Return which columns separate clips with errors from clips without; their ratios would be 0 or infinite."""
    wrong = errors > 0
    values, vectors = np.linalg.eigh(scaled[wrong].T @ scaled[wrong] / wrong.sum())
    flat = vectors[:, values < _COLLINEAR]
    if not flat.shape[1]:
        return ""
    if flat.shape[1] == 1:
        others = scaled[~wrong] @ flat[:, 0]
        if others.min() < -1e-6 and others.max() > 1e-6:
            return ""
    involved = [index for index in range(len(names)) if np.abs(flat[index + 1]).max() > 1e-6]
    if len(involved) == 1:
        column = columns[:, involved[0]]
        where = f"all errors are where `{names[involved[0]]}` is {column[wrong][0]:g}"
    else:
        where = f"clips with errors do not differ in {', '.join(f'`{names[index]}`' for index in involved)}"
    return f"no estimate: {where}, so a ratio would be 0 or infinite"


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
    """Unit of a covariate's ratio, in words."""

    notes: tuple[str, ...]
    """Notes on covariates that are excluded."""


def standardise(values: npt.ArrayLike, name: str = "values") -> Standardised:
    """Centre and scale numbers.

    Parameters
    ----------
    values
        ``[clip]``.
    name
        Name in errors.

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
    """Return the design of a group and of the covariates that are recorded for every clip and vary.

    Parameters
    ----------
    group
        Name of the group's column.
    first
        Mask of the clips of the first group, ``[clip]``.
    seconds, words, level_dbfs
        Length, words of the reference, and level of each clip, ``[clip]``; NaN where not recorded. The columns
        are the logarithm of the length, words per second, and the level.
    """
    columns, per, notes = {group: first.astype(np.float64)}, {}, []
    known = np.where(seconds > 0, seconds, np.nan)
    covariates = {"seconds": np.log(known), "words_per_second": words / known, "level_dbfs": level_dbfs}
    for name, values in covariates.items():
        missing = int(np.sum(~np.isfinite(values)))
        if missing:
            notes.append(f"`{name}` is excluded: not recorded in {missing} of {len(values)} clips")
            continue
        try:
            column = standardise(values, name)
        except UserError as error:
            notes.append(f"excluded: {error.what}")
            continue
        columns[name] = column.values
        per[name] = {
            "seconds": f"{np.exp(column.sd):.2f} times as long",
            "words_per_second": f"{column.sd:.2g} words/s more",
            "level_dbfs": f"{column.sd:.2g} dB louder",
        }[name]
    return Design(columns, per, tuple(notes))
