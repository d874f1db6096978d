"""The `probe` stage: the model, then each baseline, with the same heads on the same clips.

A result folder has ``probe.yaml`` (the exact question), ``predictions.parquet``, ``scores.json``, ``head.safetensors``,
``provenance.json`` and ``baselines/NAME/`` with the same files. What is finished is not done again.

A suite is several probes of one model, each with the name of its manifest.

Manifests lie in one folder, as ``NAME.jsonl``. A probe whose manifest is missing is named before the work begins and
skipped; one that fails is recorded in ``suite.json``, and the others are still run. Features that several probes need
are extracted once.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

import torch

from audio_ssl.artifacts.records import write_record
from audio_ssl.artifacts.result import (
    BASELINES,
    QUESTION_FILE,
    SUITE_FILE,
    UNTRAINED,
    ExcludedClip,
    ManifestOrigin,
    ResultOrigin,
    SuiteRecord,
    read_origin,
    write_origin,
)
from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.base import catalog
from audio_ssl.base.config import build, dump_yaml, kind_of, load, read_yaml, structure
from audio_ssl.base.disk import DiskError
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.files import locked_folder, remove_folder, write_text
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, hash_manifest, read_manifest
from audio_ssl.features.baselines import is_baseline
from audio_ssl.features.encoder_file import is_encoder_file
from audio_ssl.features.settings import Settings
from audio_ssl.features.source import UNTRAINED_PREFIX, FeatureSource, ModelSource, open_source
from audio_ssl.probing.clips import ClipsBySplit, check_cluster, choose_clips, drop_unanswerable
from audio_ssl.probing.features import BankCache
from audio_ssl.probing.final import train_final
from audio_ssl.probing.head import Decoder
from audio_ssl.probing.live import check_tuning
from audio_ssl.probing.probe import Probe, read_probe
from audio_ssl.probing.result import ProbeContext, is_finished, write_result
from audio_ssl.probing.score import measured_by
from audio_ssl.probing.sweep import make_head, runs_of, sweep
from audio_ssl.probing.task import LayerTask, Task
from audio_ssl.probing.trained import absolute
from audio_ssl.probing.untrained import answer_untrained

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _RunningProbe:
    """A probe with its clips, the same for every system."""

    question: Probe
    context: ProbeContext
    parts: list[ClipsBySplit]
    ledger: ErrorLedger
    cache: BankCache


def run_probe(probe: str, model: str, out: Path, overrides: Sequence[str] = (), cache: BankCache | None = None) -> Path:
    """Run one probe on a model and its baselines.

    Parameters
    ----------
    probe
        Name or path of a probe.
    model
        What `open_source` takes.
    out
        The result folder. A stopped probe is continued; another probe in the same folder is refused.
    overrides
        ``key=value`` settings.
    cache
        Features of an earlier probe in this process; those of this one are added.

    Raises
    ------
    UserError
        For a wrong setting, a model that cannot be opened, or clips that cannot be used.
    """
    name, question = read_probe(probe, overrides)
    task: Task = build(question.task)
    source = open_source(model)
    clips = read_manifest(Path(str(question.data.manifest)))
    parts, excluded = choose_clips(clips, question.data, task)
    parts, untaught = _learn(task, parts)
    check_cluster(parts, question.data, task)
    decoder = _check(question, task, source)
    systems = [(out, source)] + [
        (out / BASELINES / baseline, open_source(_baseline(baseline, model)))
        for baseline in question.baselines
        if not is_baseline(model)
        and not model.startswith(UNTRAINED_PREFIX)
        # A file's network is not known here, so it has no twin with fresh weights.
        and not (baseline == UNTRAINED and is_encoder_file(model))
    ]
    context = ProbeContext(name, task, [*excluded, *untaught], decoder, question.data.cluster)
    _log_left_out(name, context.excluded)
    device = Settings().torch_device()
    with locked_folder(out):
        _claim(out, question, source)
        ledger = ErrorLedger(out / ERRORS_FILE)
        running = _RunningProbe(question, context, parts, ledger, BankCache() if cache is None else cache)
        for folder, one in systems:
            if is_finished(folder, full=True):
                # Left behind by a process that was killed after it had written its result.
                remove_folder(folder / "features")
            else:
                _run_system(folder, running, one.at(device, "float32"))
    return out


def _log_left_out(name: str, excluded: Sequence[ExcludedClip]) -> None:
    """Log how many clips are left out, and why; their ids are in the result."""
    if excluded:
        reasons = Counter(one.reason for one in excluded).most_common(_REASONS_LOGGED)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        logger.info("%s: left out %d clips: %s", name, len(excluded), counts)


_REASONS_LOGGED = 3


def _learn(task: Task, parts: list[ClipsBySplit]) -> tuple[list[ClipsBySplit], list[ExcludedClip]]:
    """Let the task take its classes from the training clips (of folds: from all, so that every fold has the same)."""
    if isinstance(task, LayerTask):
        kept_clips, left = task.usable(parts[0]["test"])
        return [{**parts[0], "test": kept_clips}], [ExcludedClip(clip.id, "fold", reason) for clip, reason in left]
    if task.output == "nothing":
        return parts, []
    folds = len(parts) > 1
    task.learn([clip for part in parts[0].values() for clip in part] if folds else parts[0]["train"])
    kept = [drop_unanswerable(part, task) for part in parts]
    return [part for part, _ in kept], [one for _, excluded in kept for one in excluded]


def _check(question: Probe, task: Task, source: FeatureSource) -> str | None:
    """Check that the parts of a question fit each other and the model; return the signature of its search."""
    if task.output == "nothing":
        for name in ("head", "decode", "finetune"):
            if getattr(question, name) is not None:
                raise UserError(f"the task {task.kind} trains nothing", where=f"$.{name}", remedy=f"remove {name}")
        return None
    if question.head is None:
        raise UserError(f"the task {task.kind} needs a head", where="$.head")
    # Optional packages of the metrics are checked before any work is done.
    measured_by(task)
    head = make_head(question, source, task)
    if task.output not in head.outputs:
        raise UserError(f"the head `{kind_of(question.head)}` does not fit the task {task.kind}", where="$.head.kind")
    runs_of(question, source, head)
    if question.finetune is not None:
        check_tuning(source, question.finetune)
    if question.decode is None:
        return None
    decoder = cast(Decoder, build(question.decode))
    reason = decoder.why_not(head)
    if reason is not None:
        raise UserError(reason, where="$.decode")
    return decoder.signature


def _baseline(name: str, model: str) -> str:
    return f"{UNTRAINED_PREFIX}{model}" if name == UNTRAINED else name


def _claim(out: Path, question: Probe, source: FeatureSource) -> None:
    """Write the question and where it comes from; refuse a folder that holds another one."""
    text = dump_yaml(question)
    path = out / QUESTION_FILE
    origin = ResultOrigin(
        command=("audio-ssl", *sys.argv[1:]),
        model=source.name,
        model_path=absolute(source.name),
        model_fingerprint=source.fingerprint,
        manifest=ManifestOrigin(question.data.manifest, hash_manifest(Path(str(question.data.manifest)))),
        seed=question.seeds[0],
        versions={"audio_ssl": version("audio-ssl"), "torch": torch.__version__},
    )
    if path.exists():
        old = read_origin(out, remedy="choose another --out, or delete the folder")
        same_model = (old.model_fingerprint, old.manifest) == (origin.model_fingerprint, origin.manifest)
        # A question of an earlier release lacks keys that are new.
        if dump_yaml(load(Probe, path)) != text or not same_model:
            raise UserError(
                "the folder holds the result of another question, model or manifest",
                where=str(out),
                remedy="choose another --out",
            )
        return
    write_origin(out, origin)
    write_text(path, text)


def _run_system(folder: Path, running: _RunningProbe, source: FeatureSource) -> None:
    """Run the probe on one system."""
    started, question, task = time.monotonic(), running.question, running.context.task

    def refuse(clip: Clip, reason: str) -> None:
        running.ledger.record(clip.path, reason)

    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "features"
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if task.output == "nothing":
        answer_untrained(folder, running.context, question, source, running.parts[0], store, running.cache, refuse)
        remove_folder(store)
        return
    if question.finetune is not None and not isinstance(source, ModelSource):
        # A baseline without weights stays as it is; its heads are trained alike.
        question = _frozen(question)
    outcomes = []
    for number, parts in enumerate(running.parts, 1):
        if len(running.parts) > 1:
            logger.info("fold %d of %d", number, len(running.parts))
        outcomes.append(sweep(question, task, source, parts, store, running.cache, refuse))
    final = None
    # Nobody predicts with what a model stands beside.
    if len(outcomes) > 1 and question.data.final_head and folder.parent.name != BASELINES:
        logger.info("a final head on all clips, for `audio-ssl predict`")
        final = train_final(question, task, source, outcomes, store, running.cache, refuse)
    write_result(folder, running.context, source, outcomes, time.monotonic() - started, final)
    # Kept until here, so that a probe that is stopped need not extract again.
    remove_folder(store)


def _frozen(question: Probe) -> Probe:
    return replace(question, finetune=None, data=replace(question.data, features="auto"))


PREFIX = "suite_"
_MANIFESTS = "manifests"


@dataclass(frozen=True)
class SuiteProbe:
    """One probe of a suite."""

    manifest: str
    """Name of its manifest."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of the probe, such as the names of the corpus's splits."""


@dataclass(frozen=True)
class Suite:
    """The probes of a suite."""

    probes: dict[str, SuiteProbe]
    """By probe."""


def is_suite(name: str) -> bool:
    """Return whether a name or path means a suite."""
    return Path(name).stem.startswith(PREFIX)


def run_suite(name: str, model: str, out: Path, overrides: Sequence[str] = ()) -> SuiteRecord:
    """Run all probes of a suite; those with a finished result are skipped.

    Parameters
    ----------
    name
        Name or path of a suite.
    model
        What `open_source` takes.
    out
        Folder of the results, one below it for each probe, and ``suite.json``.
    overrides
        ``manifests=FOLDER``, which must be given; ``PROBE.key=value`` for one probe; ``key=value`` for all.

    Raises
    ------
    UserError
        For a wrong suite, no folder of manifests, or a suite with no probe that can be run.
    """
    suite = structure(Suite, read_yaml(catalog.find("probes/suites", name)))
    for probe in suite.probes:
        catalog.find("probes", probe)
    folder, common, own = _sort(overrides, suite)
    stems = {probe: entry.manifest for probe, entry in suite.probes.items()}
    missing = {probe: stem for probe, stem in stems.items() if not (folder / f"{stem}.jsonl").is_file()}
    if len(missing) == len(suite.probes):
        wanted = ", ".join(sorted({f"{stem}.jsonl" for stem in missing.values()}))
        raise UserError(
            f"none of the suite's manifests is here: {wanted}",
            where=str(folder),
            remedy=f"`audio-ssl manifest CORPUS --root ROOT --out {shlex.quote(str(folder))}/NAME.jsonl` makes one",
        )
    for probe, stem in missing.items():
        logger.warning("skipping %s: %s does not exist", probe, folder / f"{stem}.jsonl")
    cache = BankCache()
    record = SuiteRecord(Path(name).stem, model, missing=missing)
    with locked_folder(out, deep=False):
        for probe in (probe for probe in suite.probes if probe not in missing):
            manifest = f"data.manifest={folder / stems[probe]}.jsonl"
            settings = [manifest, *suite.probes[probe].settings, *common, *own.get(probe, ())]
            try:
                run_probe(probe, model, out / probe, settings, cache)
                record = replace(record, results=(*record.results, probe))
            except DiskError:
                # The next probe would meet the same disk.
                raise
            except (UserError, AudioError, torch.OutOfMemoryError) as error:
                logger.error("%s: %s", probe, error)
                record = replace(record, failed={**record.failed, probe: str(error)})
            write_record(out / SUITE_FILE, record)
    return record


def _sort(overrides: Sequence[str], suite: Suite) -> tuple[Path, list[str], dict[str, list[str]]]:
    """Return the folder of manifests, the settings for all probes, and those for single ones."""
    folder: Path | None = None
    common: list[str] = []
    own: dict[str, list[str]] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        first, _, rest = key.partition(".")
        if key == _MANIFESTS:
            folder = Path(value).expanduser()
        elif first in suite.probes and rest:
            own.setdefault(first, []).append(f"{rest}={value}")
        else:
            common.append(override)
    if folder is None:
        raise UserError("must be given", where=f"$.{_MANIFESTS}", remedy="add manifests=FOLDER, which holds NAME.jsonl")
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder))
    return folder, common, own
