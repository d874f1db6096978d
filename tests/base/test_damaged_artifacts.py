"""Whatever bytes an artifact of ours holds, its reader gives a result or one line, and at once."""

import json
import time
import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from audio_ssl.artifacts.prediction_record import read_prediction_record
from audio_ssl.artifacts.run import read_run_record
from audio_ssl.base.config import apply_overrides, read_yaml
from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus import is_made
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import read_manifest
from audio_ssl.data.store import ArrayStore
from audio_ssl.fairness.representation import read_representation
from audio_ssl.features.clip_rows import FinishedClips, publish_rows
from audio_ssl.features.index import Done, publish
from audio_ssl.features.pooling import read_learned
from audio_ssl.interop.export import origin_of
from audio_ssl.interop.read import read_model
from audio_ssl.models.model import read_model_config
from audio_ssl.pretrain.checkpoint import newest_whole
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.report.inputs import read_input
from audio_ssl.report.summary import read_report
from audio_ssl.targets.codec.rvq_vae import Codec
from audio_ssl.targets.health import read_labels

ROW = {"id": "a", "path": "a.wav", "start": 0, "seconds": 1.5, "sample_rate": 16000, "text": "hello"}
SCORES = {"task": "asr", "main_metric": "wer", "metrics": {"wer": {"value": 1.0}}}
# A whole one of each, which is then damaged; a name, and what reads it.
REPORT = {
    "title": "t",
    "runs": [],
    "results": [],
    "comparison": {"systems": ["a"], "models": 1, "of_results": [], "questions": [], "ranks": [], "superb": []},
    "fairness": [],
    "answer": {"pretraining": ["a"]},
}
ARTIFACTS = {
    "manifest": ("m.jsonl", ROW, lambda folder: read_manifest(folder / "m.jsonl")),
    "recipe": (
        "recipe.yaml",
        {"kind": "masked_prediction", "steps": 3},
        lambda folder: load_recipe(str(folder / "recipe.yaml")),
    ),
    "yaml": ("a.yaml", {"a": [1, {"b": None}]}, lambda folder: read_yaml(folder / "a.yaml")),
    "model": ("config.json", {"format_version": 1, "frontend": {"kind": "mel"}}, read_model_config),
    "foreign model": ("config.json", {"model_type": "hubert", "hidden_size": 4}, read_model),
    "codec": ("config.json", {"format": "audio_ssl codec 1"}, Codec.from_pretrained),
    "store": ("meta.json", {"frame_rate": 50.0}, ArrayStore),
    "labels of a corpus": ("labels.json", {"wanted": 3, "clips": [{"id": "a"}]}, lambda folder: is_made(folder, 3)),
    "labels of teachers": (
        "labels.json",
        {"teachers": [{"fingerprint": "x"}]},
        lambda folder: read_labels(folder / "labels.json", ["x"]),
    ),
    "provenance": ("provenance.json", {"finished": True, "versions": {}}, read_run_record),
    "facts": ("provenance.json", {"finished": True, "versions": {}}, lambda folder: origin_of(str(folder))),
    "checkpoint": (
        "state/step_3/state.json",
        {"seed": 1, "epoch": 0, "position": 0, "step": 3},
        lambda folder: newest_whole(folder / "state"),
    ),
    "metrics": ("metrics.jsonl", {"step": 1, "loss": 2.5}, read_input),
    "scores": ("scores.json", SCORES, read_input),
    "representation": (
        "scores.json",
        {
            **SCORES,
            "task": "attribute",
            "representation": {"attribute": "a", "metric": "uar", "layers": [{"layer": 0}]},
        },
        read_representation,
    ),
    "learned": (
        "scores.json",
        {**SCORES, "model_fingerprint": "x", "chosen_layer": 0},
        lambda folder: read_learned(folder, "x", 1),
    ),
    "predictions": (
        "prediction.json",
        {
            **dict.fromkeys(
                ("result", "result_sha256", "probe", "task", "model", "model_fingerprint", "precision"), "x"
            ),
            "chunk_seconds": 30.0,
            "context_seconds": 2.0,
        },
        read_prediction_record,
    ),
    "rows of predictions": (
        "predictions.jsonl",
        {"id": "a", "path": "a.wav", "seconds": 1.5, "task": "key", "classes": [{"name": "C", "probability": 0.5}]},
        lambda folder: (FinishedClips(folder, "predictions.jsonl"), publish_rows(folder, "predictions.jsonl")),
    ),
    "report": ("page.json", REPORT, lambda folder: read_report(folder / "page.html")),
    "errors": (
        "errors.jsonl",
        {"path": "a.wav", "reason": "damaged"},
        lambda folder: list(ErrorLedger(folder / "errors.jsonl").rows()),
    ),
    "index": ("index.jsonl", {"id": "a", "file": "a.npy"}, lambda folder: (Done(folder), publish(folder))),
}
NUMBERS = [
    "NaN",
    "Infinity",
    "1e999",
    "9" * 400,
    "9" * 5000,
    "-1",
    "true",
    '"text"',
    "null",
    "[]",
    "{}",
    '"\\u0000"',
    '"\\ud800"',
]


def assert_one_line(said):
    assert len(said.splitlines()) == 1
    assert not [sign for sign in said if unicodedata.category(sign) == "Cc"]


def judged(name, data, tmp_path_factory):
    file, _, read = ARTIFACTS[name]
    folder = tmp_path_factory.mktemp("artifact")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(data)
    if name == "learned":
        save_file({"mean": torch.zeros(1, 2), "scale": torch.ones(1, 2)}, folder / "head.safetensors")
    started, said = time.monotonic(), "fine"
    try:
        read(folder)
    except UserError as error:
        said = str(error)
    assert_one_line(said)
    assert len(said) < 2500
    assert time.monotonic() - started < 20
    return said


def whole(name):
    file, value, _ = ARTIFACTS[name]
    return json.dumps(value).encode() + (b"\n" if file.endswith("l") else b"")


@pytest.mark.parametrize("name", ARTIFACTS)
@given(
    place=st.floats(0, 1),
    put=st.binary(max_size=3) | st.sampled_from([text.encode() for text in NUMBERS]),
    cut=st.integers(0, 30),
)
def test_bytes_in_the_place_of_others(tmp_path_factory, name, place, put, cut):
    data = whole(name)
    at = int(place * len(data))
    judged(name, data[:at] + put + data[at + cut :], tmp_path_factory)


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_said(tmp_path_factory, name, encoding):
    data = whole(name).decode().replace('"', '"é', 1).encode(encoding)
    said = judged(name, data, tmp_path_factory)
    # Logs and what is made again go on without.
    mended = name in (
        *("labels of a corpus", "labels of teachers", "errors"),
        *("index", "checkpoint", "rows of predictions"),
    )
    assert mended or "UTF-8" in said


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("value", NUMBERS)
def test_every_value_in_the_place_of_each(tmp_path_factory, name, value):
    text = whole(name).decode()
    for key in json.loads(text):
        rest = {one: item for one, item in json.loads(text).items() if one != key}
        more = json.dumps(rest)[1:]
        comma = ", " if rest else ""
        judged(name, f"{{{json.dumps(key)}: {value}{comma}{more}".encode(), tmp_path_factory)


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 4000, b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"a" * 1_000_000, b"7", b"[1]"],
    ids=range(8),
)
def test_whole_files_of_something_else(tmp_path_factory, name, data):
    judged(name, data, tmp_path_factory)


@given(st.text(max_size=40), st.text("[]{}\",:0123456789e.&*!<>?|%@`~- \n\t'", max_size=60))
def test_overrides(key, value):
    said = "fine"
    try:
        apply_overrides({"steps": 1, "teachers": [{"kind": "cqt"}]}, [f"{key}={value}", f"steps={value}"])
    except UserError as error:
        said = str(error)
    assert_one_line(said)
