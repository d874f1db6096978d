"""Settings of a probe: the task, the head, the clips, and how the head is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from audio_ssl.artifacts.result import UNTRAINED
from audio_ssl.base import catalog
from audio_ssl.base.config import PartOf, kind_of, load
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.base.versions import added
from audio_ssl.features.baselines import baselines, features_of, is_baseline
from audio_ssl.models.adapters import Lora, check_lora
from audio_ssl.models.depths import check_layer_decay
from audio_ssl.probing.anneal import ANNEALED, Annealing, check_anneal_factor, check_annealing


@dataclass(frozen=True)
class ProbeData:
    """Training, validation and test clips, and where their features are kept."""

    manifest: str | None = None
    """Manifest with all three splits; must be given."""

    train_split: str = "train"
    """Split that trains the head."""

    valid_split: str = "valid"
    """Split that selects the layer, the learning rate and when to stop."""

    test_split: str = "test"
    """Split that is scored, once."""

    folds: int = 0
    """Number of cross-validation folds; each is tested once, and the next one selects the head. 0: the splits."""

    fold_column: str = "speaker"
    """Clips with one value in this column stay in one fold (IEMOCAP: session)."""

    final_head: bool = added(True, earlier=False)
    """With folds, train one more head on all clips for `audio-ssl predict`, with the layer and the rate that the folds
    select. No score is of it, and baselines have none."""

    where: dict[str, str] = field(default_factory=dict)
    """Only clips whose columns have these values, for example {language: cs}."""

    cluster: str | None = None
    """Column whose clips are resampled together for intervals, such as the clips of one sentence. Left out: clips of
    one speaker, else of one track."""

    max_seconds: float = 30.0
    """Longer clips are left out, and counted."""

    max_train_clips: int | None = None
    """At most this many training clips, evenly spread."""

    balance: str | None = None
    """Column whose values are drawn equally often in training, with clips drawn again and again (s3prl's keyword
    spotting: label). Left out: every clip is drawn once an epoch."""

    features: str = "auto"
    """Where features are kept: memory, disk, stream (nowhere: computed for every batch), or auto: memory, else disk."""

    memory_gb: float = 8.0
    """Features above this size go to the disk with `auto`; above it those of earlier probes are forgotten."""


@dataclass(frozen=True)
class HeadTraining:
    """How the head is trained."""

    lrs: tuple[float, ...] = (1e-3,)
    """Learning rates. All are trained; the validation clips select one."""

    steps: int = 500
    """Largest number of updates."""

    batch_clips: int = 16
    """Clips in a batch; a batch is an update."""

    optimizer: str = "adamw"
    """adamw, adam, adadelta (the gender study's heads: learning rate 1, rho 0.95) or sgd."""

    schedule: str = "constant"
    """Schedule of the learning rate: constant, linear (falling to 0 at the last update), inverse_sqrt (fairseq's,
    after the warm-up), or plateau or newbob (falling where the main score on the validation clips does not improve)."""

    anneal: Annealing | None = None
    """How the rate falls with plateau and newbob; left out: by half, with the patience of torch and SpeechBrain."""

    warmup_steps: int = 0
    """Updates over which the learning rate rises to its value."""

    weight_decay: float = 0.0
    """Weight decay of the optimiser."""

    clip_norm: float | None = 5.0
    """Largest norm of a head's gradient."""

    eval_every: int = 50
    """Updates between scores on the validation clips."""

    patience: int = 5
    """Evaluations without improvement before a run stops."""

    average_last: int = 1
    """Average the weights of the last N evaluations instead of keeping the best one (translation: 10)."""


@dataclass(frozen=True)
class FineTuning:
    """Fine-tuning of the model, together with the head."""

    lr: float | None = None
    """Learning rate of the model (the gender study: 1e-4). Left out: 1e-5, with `lora` 5e-4, as adapters begin at zero
    and want a rate some ten times and more above that of the weights."""

    lora: Lora | None = None
    """Train low-rank adapters on the encoder's linear layers; the weights of the model itself stay as they are. Left
    out: all of the encoder is trained."""

    layer_decay: float = 1.0
    """Share of the learning rate that each layer has of that of the layer above it (ELECTRA, BEiT: 0.65 to 0.9)."""

    anneal_factor: float | None = None
    """Factor of the model's learning rate with plateau and newbob; left out: that of the head."""

    optimizer: str = "adam"
    """Optimiser of the model: adamw, adam, adadelta or sgd."""

    freeze_steps: int = 500
    """Updates in which the head alone is trained; no run stops before they are over (wav2vec 2.0: 10000)."""

    freeze_frontend: bool = True
    """The waveform frontend stays as it is (wav2vec 2.0, Baevski et al. 2020, section 4)."""

    batch_seconds: float = 60.0
    """Seconds of audio in one forward pass; a larger batch is split into several."""

    @property
    def rate(self) -> float:
        """Return the learning rate of the model, which depends on what is trained where it is left out."""
        if self.lr is not None:
            return self.lr
        return 1e-5 if self.lora is None else 5e-4


@dataclass(frozen=True)
class Probe:
    """One probe."""

    task: Annotated[object, PartOf("probing/tasks")]
    """The task."""

    head: Annotated[object, PartOf("probing/heads")] | None = None
    """The head, trained alike on the model and its baselines. Tasks without training have none."""

    data: ProbeData = field(default_factory=ProbeData)
    """The clips."""

    optim: HeadTraining = field(default_factory=HeadTraining)
    """How the head is trained."""

    layers: tuple[int | str, ...] | None = None
    """Which layers are tried: ``each`` (all, one by one), ``mix`` (a learned mix of all), ``last``, numbers. Left out:
    ``each`` for heads on a clip's mean frame, ``mix`` for heads on frames, ``last`` where the model is trained, too."""

    whiten: bool | Literal["both"] = False
    """Give every direction of a layer the same variance over the training clips, and not only every dimension: a linear
    head on frames then sees all that is in them. It needs far more frames than dimensions; for mean frames there is
    `both`: heads are trained either way, and the validation clips choose, of each system by itself."""

    seeds: tuple[int, ...] = (0,)
    """Seeds of the head's weights and of the order of the clips. Layer and rate are selected by the mean over seeds."""

    decode: Annotated[object, PartOf("probing/decode")] | None = None
    """Search for the tokens of the test clips; left out: greedy decoding."""

    finetune: FineTuning | None = None
    """Fine-tune the model; left out: it is frozen."""

    baselines: tuple[str, ...] = (UNTRAINED, "logmel")
    """What the model stands beside: untrained (its twin with fresh weights), logmel, cqt, librosa (hand-made features
    of music, or some of them: ``librosa:mfcc+chroma``)."""


KNOWN_LAYERS = ("each", "mix", "last")
PLACES = ("auto", "memory", "disk", "stream")
OPTIMIZERS = ("adamw", "adam", "adadelta", "sgd")
SCHEDULES = ("constant", "linear", "inverse_sqrt", *ANNEALED)


def read_probe(name: str, overrides: Sequence[str] = ()) -> tuple[str, Probe]:
    """Return a probe's name and content, checked.

    Raises
    ------
    UserError
        If there is no such probe, a key is wrong, or no manifest is given.
    """
    path, probe = load_probe(name, overrides)
    if probe.data.manifest is None:
        raise UserError("must be given", where="$.data.manifest", remedy="add data.manifest=M.jsonl")
    if not Path(probe.data.manifest).is_file():
        raise UserError(f"no such manifest: {probe.data.manifest}", where="$.data.manifest")
    return _title(path, probe), probe


def load_probe(name: str, overrides: Sequence[str] = ()) -> tuple[Path, Probe]:
    """Return a probe's file and content; its manifest may be missing still.

    Raises
    ------
    UserError
        If there is no such probe, or a key or a value is wrong.
    """
    path = catalog.find("probes", name)
    probe = load(Probe, path, overrides)
    if probe.finetune is not None:
        # A result has the number, so that it means the same where a later release has another default.
        probe = replace(probe, finetune=replace(probe.finetune, lr=probe.finetune.rate))
    _check_names(probe)
    _check_numbers(probe)
    return path, probe


def _check_names(probe: Probe) -> None:
    for index, baseline in enumerate(probe.baselines):
        where = f"$.baselines[{index}]"
        if is_baseline(baseline):
            features_of(baseline, where)
        elif baseline != UNTRAINED:
            raise unknown_name("baseline", baseline, (UNTRAINED, *baselines()), where)
    for index, layer in enumerate(probe.layers or ()):
        if isinstance(layer, str) and layer not in KNOWN_LAYERS:
            raise unknown_name("choice of layers", layer, (*KNOWN_LAYERS, "a number"), f"$.layers[{index}]")
    for value, known, where in (
        (probe.data.features, PLACES, "data.features"),
        (probe.optim.optimizer, OPTIMIZERS, "optim.optimizer"),
        (probe.optim.schedule, SCHEDULES, "optim.schedule"),
        (probe.finetune.optimizer if probe.finetune else "adam", OPTIMIZERS, "finetune.optimizer"),
    ):
        if value not in known:
            raise unknown_name(where.rpartition(".")[2], value, known, f"$.{where}")


def _check_numbers(probe: Probe) -> None:
    for key in ("steps", "batch_clips", "eval_every", "patience", "average_last"):
        if getattr(probe.optim, key) < 1:
            raise UserError(f"`{key}` must be at least 1", where=f"$.optim.{key}")
    if probe.data.max_train_clips is not None and probe.data.max_train_clips < 1:
        raise UserError("must be at least 1, or null for all", where="$.data.max_train_clips")
    above = {"data.max_seconds": probe.data.max_seconds, "optim.clip_norm": probe.optim.clip_norm or math.inf}
    if probe.finetune is not None:
        above |= {"finetune.lr": probe.finetune.rate, "finetune.batch_seconds": probe.finetune.batch_seconds}
        check_layer_decay(probe.finetune.layer_decay, "$.finetune.layer_decay")
        if probe.finetune.anneal_factor is not None:
            check_anneal_factor(probe.finetune.anneal_factor, "$.finetune.anneal_factor")
        if probe.finetune.lora is not None:
            check_lora(probe.finetune.lora, "$.finetune.lora")
        if probe.finetune.freeze_steps >= probe.optim.steps:
            raise UserError(
                f"the model would never learn: must be below `optim.steps` {probe.optim.steps}",
                where="$.finetune.freeze_steps",
            )
    if probe.optim.anneal is not None:
        check_annealing(probe.optim.anneal, "$.optim.anneal")
    annealing = {
        "optim.anneal": probe.optim.anneal,
        "finetune.anneal_factor": probe.finetune.anneal_factor if probe.finetune else None,
    }
    for where, setting in annealing.items():
        if setting is not None and probe.optim.schedule not in ANNEALED:
            raise UserError(
                f"has no effect with the schedule {probe.optim.schedule}",
                where=f"$.{where}",
                remedy="give optim.schedule=plateau or optim.schedule=newbob",
            )
    for where, value in above.items():
        if not value > 0:
            raise UserError(f"must be above 0, but is {value}", where=f"$.{where}")
    for index, lr in enumerate(probe.optim.lrs):
        if not (lr > 0 and math.isfinite(lr)):
            raise UserError(f"must be above 0, but is {lr}", where=f"$.optim.lrs[{index}]")
    given = (("optim.lrs", probe.optim.lrs), ("seeds", probe.seeds), ("layers", probe.layers or ("mix",)))
    for where, values in given:
        if not values or len(set(values)) != len(values):
            raise UserError("must name at least one, each once", where=f"$.{where}")
    if probe.data.folds < 0 or probe.data.folds in (1, 2):
        raise UserError(f"must be 0, or at least 3, but is {probe.data.folds}", where="$.data.folds")


def _title(path: Path, probe: Probe) -> str:
    """Return the name for tables: the file's, or the task's when a result's own probe.yaml is run again."""
    return path.stem if path.stem != "probe" else kind_of(probe.task)
