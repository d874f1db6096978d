"""A finished result, opened to predict: the model, the mix of layers, the head, its classes and its search.

All of it lies in the result folder but the model, which is where the probe found it. A model that was fine-tuned lies
in the folder, too (``RESULT/model``), or what was added to the probed one (``RESULT/adapter``). `source_of_result` is
the one way to the model of a result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from audio_ssl.artifacts.result import (
    ADAPTER_FOLDER,
    BASELINES,
    MODEL_FOLDER,
    QUESTION_FILE,
    REMEDY,
    SCORES_FILE,
    SUITE_FILE,
    ProbeScores,
    ResultOrigin,
    is_result,
    read_origin,
    read_scores,
)
from audio_ssl.artifacts.result_tables import PREDICTIONS_FILE, read_classes
from audio_ssl.artifacts.run import METRICS_FILE
from audio_ssl.base.checksums import faults
from audio_ssl.base.config import build, load
from audio_ssl.base.errors import UserError, shown
from audio_ssl.features.baselines import is_baseline
from audio_ssl.features.encoder_file import is_program
from audio_ssl.features.pooling import HEAD_FILE, read_head
from audio_ssl.features.source import UNTRAINED_PREFIX, FeatureSource, ModelSource, open_source
from audio_ssl.interop.read import read_model
from audio_ssl.interop.settings import path_of
from audio_ssl.models.adapters import merge_adapter
from audio_ssl.models.weights import load_state
from audio_ssl.probing.head import Decoder
from audio_ssl.probing.layer_heads import LayerHead, LayerStatistics
from audio_ssl.probing.probe import Probe
from audio_ssl.probing.quick import ONCE_A_CLIP
from audio_ssl.probing.sweep import make_head
from audio_ssl.probing.task import FrameTask, Task


@dataclass(frozen=True)
class TrainedProbe:
    """A head with everything that its predictions need."""

    folder: Path
    question: Probe
    scores: ProbeScores
    task: Task
    """With the classes of training."""

    source: FeatureSource
    """The probed model, or the one that was fine-tuned."""

    layers: tuple[int, ...]
    """Layers that the head sees: one, or all of a learned mix."""

    system: LayerHead
    """The mix of `layers`, standardised or whitened, and the head on it; in evaluation."""

    decoder: Decoder | None
    """Search for the tokens; None: the head's own answers."""

    pooled: bool
    """Whether the head sees the mean frame of a clip alone."""

    live: bool
    """Whether the probe has computed features for every batch, of whole clips: the model is trained, or streamed."""

    @property
    def rounded(self) -> bool:
        """Return whether the probe has kept frames in 16 bits; predictions then round them, too."""
        return not self.pooled and not self.live

    def at(self, device: torch.device, precision: str = "float32") -> TrainedProbe:
        """Return it on a device; the model computes in a precision, the head in float32."""
        return dataclasses.replace(self, source=self.source.at(device, precision), system=self.system.to(device))


def open_result(folder: Path, model: str | None = None) -> TrainedProbe:
    """Open a result folder, or the folder of one of its baselines, to predict.

    Parameters
    ----------
    folder
        A finished result of ``audio-ssl probe``.
    model
        Where the probed model is now; None: where the probe found it.

    Raises
    ------
    UserError
        If it is no finished result, is damaged, has no head for new files, or its model cannot be found or has changed.
    """
    _refuse_other_folders(folder)
    for name, wrong in faults(folder, [SCORES_FILE, HEAD_FILE] if (folder / HEAD_FILE).exists() else []).items():
        raise UserError(f"{name} {wrong}", where=str(folder), remedy=REMEDY)
    scores = read_scores(folder)
    question = load(Probe, _root(folder) / QUESTION_FILE)
    task = cast(Task, build(question.task))
    if reason := task.why_no_prediction():
        raise UserError(reason, where=str(folder))
    if not (folder / HEAD_FILE).is_file():
        what = f"{HEAD_FILE} is missing"
        if scores.folds:
            what = "the result has the heads of its folds alone, none of which was trained on all clips"
        raise UserError(
            what, where=str(folder), remedy="run the probe again, into another folder: it trains a head for new files"
        )
    task.restore(read_classes(folder / PREDICTIONS_FILE), folder)
    source = source_of_result(folder, model)
    if isinstance(task, FrameTask):
        task.start(source.grid)
    system, layers = _system(folder, question, scores, task, source)
    pooled = not system.head.needs_frames and task.output in ONCE_A_CLIP
    live = question.data.features == "stream" or (question.finetune is not None and isinstance(source, ModelSource))
    decoder = None if question.decode is None else cast(Decoder, build(question.decode))
    if decoder is not None:
        decoder.restore(task, folder)
    return TrainedProbe(folder, question, scores, task, source, layers, system, decoder, pooled, live)


def source_of_result(folder: Path, model: str | None = None) -> FeatureSource:
    """Return the model that the head of a result was trained on, as a source of features.

    Parameters
    ----------
    folder
        A finished result, or the folder of one of its baselines.
    model
        Where the probed model is now; None: where the probe found it.

    Raises
    ------
    UserError
        If the model is gone, or has other weights than the probed one.
    """
    scores = read_scores(folder)
    if (folder / MODEL_FOLDER).is_dir():
        if model is not None:
            raise UserError(
                f"the result has its own fine-tuned model, {folder / MODEL_FOLDER}", remedy="leave `--model` out"
            )
        return ModelSource(scores.model, read_model(folder / MODEL_FOLDER))
    probed = _probed(folder, scores, model)
    if (folder / ADAPTER_FOLDER).is_dir():
        return ModelSource(scores.model, merge_adapter(cast(ModelSource, probed).model, folder / ADAPTER_FOLDER))
    return probed


def hash_result(folder: Path) -> str:
    """Return the first 16 hex digits of a hash of the head of a result and of its question."""
    found = hashlib.sha256()
    for path in (folder / HEAD_FILE, _root(folder) / QUESTION_FILE):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def absolute(name: str) -> str | None:
    """Return the name of a model whose path is absolute; None of one that is no path.

    Examples
    --------
    >>> absolute("logmel"), absolute("/?normalize=true"), absolute("untrained:/")
    (None, '/?normalize=true', 'untrained:/')
    """
    prefix = UNTRAINED_PREFIX if name.startswith(UNTRAINED_PREFIX) else ""
    plain, mark, query = name.removeprefix(prefix), "", ""
    if not path_of(plain).exists():
        plain, mark, query = plain.partition("?")
    path = path_of(plain)
    return f"{prefix}{path.resolve()}{mark}{query}" if not is_baseline(plain) and path.exists() else None


def _probed(folder: Path, scores: ProbeScores, model: str | None) -> FeatureSource:
    """Open the probed model; refuse another one."""
    known = scores.model_fingerprint
    if model is not None:
        # The place of the model is that of its untrained twin, too.
        twin = scores.model.startswith(UNTRAINED_PREFIX) and not model.startswith(UNTRAINED_PREFIX)
        source = open_source(f"{UNTRAINED_PREFIX}{model}" if twin else model)
        if source.fingerprint != known:
            raise UserError(
                f"`--model` must be the probed model, whose fingerprint is {known}, but {shown(model)} has "
                f"{source.fingerprint}",
                where=str(folder),
                remedy="give the model that was probed, or probe this one",
            )
        return source
    name, path = scores.model, _recorded_path(folder, scores)
    there = path if path is not None and absolute(path) else name
    found = name if there == name or path is None else f"{name} ({path})"
    if is_program(there):
        raise UserError(
            f"the model of the result is a program, {shown(name)}, which no result makes run",
            where=str(folder),
            remedy=f"--model {there} if you trust it",
        )
    try:
        source = open_source(there)
    except UserError as error:
        if absolute(there) is not None:
            raise
        was = name if path in (None, name) else f"{name} ({path})"
        raise UserError(
            f"the model of the result is gone: it was {was}, fingerprint {known}",
            where=str(folder),
            remedy="--model PATH gives its new place",
        ) from error
    if source.fingerprint != known:
        raise UserError(
            f"the model of the result has changed: {found} has the fingerprint {source.fingerprint}, the probed one "
            f"had {known}",
            where=str(folder),
            remedy="--model PATH gives the place of the probed one; or run the probe again, into another folder",
        )
    return source


def _recorded_path(folder: Path, scores: ProbeScores) -> str | None:
    """Return the absolute path of the probed model, where the result has it; an untrained twin has its model's."""
    origin: ResultOrigin = read_origin(_root(folder))
    if origin.model_path is None or is_baseline(scores.model):
        return None
    return f"{UNTRAINED_PREFIX}{origin.model_path}" if scores.model != origin.model else origin.model_path


def _root(folder: Path) -> Path:
    """Return the folder of the result that a system's folder belongs to."""
    return folder.parent.parent if folder.parent.name == BASELINES else folder


def _refuse_other_folders(folder: Path) -> None:
    """Raise UserError for what is no finished result, and say what it is."""
    if is_result(folder) and (_root(folder) / QUESTION_FILE).is_file():
        return
    where = str(folder)
    if not folder.is_dir():
        raise UserError("`result` must be a folder that `audio-ssl probe` has written, but there is none", where=where)
    if (folder / QUESTION_FILE).is_file():
        command = read_origin(folder).command
        remedy = command if isinstance(command, str) else shlex.join(command)
        raise UserError(
            "the probe has not finished", where=where, remedy=f"go on with it: {remedy}" if remedy else REMEDY
        )
    if (folder / SUITE_FILE).is_file():
        names = sorted(one.name for one in folder.iterdir() if is_result(one))
        raise UserError(
            f"`result` must be one result of this suite: {', '.join(names) or 'none has finished'}",
            where=where,
            remedy=f"name {folder / names[0]}" if names else REMEDY,
        )
    if (folder / METRICS_FILE).is_file():
        raise UserError(
            "`result` must be the result of a probe, but this is a run, whose model has no head that answers",
            where=where,
            remedy=f"train one: audio-ssl probe PROBE {shlex.quote(where)} data.manifest=M.jsonl --out RESULT",
        )
    raise UserError(
        f"`result` must be a folder that `audio-ssl probe` has written, but this one has no {SCORES_FILE}",
        where=where,
        remedy="`audio-ssl probe PROBE MODEL data.manifest=M.jsonl --out RESULT` makes one",
    )


def _system(
    folder: Path, question: Probe, scores: ProbeScores, task: Task, source: FeatureSource
) -> tuple[LayerHead, tuple[int, ...]]:
    """Return the head with the layers that it sees, and their numbers."""
    path = folder / HEAD_FILE
    state = read_head(path)
    if not {"mean", "scale"} <= state.keys() or len(state["mean"]) != source.num_layers:
        raise UserError("it has no statistics that fit the layers of the model", where=str(path), remedy=REMEDY)
    layer = scores.layer_of_head
    if layer is None and "mix" not in state and source.num_layers > 1:
        raise UserError("the probe has neither chosen a layer nor learned a mix", where=str(path), remedy=REMEDY)
    if layer is not None and not 0 <= layer < source.num_layers:
        raise UserError(
            f"`chosen_layer` must be one of the model's {source.num_layers} layers, but is {layer}",
            where=str(folder / SCORES_FILE),
            remedy=REMEDY,
        )
    layers = tuple(range(source.num_layers)) if layer is None else (layer,)
    state = {**state, "mean": state["mean"][list(layers)], "scale": state["scale"][list(layers)]}
    statistics = LayerStatistics(state["mean"], state["scale"])
    system = LayerHead(make_head(question, source, task), statistics, None)
    try:
        load_state(system, state, path)
    except UserError as error:
        raise UserError(f"the head does not fit its probe: {error.what}", where=str(path), remedy=REMEDY) from error
    return system.eval().requires_grad_(False), layers
