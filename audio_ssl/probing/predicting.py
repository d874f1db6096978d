"""The `predict` stage: what the head of a result says of a folder, a file or a manifest, resumable.

Predictions are written as they come and put in order at the end (`audio_ssl.features.clip_rows`); other formats are
made of ``predictions.jsonl`` then, so one can be added later without predicting again.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from audio_ssl.artifacts.clip_predictions import PREDICTED_FILE, ClipPrediction, iterate_clip_predictions
from audio_ssl.artifacts.prediction_record import (
    PredictionRecord,
    read_prediction_record,
    write_prediction_record,
)
from audio_ssl.artifacts.records import to_json
from audio_ssl.base.catalog import parts
from audio_ssl.base.checksums import require_unchanged, write_seals
from audio_ssl.base.config import apply_overrides
from audio_ssl.base.errors import UserError, shown
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip, iterate_manifest
from audio_ssl.features.clip_rows import FinishedClips, RowJournal, publish_rows
from audio_ssl.features.clips import ClipToExtract, folded, own_name, walk
from audio_ssl.features.job import ProcessShare
from audio_ssl.features.pieces import pieces
from audio_ssl.features.settings import Settings, read_settings
from audio_ssl.features.sharing import collect_ledgers, open_engine, share_out, told
from audio_ssl.features.source import ModelSource
from audio_ssl.metrics.registry import metrics_of_groups
from audio_ssl.models.fast.prepared import check_precision
from audio_ssl.probing.answering import answer_pieces
from audio_ssl.probing.format import FOLDER, traits_of, why_not_format, write_own, write_shared
from audio_ssl.probing.head import CTCHeadBase
from audio_ssl.probing.task import Task
from audio_ssl.probing.trained import TrainedProbe, hash_result, open_result

logger = logging.getLogger(__name__)

ALWAYS = ("parquet",)
"""Formats that are written beside ``predictions.jsonl`` whatever is asked for."""

USUAL = {"words": ("ctm",), "beats": ("beats",), "notes": ("mid",), "segments": ("lab",)}
"""Formats that are written where none is named, by the field of a prediction that they are of."""

_NAME = "name"
"""Key of a prediction's row with the name of its own files, without suffix."""

_ATTRIBUTES = ("gender", "age", "language")
"""Columns by which people are usually compared."""

_LABELLED = 500
"""Labelled clips of a manifest that are looked at."""


@dataclass(frozen=True)
class PredictionJob:
    """What is predicted."""

    result: str
    audio: str
    """Folder, file or manifest."""
    out: str
    model: str | None = None
    """Where the probed model is now; None: where the probe found it."""
    settings: Settings = field(default_factory=Settings)

    def run_share(self, part: ProcessShare, device: torch.device) -> None:
        """Do one process's share; a stopped process continues when this is called again."""
        probe = open_result(Path(self.result), self.model).at(device, self.settings.precision)
        out, settings = Path(self.out), self.settings
        done, journal, ledger = FinishedClips(out, PREDICTED_FILE), RowJournal(out, part.name), part.ledger(out)
        with Progress("predict", initial=len(done), silent=part.rank > 0) as progress:

            def refuse(clip: Clip, reason: str) -> None:
                ledger.record(clip.path, reason)
                progress.advance()

            def todo() -> Iterator[ClipToExtract]:
                # Every process walks all folders; only the first records those that it cannot read.
                of_walk = ledger if part.rank == 0 else part.ledger(out, keep="notes")
                return (i for i in walk(Path(self.audio), of_walk) if part.takes(i.number) and i.id not in done)

            started, seconds = time.monotonic(), 0.0
            found = pieces(todo(), probe.source, refuse, probe.layers, settings)
            for item, clip, output in answer_pieces(found, probe, refuse, settings):
                row = to_json(probe.task.clip_prediction(clip, output))
                journal.add([(item.number, {**row, _NAME: item.name})])
                seconds += clip.seconds
                speed = seconds / (time.monotonic() - started)
                progress.advance(1, hours=seconds / 3600, times_real_time=speed)

    def command(self) -> str:
        """Return the command that does this job, for people."""
        words = ["audio-ssl", "predict", self.result, self.audio, "--out", self.out]
        words += [] if self.model is None else ["--model", self.model]
        own, plain = asdict(self.settings), asdict(Settings())
        return shlex.join([*words, *(f"{name}={value}" for name, value in own.items() if value != plain[name])])

    def record(self, probe: TrainedProbe) -> PredictionRecord:
        """Return what the predictions depend on; the same in every process."""
        return PredictionRecord(
            result=self.result,
            result_sha256=hash_result(probe.folder),
            probe=probe.scores.probe,
            task=probe.task.kind,
            model=self.model or probe.scores.model,
            model_fingerprint=probe.source.fingerprint,
            decoder=None if probe.decoder is None else probe.decoder.signature,
            precision=self.settings.precision,
            chunk_seconds=self.settings.chunk_seconds,
            context_seconds=self.settings.context_seconds,
            audio=self.audio,
            command=self.command(),
            versions={"audio_ssl": version("audio-ssl"), "torch": torch.__version__},
        )


@dataclass(frozen=True)
class Written:
    """What a command has written."""

    files: tuple[Path, ...]
    """Files and folders of the predictions, the main one first."""

    clips: int
    references: bool
    """Whether the clips have right answers, so that they can be scored as they are."""

    audited: bool
    """Whether an audit compares groups of people by such answers: texts and classes."""

    attribute: str | None
    """A column that makes groups of people, where the clips have one."""


def predict(
    result: Path,
    audio: Path,
    out: Path,
    *,
    model: str | None = None,
    formats: Sequence[str] = (),
    workers: int = 0,
    engine: str = "local",
    overrides: Sequence[str] = (),
) -> Written | None:
    """Write what the head of a result says of every usable clip.

    Parameters
    ----------
    result
        Folder of a finished result of ``audio-ssl probe``.
    audio
        Folder, audio file or manifest (``.jsonl``); no label is needed.
    out
        Folder of ``predictions.jsonl`` and the other formats, ``prediction.json`` and ``errors.jsonl``. A stopped
        prediction is continued.
    model
        Where the probed model is now; None: where the probe found it.
    formats
        Names of formats; none: those that are usual for the task. ``predictions.jsonl`` and ``predictions.parquet`` are
        always written.
    workers
        Threads that decode; 0: a few.
    engine
        ``local``: this process, or those of torchrun or srun; ``ray``: workers on a Ray cluster.
    overrides
        ``key=value`` of `Settings`.

    Returns
    -------
    What was written; None in processes that do not finish the work.

    Raises
    ------
    UserError
        If the result cannot predict, options do not fit, the folder holds other predictions, or no file can be used.
    """
    chosen = open_engine(engine)
    probe = open_result(result, model)
    wanted = choose_formats(probe, formats)
    job = PredictionJob(str(result), str(audio), str(out), model, settings_for(probe, overrides, workers))
    if not audio.exists():
        raise UserError("no such file or folder", where=str(audio))
    check_labels(audio, probe.task)
    if isinstance(probe.source, ModelSource) and (not chosen.starts_processes or job.settings.device != "auto"):
        check_precision(job.settings.precision, job.settings.torch_device())
    written: list[Written] = []

    def finish() -> None:
        ledger = collect_ledgers(out)
        clips = publish_rows(out, PREDICTED_FILE)
        logger.info(told(clips, ledger, audio))
        written.append(_write_formats(out, wanted, clips, probe.task))

    def begin() -> None:
        _claim(out, job.record(probe))
        require_unchanged(out / PREDICTED_FILE)

    share_out(job, chosen, out, begin, finish)
    return written[0] if written else None


def settings_for(probe: TrainedProbe, overrides: Sequence[str] = (), workers: int = 0) -> Settings:
    """Return settings by which the model hears clips as it did in the probe.

    A model that was fine-tuned, or whose frames were computed for every batch, has heard clips up to ``max_seconds`` as
    a whole.
    """
    whole = probe.question.data.max_seconds if probe.live else 0.0
    settings = read_settings(overrides, workers)
    given = apply_overrides({}, overrides)
    if "chunk_seconds" in given:
        return settings
    return dataclasses.replace(settings, chunk_seconds=max(settings.chunk_seconds, whole))


def choose_formats(probe: TrainedProbe, names: Sequence[str]) -> list[str]:
    """Return the formats to write: those that are named, or the usual ones of the task.

    Raises
    ------
    UserError
        If there is no such format, it cannot hold what the task answers, or its package is missing.
    """
    fields = probe.task.answered(isinstance(probe.system.head, CTCHeadBase))
    usual = next((USUAL[one] for one in USUAL if one in fields), ())
    for name in names or usual:
        if name not in parts(FOLDER):
            raise UserError(f"`--format` must be one of {', '.join(parts(FOLDER))}, but is {shown(name)}")
        if reason := why_not_format(name, fields):
            raise UserError(f"`--format` {reason}")
    return list(dict.fromkeys([*ALWAYS, *(names or usual)]))


def check_labels(audio: Path, task: Task) -> None:
    """Raise UserError if a manifest has labels, and the result could give none of them; no label is needed."""
    if audio.suffix != ".jsonl":
        return
    labelled = (clip for clip in iterate_manifest(audio) if task.why_not(clip) is None)
    seen = list(itertools.islice(labelled, _LABELLED))
    if seen and not any(task.knows(clip) for clip in seen):
        known = ", ".join(task.classes[:_SHOWN]) + (" …" if len(task.classes) > _SHOWN else "")
        raise UserError(
            f"the labels are of another alphabet than the result's: it knows {known}, and none of that is in the first "
            f"{len(seen)} labelled clips, such as {shown(task.reference(seen[0]))} of `{seen[0].id}`",
            where=str(audio),
            remedy="give clips of what the probe was trained on; or the folder of audio, which needs no labels",
        )


_SHOWN = 12


def _claim(out: Path, record: PredictionRecord) -> None:
    """Record what predicts, or check that the folder holds a part of the same predictions."""
    begun = read_prediction_record(out)
    if begun is None:
        write_prediction_record(out, record)
        return
    there, here = to_json(begun), to_json(record)
    compared = ("result_sha256", "model_fingerprint", "decoder", "precision", "chunk_seconds", "context_seconds")
    changed = [key for key in compared if there.get(key) != here.get(key)]
    if changed:
        what = "; ".join(f"`{key}` is {shown(there.get(key))} there, {shown(here.get(key))} here" for key in changed)
        raise UserError(f"the folder holds other predictions: {what}", where=str(out), remedy="choose another --out")


def _write_formats(out: Path, formats: Sequence[str], clips: int, task: Task) -> Written:
    """Make the other formats of ``predictions.jsonl``."""
    path = out / PREDICTED_FILE
    files = [path]
    for name in formats:
        traits = traits_of(name)
        if traits.shared:
            files.append(path.with_suffix(traits.suffix))
            write_shared(name, files[-1], iterate_clip_predictions(path))
            write_seals(out, [files[-1].name])
        else:
            files.append(out / name)
            _write_own_files(name, traits.suffix, files[-1], iterate_clip_predictions(path), clips)
    some = list(itertools.islice(iterate_clip_predictions(path), _LABELLED))
    references = any(one.reference is not None for one in some)
    known = (name for name in _ATTRIBUTES if any(one.manifest.get(name) is not None for one in some))
    return Written(tuple(files), clips, references, bool(metrics_of_groups(task.kind)), next(known, None))


def _write_own_files(name: str, suffix: str, folder: Path, predictions: Iterator[ClipPrediction], clips: int) -> None:
    """Write a file for each clip, in the tree of the audio; a file that is there was made of the same prediction."""
    taken: set[int] = set()
    with Progress(name, total=clips) as progress:
        for one in predictions:
            place = str(one.more.get(_NAME, one.id))
            if hash(folded(place)) in taken:
                # When a folder has grown, the name of a new clip may be that of an earlier one.
                place = own_name(one.id)
            taken.add(hash(folded(place)))
            path = folder / f"{place}{suffix}"
            if not path.exists():
                write_own(name, path, one)
            progress.advance()
