"""Counted predictions made by hand."""

from pathlib import Path

import numpy as np

from audio_ssl.fairness.counting import ClipCodes
from audio_ssl.fairness.predictions import Predictions
from audio_ssl.fairness.tallies import GroupCounts


def codes(values):
    names = sorted({value for value in values if value is not None})
    return ClipCodes(names, np.array([names.index(v) if v is not None else -1 for v in values], np.int32))


def predictions(speakers, attributes, errors=None, words=10, name="r", **more):
    """Return predictions of a recogniser; `errors` of `words` substituted in each clip."""
    clips = len(speakers)
    counts = np.zeros((clips, 4))
    counts[:, 0] = 0 if errors is None else errors
    counts[:, 3] = words
    given = {
        "name": name,
        "path": Path(name),
        "task": "asr",
        "sha256": "0" * 64,
        "statistics": {"wer": counts},
        "speakers": codes(speakers),
        "attributes": {key: codes(values) for key, values in attributes.items()},
        "seconds": np.full(clips, 2.0),
        "words": counts[:, 3],
        "level_dbfs": np.full(clips, np.nan),
        "keys": np.arange(clips, dtype=np.uint64),
        "empty_references": np.zeros(clips, bool),
        "empty_hypotheses": np.zeros(clips, bool),
        "empty_names": (),
        "missing": GroupCounts(tuple(attributes)),
        "empty_left_out": GroupCounts(tuple(attributes)),
        "exclusions": [],
        "examples": [],
        "signature": "",
    }
    return Predictions(**{**given, **more})
