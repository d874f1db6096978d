"""What stages wrote before artifacts were typed records opens today, and is written as it was.

The files of `artifacts/` were written by `record_artifacts.py` with the code of commit 75a0a2c (README.md). They are
never made anew, as it is their age that counts; an artifact of a kind that is not there yet may be added.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audio_ssl.artifacts.adapter import AdapterOrigin
from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.artifacts.composition import AuditReport
from audio_ssl.artifacts.draws import DrawRecord, MixRecord
from audio_ssl.artifacts.features import INDEX_FILE, Extraction, read_index
from audio_ssl.artifacts.graph_export import GraphExport
from audio_ssl.artifacts.prediction_record import PredictionRecord
from audio_ssl.artifacts.reconstructions import Reconstructions
from audio_ssl.artifacts.records import read_record, to_json
from audio_ssl.artifacts.result import ProbeScores, ResultOrigin
from audio_ssl.artifacts.run import METRICS_FILE, RunRecord, read_updates
from audio_ssl.artifacts.study import StudyOrigin, StudyResult
from audio_ssl.artifacts.unit_records import UnitQuality, UnitsRecord
from audio_ssl.commands.check import check
from audio_ssl.data.store import ArrayStore
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.fairness.representation import is_representation, read_representation
from audio_ssl.report.build import build_report, result_lines
from audio_ssl.report.inputs import read_inputs
from audio_ssl.targets.health import Labels
from audio_ssl.targets.sources import TargetStoreMeta

ARTIFACTS = Path(__file__).parent / "artifacts"
TRAINED = ("key", "emotion_in_folds", "asr", "tagging", "verification")
"""Results with heads."""
RESULTS = ARTIFACTS / "results"

RECORDS: list[tuple[str, type]] = [
    ("data/audit.json", AuditReport),
    ("data/*.balance.json", DrawRecord),
    ("study/sets/*/balance.json", DrawRecord),
    ("study/study.json", StudyResult),
    ("study/provenance.json", StudyOrigin),
    ("data/*.mix.json", MixRecord),
    *((f"results/{name}/**/scores.json", ProbeScores) for name in TRAINED),
    ("results/*/provenance.json", ResultOrigin),
    ("adapters/*/base.json", AdapterOrigin),
    ("runs/*/provenance.json", RunRecord),
    ("begun/provenance.json", RunRecord),
    ("runs/*/labels.json", Labels),
    ("runs/*/reconstructions/clips.json", Reconstructions),
    ("store/labels.json", Labels),
    ("store/meta.json", TargetStoreMeta),
    ("predictions/*.jsonl", ClipPrediction),
    ("predictions/prediction.json", PredictionRecord),
    ("features/*/extraction.json", Extraction),
    ("features/*/store/meta.json", Extraction),
    ("graph/graph.json", GraphExport),
    ("units/units.json", UnitsRecord),
    ("units/quality.json", UnitQuality),
]
"""Files, as patterns below `artifacts/`, and the record that each is read as: one line for each kind of artifact."""


@pytest.mark.parametrize(("pattern", "record"), RECORDS, ids=[pattern for pattern, _ in RECORDS])
def test_a_record_that_is_read_and_written_has_the_same_bytes(pattern: str, record: type) -> None:
    paths = sorted(ARTIFACTS.glob(pattern))
    assert paths
    for path in paths:
        as_it_was = json.loads(path.read_text())
        assert json.dumps(to_json(read_record(record, path))) == json.dumps(as_it_was), path


def test_what_a_run_began_from_is_read() -> None:
    found = read_record(RunRecord, ARTIFACTS / "begun" / "provenance.json")
    assert found.begun is not None
    assert found.begun.model == "runs/small"
    assert found.begun.fresh == ("decoder (the run has none)",)
    assert [(one.steps, one.done) for one in found.lengthened] == [(1, 1)]


@pytest.mark.parametrize("name", ["abx", "gender_layers"])
def test_a_result_without_training_is_written_with_the_keys_of_the_others(name: str) -> None:
    for path in (RESULTS / name).rglob("scores.json"):
        written = to_json(read_record(ProbeScores, path))
        # Earlier releases left this key out of such results, and had two keys at another place.
        assert written.pop("interval_column") is None
        assert written == json.loads(path.read_text())


MAIN = {
    "key": ("key_score", 0.0),
    "emotion_in_folds": ("accuracy", 45.0),
    "asr": ("wer", 100.0),
    "tagging": ("roc_auc", 56.25),
    "verification": ("eer", 68.75),
    "abx": ("abx_within", 47.3533950617284),
    "gender_layers": ("uar", 52.52873563218391),
}
"""Main metric of each result and its value."""


@pytest.mark.parametrize("name", MAIN)
def test_a_result_is_shown(name: str) -> None:
    metric, value = MAIN[name]
    header, line = result_lines(RESULTS / name)[:2]
    assert line.startswith(json.loads((RESULTS / name / "scores.json").read_text())["probe"])
    assert f"{value:.1f}\u00a0%" in line
    for baseline in (RESULTS / name / "baselines").glob("*/scores.json"):
        shown = json.loads(baseline.read_text())["metrics"][metric]["value"]
        assert f"{shown:.1f}\u00a0%" in line
    assert ("untrained twin" in header) == (name in ("key", "asr"))


def test_a_page_is_made_of_everything(tmp_path: Path) -> None:
    audits = sorted((ARTIFACTS / "fairness").glob("*.json"))
    inputs = [*(ARTIFACTS / "runs").iterdir(), *(RESULTS / name for name in MAIN), *audits]
    read = read_inputs(inputs)
    assert (len(read.runs), len(read.results), len(read.fairness)) == (2, 7, 4)
    page = build_report(inputs, tmp_path / "page.html")
    data = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    shown = [one["systems"][0]["metrics"][one["main_metric"]]["value"] for one in data["results"]]
    assert shown == [value for _, value in MAIN.values()]
    text = page.read_text(encoding="utf-8")
    assert "clip47" in text  # of the codec's reconstructions
    assert "\u202e" not in text


def test_predictions_are_audited() -> None:
    found = read_predictions(RESULTS / "asr", ("gender", "age"))
    assert found.task == "asr"
    assert found.statistics["wer"].sum(axis=0).tolist() == [36.0, 12.0, 0.0, 48.0]
    assert found.attributes["gender"].names == ["F", "M"]


def test_layers_that_tell_an_attribute_are_read() -> None:
    assert [name for name in MAIN if is_representation(RESULTS / name)] == ["gender_layers"]
    found = read_representation(RESULTS / "gender_layers")
    assert (found.attribute, found.speakers, found.value, found.excluded) == ("gender", 12, 52.52873563218391, 1)
    assert [one.value for one in found.layers] == [56.14942528735632, 52.52873563218391]
    assert list(found.baselines) == ["logmel"]


def test_everything_with_a_record_of_its_length_is_whole() -> None:
    found = {finding.path.relative_to(ARTIFACTS).as_posix(): finding for finding in check([ARTIFACTS])}
    for name in ("features/npy", "features/parquet", "features/safetensors", "store", "results/asr"):
        assert found[name].damaged == {}, name
    assert {finding.kind for finding in found.values()} >= {"features", "result", "run"}


def test_targets_are_read() -> None:
    store = ArrayStore(ARTIFACTS / "store")
    assert len(store) == 36


def test_extractions_name_their_files() -> None:
    for folder in (ARTIFACTS / "features").iterdir():
        rows = list(read_index(folder))
        assert [row.id for row in rows] == ["clip0", "clip1", "clip2"]
        assert all((folder / row.file).is_file() for row in rows)
        assert [row.line() for row in rows] == (folder / INDEX_FILE).read_text().splitlines()


def test_the_log_of_a_run_is_written_back_as_it_was() -> None:
    for folder in (ARTIFACTS / "runs").iterdir():
        rows = list(read_updates(folder))
        assert len(rows) > 1
        assert [row.line() for row in rows] == (folder / METRICS_FILE).read_text().splitlines()
