"""The folder of a run: whether the run is finished, and its README.md.

A run is finished if its record says so and its model is there, as it was written. README.md is a short model card with
what is known, and no more.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import (
    UpdateRow,
    is_marked_finished,
    read_run_record,
    read_updates,
    state_folders,
    write_run_record,
)
from audio_ssl.base.checksums import faults, write_seals
from audio_ssl.base.errors import UserError
from audio_ssl.models.weights import MODEL_FILES, WEIGHTS_FILE
from audio_ssl.pretrain.checkpoint import checkpoints
from audio_ssl.pretrain.guards import CollapseGuard, alike_at_end, alike_sentences

logger = logging.getLogger(__name__)


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
    return is_marked_finished(folder) and not faults(folder, MODEL_FILES, full)


def reopen(run: Path) -> None:
    """Mark a finished run whose model is damaged as not finished, so that the last checkpoint gives it again.

    Raises
    ------
    UserError
        If there is none.
    """
    record = read_run_record(run)
    if record is None or not record.finished or is_whole(run, full=True):
        return
    damage = "; ".join(f"{name} {wrong}" for name, wrong in faults(run, MODEL_FILES, full=True).items())
    if not any(checkpoints(state) for state in state_folders(run)):
        raise UserError(
            f"the run is marked as finished, but {damage}, and there is no checkpoint to make it from",
            where=str(run),
            remedy=f"begin a new run: audio-ssl pretrain {run / RECIPE_FILE} --out NEW_FOLDER",
        )
    logger.warning(
        "the run in %s is marked as finished, but %s: the model is made again from the last checkpoint", run, damage
    )
    write_run_record(run, replace(record, finished=False))


_NOT_NUMBERS = ("epoch", "audio_seconds", "skipped_steps", "lr", "grad_norm")

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

{limits} Check both with
`audio-ssl probe` and `audio-ssl fairness` before relying on it.
"""

_OF_THE_MANIFEST = (
    "Trained on the manifest named above and on nothing else; it is as fair and as general as that audio."
)

_OF_MODELS = (
    "Trained on the manifest named above, and through {models} on what was heard in training there; it is as fair and "
    "as general as all of that audio, and the licence of weights that it learnt from may bind its own."
)


@dataclass(frozen=True)
class CardFacts:
    """What the card says about a run, besides its metrics."""

    steps: str
    """Updates that were done, in words."""
    train_clips: int
    valid_clips: int
    held_out: str
    """How the validation clips were chosen."""
    sample_rate: int
    """In Hz."""
    left_out: int
    """Clips that could not be used."""
    recipe_hash: str
    manifest_hash: str
    learnt_from: tuple[str, ...] = ()
    """Models that it began as or that its teachers heard."""


def write_card(folder: Path, title: str, what: str, facts: CardFacts) -> str:
    """Return the text of the card.

    Parameters
    ----------
    folder
        The run's folder; its metrics give the last numbers.
    title, what
        Heading, and a sentence on what was trained.
    facts
        What else is known of the run.
    """
    rows = tuple(read_updates(folder, strict=False))
    skipped, heard = _last_of_iterations(rows, "skipped_steps"), _last_of_iterations(rows, "audio_seconds")
    return _TEMPLATE.format(
        title=title,
        what=what,
        folder=shlex.quote(folder.name),
        hours=sum(heard) / 3600,
        skipped=round(sum(skipped)),
        numbers=_numbers(rows),
        collapse="".join(f"\n**{one}**\n" for one in alike_sentences(alike_at_end(rows, CollapseGuard()))),
        limits=_OF_MODELS.format(models=_listed(facts.learnt_from)) if facts.learnt_from else _OF_THE_MANIFEST,
        **asdict(facts),
    )


def _listed(names: Sequence[str]) -> str:
    """Return names in words.

    Examples
    --------
    >>> _listed(["small", "runs/a", "runs/b"])
    '`small`, `runs/a` and `runs/b`'
    """
    marked = [f"`{name}`" for name in names]
    return " and ".join([*([", ".join(marked[:-1])] if marked[1:] else []), marked[-1]])


def _last_of_iterations(rows: Sequence[UpdateRow], name: str) -> list[float]:
    """Return the last value of a count in each iteration; a row may lack it."""
    counted = {row.iteration: value for row in rows if (value := row.number(name)) is not None}
    return list(counted.values())


def _numbers(rows: Sequence[UpdateRow]) -> str:
    """Return a table of each metric: its mean over the last tenth of the updates, and its last validation."""
    last = rows[-max(1, len(rows) // 10) :]
    valid = next((row.values for row in reversed(rows) if "valid_loss" in row.values), {})
    lines = [f"| | mean of the last {len(last)} updates | validation |", "|---|---|---|"]
    for name in last[-1].values if last else ():
        values = [value for row in last if (value := row.number(name)) is not None]
        if name in _NOT_NUMBERS or name.startswith("valid_") or not values:
            continue
        held_out = valid.get(f"valid_{name}")
        lines.append(f"| {name} | {sum(values) / len(values):.4g} | {'' if held_out is None else f'{held_out:.4g}'} |")
    return "\n".join(lines)
