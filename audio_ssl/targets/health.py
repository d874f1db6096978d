"""Whether targets are worth learning: what a teacher gave, in numbers, and a loud end where it gave one thing only.

A teacher that fails rarely says so: it labels every frame alike, leaves most of its codes unused or has bins that never
move, and the loss falls nicely. So `audio-ssl targets` writes ``labels.json`` into its store, and a run writes it into
its folder before the first update, from some of the clips or from the store it reads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from audio_ssl.base.documents import as_object, find, read_object
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.files import write_json
from audio_ssl.base.threads import background_pool, in_order
from audio_ssl.data.manifest import Clip
from audio_ssl.data.subsets import limit_seconds
from audio_ssl.targets.spec import TargetSpec, Teacher

logger = logging.getLogger(__name__)

LABELS_FILE = "labels.json"

START_SECONDS = 120.0
"""Audio whose targets are looked at before a run that computes them; the targets stay in its cache."""

STORE_FRAMES = 5_000_000
"""Frames of a store that are looked at, 19 hours at 75 frames/s."""

_ENOUGH_FRAMES = 100
"""Fewer frames than this may well have one code."""

_FRAMES_PER_CODE = 10
"""With fewer frames than this per code, codes may be unused by chance."""

_ALMOST_ONE_CODE = 1.1
"""Perplexity below which a codebook is as good as one code."""


class LabelCounter:
    """Counts what one teacher gave, in memory that does not grow with the frames.

    Parameters
    ----------
    kind
        The teacher's.
    spec
        What it promises.
    fingerprint
        Which teacher it is.
    """

    def __init__(self, kind: str, spec: TargetSpec, fingerprint: str) -> None:
        self._kind, self._spec, self._fingerprint = kind, spec, fingerprint
        self.clips = self.frames = 0
        classes = spec.num_classes or 0
        self._counts = torch.zeros(spec.width, classes, dtype=torch.int64)
        self._sum = torch.zeros(spec.width, dtype=torch.float64)
        self._squares = torch.zeros(spec.width, dtype=torch.float64)
        self._low = torch.full((spec.width,), math.inf, dtype=torch.float64)
        self._high = -self._low

    def add(self, targets: Shaped[Tensor, "frame width"]) -> None:
        """Take the targets of a clip, which keep what the spec promises."""
        if len(targets) == 0:
            return
        self.clips += 1
        self.frames += len(targets)
        if self._spec.kind == "codes":
            for book, codes in enumerate(targets.unbind(1)):
                self._counts[book] += torch.bincount(codes, minlength=self._counts.shape[1])
            return
        values = targets.double()
        self._sum += values.sum(0)
        self._squares += values.square().sum(0)
        self._low = torch.minimum(self._low, values.amin(0))
        self._high = torch.maximum(self._high, values.amax(0))

    def row(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        grid = self._spec.grid
        row: dict[str, Any] = {
            "teacher": self._kind,
            "fingerprint": self._fingerprint,
            "targets": self._spec.kind,
            "frames_per_second": grid.frame_rate_hz,
            "hop_samples": grid.hop_samples,
            "edge": grid.edge,
            "clips": self.clips,
            "frames": self.frames,
        }
        if self.frames == 0:
            return row
        if self._spec.kind == "codes":
            return row | {"classes": self._spec.num_classes, "codebooks": [_codebook(c) for c in self._counts]}
        mean = self._sum / self.frames
        total_mean = float(mean.mean())
        variance = float((self._squares / self.frames).mean()) - total_mean**2
        return row | {
            "bins": self._spec.width,
            "mean": total_mean,
            "std": max(variance, 0.0) ** 0.5,
            "lowest": float(self._low.min()),
            "highest": float(self._high.max()),
            "constant_share": float((self._low == self._high).double().mean()),
        }


def _codebook(counts: Tensor) -> dict[str, Any]:
    share = counts.double() / counts.sum()
    used = share[share > 0]
    bits = float(-(used * used.log2()).sum())
    codes = torch.nonzero(counts)[:, 0]
    return {
        "lowest": int(codes[0]),
        "highest": int(codes[-1]),
        "used": len(codes),
        "unused_share": 1 - len(codes) / len(counts),
        "entropy_bits": bits + 0.0,
        "perplexity": 2**bits,
        "commonest_share": float(share.max()),
    }


def judge(rows: Sequence[dict[str, Any]], where: Path) -> None:
    """Warn of teachers that hardly say anything, and refuse those that always say the same.

    Raises
    ------
    UserError
        If a teacher gave one code to every frame in each of its codebooks, or values that never change.
    """
    for index, row in enumerate(rows):
        name = f"teacher {index} ({row['teacher']})"
        if row["frames"] == 0:
            continue
        constant = row["constant_share"] == 1 if row["targets"] == "values" else _all_alike(row["codebooks"])
        if constant and row["frames"] >= _ENOUGH_FRAMES:
            what = "values that never change" if row["targets"] == "values" else "one code to all frames"
            raise UserError(
                f"{name} gave {what}, {row['frames']} of {row['clips']} clips: there is nothing to learn",
                where=str(where),
                remedy="look for silent audio; fit or train the teacher on more and louder audio, or take another",
            )
        for complaint in _complaints(row):
            logger.warning("%s: %s; see %s", name, complaint, where)


def _all_alike(codebooks: Sequence[dict[str, Any]]) -> bool:
    return all(book["used"] == 1 for book in codebooks)


def _complaints(row: dict[str, Any]) -> list[str]:
    if row["targets"] == "values":
        share = row["constant_share"]
        return [f"{share:.0%} of its bins never change"] if share > 0.5 else []
    found = []
    enough = row["frames"] >= _FRAMES_PER_CODE * row["classes"]
    unused = [k for k, book in enumerate(row["codebooks"]) if book["unused_share"] > 0.5]
    if unused and enough:
        worst = max(row["codebooks"][k]["unused_share"] for k in unused)
        found.append(f"up to {worst:.0%} of the codes are unused in {_named(unused, row)}")
    flat = [k for k, book in enumerate(row["codebooks"]) if book["perplexity"] < _ALMOST_ONE_CODE]
    if flat and row["classes"] > 1:
        found.append(f"nearly all frames have one code in {_named(flat, row)}")
    return found


def _named(books: Sequence[int], row: dict[str, Any]) -> str:
    if len(row["codebooks"]) == 1:
        return "its codebook"
    return f"codebooks {', '.join(map(str, books))} of {len(row['codebooks'])}"


def measure(
    kinds: Sequence[str], teachers: Sequence[Teacher], targets: Iterable[tuple[Tensor, ...]], limit_frames: int
) -> list[dict[str, Any]]:
    """Return the numbers of each teacher over the targets of clips, one tuple each; stops at a number of frames."""
    counters = [LabelCounter(k, teacher.spec, teacher.fingerprint) for k, teacher in zip(kinds, teachers, strict=True)]
    for clip in targets:
        for counter, target in zip(counters, clip, strict=True):
            counter.add(target)
        if max(counter.frames for counter in counters) >= limit_frames:
            break
    return [counter.row() for counter in counters]


def check_labels(
    kinds: Sequence[str],
    teachers: Sequence[Teacher],
    whole: Callable[[Clip], tuple[Tensor, ...]],
    clips: Sequence[Clip],
    folder: Path,
    stored: Path | None = None,
) -> None:
    """Write ``labels.json`` before a run and judge it.

    Parameters
    ----------
    kinds
        Of the teachers.
    teachers
        In the order of the recipe.
    whole
        Gives the targets of a clip.
    clips
        Training clips; those of `START_SECONDS` are looked at, chosen by the hashes of their ids.
    folder
        Of the run.
    stored
        The target store the run reads, whose own ``labels.json`` is taken if it is of these teachers.

    Raises
    ------
    UserError
        If a teacher says the same of every frame.
    """
    fingerprints = [teacher.fingerprint for teacher in teachers]
    path = folder / LABELS_FILE
    rows = read_labels(path, fingerprints)
    if rows is None and stored is not None:
        rows = read_labels(stored / LABELS_FILE, fingerprints)
    if rows is None:
        chosen = limit_seconds(clips, START_SECONDS, math.inf)
        with background_pool(1) as pool:
            usable = (found for found in in_order(pool, lambda clip: _usable(whole, clip), chosen) if found is not None)
            rows = measure(kinds, teachers, usable, STORE_FRAMES)
    write_json(path, {"teachers": rows})
    judge(rows, path)


def _usable(whole: Callable[[Clip], tuple[Tensor, ...]], clip: Clip) -> tuple[Tensor, ...] | None:
    try:
        return whole(clip)
    except AudioError:
        # The loader will meet this clip, too, and says so in the ledger.
        return None


def read_labels(path: Path, fingerprints: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the numbers in a ``labels.json``, or None if there is none or it is of other teachers."""
    try:
        rows: list[dict[str, Any]] = [
            as_object(row, str(path)) for row in find(read_object(path), "teachers", list, str(path))
        ]
    except UserError as error:
        if path.exists():
            logger.warning("%s; the labels are checked again", error)
        return None
    return rows if [row.get("fingerprint") for row in rows] == list(fingerprints) else None
