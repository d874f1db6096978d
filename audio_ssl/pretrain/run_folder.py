"""The folder of a run: whether the run is finished, and its README.md.

Whether a run is finished: it says so, and its model is there, as it was written.

README.md of a run: a short model card with what is known, and no more.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.artifacts.run import read_provenance, write_provenance
from audio_ssl.base.checksums import faults, write_seals
from audio_ssl.base.documents import readable_rows
from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.checkpoint import checkpoints
from audio_ssl.pretrain.guards import CollapseGuard, alike_at_end, alike_sentences

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
MODEL_FILES = ("config.json", WEIGHTS_FILE)
"""What a finished run has, whatever its kind."""


def seal_model(folder: Path) -> None:
    """Record what the weights of a run's model are; its settings may be edited."""
    write_seals(folder, [WEIGHTS_FILE])


def is_whole(folder: Path, full: bool = False) -> bool:
    """Tell whether a run is finished and has its model.

    Parameters
    ----------
    folder
        The run, or one of its iterations.
    full
        Read the weights, too; else their length is enough.
    """
    return bool(read_provenance(folder).get("finished")) and not faults(folder, MODEL_FILES, full)


def reopen(run: Path) -> None:
    """Mark a finished run whose model is damaged as not finished, so that the last checkpoint gives it again.

    Raises
    ------
    UserError
        If there is none.
    """
    if not read_provenance(run).get("finished") or is_whole(run, full=True):
        return
    damage = "; ".join(f"{name} {wrong}" for name, wrong in faults(run, MODEL_FILES, full=True).items())
    if not any(checkpoints(state) for state in (run / "state", *run.glob("iteration_*/state"))):
        raise UserError(
            f"the run is marked as finished, but {damage}, and there is no checkpoint to make it from",
            where=str(run),
            remedy=f"begin a new run: audio-ssl pretrain {run / 'recipe.yaml'} --out NEW_FOLDER",
        )
    logger.warning(
        "the run in %s is marked as finished, but %s: it is made again from its last checkpoint", run, damage
    )
    write_provenance(run, {**read_provenance(run), "finished": False})


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
