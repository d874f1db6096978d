"""Multinomial logistic regression with a ridge, for many labellings and ridges of the same clips at once.

All runs share the clips, so a step is two matrix products for all of them, and one eigendecomposition of the clips'
Gram matrix gives every run a bound of its curvature (Böhning 1992, Ann. Inst. Stat. Math. 44): accelerated gradient
steps (Nesterov 1983, restarted by O'Donoghue & Candès 2015) then need no step size.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TOLERANCE = 1e-8
"""Of the squared gradient of the mean loss, measured by the bound of the curvature."""

_MOST_STEPS = 1000
_CHECK_EVERY = 10
_SMALLEST_SHARE = 1e-7
"""Directions with less than this share of the largest one's variance are rounding, and left out."""


def log_posteriors(
    train: Float[Tensor, "clip dim"],
    labels: Int[Tensor, "run clip"],
    ridges: Float[Tensor, " run"],
    classes: int,
    prior: float,
    *asked: Float[Tensor, "other dim"],
) -> list[Float[Tensor, "run other class"]]:
    """Fit every run to the training clips, and return natural logarithms of the classes' probabilities of others.

    The loss is the sum over the clips of the cross-entropy, and over `prior` more of each class whose features are the
    mean (no class is impossible then, and without features the rule of Laplace is left), plus ``ridge / 2`` times the
    squared weights, which so mean the same however many clips there are. Features are standardised by the training
    clips and divided by the root of their number.

    Parameters
    ----------
    train
        Features of the training clips.
    labels
        Classes, from 0, of each run.
    ridges
        Of each run; more than 0.
    classes
        How many there are.
    prior
        Clips added to each class: those of one speaker, where clips of a speaker are alike.
    asked
        Features of other clips.
    """
    mean, scale = _standard(train)
    basis, strengths = _basis((train.double() - mean) * scale)
    inputs = _with_ones((train.double() - mean) * scale @ basis)
    contrasts = _contrasts(classes)
    weights = _fit(inputs, strengths, labels, ridges.float(), contrasts, prior)
    found = []
    for other in asked:
        logits = torch.einsum("od,kdr,kc->roc", _with_ones((other.double() - mean) * scale @ basis), weights, contrasts)
        found.append(logits.double().log_softmax(-1))
    return found


def _standard(train: Float[Tensor, "clip dim"]) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
    """Return what is taken off, and what is multiplied with; what does not vary is left out."""
    wide = train.double()
    mean, spread = wide.mean(0), wide.std(0, correction=0)
    varies = spread > 1e-6 * mean.abs() + 1e-12
    return mean, torch.where(varies, 1.0 / spread.clamp_min(1e-12), 0.0) / wide.shape[1] ** 0.5


def _basis(train: Float[Tensor, "clip dim"]) -> tuple[Float[Tensor, "dim rank"], Float[Tensor, " rank"]]:
    """Return the directions in which the clips differ, and the sum of squares along each."""
    narrow = train.shape[0] < train.shape[1]
    squares, vectors = torch.linalg.eigh(train @ train.T if narrow else train.T @ train)
    kept = squares > _SMALLEST_SHARE * squares[-1].clamp_min(1e-12)
    squares, vectors = squares[kept], vectors[:, kept]
    return (train.T @ vectors / squares.sqrt() if narrow else vectors), squares


def _with_ones(inputs: Float[Tensor, "clip rank"]) -> Float[Tensor, "clip rank_1"]:
    return torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1).float()


def _contrasts(classes: int) -> Float[Tensor, "contrast class"]:
    """Return orthonormal rows that sum to 0: weights of all classes have one direction more than the answer needs."""
    rows = torch.zeros(classes - 1, classes, dtype=torch.float64)
    for row in range(classes - 1):
        rows[row, : row + 1] = 1.0
        rows[row, row + 1] = -(row + 1.0)
    return torch.nn.functional.normalize(rows, dim=1).float()


def _fit(
    inputs: Float[Tensor, "clip rank_1"],
    strengths: Float[Tensor, " rank"],
    labels: Int[Tensor, "run clip"],
    ridges: Float[Tensor, " run"],
    contrasts: Float[Tensor, "contrast class"],
    prior: float,
) -> Float[Tensor, "contrast rank_1 run"]:
    """Return the weights of every run; the last row is the constant's, which has no ridge."""
    classes, rank = contrasts.shape[1], inputs.shape[1]
    added = prior * classes
    total = len(inputs) + added
    penalty = (ridges / total).repeat(rank, 1)
    penalty[-1] = 0.0
    # The curvature of cross-entropy in contrasts is at most 1/2; the added clips count for the constant.
    bound = torch.cat([strengths.float(), strengths.new_tensor([total]).float()])[:, None] / (2 * total) + penalty
    # What does not depend on the weights: the classes that were right.
    pull = inputs.T @ contrasts[:, labels.T] / total
    result = torch.zeros_like(pull)
    active = torch.arange(len(labels))
    weights, ahead, speed = result.clone(), result.clone(), torch.ones(len(labels))
    for step in range(1, _MOST_STEPS + 1):
        slope = inputs.T @ _expected(inputs @ ahead, contrasts) / total
        slope[:, -1] += added / total * _expected(ahead[:, -1], contrasts)
        slope += penalty * ahead - pull
        if step % _CHECK_EVERY == 0:
            going = (slope.square() / bound).sum((0, 1)) > _TOLERANCE
            result[..., active] = ahead
            if not going.any():
                break
            if not going.all():
                active, speed = active[going], speed[going]
                weights, ahead, slope, pull = (one[..., going] for one in (weights, ahead, slope, pull))
                bound, penalty = bound[:, going], penalty[:, going]
        taken = ahead - slope / bound
        moved = taken - weights
        # Where the step went uphill, the memory of earlier ones is dropped.
        speed = torch.where((slope * moved).sum((0, 1)) > 0, 1.0, speed)
        faster = (1 + (1 + 4 * speed.square()).sqrt()) / 2
        ahead = taken + (speed - 1) / faster * moved
        weights, speed = taken, faster
    return result


def _expected(
    scores: Float[Tensor, "contrast ..."], contrasts: Float[Tensor, "contrast class"]
) -> Float[Tensor, "contrast ..."]:
    """Return the contrasts of the classes' probabilities."""
    said = (contrasts.T @ scores.flatten(1)).softmax(0)
    return (contrasts @ said).view_as(scores)
