"""README.md of a run: a short model card with what is known, and no more."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.documents import readable_rows
from audio_ssl.pretrain.guards import CollapseGuard, alike_at_end, alike_sentences

_NOT_NUMBERS = ("step", "epoch", "iteration", "audio_seconds", "skipped_steps", "lr", "grad_norm")

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
| skipped updates | {skipped} (loss or gradient was not finite) |
| left out | {left_out} clips, listed in errors.jsonl |
| recipe | {recipe_hash} (recipe.yaml repeats the run) |
| manifest | {manifest_hash} |

## Last numbers

{numbers}
{collapse}
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
    rows = _rows(folder / "metrics.jsonl")
    skipped, heard = _last_of_iterations(rows, "skipped_steps"), _last_of_iterations(rows, "audio_seconds")
    return _TEMPLATE.format(
        title=title,
        what=what,
        folder=shlex.quote(folder.name),
        hours=sum(heard) / 3600,
        skipped=round(sum(skipped)),
        numbers=_numbers(rows),
        collapse="".join(f"\n**{one}**\n" for one in alike_sentences(*alike_at_end(rows, CollapseGuard()))),
        **facts,
    )


def _last_of_iterations(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return the last value of a count in each iteration; a row may be damaged."""
    counted = {str(row.get("iteration", 1)): row[name] for row in rows if isinstance(row.get(name), int | float)}
    return list(counted.values())


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(readable_rows(path))


def _numbers(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of each metric: its mean over the last tenth of the updates, and its last validation."""
    last = rows[-max(1, len(rows) // 10) :]
    valid: Mapping[str, Any] = next((row for row in reversed(rows) if "valid_loss" in row), {})
    lines = [f"| | mean of the last {len(last)} updates | validation |", "|---|---|---|"]
    for name in last[-1] if last else ():
        values = [row[name] for row in last if isinstance(row.get(name), int | float)]
        if name in _NOT_NUMBERS or name.startswith("valid_") or not values:
            continue
        held_out = valid.get(f"valid_{name}")
        lines.append(f"| {name} | {sum(values) / len(values):.4g} | {'' if held_out is None else f'{held_out:.4g}'} |")
    return "\n".join(lines)
