"""A probe's result as a folder of transformers: a recogniser or a classifier that its pipelines run.

Where transformers has the model (HuBERT, wav2vec 2.0, WavLM, data2vec) and the head is linear on one layer, the folder
is one of theirs, ``HubertForCTC`` and the like, and nothing of ours is needed to run it: the standardisation of frames,
which a head expects, is folded into its weights in float64. Any other model or head is computed by this package
(`audio_ssl.probing.auto_heads`), and the log says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from audio_ssl.artifacts.result import MODEL_FOLDER, QUESTION_FILE, SUITE_FILE, is_result
from audio_ssl.artifacts.run import MODEL_TYPE
from audio_ssl.base.config import PartOf, kind_of, unstructure
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import locked_folder
from audio_ssl.features.source import ModelSource
from audio_ssl.interop.ctc_tokenizer import TokenizerFiles, tokenizer_files
from audio_ssl.interop.export import origin_of
from audio_ssl.interop.head_card import head_card
from audio_ssl.interop.heads import LinearWeights
from audio_ssl.interop.transformers import PREPROCESSOR_FILE
from audio_ssl.interop.write import preparation_of_waveforms, write_folder
from audio_ssl.interop.write_heads import (
    Labeller,
    Transcriber,
    labeller_settings,
    transcriber_settings,
    why_not_native,
    write_head,
)
from audio_ssl.metrics.registry import metric_label
from audio_ssl.models.model import SSLModel, config_data
from audio_ssl.models.weights import stored
from audio_ssl.probing.head import CTCHeadBase
from audio_ssl.probing.layer_heads import LayerHead
from audio_ssl.probing.task import Output
from audio_ssl.probing.trained import TrainedProbe, open_result

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadConfig:
    """What makes a trained head: ``probe`` in ``config.json``."""

    head: Annotated[object, PartOf("probing/heads")]
    """Kind and sizes."""

    output: Output
    """What it answers."""

    layers: tuple[int, ...]
    """Layers that it sees; several are mixed."""

    classes: int
    """Classes or symbols, without the blank."""

    whitened: bool = False
    """Whether its statistics are matrices."""


def holds_result(path: Path) -> bool:
    """Return whether a folder is that of a probe, finished or not, or of a suite."""
    return is_result(path) or any((path / name).is_file() for name in (QUESTION_FILE, SUITE_FILE))


def export_result(
    result: Path, out: Path, *, to: str = "transformers", model: str | None = None, weights: str = "float32"
) -> None:
    """Write the model of a probe's result with its head.

    Parameters
    ----------
    result
        A finished result.
    out
        The folder; an existing one must contain no other model.
    to
        A layout of `LAYOUTS`.
    model
        Where the probed model is now; None: where the probe found it.
    weights
        How they are stored: ``float32``, ``float16`` or ``bfloat16``.

    Raises
    ------
    UserError
        If the layout or the head is none that goes, the result cannot be opened, or the folder is in use or contains
        another model.
    """
    if to not in LAYOUTS:
        raise UserError(
            f"`--to` must be {' or '.join(LAYOUTS)} for the result of a probe, but is {to}",
            remedy=f"give --to {next(iter(LAYOUTS))}, or export the model alone: the probed one, or "
            f"{result / MODEL_FOLDER} where it was fine-tuned",
        )
    opened = open_result(result, model)
    deployable = _deployable(opened)
    if opened.decoder is not None and opened.scores.decoder not in (None, "greedy"):
        search = opened.scores.decoder
        logger.warning("%s: the search (%s) stays here; the folder decodes greedily", result, search)
    with locked_folder(out):
        LAYOUTS[to](deployable, out, weights)


@dataclass(frozen=True)
class DeployableHead:
    """A result whose head goes into another layout."""

    opened: TrainedProbe
    model: SSLModel
    symbols: tuple[str, ...]
    """Of a CTC head, as `audio_ssl.interop.ctc_tokenizer` takes them; empty for other heads."""

    @property
    def facts(self) -> dict[str, str]:
        """Names and values for a card."""
        opened, scores = self.opened, self.opened.scores
        main = scores.main
        layers = ", ".join(map(str, opened.layers)) if len(opened.layers) == 1 else f"{len(opened.layers)}, mixed"
        known = {
            "exported from": opened.folder.resolve().name,
            "probe": scores.probe,
            "task": scores.task,
            "model": Path(opened.source.name).name if Path(opened.source.name).exists() else opened.source.name,
            "layer of the head": layers,
            f"{metric_label(scores.main_metric)} on the test clips": f"{main.value:.2f} {main.unit}",
            "fine-tuned": "yes" if opened.question.finetune is not None else "no: the model is as it was",
            "licence of the model's weights": origin_of(opened.source.name).licence or "",
        }
        return {name: value for name, value in known.items() if value}


def _deployable(opened: TrainedProbe) -> DeployableHead:
    """Return what can be exported; UserError for a result without a model, or whose head is none of these kinds."""
    source, task, head = opened.source, opened.task, opened.system.head
    where = str(opened.folder)
    if not isinstance(source, ModelSource):
        raise UserError(
            f"the features `{source.name}` have no model that could be exported",
            where=where,
            remedy="export the result of a model; `audio-ssl predict` uses this one as it is",
        )
    if source.point != "output":
        raise UserError(f"the head sees the point `{source.point}` of a layer, which no folder can say", where=where)
    if isinstance(head, CTCHeadBase) and task.spelled:
        return DeployableHead(opened, source.model, tuple(task.spelled))
    if task.output in ("class", "tags"):
        return DeployableHead(opened, source.model, ())
    kind = kind_of(opened.question.head)
    raise UserError(
        f"the head `{kind}` of the task {task.kind} is neither a recogniser by CTC nor a classifier of clips",
        where=where,
        remedy="`audio-ssl predict` uses it as it is; "
        + ("a probe with 'head={kind: ctc}' can be exported" if task.output == "tokens" else "export the model alone"),
    )


def _to_transformers(found: DeployableHead, out: Path, weights: str) -> None:
    """Write a folder that the pipelines of transformers open."""
    opened = found.opened
    why = _why_not_native(found)
    if why is None:
        head = _linear_head(found)
        write_head(found.model, opened.layers[0], head, out, facts=found.facts, weights=weights)
    else:
        logger.info("%s: written for transformers with audio_ssl imported, because %s", opened.folder, why)
        _write_ours(found, out, weights)


LAYOUTS: dict[str, Callable[[DeployableHead, Path, str], None]] = {"transformers": _to_transformers}
"""Layout of ``--to`` to what writes a result in it."""


def _why_not_native(found: DeployableHead) -> str | None:
    opened = found.opened
    if len(opened.layers) > 1:
        return "the head mixes layers"
    if opened.system.head.linear_layers() is None:
        return f"the head `{kind_of(opened.question.head)}` is more than linear"
    return why_not_native(found.model.config, opened.layers[0], found.model.num_layers)


def _linear_head(found: DeployableHead) -> Transcriber | Labeller:
    linear = found.opened.system.head.linear_layers()
    assert linear is not None
    output = folded(found.opened.system, linear)
    task = found.opened.task
    if found.symbols:
        return Transcriber(output, found.symbols)
    return Labeller(output, tuple(task.classes), task.output == "tags")


def folded(system: LayerHead, layers: tuple[nn.Linear, ...]) -> LinearWeights:
    """Return one linear layer for frames as they are, in the place of standardisation or whitening and several layers.

    Parameters
    ----------
    system
        Of one layer.
    layers
        That its head is, in order.
    """
    mean, scale = system.mean[0, 0].double(), system.scale[0].double()
    weight, bias = (scale if len(scale) > 1 else torch.diag(scale[0])).mT, torch.zeros(len(mean), dtype=torch.float64)
    bias = bias - weight @ mean
    for layer in layers:
        weight, bias = layer.weight.double() @ weight, layer.weight.double() @ bias + layer.bias.double()
    return LinearWeights(weight.float(), bias.float())


def _write_ours(found: DeployableHead, out: Path, weights: str) -> None:
    """Write a folder whose model is `AudioSSLForCTC` or `AudioSSLForAudioClassification`."""
    opened, task = found.opened, found.opened.task
    system, classes = opened.system, task.classes
    shape = HeadConfig(opened.question.head, task.output, opened.layers, len(classes), system.scale.shape[1] > 1)
    files: dict[str, dict[str, Any]] = {PREPROCESSOR_FILE: preparation_of_waveforms(found.model, None)}
    if found.symbols:
        tokens: TokenizerFiles = tokenizer_files(found.symbols)
        name, settings = "AudioSSLForCTC", transcriber_settings(tokens)
        files |= tokens.files
        files[PREPROCESSOR_FILE]["processor_class"] = "Wav2Vec2Processor"
    else:
        name = "AudioSSLForAudioClassification"
        settings = labeller_settings(tuple(classes), task.output == "tags")
    config = {**config_data(found.model.config), "architectures": [name], "probe": unstructure(shape), **settings}
    named = {f"{MODEL_TYPE}.{key}": value for key, value in found.model.state_dict().items()}
    named |= {f"probe.{key}": value for key, value in system.state_dict().items()}
    card = head_card(found.model, None, name, out.resolve().name, found.facts, None)
    write_folder(out, config, stored(named, weights), files, card, weights)
