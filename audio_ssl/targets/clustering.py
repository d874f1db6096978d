"""k-means in torch over a stream of frames, in memory that does not grow with the stream.

One pass keeps a sample of the frames, uniform over the whole stream (keys drawn for every frame, the largest stay:
Efraimidis and Spirakis 2006), and the exact mean and variance of all. The sample is then clustered: greedy k-means++
(Arthur and Vassilvitskii 2007), one pass of mini-batches (Sculley 2010), and Lloyd's iterations until they gain
nothing. An iteration over the sample costs as much as one round of mini-batches over it and moves every centroid to
its optimum at once, which a mini-batch's learning rate never does. Each step is one matrix product.

`nearest` finds the nearest of many codes for each frame, in memory that does not grow with the clip.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TOLERANCE = 2e-4
"""Lloyd's iterations end where the inertia falls by less than this share of itself."""

_MAX_ITERATIONS = 50
"""Lloyd's iterations at most."""

_INIT_PER_CLUSTER = 20
"""Frames per cluster that k-means++ chooses from."""


class RunningVariance:
    """Mean and variance over the rows of a stream, in float64; rows lie along the last axis but one."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, rows: Float[Tensor, "*group row dim"]) -> None:
        """Take the next rows, at least one."""
        rows = rows.double()
        number, mean = rows.shape[-2], rows.mean(-2)
        squares = (rows - mean[..., None, :]).square().sum(-2)
        step, total = mean - self._mean, self.count + number
        # Chan, Golub and LeVeque 1983: joins two sets without loss of digits.
        self._squares = self._squares + squares + step.square() * (self.count * number / total)
        self._mean = self._mean + step * (number / total)
        self.count = total

    @property
    def mean(self) -> Float[Tensor, "*group dim"]:
        """Mean of all rows."""
        return self._mean

    @property
    def variance(self) -> Float[Tensor, "*group dim"]:
        """Variance of all rows, divided by their number."""
        return self._squares / max(self.count, 1)


class Reservoir:
    """A uniform sample of the rows of a stream, and mean and variance of all its rows.

    Parameters
    ----------
    capacity
        Rows kept.
    generator
        Decides which.
    """

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        self._capacity, self._generator = capacity, generator
        self._keys: list[Tensor] = []
        self._rows: list[Tensor] = []
        self._held, self._threshold = 0, -1.0
        self._moments = RunningVariance()

    def add(self, rows: Float[Tensor, "frame dim"], generator: torch.Generator | None = None) -> None:
        """Take the next rows of the stream; a generator of their own makes the sample independent of their order."""
        if len(rows) == 0:
            return
        self._moments.add(rows)
        keys = torch.rand(len(rows), generator=generator or self._generator, dtype=torch.float64)
        stay = keys > self._threshold
        self._keys.append(keys[stay])
        self._rows.append(rows[stay])
        self._held += len(self._keys[-1])
        # Pruned a quarter too late, so that most rows are copied once.
        if self._held > self._capacity + max(self._capacity // 4, 1):
            self._prune()

    def _prune(self) -> None:
        keys, rows = torch.cat(self._keys), torch.cat(self._rows)
        if len(keys) > self._capacity:
            kept = keys.topk(self._capacity).indices.sort().values
            keys, rows = keys[kept], rows[kept]
            self._threshold = float(keys.min())
        self._keys, self._rows, self._held = [keys], [rows], len(keys)

    @property
    def count(self) -> int:
        """Rows of the stream so far."""
        return self._moments.count

    @property
    def mean(self) -> Float[Tensor, " dim"]:
        """Mean of all rows, float32."""
        return self._moments.mean.float()

    @property
    def variance(self) -> Float[Tensor, " dim"]:
        """Variance of all rows, float32."""
        return self._moments.variance.float()

    def rows(self, by_key: bool = False) -> Float[Tensor, "frame dim"]:
        """Return the sample, at most `capacity` rows: in the order of the stream, or in one that is drawn for them."""
        if not self._rows:
            return torch.zeros(0, 1)
        self._prune()
        return self._rows[0][self._keys[0].argsort()] if by_key else self._rows[0]


def cluster(
    frames: Float[Tensor, "frame dim"], clusters: int, generator: torch.Generator, batch_frames: int, tries: int
) -> Float[Tensor, "cluster dim"]:
    """Return the centroids of `frames`.

    Parameters
    ----------
    frames
        At least as many as `clusters`.
    clusters
        Number of centroids.
    generator
        Decides all choices; the same one gives the same centroids.
    batch_frames
        Frames of a mini-batch.
    tries
        Starts by k-means++, of which the best is kept.
    """
    assert len(frames) >= clusters
    order = torch.randperm(len(frames), generator=generator).to(frames.device)
    sample = frames[order[: max(_INIT_PER_CLUSTER * clusters, batch_frames)]]
    best, best_inertia = sample[:clusters], math.inf
    for _ in range(max(tries, 1)):
        centroids = _seed(sample, clusters, generator)
        inertia = _inertia(sample, centroids)
        if inertia < best_inertia:
            best, best_inertia = centroids, inertia
    if len(frames) > 2 * batch_frames:
        best = _mini_batches(frames, order, best, batch_frames)
    return _lloyd(frames, best, generator)


def _seed(frames: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Choose starts by greedy k-means++: of a few candidates drawn by squared distance, the one that helps most."""
    candidates = 2 + int(math.log(clusters))
    squares = frames.square().sum(1)
    first = int(torch.randint(len(frames), (), generator=generator))
    chosen = [first]
    distance = _distances(frames, squares, frames[first : first + 1])[0]
    for _ in range(1, clusters):
        drawn = _draw(distance, candidates, generator)
        nearer = torch.minimum(_distances(frames, squares, frames[drawn]), distance)
        pick = int(nearer.sum(1).argmin())
        distance = nearer[pick]
        chosen.append(int(drawn[pick]))
    return frames[torch.tensor(chosen, device=frames.device)]


def _draw(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw indices in proportion to their weights; torch.multinomial takes at most 2^24 of them."""
    reach = weights.double().cumsum(0)
    draws = torch.rand(count, generator=generator, dtype=torch.float64).to(weights.device) * reach[-1]
    return torch.searchsorted(reach, draws, right=True).clamp(max=len(weights) - 1)


def _distances(frames: Tensor, squares: Tensor, points: Tensor) -> Tensor:
    """Return squared distances ``[point, frame]``."""
    product = torch.addmm(squares, points, frames.T, alpha=-2.0)
    return (product + points.square().sum(1, keepdim=True)).clamp_(min=0)


def _inertia(frames: Tensor, centroids: Tensor) -> float:
    _, score = nearest(frames, centroids, half_squares(centroids))
    return float(frames.square().sum(dtype=torch.float64) - 2 * score.sum(dtype=torch.float64))


def _sums(frames: Tensor, labels: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the frames of each cluster and their count."""
    sums = frames.new_zeros(clusters, frames.shape[1]).index_add_(0, labels, frames)
    return sums, torch.bincount(labels, minlength=clusters).to(frames.dtype)


def _mini_batches(frames: Tensor, order: Tensor, centroids: Tensor, batch_frames: int) -> Tensor:
    """Move each centroid to the mean of all frames it has had, batch by batch, once over the frames."""
    counts = frames.new_zeros(len(centroids))
    for part in torch.split(order, batch_frames):
        batch = frames[part]
        labels, _ = nearest(batch, centroids, half_squares(centroids))
        sums, new = _sums(batch, labels, len(centroids))
        counts += new
        centroids = centroids + (sums - new[:, None] * centroids) / counts.clamp(min=1)[:, None]
    return centroids


def _lloyd(frames: Tensor, centroids: Tensor, generator: torch.Generator) -> Tensor:
    """Move centroids to the means of their frames until nothing is gained, and dead ones to frames far from all."""
    total = float(frames.square().sum(dtype=torch.float64))
    squares = frames.square().sum(1)
    last = math.inf
    for _ in range(_MAX_ITERATIONS):
        labels, score = nearest(frames, centroids, half_squares(centroids))
        inertia = total - 2 * float(score.sum(dtype=torch.float64))
        sums, counts = _sums(frames, labels, len(centroids))
        centroids = sums / counts.clamp(min=1)[:, None]
        dead = torch.nonzero(counts == 0)[:, 0]
        if len(dead):
            far = (squares - 2 * score).clamp(min=0)
            centroids[dead] = frames[_draw(far, len(dead), generator)]
        elif last - inertia <= _TOLERANCE * inertia:
            break
        last = inertia
    return centroids


_TILE_SCORES = 1 << 18
"""Scores held at once (1 MiB of float32, a core's cache), whatever the frames and codes."""


def nearest(
    frames: Float[Tensor, "frame dim"], codes: Float[Tensor, "code dim"], bias: Float[Tensor, " code"] | None = None
) -> tuple[Int[Tensor, " frame"], Float[Tensor, " frame"]]:
    """Return for each frame the code with the largest dot product plus bias, and that largest score.

    With ``bias = -|code|^2 / 2`` that is the nearest code, as ``|x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2)``; without
    bias and with codes of unit length it is the nearest to the normalised frame. Of equal scores the first code wins.

    Examples
    --------
    >>> nearest(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.eye(2))
    (tensor([0, 1]), tensor([2., 3.]))
    """
    rows = max(1, _TILE_SCORES // len(codes))
    across = codes.T.contiguous()
    start = torch.zeros((), dtype=frames.dtype, device=frames.device) if bias is None else bias
    labels, best = [], []
    for part in torch.split(frames, rows):
        scores = torch.addmm(start, part, across)
        found = _argmax(scores)
        labels.append(found)
        best.append(scores.gather(1, found[:, None])[:, 0])
    if not labels:
        return frames.new_zeros(0, dtype=torch.int64), frames.new_zeros(0)
    return torch.cat(labels), torch.cat(best)


_ROUNDING = 32 * torch.finfo(torch.float32).eps
"""Share of the lengths of frame and code by which two scores in float32 may differ without meaning anything."""


def nearest_exactly(frames: Float[Tensor, "frame dim"], codes: Float[Tensor, "code dim"]) -> Int[Tensor, " frame"]:
    """Return the nearest code of each frame, by Euclidean distance; of equally near ones the first.

    `nearest` finds it in float32. Where the second best score differs by no more than rounding does, the distances of
    that frame to all codes are computed in float64.

    Examples
    --------
    >>> nearest_exactly(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    tensor([0, 0])
    """
    if len(codes) < 2 or not len(frames):
        return frames.new_zeros(len(frames), dtype=torch.int64)
    bias, across = half_squares(codes), codes.T.contiguous()
    longest = codes.norm(dim=1).max()
    found = []
    for part in torch.split(frames, max(1, _TILE_SCORES // len(codes))):
        scores = torch.addmm(bias, part, across)
        best = _argmax(scores)
        top = scores.gather(1, best[:, None])[:, 0]
        second = scores.scatter_(1, best[:, None], -math.inf).amax(1)
        unsure = torch.nonzero(top - second <= _ROUNDING * longest * (part.norm(dim=1) + longest))[:, 0]
        if len(unsure):
            exact = torch.cdist(
                part[unsure].double(), codes.double(), compute_mode="donot_use_mm_for_euclid_dist"
            ).argmin(1)
            best[unsure] = exact
        found.append(best)
    return torch.cat(found)


def _argmax(scores: Float[Tensor, "frame code"]) -> Int[Tensor, " frame"]:
    """Take the argmax by numpy on a CPU: torch's is not vectorised there and takes as long as the matrix product."""
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.numpy().argmax(1))
    return scores.argmax(1)


def half_squares(codes: Float[Tensor, "code dim"]) -> Float[Tensor, " code"]:
    """Return the bias that makes `nearest` the Euclidean one, ``-|code|^2 / 2``."""
    return -0.5 * codes.square().sum(1)
