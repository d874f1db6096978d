"""What a metric says of itself: name, label, phrase, unit, direction, and how it is computed.

There are four kinds. Most metrics are functions of summed statistics of clips (`AdditiveMetric`): scores of groups, of
bootstrap replicates and of permutations are then a matrix product followed by `score`. Rankings, trials of pairs and
comparisons of frames are not; theirs are `RankingMetric`, `TrialMetric` and `ComparisonMetric`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError
from audio_ssl.base.text import composed

if TYPE_CHECKING:
    from audio_ssl.metrics.families.ranking import Ranking
    from audio_ssl.metrics.families.verification import Curve

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

Answer = str | list[str] | list[float]
"""A reference or a hypothesis, as people read it: text or a label, labels, or numbers."""

Unit = Literal["%", "points", "cost", "bit/s", "1/s"]
"""What a score is given in. A cost has no sign behind it and is shown with three decimals."""

COUNTS = "_counts"
"""Behind a metric's name: the column of its statistics in a table of predictions, where they are of activations."""


def _unsigned() -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What every metric says of itself; probes, audits and reports look nowhere else."""

    name: str
    """As people write it in settings and tables: ``wer``."""

    label: str
    """As papers write it: ``WER``."""

    phrase: str = ""
    """The whole name, for sentences: ``word error rate``. Empty: the label."""

    unit: Unit = "%"
    """What scores are given in."""

    higher_is_better: bool = True
    """False for error rates and costs."""

    tasks: tuple[str, ...] = ()
    """Tasks whose results have it, whether or not the task names it. What is scored clip by clip there also compares
    groups of people in an audit."""

    main_of: tuple[str, ...] = ()
    """Those of `tasks` in which an audit takes it for the main one."""

    packages: tuple[str, ...] = ()
    """Optional packages that computing it imports."""

    signature_of: Callable[[], str] = _unsigned
    """Normalisation and version, enough to reproduce the number; asked for when it is written down."""

    earlier_names: tuple[str, ...] = ()
    """What saved results of earlier versions call it."""

    @property
    def signature(self) -> str:
        """Return normalisation and version, enough to reproduce the number."""
        return self.signature_of()


@dataclass(frozen=True, kw_only=True)
class AdditiveMetric(Metric):
    """A metric that is a function of summed per-clip statistics: ``score(sum of per_clip)``."""

    columns: tuple[str, ...]
    """What the statistics count."""

    per_clip: Callable[[Answer, Answer], Array]
    """Statistics ``[column]`` of one reference and hypothesis."""

    score: Callable[[Array], Array]
    """Score of summed statistics, ``[..., column]`` to ``[...]``; NaN where undefined (no words)."""

    of_classes: Callable[[Sequence[str]], AdditiveMetric] | None = None
    """Makes the metric for some classes, where its mean is over classes; it then says nothing about a single clip."""

    of_tokenizer: Callable[[str], AdditiveMetric] | None = None
    """Makes the metric for a way to cut texts into words, see `audio_ssl.metrics.texts`."""

    of_numbers: Callable[[Array, Array], Array] | None = None
    """Of a metric of numbers: statistics ``[..., column]`` of references and hypotheses ``[..., value]``."""

    reference: Literal["reference", "terms"] = "reference"
    """Column of a table that says what is right."""

    prose: bool = False
    """Texts are normalised before they are compared; labels and phones are not."""

    translation: bool = False
    """What is right is a translation of what was said."""

    errors: bool = False
    """The statistics are substitutions, deletions, insertions and the units of the reference, from an alignment: the
    mixed model takes these, and very long texts cannot be aligned."""

    why_not: Callable[[object, str], str | None] | None = None
    """Why a clip of this reference and hypothesis cannot be scored, or None; None: every clip can."""

    @property
    def of_groups(self) -> bool:
        """Tell whether groups of people can be compared by it: each clip has statistics without knowing the classes."""
        return self.of_classes is None and (bool(self.tasks) or self.reference != "reference")

    def statistics(self, pairs: Iterable[tuple[Answer, Answer]]) -> Array:
        """Return the statistics of (reference, hypothesis) pairs, ``[clip, column]``."""
        rows = [self.per_clip(reference, hypothesis) for reference, hypothesis in pairs]
        return np.stack(rows) if rows else np.zeros((0, len(self.columns)))

    def corpus(self, pairs: Iterable[tuple[Answer, Answer]]) -> float:
        """Return the score of (reference, hypothesis) pairs taken together."""
        return float(self.score(self.statistics(pairs).sum(0)))


@dataclass(frozen=True, kw_only=True)
class RankingMetric(Metric):
    """A metric of clips ranked by a class, averaged over classes."""

    of_ranking: Callable[[Ranking, Array | None], Array]
    """From a ranking, and how often each group of clips counts (``[resample, group]``; None: once), to the share of
    each resample, ``[resample]``."""


@dataclass(frozen=True, kw_only=True)
class TrialMetric(Metric):
    """A metric of trials that ask whether two sides are the same."""

    of_curve: Callable[[Curve, int], float]
    """From the errors at each threshold, and the place of the threshold that all groups share, to the score."""

    paired: bool = False
    """Whether two systems are compared by it trial by trial; else by their separate intervals."""


@dataclass(frozen=True, kw_only=True)
class ComparisonMetric(Metric):
    """A metric of frames that are compared without training; the task computes it."""

    paired: Literal["pairs of labels", "queries"] | None = None
    """What two systems are compared by, row by row of their tables of comparisons; None: they are not compared."""

    mode: str | None = None
    """Which rows of a table of comparisons it is made of (the column ``mode``); None: all."""


def as_text(answer: Answer) -> str:
    """Return an answer that has to be text, in composed letters: what looks alike is no error.

    Raises
    ------
    UserError
        If it is a list.
    """
    if not isinstance(answer, str):
        raise UserError(f"this metric takes text, but got a list of {len(answer)}")
    return composed(answer)


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, NaN where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def share(sums: Array) -> Array:
    """Return the first column of sums as a share of the second, in percent; NaN where that is 0."""
    return 100.0 * ratio(sums[..., 0], sums[..., 1])
