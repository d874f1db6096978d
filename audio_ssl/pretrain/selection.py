"""Which clips of the manifest are trained on, which validate, and which are too short."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_ssl.base.errors import UserError
from audio_ssl.data.clip_table import ClipTable, Indices, read_table
from audio_ssl.data.manifest import Clip
from audio_ssl.data.subsets import hold_out
from audio_ssl.pretrain.recipe import DataConfig

logger = logging.getLogger(__name__)

_NO_ROWS: Indices = np.zeros(0, np.int64)
_HELD_OUT = ("test", "valid", "dev", "eval", "val")


@dataclass(frozen=True)
class Selection:
    """The clips of a run."""

    train: Sequence[Clip]
    valid: Sequence[Clip]
    manifest_hash: str
    held_out: str
    """How the validation clips were chosen, in words."""

    @property
    def all(self) -> tuple[Clip, ...]:
        """Training clips, then validation clips."""
        return (*self.train, *self.valid)


def select_clips(data: DataConfig) -> Selection:
    """Read the manifest and choose its clips by split.

    Raises
    ------
    UserError
        If there is no manifest, it is damaged, or it has no clip of the split asked for.
    """
    if data.manifest is None:
        raise UserError(
            "`data.manifest` is missing",
            where="$.data.manifest",
            remedy="give data.manifest=M.jsonl; `audio-ssl manifest FOLDER --out M.jsonl` makes one",
        )
    path = Path(data.manifest)
    table = read_table(path, ("split", "speaker", "track"))
    given = _rows_of(table, data.valid_split)
    train = table.take(_training_rows(table, data))
    if len(given) and data.split != data.valid_split:
        return Selection(train, table.take(given), table.hash, f"split `{data.valid_split}`")
    learned, valid = hold_out(train, data.valid_share)
    how = f"{data.valid_share:.1%} of the tracks, speakers or clips, by hash" if len(valid) else "none"
    return Selection(learned, valid, table.hash, how)


def _rows_of(table: ClipTable, split: str | None) -> Indices:
    splits = table.columns["split"]
    return np.flatnonzero(splits.index == splits.values.index(split)) if split in splits.values else _NO_ROWS


def _training_rows(table: ClipTable, data: DataConfig) -> Indices:
    recorded = table.columns["split"]
    splits = sorted(recorded.values)
    if data.split is not None:
        chosen = _rows_of(table, data.split)
        if not len(chosen):
            known = ", ".join(splits) or "none"
            raise UserError(
                f"no clip is of split `{data.split}`; splits of the manifest: {known}",
                where="$.data.split",
                remedy=f"give data.split={shlex.quote(splits[0])}" if splits else "give data.split=null",
            )
        return chosen
    held = [code for code, split in enumerate(recorded.values) if _is_held_out(split, data)]
    chosen = np.flatnonzero(~np.isin(recorded.index, held))
    if not len(chosen):
        logger.warning("every clip is of a test or validation split (%s); training on all", ", ".join(splits))
        return np.arange(len(table))
    return chosen


def _is_held_out(split: str, data: DataConfig) -> bool:
    return split == data.valid_split or split.startswith(_HELD_OUT)
