"""ABX: whether a phone is nearer to itself than to another between the same neighbours (ZeroSpeech 2021).

Nothing is trained: frames are compared by dynamic time warping (Schatz et al. 2013; Nguyen et al. 2020, arXiv
2011.11588). `within` has all three of one speaker; `across` has X of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from audio_ssl.artifacts.result_tables import AbxRow
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.dtw import KINDS
from audio_ssl.metrics.families.zero_resource import MODES, abx
from audio_ssl.metrics.resampling import Interval
from audio_ssl.metrics.spans import SILENCES, Frames, abx_items, enough_speakers, pieces_of, why_no_spans
from audio_ssl.probing.task import CompareTask, Comparisons

UNITS = ("triphone", "phone")


@dataclass(frozen=True)
class Config:
    """What is compared, and how."""

    times: str | None = "phone_times"
    """Column with the stretches, ``start end label; start end label``; null: each clip is one, called by its label."""

    unit: str = "triphone"
    """``triphone``: a phone with its neighbours, which must be the same (ZeroSpeech 2021); ``phone``: it alone."""

    context: bool = True
    """Compare phones between the same neighbours only; false with ``phone``: between any."""

    main: str = "within"
    """``within`` or ``across`` speakers: which chooses the layer; both are reported."""

    distance: str = "angular"
    """Of frames: angular (ZeroSpeech), cosine or euclidean."""

    max_group: int = 10
    """Most tokens of one phone, context and speaker that are used (ZeroSpeech: 10)."""

    max_x_speakers: int = 5
    """Most speakers of X, for each A, B and their speaker (ZeroSpeech: 5)."""

    ignore: tuple[str, ...] = SILENCES
    """Labels that are no phones."""

    seed: int = 0
    """Of the draws."""


class Abx(CompareTask):
    """ABX errors within and across speakers."""

    kind = "abx"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._modes = (config.main, *(mode for mode in MODES if mode != config.main))
        self.metrics: tuple[str, ...] = tuple(f"abx_{mode}" for mode in self._modes)
        unit = "clip" if config.times is None else config.unit
        self.signature = (
            f"{unit}|context {'same' if config.context else 'any'}|{config.distance}|dtw over steps|"
            f"group:{config.max_group}|x_speakers:{config.max_x_speakers}|seed:{config.seed}"
        )

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        return why_no_spans(clip, self._config.times) or (None if clip.speaker else "no speaker")

    def compare(self, clips: Sequence[Clip], frames: Frames, grid: FrameGrid) -> Comparisons:
        """Return both errors of some clips, and a row for each ordered pair of phones and speaker of A and B."""
        config = self._config
        whole = config.times is None
        pieces = list(
            pieces_of(
                clips,
                config.times,
                frames,
                grid,
                lambda span: whole or span.label not in config.ignore,
                wide=not whole and config.unit == "triphone",
            )
        )
        items = abx_items(pieces, config.context and not whole, config.ignore)
        scores: dict[str, Interval] = {}
        rows = []
        for mode in self._modes:
            result = abx(items, mode, config.distance, config.max_group, config.max_x_speakers, config.seed)
            unknown = Interval(result.value, float("nan"), float("nan"))
            scores[f"abx_{mode}"] = result.interval() if enough_speakers(pieces) else unknown
            rows += [AbxRow(mode, **vars(one)) for one in result.by_speaker()]
        return Comparisons(scores, "speakers", rows)


def build(config: Config) -> Abx:
    """Make the task; UserError for another unit, distance or main."""
    for value, known, key in ((config.unit, UNITS, "unit"), (config.distance, KINDS, "distance")):
        if value not in known:
            raise unknown_name(key, value, known, f"$.task.{key}")
    if config.main not in MODES:
        raise unknown_name("main", config.main, MODES, "$.task.main")
    if config.max_group < 2 or config.max_x_speakers < 1:
        raise UserError("`max_group` must be at least 2 and `max_x_speakers` 1", where="$.task")
    return Abx(config)
