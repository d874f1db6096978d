"""Which split a group of clips belongs to, decided by its name, so that it is the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def hash_split(corpus: str, key: str, valid: float = 0.1, test: float = 0.1) -> str:
    """Return train, valid or test for a group of clips; depends on nothing but the two names.

    Parameters
    ----------
    corpus
        Name of the corpus, so that two corpora are cut independently.
    key
        What must not be torn apart: a level, a prompt, a track.
    valid, test
        Shares of the groups.

    Examples
    --------
    >>> hash_split("fillets", "city") == hash_split("fillets", "city")
    True
    """
    place = int.from_bytes(_digest(f"{corpus}/{key}")[:8], "big") / 2**64
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def even_split(corpus: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the split of each of a few groups: like `hash_split`, but with at least one group in each split.

    The shares (a tenth for validation, a tenth for the test) are exact, at the price that a split depends on which
    other groups there are. Fewer than three groups are all for training.

    Examples
    --------
    >>> sorted(even_split("game_music", ["a", "b", "c"]).values())
    ['test', 'train', 'valid']
    """
    ordered = sorted(set(keys), key=lambda key: _digest(f"{corpus}/{key}"))
    if len(ordered) < 3:
        return dict.fromkeys(ordered, "train")
    held_out = max(1, round(0.1 * len(ordered)))
    return {
        key: "test" if place < held_out else "valid" if place < 2 * held_out else "train"
        for place, key in enumerate(ordered)
    }


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
