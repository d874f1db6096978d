"""What a representation answers to a question, clip by clip, so that systems can be compared on the same clips.

The questions, splits and probes are those of ``learning.py``; here the counts of every held-out clip are kept as well,
one file a representation and question.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from _learning import PROBES, ask_one  # type: ignore[import-not-found]
from _linear_probes import Split, Task  # type: ignore[import-not-found]
from _seeds import Counts  # type: ignore[import-not-found]

from audio_ssl.atomic import write_json
from audio_ssl.features.source import open_source


def answer(task: Task, split: Split, system: str, kept: Path) -> Counts:
    """Return what a system answers on the held-out clips of a question, from the disk if it was asked before.

    Parameters
    ----------
    task, split
        The question and its clips.
    system
        What `open_source` takes.
    kept
        Folder of the answers.
    """
    source = open_source(system)
    clips = [[clip.id, clip.start, clip.seconds] for part in vars(split).values() for clip in part]
    files = (Path(__file__).with_name(name) for name in PROBES)
    probes = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    asked = hashlib.sha256(f"{task}{clips}{probes}".encode()).hexdigest()[:12]
    path = kept / f"{task.name} of {source.fingerprint}, asked {asked}.json"
    if not path.is_file():
        found, layer = ask_one(task, split, source)
        counts = found.table
        if task.answer == "notes":
            # The average precision of each clip, whose mean over clips is a ratio of sums.
            counts = np.stack([found.score(found.table) / 100, np.ones(len(found.table))], axis=1)
        write_json(path, {"system": system, "layer": layer, "clusters": found.clusters, "counts": counts.tolist()})
    row = json.loads(path.read_text(encoding="utf-8"))
    return Counts(tuple(row["clusters"]), np.array(row["counts"], np.float64))
