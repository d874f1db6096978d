"""README.md of a run: a short model card with what is known, and no more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TEMPLATE = """---
library_name: audio_ssl
tags: [audio, self-supervised]
---
# {title}

{what}

| | |
|---|---|
| steps | {steps} |
| audio trained on | {hours:.2f} h (epochs counted) |
| clips | {train_clips} for training, {valid_clips} for validation ({held_out}) |
| sample rate | {sample_rate} Hz |
| left out | {left_out} clips, listed in errors.jsonl |
| recipe | {recipe_hash} (recipe.yaml repeats the run) |
| manifest | {manifest_hash} |

## Last numbers

{numbers}

## Use

```
audio-ssl extract AUDIO_FOLDER {folder} --out features
```

## Limits

Trained on the manifest named above and on nothing else; it is as fair and as general as that audio. Check both with
`audio-ssl probe` and `audio-ssl fairness` before relying on it.
"""


def write_card(folder: Path, title: str, what: str, facts: Mapping[str, Any]) -> str:
    """Return the text of the card.

    Parameters
    ----------
    folder
        The run's folder; its metrics give the last numbers.
    title, what
        Heading, and a sentence on what was trained.
    facts
        ``steps, train_clips, valid_clips, held_out, sample_rate, left_out, recipe_hash, manifest_hash``.
    """
    last: dict[str, Any] = {}
    heard: dict[int, float] = {}
    for row in _rows(folder / "metrics.jsonl"):
        last.update(row)
        heard[row.get("iteration", 1)] = row["audio_seconds"]
    return _TEMPLATE.format(
        title=title,
        what=what,
        folder=folder.name,
        hours=sum(heard.values()) / 3600,
        numbers=_table({k: v for k, v in last.items() if k not in ("step", "epoch", "iteration", "audio_seconds")}),
        **facts,
    )


def _rows(path: Path) -> Sequence[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def _table(values: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {value:.4g} |" for name, value in values.items() if isinstance(value, int | float)]
    return "\n".join(["| | |", "|---|---|", *lines])
