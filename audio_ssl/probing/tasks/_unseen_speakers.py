"""How well an attribute of held-out speakers is predicted from a layer: folds, logistic regression, scores.

Speakers dealt into folds and blocks, and values dealt among speakers: a speaker is never torn apart.

Multinomial logistic regression with a ridge, for many labellings and ridges of the same clips at once.

All runs share the clips, so a step is two matrix products for all of them, and one eigendecomposition of the clips'
Gram matrix gives every run a bound of its curvature (Böhning 1992, Ann. Inst. Stat. Math. 44): accelerated gradient
steps (Nesterov 1983, restarted by O'Donoghue & Candès 2015) then need no step size.

How well one layer tells a value of unseen speakers: cross-validated, and as a code (minimum description length).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

Ints = npt.NDArray[np.int64]

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the clips at which blocks end (Voita & Titov 2020)."""

_TRIES = 100


def deal_folds(speakers: Sequence[str], values: Sequence[str], folds: int, rng: np.random.Generator) -> Ints:
    """Return the fold of each clip; folds have equally many speakers of each value, and clips as evenly as possible."""
    clips = Counter(speakers)
    value_of = dict(zip(speakers, values, strict=True))
    fold_of: dict[str, int] = {}
    held = [0] * folds
    for value in sorted(set(values)):
        people = [str(one) for one in rng.permutation(sorted(s for s in clips if value_of[s] == value))]
        people.sort(key=lambda one: -clips[one])
        places = Counter(dict.fromkeys(range(folds), 0))
        for speaker in people:
            fold = min(range(folds), key=lambda one: (places[one], held[one]))
            fold_of[speaker] = fold
            places[fold] += 1
            held[fold] += clips[speaker]
    return np.array([fold_of[one] for one in speakers], dtype=np.int64)


def shuffle_values(speakers: Sequence[str], values: Ints, folds: Ints, rng: np.random.Generator) -> Ints:
    """Return values permuted over the speakers of each fold; all clips of a speaker have one value.

    Within folds, because folds that have lost their share of a value would pull the control below chance. A permutation
    equal to the true values is drawn again, if another one exists.
    """
    names, first, index = np.unique(np.asarray(speakers, dtype=str), return_index=True, return_inverse=True)
    true, fold_of = values[first], folds[first]
    dealt = true.copy()
    for _ in range(_TRIES):
        for fold in np.unique(fold_of):
            here = np.flatnonzero(fold_of == fold)
            dealt[here] = true[rng.permutation(here)]
        if len(names) and not np.array_equal(dealt, true):
            break
    return dealt[index]


def deal_blocks(speakers: Sequence[str], rng: np.random.Generator) -> list[Ints]:
    """Return the clips of each block, every block with speakers of its own.

    Speakers come in random order; a block ends with the first speaker who brings it to its share of the clips, and
    blocks that would be empty are not there.
    """
    clips = Counter(speakers)
    order = [str(one) for one in rng.permutation(sorted(clips))]
    reached = np.cumsum([clips[one] for one in order])
    ends = sorted({int(np.searchsorted(reached, share * len(speakers) - 1e-9)) + 1 for share in FRACTIONS})
    block_of = {one: int(np.searchsorted(ends, place, side="right")) for place, one in enumerate(order)}
    of_clips = np.array([block_of[one] for one in speakers])
    return [np.flatnonzero(of_clips == block) for block in range(len(ends))]


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


RIDGES = (1e4, 10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""All are tried, from a model that does not look at the features to one that follows every clip."""


@dataclass(frozen=True)
class FoldScores:
    """Results of cross-validation, for each labelling."""

    scores: Float[Tensor, "labelling clip class"]
    """Logarithms of probabilities by the fold that has not seen the speaker, as if all classes were equally likely."""

    inner_loss: Float[Tensor, "labelling fold"]
    """Cross-entropy a clip, in nats, of the best ridge inside each fold's training speakers."""


def cross_validate(
    features: Float[Tensor, "clip dim"],
    labels: Int[Tensor, "labelling clip"],
    speakers: Ints,
    folds: Ints,
    classes: int,
) -> FoldScores:
    """Predict every fold from the others, the ridge chosen inside them.

    A model of all folds but two serves both: it is scored on the one while the other is held out. There must be three
    folds or more.
    """
    count = int(folds.max()) + 1
    runs, ridges = len(RIDGES), torch.tensor(RIDGES)
    loss = torch.zeros(count, len(labels), runs, dtype=torch.float64)
    for pair in combinations(range(count), 2):
        train = (folds != pair[0]) & (folds != pair[1])
        found = log_posteriors(
            features[train], labels[:, train].repeat_interleave(runs, 0), ridges.repeat(len(labels)), classes,
            _clips_a_speaker(speakers[train]), *(features[folds == fold] for fold in pair),
        )  # fmt: skip
        for scored, other, said in zip(pair, reversed(pair), found, strict=True):
            right = labels[:, folds == scored].repeat_interleave(runs, 0)
            loss[other] -= said.gather(2, right[..., None]).sum((1, 2)).view(len(labels), runs)
    scores = torch.zeros(len(labels), len(folds), classes, dtype=torch.float64)
    inner = torch.zeros(len(labels), count, dtype=torch.float64)
    for fold in range(count):
        train, test = folds != fold, folds == fold
        prior = _clips_a_speaker(speakers[train])
        # Among equal losses the first is the largest ridge.
        best = loss[fold].argmin(1)
        (said,) = log_posteriors(features[train], labels[:, train], ridges[best], classes, prior, features[test])
        seen = torch.stack([(labels[:, train] == one).sum(1) for one in range(classes)], dim=1) + prior
        scores[:, test] = (said - seen.double().log()[:, None]).log_softmax(-1)
        inner[:, fold] = loss[fold].amin(1) / int(train.sum())
    return FoldScores(scores, inner)


def code_lengths(
    features: Float[Tensor, "clip dim"],
    labels: Int[Tensor, "labelling clip"],
    speakers: Ints,
    blocks: Sequence[Ints],
    classes: int,
) -> Float[Tensor, " labelling"]:
    """Return the bits of an online code of the labels (Voita & Titov 2020, arXiv 2003.12298).

    The first block is sent with a uniform code, every other with the probabilities of models of those before, one of
    each ridge, mixed by how well they have done; after the n-th mixed block, one part in n + 1 of the weights is dealt
    evenly again (Herbster & Warmuth 1998, Machine Learning 32), as more speakers want another ridge.
    """
    runs, ridges = len(RIDGES), torch.tensor(RIDGES)
    sent = torch.full((len(labels),), uniform_bits(len(blocks[0]), classes), dtype=torch.float64)
    weights = torch.full((len(labels), runs), 1.0 / runs, dtype=torch.float64)
    known = blocks[0]
    for number, block in enumerate(blocks[1:], 1):
        right = labels[:, block].repeat_interleave(runs, 0)
        (said,) = log_posteriors(
            features[known], labels[:, known].repeat_interleave(runs, 0), ridges.repeat(len(labels)), classes,
            _clips_a_speaker(speakers[known]), features[block],
        )  # fmt: skip
        together = weights.log() + said.gather(2, right[..., None]).sum((1, 2)).view(len(labels), runs)
        sent -= together.logsumexp(1) / np.log(2)
        weights = together.softmax(1) * number / (number + 1) + 1.0 / (runs * (number + 1))
        known = np.concatenate([known, block])
    return sent


def _clips_a_speaker(speakers: Ints) -> float:
    """Return the mean number of clips: what one more speaker of each value, who says nothing, would bring."""
    return len(speakers) / len(np.unique(speakers))


def uniform_bits(clips: int, classes: int) -> float:
    """Return the bits of labels sent with a uniform code."""
    return clips * float(np.log2(classes))
