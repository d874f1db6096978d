"""The attribute probe as people run it: sung voices, log-mel features, every file of the result."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from audio_ssl.artifacts.records import to_json
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.fairness.representation import is_representation, read_representation
from audio_ssl.probing.run import run_probe

PITCHES = {"F": 420.0, "M": 210.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    time = np.arange(4000) / 16000
    clips = []
    for voice in range(12):
        gender = "FM"[voice % 2]
        for number in range(4):
            pitch = PITCHES[gender] * (1 + 0.02 * voice + 0.01 * number)
            path = folder / f"{voice}-{number}.wav"
            sound = np.sin(2 * np.pi * pitch * time) + 0.05 * rng.normal(size=4000)
            sf.write(path, 0.3 * sound, 16000)
            split = ("train", "test")[number % 2]
            one = Clip(path.stem, str(path), 0.0, 0.25, 16000, speaker=f"v{voice}", gender=gender, split=split)
            clips.append(one)
    clips += [
        replace(clips[0], id="unknown", gender="unk"),
        replace(clips[0], id="unsaid", gender="do_not_wish_to_say"),
        replace(clips[1], id="nobody", speaker=None),
        replace(clips[2], id="gone", path=str(folder / "gone.wav")),
        replace(clips[3], id="rare", speaker="rare", gender="X"),
    ]
    write_manifest(folder / "m.jsonl", clips)
    return folder / "m.jsonl"


def ask(manifest, out, *overrides):
    return run_probe("gender_layers", "logmel", out, [f"data.manifest={manifest}", *overrides])


def test_a_result_has_what_other_results_have(manifest, tmp_path):
    out = ask(manifest, tmp_path / "result")
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["task"], scores["main_metric"], scores["folds"]) == ("attribute", "uar", 5)
    assert scores["metrics"]["uar"]["value"] > 95
    assert scores["metrics"]["uar"]["low"] is not None
    assert scores["counts"]["test"]["clips"] == 48
    assert scores["counts"]["test"]["speakers"] == 12
    assert {one["id"]: one["reason"].partition(":")[0] for one in scores["excluded"]} | {"gone": ""} == {
        "unknown": "no `gender`",
        "unsaid": "no `gender`",
        "nobody": "no speaker",
        "gone": "",
        "rare": "the gender `X` has 1 speaker, fewer than 3",
    }
    assert [one["layer"] for one in scores["layers"]] == [0]
    assert scores["warnings"] == []
    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    right = sum(row["reference"] == row["hypothesis"] for row in rows)
    assert scores["metrics"]["accuracy"]["value"] == pytest.approx(100 * right / 48)
    assert {"id", "speaker", "gender", "split"} <= set(rows[0])
    assert is_representation(out)
    row = to_json(read_representation(out))
    assert row["layers"][0]["value"] == scores["metrics"]["uar"]["value"]
    assert row["layers"][0]["compression"] > row["layers"][0]["control_compression"]
    assert row["excluded"] == 5
    # A finished result is not made again.
    before = (out / "scores.json").stat().st_mtime_ns
    ask(manifest, out)
    assert (out / "scores.json").stat().st_mtime_ns == before


def test_the_same_seed_gives_the_same_result_and_another_does_not(manifest, tmp_path):
    def found(name, seed):
        out = ask(manifest, tmp_path / name, f"task.seed={seed}", "task.shuffles=2", "task.orders=1")
        return json.loads((out / "scores.json").read_text())["representation"]["layers"]

    assert found("a", 0) == found("b", 0) != found("c", 1)


def test_one_split_is_taken_by_where(manifest, tmp_path):
    out = ask(manifest, tmp_path / "r", "data.where={split: test}", "task.shuffles=1", "task.orders=1")
    assert json.loads((out / "scores.json").read_text())["counts"]["test"]["clips"] == 24


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.folds=5", "takes the clips of all splits, in folds of its own"),
        ("data.test_split=dev", r"\$.data.test_split: .*data.where"),
        ("data.max_train_clips=9", r"\$.data.max_train_clips"),
        ("layers=[mix]", "a mix of layers is learned"),
        ("task.column=accent", "no usable clip for the task attribute: 53 left out: no `accent`"),
        ("data.where={split: test, gender: F}", "two values of `gender` with at least 3 speakers"),
        ("head={kind: mlp}", "the task attribute trains nothing"),
    ],
)
def test_what_cannot_be_asked_is_refused(manifest, tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        ask(manifest, tmp_path / "r", override)
