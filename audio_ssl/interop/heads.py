"""Heads that a model was pretrained with, read from the files of other libraries, in a form of no library.

A checkpoint of pretraining holds more than its encoder: what predicts the codes of HuBERT, the quantiser and the
projections of wav2vec 2.0, the regression of data2vec. Here are their weights as plain tensors, float32 on the CPU, in
the shapes that the objectives in `audio_ssl.pretrain.objectives` have: loaded there, logits and loss of a frame are the
original's.

===========================  ==============================  ==================================================
head                         objective                       its weights
===========================  ==============================  ==================================================
`CodeHead`, one a codebook   ``masked_codes``, cosine        ``projection`` (codebook below codebook), ``codes``
the same without `codes`     ``masked_codes``, linear        ``projection``, or ``projections.N`` where each has
                                                             a layer of its own
`ContrastiveHead`            ``contrastive``, shared norm    ``quantizer.choice``, ``quantizer.vectors``,
                                                             ``project_context``, ``project_codes``
`Pretrained.regression`      ``distillation``                ``projection``
`Pretrained.reconstruction`  ``reconstruction``              ``projection``
===========================  ==============================  ==================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from audio_ssl.models.model import SSLModel
from audio_ssl.models.points import Point


@dataclass(frozen=True)
class LinearWeights:
    """A linear layer, as torch keeps it."""

    weight: Float[Tensor, "output input"]
    """Its matrix."""

    bias: Float[Tensor, " output"]
    """What is added; zeros where the library's layer has none."""


@dataclass(frozen=True)
class CodeHead:
    """Predicts the codes of one codebook: one of HuBERT's sets of labels, of MERT's eight, of SpidR's layers."""

    projection: LinearWeights
    """From a hidden state to the width of `codes`, or to one logit a code where there are none."""

    codes: Float[Tensor, "code dim"] | None
    """Embedding of each code, to which the projected frame's cosine is taken; None: the projection gives the logits."""

    temperature: float = 0.1
    """Divides the cosines; without `codes` it has no meaning."""

    special: int = 0
    """How many of the first codes are no labels but symbols of fairseq's dictionaries (``<s>``, ``<pad>``, ``</s>``,
    ``<unk>``: 4), which no frame has. Label n is code ``special + n``. They take part in the original's softmax:
    without their rows the other logits stay the same, and the loss is a little lower."""

    layer: int = -1
    """Number of the hidden state that predicts, counted from the end: -1 is the last (HuBERT, MERT, DinoSR)."""

    point: Point = "output"
    """Where in this layer the state is taken (SpidR: ``feed_forward``)."""


@dataclass(frozen=True)
class GumbelTemperatures:
    """How the temperature of a quantiser's Gumbel softmax falls: ``max(end, start * decay ** update)``."""

    start: float
    end: float
    decay: float

    updates: int | None = None
    """Updates that the quantiser was trained for, so that its temperature goes on where it was; None: unknown."""


@dataclass(frozen=True)
class ContrastiveHead:
    """Quantiser and projections of wav2vec 2.0; the quantiser takes the features from the encoder's norm of them."""

    choice: LinearWeights
    """From a frame's features to the logits of all codes, codebook after codebook."""

    vectors: Float[Tensor, "codebook code dim"]
    """Vectors of the codes; a quantised frame is one of each codebook, side by side."""

    project_context: LinearWeights
    """From the last hidden state to the width of comparison."""

    project_codes: LinearWeights
    """From a quantised frame to the width of comparison."""

    temperature: float = 0.1
    """Divides the cosines."""

    negatives: int | None = None
    """Negatives of a frame in its training; None: the file does not say."""

    gumbel: GumbelTemperatures | None = None
    """Of its training; None: the file does not say."""


@dataclass(frozen=True)
class FollowedAverage:
    """The teacher that a model was trained by: the running average of itself (data2vec, DinoSR, SpidR)."""

    weights: Mapping[str, Tensor]
    """Averaged weights, by the names of the model's; what is not here is the model's own."""

    sums: Float[Tensor, "codebook code dim"] | None = None
    """Of online codebooks: for each code the decayed sum of its frames; a code is ``sums / sizes``. None: none."""

    sizes: Float[Tensor, "codebook code"] | None = None
    """Of online codebooks: for each code the decayed number of its frames."""


@dataclass(frozen=True)
class Pretrained:
    """A model and the heads of its pretraining that its file holds and that can be used."""

    model: SSLModel
    """As `audio_ssl.interop.read.read_model` gives it."""

    codes: tuple[CodeHead, ...] = ()
    """One for each codebook, in order; empty: the file has none."""

    contrastive: ContrastiveHead | None = None
    """Of wav2vec 2.0."""

    regression: LinearWeights | None = None
    """From the last hidden state to the average of a teacher's layers (data2vec)."""

    reconstruction: LinearWeights | None = None
    """From the last hidden state to bins of the constant-Q transform (MERT)."""

    average: FollowedAverage | None = None
    """What the ``ema`` and ``online_clustering`` teachers start from (data2vec, DinoSR, SpidR)."""

    left_out: tuple[str, ...] = ()
    """What else the file holds and cannot be used, each with the reason, as sentences for the log."""
