"""Whether two clips are of one speaker (SUPERB's ASV, Yang et al. 2021): equal error rate and detection cost.

The head learns to tell the training speakers apart; trials compare the cosines of its vectors, of speakers it need not
have met. Trials are those of a file, as VoxCeleb's, or drawn: as many pairs of one speaker as of two.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from audio_ssl.base.documents import read_text
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip
from audio_ssl.probing.task import PairTask, Vocabulary

logger = logging.getLogger(__name__)

Trial = tuple[int, int, bool]


@dataclass(frozen=True)
class Config:
    """Which pairs are compared."""

    trials: str | None = None
    """File of lines ``1 ID ID`` (the same speaker) and ``0 ID ID``, with ids of the manifest; left out: drawn."""

    trials_split: str = "test"
    """Split of the manifest whose clips the file is about; trials of other splits are drawn."""

    max_trials: int = 10_000
    """Most trials that are drawn, half of them of one speaker."""

    seed: int = 0
    """Seed of the random selection of trials."""


class SpeakerVerification(PairTask):
    """Speakers as classes to learn, pairs of clips to judge."""

    kind = "speaker_verification"
    metrics: tuple[str, ...] = ("eer", "min_dcf")
    known_speakers = True

    def __init__(self, config: Config) -> None:
        self._config = config
        self._listed = None if config.trials is None else read_trials(Path(config.trials))
        drawn = f"drawn, at most {config.max_trials}, seed {config.seed}"
        self.signature = f"cosine|trials {drawn if config.trials is None else Path(config.trials).name}"
        self._vocabulary = Vocabulary([])

    @property
    def classes(self) -> list[str]:
        """Return the training speakers."""
        return self._vocabulary.tokens

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        return None if clip.speaker else "no speaker"

    def learn(self, clips: Sequence[Clip]) -> None:
        """Take the training speakers; UserError if there are fewer than two."""
        self._vocabulary = Vocabulary(sorted({self.reference(clip) for clip in clips}))
        if len(self.classes) < 2:
            raise UserError(f"two training speakers are needed, but there is {len(self.classes)}")

    def restore(self, classes: Sequence[str], folder: Path) -> None:
        """Take the training speakers of a result."""
        self._vocabulary = Vocabulary(classes)

    def target(self, clip: Clip) -> Int[Tensor, ""]:
        """Return the class of a training clip."""
        return torch.tensor(self._vocabulary.encode([self.reference(clip)])[0])

    def reference(self, clip: Clip) -> str:
        """Return the speaker."""
        return clip.speaker or ""

    def trials(self, clips: Sequence[Clip]) -> list[Trial]:
        """Return pairs of positions in `clips`, and whether they are of the same speaker.

        Raises
        ------
        UserError
            If no trial of the file is about two of the clips, or it contradicts the speakers of the manifest.
        """
        if self._listed is None or not clips or clips[0].split != self._config.trials_split:
            return draw_trials([self.reference(clip) for clip in clips], self._config.max_trials, self._config.seed)
        place = {clip.id: position for position, clip in enumerate(clips)}
        found: list[Trial] = []
        for same, first, second in self._listed:
            if first not in place or second not in place:
                continue
            i, j = place[first], place[second]
            if same != (clips[i].speaker == clips[j].speaker):
                said = "the same speaker" if same else "two speakers"
                raise UserError(
                    f"the trial of `{first}` and `{second}` says {said}, but the manifest has `{clips[i].speaker}` and "
                    f"`{clips[j].speaker}`",
                    where=self._config.trials,
                )
            found.append((i, j, same))
        lost = len(self._listed) - len(found)
        if not found:
            raise UserError(
                f"none of the {lost} trials is about two usable clips of the split `{self._config.trials_split}`, for "
                f"example `{self._listed[0][1]}`, while an id of the manifest is `{clips[0].id}`",
                where=self._config.trials,
            )
        if lost:
            logger.warning(
                "%d of %d trials refer to clips that are not in the manifest: ignored", lost, len(self._listed)
            )
        return found


def read_trials(path: Path) -> list[tuple[bool, str, str]]:
    """Read lines ``1 ID ID``.

    Raises
    ------
    UserError
        If there is no such file, it is empty, or a line has another form.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or words[0] not in ("0", "1"):
            raise UserError(f"a trial must be `1 ID ID` or `0 ID ID`, but is `{line}`", where=f"{path}:{number}")
        found.append((words[0] == "1", words[1], words[2]))
    if not found:
        raise UserError("the file has no trials", where=str(path))
    return found


def draw_trials(speakers: Sequence[str], most: int, seed: int) -> list[Trial]:
    """Return at most `most` pairs of positions, half of them of one speaker, each pair once, in a fixed order.

    Where there are fewer pairs of one kind than half of `most`, all of them are taken and as many of the other.

    Examples
    --------
    >>> draw_trials(["a", "a", "b"], 10, 0)
    [(0, 1, True), (0, 2, False)]
    """
    rng = np.random.default_rng(seed)
    alike = sum(count * (count - 1) // 2 for count in Counter(speakers).values())
    different = len(speakers) * (len(speakers) - 1) // 2 - alike
    wanted = min(most // 2, alike, different)
    names = np.unique(np.array(speakers, dtype=str), return_inverse=True)[1]
    rows: dict[int, list[int]] = {}
    for position, name in enumerate(names):
        rows.setdefault(int(name), []).append(position)
    sizes = np.array([len(rows[name]) for name in range(len(rows))], dtype=np.int64)
    shares = sizes * (sizes - 1) / max(1, 2 * alike)
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < wanted:
        among = rows[int(rng.choice(len(sizes), p=shares))]
        first, second = rng.choice(len(among), 2, replace=False)
        pairs.add((min(among[first], among[second]), max(among[first], among[second])))
    others: set[tuple[int, int]] = set()
    while len(others) < wanted:
        first, second = rng.integers(len(speakers), size=2)
        if names[first] != names[second]:
            others.add((int(min(first, second)), int(max(first, second))))
    return sorted([(i, j, True) for i, j in pairs] + [(i, j, False) for i, j in others])


def build(config: Config) -> SpeakerVerification:
    """Make the task; UserError for a file that has no trials."""
    if config.max_trials < 2:
        raise UserError(f"must be at least 2, but is {config.max_trials}", where="$.task.max_trials")
    return SpeakerVerification(config)
