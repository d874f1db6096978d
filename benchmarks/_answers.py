"""What a representation answers to a question, clip by clip, so that systems can be compared on the same clips.

The questions, splits and probes are those of ``learning.py``; here the counts of every held-out clip are kept as well,
one file a representation and question.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from _learning import ask_one, asked  # type: ignore[import-not-found]
from _linear_probes import Split, Task  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.features.source import FeatureSource


def answer(task: Task, split: Split, source: FeatureSource, kept: Path) -> ClipCounts:
    """Return what a system answers on the held-out clips of a question, from the disk if it was asked before.

    Parameters
    ----------
    task, split
        The question and its clips.
    source
        The system. Questions about the same clips hear them once, if it is the same object.
    kept
        Folder of the answers.
    """
    path = kept / f"{task.name} of {source.fingerprint}, asked {asked(task, split)}.json"
    if not path.is_file():
        found, layer = ask_one(task, split, source)
        counts = found.table
        if task.answer == "notes":
            # The average precision of each clip, whose mean over clips is a ratio of sums.
            counts = np.stack([found.score(found.table) / 100, np.ones(len(found.table))], axis=1)
        write_json(path, {"system": source.name, "layer": layer, "clusters": found.clusters, "counts": counts.tolist()})
    row = json.loads(path.read_text(encoding="utf-8"))
    return ClipCounts.ratio(np.array(row["counts"], np.float64), row["clusters"])
