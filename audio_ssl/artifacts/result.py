"""The result of a probe: its scores (`ProbeScores`) and where it comes from (`ResultOrigin`).

``RESULT/scores.json`` and the tables beside it (`audio_ssl.artifacts.result_tables`) are of the probed model;
``RESULT/baselines/NAME/`` has the same files of each baseline. ``RESULT/provenance.json`` and ``RESULT/probe.yaml`` are
of all of them. Scores are written last: a folder with ``scores.json`` is finished.

Keys that later releases added have defaults, so a result of an earlier one is read by the same classes. A score or an
end of an interval that is not defined is null in the file and NaN here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import UserError

SCORES_FILE, ORIGIN_FILE, QUESTION_FILE = "scores.json", "provenance.json", "probe.yaml"
BASELINES = "baselines"
"""Folder of the baselines, one below it for each."""

MODEL_FOLDER, ADAPTER_FOLDER = "model", "adapter"
"""Folders of a fine-tuned model: the whole of it, or adapters alone, which need the model that they adapt."""

SUITE_FILE = "suite.json"
UNTRAINED = "untrained"
"""Name of the baseline that is the probed model before its pretraining."""

UNDEFINED = float("nan")

REMEDY = "run the probe again"


@dataclass(frozen=True)
class MetricResult:
    """The test score of one metric, with its 95 % confidence interval."""

    value: float
    low: float = UNDEFINED
    high: float = UNDEFINED
    higher_is_better: bool = True
    unit: str = "%"
    """``%``, ``points`` or ``cost``."""


@dataclass(frozen=True)
class TrainedRun:
    """One head that was trained: a layer (None: the learned mix of all), a learning rate and a seed."""

    layer: int | None
    lr: float
    seed: int
    whiten: bool = False
    valid: float = UNDEFINED
    """Best main score on the validation clips."""

    steps: int = 0
    """Updates until training stopped."""

    diverged: bool = False
    """Whether its loss became NaN or infinite."""

    fold: int | None = absent(None)
    """Number of the fold; None without cross-validation."""


@dataclass(frozen=True)
class SelectedRun:
    """What the validation clips selected; a task without training has a layer alone."""

    layer: int | None
    """None: the learned mix of all layers."""

    lr: float | None = None
    seed: int | None = None
    whiten: bool | None = absent(None)


@dataclass(frozen=True)
class FinalHead:
    """The head that a probe in folds trains on all its clips, for new files; no score is of it."""

    layer: int | None
    """None: the learned mix of all layers."""

    lr: float
    seed: int
    whiten: bool = False
    steps: int = 0
    """Updates: the mean of the folds' best."""

    clips: int = 0
    """Clips it was trained on."""

    seconds: float = UNDEFINED
    """Time that its training took."""


@dataclass(frozen=True)
class LayerPoint:
    """The main score of one layer on the validation clips."""

    layer: int
    metric: str = ""
    valid: float = UNDEFINED
    """Mean over seeds at the layer's best learning rate; of cross-validation, mean over folds."""

    low: float = UNDEFINED
    """Of the lowest seed or fold."""

    high: float = UNDEFINED
    """Of the highest seed or fold."""

    lr: float | None = None


@dataclass(frozen=True)
class HistoryPoint:
    """One evaluation of the selected head during its training."""

    step: int
    train_loss: float
    valid: float
    falls: int = absent(0)
    """How often the learning rate had fallen before this evaluation (schedules plateau and newbob)."""


@dataclass(frozen=True)
class SplitSize:
    """Size of a split that was used."""

    clips: int
    seconds: float = 0.0
    speakers: int = 0


@dataclass(frozen=True)
class ExcludedClip:
    """A clip that was left out, and why."""

    id: str
    split: str = ""
    """train, valid, test, or fold."""

    reason: str = ""


@dataclass(frozen=True)
class ProbeCost:
    """What a probe of one system took."""

    fit_seconds: float = UNDEFINED
    predict_seconds: float = UNDEFINED
    extract_seconds: float = UNDEFINED
    parameters: int = 0
    """Trained parameters, those of a fine-tuned model included."""

    model_parameters: int = absent(0)
    """Those of them that are the model's, or its adapters'; 0: it was frozen."""

    model_size: int = absent(0)
    """All weights of the model, without adapters; 0: a baseline, or not recorded."""

    peak_memory_bytes: int = 0
    audio_seconds: float = UNDEFINED


@dataclass(frozen=True)
class AttributeLayer:
    """How well one layer tells an attribute of unseen speakers; the control is the mean over shuffled speakers."""

    layer: int
    value: float = UNDEFINED
    """Mean recall over the recorded values, in percent."""

    low: float = UNDEFINED
    high: float = UNDEFINED
    control: float = UNDEFINED
    control_low: float = UNDEFINED
    """Of the lowest shuffle."""

    control_high: float = UNDEFINED
    """Of the highest shuffle."""

    compression: float = UNDEFINED
    """Length of a uniform code over that of an online code."""

    control_compression: float = UNDEFINED
    selectivity: float = UNDEFINED
    """`value` minus `control`."""


@dataclass(frozen=True)
class AttributeGroup:
    """Speakers and clips with one value of the attribute."""

    group: str
    speakers: int
    clips: int


@dataclass(frozen=True)
class AttributeScores:
    """What the layers of one system tell of an attribute; ``representation`` of a result of the task `attribute`."""

    attribute: str
    metric: str
    layers: tuple[AttributeLayer, ...]
    chosen: tuple[int, ...] = ()
    """The layer that each fold's training speakers selected."""

    value: float = UNDEFINED
    """Of the selected layers."""

    low: float = UNDEFINED
    high: float = UNDEFINED
    speakers: int | None = None
    clips: int | None = None
    groups: tuple[AttributeGroup, ...] = ()
    folds: int | None = None
    shuffles: int | None = None
    majority_accuracy: float = UNDEFINED
    """Accuracy of the most frequent value, in percent."""

    majority_uar: float = UNDEFINED
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class ProbeScores:
    """``scores.json``: everything that a probe found about one system."""

    probe: str = ""
    """Name of the probe."""

    task: str
    """asr, key, classification, speaker_verification, attribute …"""

    model: str = ""
    """As it was named on the command line."""

    model_fingerprint: str | None = None
    main_metric: str
    signature: str = ""
    """How the score was computed: normalisation of texts, versions of libraries."""

    tokenizer: str | None = None
    """Tokeniser of BLEU."""

    metrics: dict[str, MetricResult]
    interval_unit: str | None = None
    """What was resampled for the intervals: speakers, tracks, clips …"""

    interval_column: str | None = None
    """Column whose clips were resampled together; None: speakers, else tracks, else clips."""

    folds: int = 0
    """Number of cross-validation folds; 0: the manifest's splits."""

    runs: tuple[TrainedRun, ...] = ()
    chosen: SelectedRun | tuple[SelectedRun, ...] | None = None
    """One selection for each fold where there are folds; `selected` has them alike."""

    chosen_layer: int | None = None
    layers: tuple[LayerPoint, ...] = ()
    layer_weights: tuple[float, ...] | None = None
    """Weights of the learned mix."""

    history: tuple[HistoryPoint, ...] = ()
    decoder: str | None = None
    """Signature of the search."""

    counts: dict[str, SplitSize] = field(default_factory=dict)
    """train, valid, test; of folds the largest training and validation, and all test clips."""

    excluded: tuple[ExcludedClip, ...] = ()
    warnings: tuple[str, ...] = ()
    """What to know of the score, in sentences."""

    final: FinalHead | None = absent(None)
    """Head that predicts new files; None without folds, whose only head does."""

    representation: AttributeScores | None = absent(None)
    cost: ProbeCost | None = None
    seconds_taken: float = UNDEFINED
    more: JsonObject = field(default_factory=dict)

    @property
    def main(self) -> MetricResult:
        """Return the score of the main metric."""
        return self.metrics[self.main_metric]

    @property
    def layer_of_head(self) -> int | None:
        """Return the layer that ``head.safetensors`` sees; None: a learned mix of all."""
        return self.chosen_layer if self.final is None else self.final.layer

    @property
    def selected(self) -> tuple[SelectedRun, ...]:
        """Return what was selected: one, one for each fold, or nothing where an earlier release did not say."""
        if self.chosen is None:
            return ()
        return self.chosen if isinstance(self.chosen, tuple) else (self.chosen,)


@dataclass(frozen=True)
class ManifestOrigin:
    """Path and hash of the manifest."""

    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class ResultOrigin:
    """``provenance.json`` of a result."""

    command: str | tuple[str, ...] = ()
    model: str = ""
    model_path: str | None = absent(None)
    """Absolute path of a model that is a file or folder, with its settings; None in results of earlier releases."""

    model_fingerprint: str | None = None
    manifest: ManifestOrigin | None = None
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteRecord:
    """``suite.json``: what became of the probes of a suite."""

    suite: str
    model: str
    results: tuple[str, ...] = ()
    """Probes with a result, each in a folder of its name."""

    missing: dict[str, str] = field(default_factory=dict)
    """Probe to the name of its missing manifest."""

    failed: dict[str, str] = field(default_factory=dict)
    """Probe to the reason."""


def is_result(folder: Path) -> bool:
    """Return whether a folder holds a finished result."""
    return (folder / SCORES_FILE).is_file()


def read_scores(folder: Path, remedy: str = REMEDY) -> ProbeScores:
    """Read the scores of one system: of a result folder, or of a folder below its ``baselines``.

    Raises
    ------
    UserError
        If the file is missing, cannot be read, a value has the wrong type, or the main metric has no score.
    """
    path = folder / SCORES_FILE
    scores = read_record(ProbeScores, path, remedy)
    if scores.main_metric not in scores.metrics:
        found = ", ".join(scores.metrics) or "none"
        raise UserError(
            f"`metrics` must have the main metric `{scores.main_metric}`; found: {found}",
            where=str(path),
            remedy=remedy,
        )
    return scores


def write_scores(folder: Path, scores: ProbeScores) -> None:
    """Write ``scores.json``, the last file of a result."""
    write_record(folder / SCORES_FILE, scores)


def baselines_of(folder: Path) -> list[Path]:
    """Return the folders of a result's finished baselines, in the order of their names."""
    below = folder / BASELINES
    return sorted(one for one in below.iterdir() if is_result(one)) if below.is_dir() else []


def read_origin(folder: Path, remedy: str = REMEDY) -> ResultOrigin:
    """Read the provenance of a result; an empty one where there is no such file.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = folder / ORIGIN_FILE
    return read_record(ResultOrigin, path, remedy) if path.is_file() else ResultOrigin()


def write_origin(folder: Path, origin: ResultOrigin) -> None:
    """Write ``provenance.json``."""
    write_record(folder / ORIGIN_FILE, origin)
