"""Rows of ``representation`` are read from a folder, and a damaged one is refused by name."""

import json
from dataclasses import fields

import pytest

from audio_ssl.artifacts.records import to_json
from audio_ssl.artifacts.result import AttributeLayer
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.audit import audit
from audio_ssl.fairness.representation import is_representation, read_representation

NUMBERS = [field.name for field in fields(AttributeLayer) if field.name != "layer"]
METRICS = {"main_metric": "uar", "metrics": {"uar": {"value": 90.0}}}


def layer(number, value):
    return {"layer": number, **dict.fromkeys(NUMBERS, 1.0), "value": value, "low": None, "high": None}


def scores(*layers, **more):
    return {
        "task": "attribute",
        **METRICS,
        "model": "runs/base",
        "model_fingerprint": "abc",
        "signature": "column gender",
        "excluded": [{"id": "x", "split": "fold", "reason": "no `gender`"}],
        "representation": {
            "attribute": "gender",
            "metric": "uar",
            "layers": list(layers),
            "speakers": 8,
            "clips": 40,
            "warning": "few",
            "value": 90.0,
            "chosen": [0, 1],
            **more,
        },
    }


def write(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_folder_gives_one_row_with_its_baselines(tmp_path):
    folder = write(tmp_path / "base", scores(layer(0, 80.0), layer(1, 90.0)))
    write(folder / "baselines" / "logmel", scores(layer(0, 70.0)))
    write(folder / "baselines" / "untrained", scores(layer(0, 75.0), layer(1, 74.0)))
    assert is_representation(folder)
    row = to_json(read_representation(folder))
    assert {key: row[key] for key in ("result", "model", "attribute", "metric", "speakers", "clips", "warning")} == {
        "result": "base",
        "model": "runs/base",
        "attribute": "gender",
        "metric": "uar",
        "speakers": 8,
        "clips": 40,
        "warning": "few",
    }
    assert [one["value"] for one in row["layers"]] == [80.0, 90.0]
    assert row["layers"][0]["low"] is None
    assert list(row["layers"][0]) == ["layer", *NUMBERS]
    assert {name: [one["value"] for one in layers] for name, layers in row["baselines"].items()} == {
        "logmel": [70.0],
        "untrained": [75.0, 74.0],
    }
    assert row["excluded"] == 1
    json.dumps(row, allow_nan=False)


def test_other_folders_are_none(tmp_path):
    assert not is_representation(tmp_path / "missing")
    assert not is_representation(write(tmp_path / "a", "{"))
    assert not is_representation(write(tmp_path / "b", "[1]"))
    assert not is_representation(write(tmp_path / "c", {"task": "asr", **METRICS}))


def test_an_audit_names_what_is_damaged(tmp_path):
    folder = write(tmp_path / "r", scores(layer(0, "high")))
    with pytest.raises(UserError, match=r"`representation\.layers\[0\]\.value` must be a number"):
        audit([folder])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON: .*give the folder of a finished probe"),
        ({"task": "asr", **METRICS}, "a result of the task `attribute` is needed, but the task is `asr`"),
        ([], "must be an object of keys and values"),
        ({"task": "attribute", **METRICS}, "`representation` has no layers"),
        (scores(layer(0, 1.0), attribute=3), "`representation.attribute` must be text, but is 3"),
        (scores(), "`representation` has no layers"),
        (scores("x"), r"`representation.layers\[0\]` must be a mapping"),
        (scores(layer(0, "<b>")), r"`representation.layers\[0\].value` must be a number, but is '<b>'"),
        (scores(layer(0, 1.0), layers=None), "`representation.layers` must be a list, but is None"),
    ],
)
def test_a_damaged_result_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_representation(write(tmp_path / "r", content))


def test_what_is_no_number_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"`\$.representation.layers\[0\].value`: the number is not finite"):
        read_representation(write(tmp_path / "r", json.dumps(scores(layer(0, float("nan"))))))


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no such file .*give the folder of a finished probe"):
        read_representation(tmp_path / "missing")
