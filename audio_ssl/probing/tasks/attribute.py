"""How well a recorded attribute (gender) of held-out speakers can be predicted from each layer.

A linear probe on a clip's mean frame is cross-validated in folds that share no speaker, and the length of an online
code is computed (Voita & Titov 2020, arXiv 2003.12298). The same is done for values permuted over the speakers, the
control task of Hewitt & Liang 2019 (arXiv 1909.03368): its score is what the probe reaches by memorising speakers. The
result describes a representation, not people.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.result import AttributeGroup, AttributeLayer, AttributeScores
from audio_ssl.base.errors import UserError
from audio_ssl.data.columns import attribute
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.metric import AdditiveMetric
from audio_ssl.metrics.registry import get_metric
from audio_ssl.metrics.resampling import MIN_CLUSTERS, Array, Interval, bootstrap_sums, cluster_sums
from audio_ssl.probing.task import LayerAnswer, LayerTask
from audio_ssl.probing.tasks._unseen_speakers import (
    RIDGES,
    code_lengths,
    cross_validate,
    deal_blocks,
    deal_folds,
    shuffle_values,
    uniform_bits,
)

FEWEST_SPEAKERS = 3
"""Fewer speakers of a value: the value is left out, as the ridge could not be chosen among other speakers."""


@dataclass(frozen=True)
class Config:
    """Which attribute, and how it is probed."""

    column: str = "gender"
    """Column of the manifest; every speaker has one value."""

    folds: int = 5
    """Parts that share no speaker; fewer where a value has fewer speakers."""

    shuffles: int = 5
    """Number of random permutations of the values over the speakers, for the control."""

    orders: int = 3
    """Orders of the speakers in which the code is sent; its length is the mean."""

    seed: int = 0
    """Of the folds, shuffles and orders."""


class Attribute(LayerTask):
    """The value of a column, predicted for held-out speakers."""

    kind = "attribute"
    metrics: tuple[str, ...] = ("uar", "accuracy")

    def __init__(self, config: Config) -> None:
        self.column, self._config = config.column, config
        ridges = ", ".join(f"{one:g}" for one in RIDGES)
        self.signature = (
            f"column {config.column}|logistic regression on the mean frame|ridge of {ridges} chosen inside|"
            f"folds of speakers:{config.folds}|shuffles of speakers:{config.shuffles}|orders:{config.orders}|"
            f"seed:{config.seed}"
        )
        self._values: list[str] = []

    @property
    def classes(self) -> list[str]:
        """Return the values that enough speakers have."""
        return self._values

    def why_not(self, clip: Clip) -> str | None:
        """Return why a clip cannot be used, or None."""
        if self.column == "tags":
            return "`tags` holds several names" if clip.tags else "no `tags`"
        if attribute(clip, self.column) is None:
            return f"no `{self.column}`"
        return None if clip.speaker else "no speaker"

    def reference(self, clip: Clip) -> str:
        """Return the recorded value, as `audio_ssl.data.columns` reads it."""
        value = attribute(clip, self.column)
        assert value is not None
        return value

    def hypothesis(self, prediction: Float[Tensor, " class"]) -> str:
        """Return the likeliest value."""
        return self.classes[int(prediction.argmax())]

    def usable(self, clips: Sequence[Clip]) -> tuple[list[Clip], list[tuple[Clip, str]]]:
        """Take the values from some clips; return the clips that can be used, and the others with the reason.

        Raises
        ------
        UserError
            If fewer than two values have enough speakers.
        """
        values = defaultdict(set)
        for clip in clips:
            values[clip.speaker].add(self.reference(clip))
        torn = {speaker: " and ".join(sorted(found)) for speaker, found in values.items() if len(found) > 1}
        people = Counter(next(iter(found)) for speaker, found in values.items() if speaker not in torn)
        self._values = sorted(value for value, count in people.items() if count >= FEWEST_SPEAKERS)
        if len(self.classes) < 2:
            had = ", ".join(f"`{value}` {count}" for value, count in sorted(people.items())) or "none"
            also = f"; {len(torn)} speakers are recorded with several values" if torn else ""
            raise UserError(
                f"two values of `{self.column}` with at least {FEWEST_SPEAKERS} speakers each are needed; speakers of "
                f"the usable clips: {had}{also}",
                where="$.task.column",
            )
        kept, left = [], []
        for clip in clips:
            value = self.reference(clip)
            if clip.speaker in torn:
                left.append((clip, f"the speaker `{clip.speaker}` is recorded as {torn[clip.speaker]}"))
            elif value not in self.classes:
                few = f"{people[value]} speaker{'s' if people[value] != 1 else ''}"
                left.append((clip, f"the {self.column} `{value}` has {few}, fewer than {FEWEST_SPEAKERS}"))
            else:
                kept.append(clip)
        return kept, left

    def answer(
        self,
        clips: Sequence[Clip],
        layers: Sequence[int],
        features: Callable[[int], Float[Tensor, "clip dim"]],
        advance: Callable[[], None] = lambda: None,
    ) -> LayerAnswer:
        """Score every layer by a logistic regression, an online code and both with shuffled values."""
        config = self._config
        speakers = [cast(str, clip.speaker) for clip in clips]
        values = [self.reference(clip) for clip in clips]
        right = np.array([self.classes.index(value) for value in values], dtype=np.int64)
        people = Counter(dict(zip(speakers, values, strict=True)).values())
        count, enough = min(config.folds, min(people.values())), min(people.values()) >= MIN_CLUSTERS
        rng = np.random.default_rng(config.seed)
        folds = deal_folds(speakers, values, count, rng)
        dealt = [right, *(shuffle_values(speakers, right, folds, rng) for _ in range(config.shuffles))]
        labels = torch.from_numpy(np.stack(dealt))
        _, codes = np.unique(np.asarray(speakers), return_inverse=True)
        blocks = [deal_blocks(speakers, rng) for _ in range(config.orders)]
        metric = get_metric("uar", self.classes)
        told, scores, losses = [], [], []
        for layer in layers:
            mean_frames = features(layer)
            found = cross_validate(mean_frames, labels, codes, folds, len(self.classes))
            bits = [code_lengths(mean_frames, labels, codes, order, len(self.classes)) for order in blocks]
            mean_bits = torch.stack(bits).mean(0)
            told.append(self._layer(layer, found.scores, labels, speakers, mean_bits, metric, enough))
            scores.append(found.scores[0])
            losses.append(found.inner_loss[0])
            advance()
        best = torch.stack(losses).argmin(0)
        picked = torch.stack(scores)[best[torch.from_numpy(folds)], torch.arange(len(clips))]
        measured = {
            name: _measured(right, picked.argmax(-1).numpy(), speakers, get_metric(name, self.classes), enough)
            for name in self.metrics
        }
        main = measured[self.metrics[0]]
        representation = AttributeScores(
            attribute=self.column,
            metric=self.metrics[0],
            layers=tuple(told),
            chosen=tuple(layers[int(one)] for one in best),
            value=main.value,
            low=main.low,
            high=main.high,
            speakers=len(set(speakers)),
            clips=len(clips),
            groups=tuple(AttributeGroup(one, people[one], values.count(one)) for one in self.classes),
            folds=count,
            shuffles=config.shuffles,
            majority_accuracy=100.0 * max(Counter(values).values()) / len(values),
            majority_uar=100.0 / len(self.classes),
            warning=self._warning(people, count),
        )
        return LayerAnswer(representation, measured, picked)

    def _layer(
        self,
        layer: int,
        scores: Float[Tensor, "labelling clip class"],
        labels: Tensor,
        speakers: Sequence[str],
        bits: Float[Tensor, " labelling"],
        metric: AdditiveMetric,
        enough: bool,
    ) -> AttributeLayer:
        said, right = scores.argmax(-1).numpy(), labels.numpy()
        one = _measured(right[0], said[0], speakers, metric, enough)
        controls = [_uar(r, s, len(self.classes)).sum(0) for r, s in zip(right[1:], said[1:], strict=True)]
        found = [float(metric.score(sums)) for sums in controls] or [float("nan")]
        uniform, control_bits = uniform_bits(len(speakers), len(self.classes)), bits[1:].mean()
        control = float(np.mean(found))
        return AttributeLayer(
            layer, one.value, one.low, one.high, control, min(found), max(found),
            compression=uniform / float(bits[0]),
            control_compression=uniform / float(control_bits),
            selectivity=one.value - control,
        )  # fmt: skip

    def _warning(self, people: Counter[str], folds: int) -> str | None:
        few = [f"{value}: {count}" for value, count in sorted(people.items()) if count < MIN_CLUSTERS]
        if not few:
            return None
        fewer = f"; {folds} folds instead of {self._config.folds}" if folds < self._config.folds else ""
        return (
            f"fewer than {MIN_CLUSTERS} speakers ({', '.join(few)}): no confidence interval is given, "
            f"and the result says nothing about other speakers{fewer}"
        )


def _measured(right: Any, said: Any, speakers: Sequence[str], metric: AdditiveMetric, enough: bool) -> Interval:
    """Score some answers, with an interval by resampling speakers."""
    if metric.name == "uar":
        statistics = _uar(right, said, len(metric.columns) // 2)
    else:
        statistics = np.stack([right == said, np.ones(len(right))], axis=1).astype(np.float64)
    sums, _ = cluster_sums(statistics, speakers)
    if not enough:
        return Interval(float(metric.score(sums.sum(0))), float("nan"), float("nan"))
    return bootstrap_sums(sums, metric.score)


def _uar(right: Any, said: Any, classes: int) -> Array:
    """Return the statistics of `audio_ssl.metrics.families.classes.uar`, ``[clip, column]``, of class numbers."""
    statistics = np.zeros((len(right), 2 * classes))
    rows = np.arange(len(right))
    statistics[rows, right] = right == said
    statistics[rows, classes + right] = 1.0
    return statistics


def build(config: Config) -> Attribute:
    """Make the task; UserError for too few folds, shuffles or orders."""
    for key, least in (("folds", FEWEST_SPEAKERS), ("shuffles", 1), ("orders", 1)):
        if getattr(config, key) < least:
            raise UserError(f"`{key}` must be at least {least}, but is {getattr(config, key)}", where=f"$.task.{key}")
    if config.column == "speaker":
        raise UserError(
            "held-out speakers cannot be identified",
            where="$.task.column",
            remedy="the probe speaker_id_superb identifies speakers of the training clips",
        )
    return Attribute(config)
