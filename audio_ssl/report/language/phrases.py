"""Short phrases that several pages share: what baselines are called, which way a score is better, lists of names."""

from __future__ import annotations

from collections.abc import Sequence

_LABELS = {
    "model": "this model",
    "untrained": "untrained twin",
    "logmel": "log-mel frames",
    "cqt": "CQT frames",
    "librosa": "librosa features",
}


def label_of(name: str) -> str:
    """Say what a system is in words.

    Examples
    --------
    >>> label_of("untrained"), label_of("mfcc")
    ('untrained twin', 'mfcc')
    """
    return _LABELS.get(name, name)


def short_label(label: str) -> str:
    """Return what a baseline is called where there is little room.

    Examples
    --------
    >>> short_label("log-mel frames"), short_label("untrained twin"), short_label("mfcc")
    ('log-mel', 'untrained', 'mfcc')
    """
    first, _, noun = label.rpartition(" ")
    return first if noun in ("frames", "twin", "features") else label


def more_rows(left: int) -> str:
    """Count the rows that a table does not show."""
    return f"{left:,} more {'row is' if left == 1 else 'rows are'} in the JSON beside this page."


def better_words(higher_is_better: bool) -> str:
    """Say which way a score is better."""
    return "higher is better" if higher_is_better else "lower is better"


def one_of(names: Sequence[str], last: str) -> str:
    """Join names in words.

    Examples
    --------
    >>> one_of(["a", "b", "c"], "and"), one_of(["a"], "or")
    ('a, b and c', 'a')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
