"""k-means: fit and label beside scikit-learn's MiniBatchKMeans with HuBERT's settings, on the same frames.

HuBERT (Hsu et al. 2021; ``learn_kmeans.py`` of fairseq): mini-batches of 10,000 frames, at most 100 passes, the end
after 100 mini-batches without a gain, no reassignment. HuBERT takes the best of 20 starts, our teacher of 3; both take
3 here.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from math import fsum
from statistics import fmean
from typing import Any

import torch
from _scikit_kmeans import fairseq_kmeans  # type: ignore[import-not-found]
from _teacher_parts import OURS, Goal, Part, Results, Work, identical, music  # type: ignore[import-not-found]
from torch import Tensor

from audio_ssl.targets.acoustic import CenteredLogMel, Mfcc39
from audio_ssl.targets.clustering import cluster, half_squares, nearest

RATE, HOP, BATCH_FRAMES, TRIES = 16_000, 320, 10_000, 3
PEER = "scikit-learn MiniBatchKMeans"


def features(kind: str, frames: int) -> Tensor:
    """Return standardised frames ``[frame, dim]`` of music, MFCC (HuBERT) or log-mel (MERT v0)."""
    extract = Mfcc39(RATE, HOP, 400) if kind == "mfcc" else CenteredLogMel(RATE, HOP, 2048, 229)
    minute, parts = 60 * RATE // HOP, []
    for seed in range(-(-frames // (minute - 2))):
        parts.append(extract(music(60, RATE, seed)))
    joined = torch.cat(parts)[:frames]
    return (joined - joined.mean(0)) / joined.std(0)


def inertia(frames: Tensor, centroids: Tensor) -> float:
    """Return the sum of squared distances to the nearest centroid in float64."""
    centroids = centroids.double()
    parts = (torch.cdist(part.double(), centroids).amin(1) for part in torch.split(frames, 2048))
    return fsum(float(part.square().sum()) for part in parts)


def _ours_fit(frames: Tensor, clusters: int) -> Work:
    # Each run has another seed, as one start says little.
    seeds = count()

    def work() -> Tensor:
        return cluster(frames, clusters, torch.Generator().manual_seed(next(seeds)), BATCH_FRAMES, TRIES)

    return work


def _peer(clusters: int, seed: int) -> Any:
    return fairseq_kmeans(clusters, seed, BATCH_FRAMES, TRIES)


def _peer_fit(frames: Tensor, clusters: int) -> Work:
    seeds, values = count(), frames.numpy()
    return lambda: torch.from_numpy(_peer(clusters, next(seeds)).fit(values).cluster_centers_)


def _ours_label(frames: Tensor, centroids: Tensor) -> Work:
    bias = half_squares(centroids)
    return lambda: nearest(frames, centroids, bias)[0]


def _peer_label(frames: Tensor, centroids: Tensor) -> Work:
    model = _peer(len(centroids), 0)
    # A fit of one pass over few frames gives an estimator whose centroids can be set.
    model.partial_fit(frames[: len(centroids)].numpy())
    model.cluster_centers_ = centroids.numpy()
    values = frames.numpy()
    return lambda: torch.from_numpy(model.predict(values)).long()


def _fit(what: str, frames: Tensor, clusters: int) -> Part:
    def judge(results: Results) -> dict[str, dict[str, float]]:
        found = {name: fmean(inertia(frames, one) for one in runs) for name, runs in results.items()}
        rows = {name: {"inertia": value / len(frames)} for name, value in found.items()}
        rows[OURS]["inertia_of_peer"] = found[OURS] / found[PEER]
        return rows

    systems = {OURS: partial(_ours_fit, frames, clusters), PEER: partial(_peer_fit, frames, clusters)}
    goals = (Goal("ours_is_faster", 1.0, against=PEER), Goal("inertia_of_peer", 1.0, at_most=True))
    return Part("k-means fit", what, systems, 0, judge, goals)


def _label(what: str, frames: Tensor, clusters: int) -> Part:
    centroids = frames[torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))[:clusters]]

    def judge(results: Results) -> dict[str, dict[str, float]]:
        return {OURS: {"identical": identical(results[OURS][-1], results[PEER][-1])}, PEER: {}}

    systems = {OURS: partial(_ours_label, frames, centroids), PEER: partial(_peer_label, frames, centroids)}
    goals = (Goal("ours_is_faster", 1.0, against=PEER), Goal("identical", 0.9999))
    return Part("k-means label", what, systems, len(frames) * HOP / RATE, judge, goals)


def parts(quick: bool) -> list[Part]:
    """Return fit and label of MFCC frames, and in a full run of log-mel frames."""
    settings = [("mfcc", 100, 20_000)] if quick else [("mfcc", 100, 200_000), ("logmel", 300, 100_000)]
    found = []
    for kind, clusters, frames in settings:
        rows = features(kind, frames)
        what = f"{frames} {kind} frames x {rows.shape[1]}, {clusters} clusters"
        found += [_fit(what, rows, clusters), _label(what, rows, clusters)]
    return found
