"""Damaged artifacts: never "finished", made whole by the same command, or said."""

import json
import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from audio_ssl.artifacts.run import is_marked_finished
from audio_ssl.base.checksums import SEALS_FILE, fault, faults, read_seals, require_whole, seal, write_seals
from audio_ssl.base.errors import UserError
from audio_ssl.data.store import ArrayStore, StoreWriter
from audio_ssl.features.extract import extract
from audio_ssl.pretrain.run import pretrain
from audio_ssl.probing.run import run_probe
from tests.faults.damage import cut, flip

FORMATS = ("safetensors", "npy", "parquet")


def rows(out):
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def values(out, format):
    """Return the features of each clip."""
    if format == "safetensors":
        store = ArrayStore(out / "store")
        return {name: store[name]["features"].numpy() for name in store}
    if format == "npy":
        return {row["id"]: np.load(out / row["file"]) for row in rows(out)}
    tables = [pq.read_table(path).to_pylist() for path in {out / row["file"] for row in rows(out)}]
    return {row["id"]: np.array(row["features"]).reshape(row["shape"]) for table in tables for row in table}


def same(out, other, format):
    ours, theirs = values(out, format), values(other, format)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_features_are_extracted_again(audio, tmp_path, caplog, format, damage):
    whole = extract(audio, "logmel", tmp_path / "whole", format=format)
    out = extract(audio, "logmel", tmp_path / "f", format=format)
    file = out / rows(out)[0]["file"]
    cut(file) if damage == "cut" else file.unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        extract(audio, "logmel", out, format=format)
    wrong = "bytes where" if damage == "cut" else "is missing"
    number = "1 clip is" if format == "npy" else "4 clips are"
    assert f"{file} {'has ' if damage == 'cut' else ''}" in caplog.text
    assert wrong in caplog.text
    assert f"{number} extracted again" in caplog.text
    assert "4 clips" in caplog.text
    same(out, whole, format)
    assert sorted(row["id"] for row in rows(out)) == [row["id"] for row in rows(whole)]
    assert not (out / ".index").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_features_of_before_there_were_records_are_checked_by_their_format(audio, tmp_path, format):
    whole = extract(audio, "logmel", tmp_path / "whole", format=format)
    out = extract(audio, "logmel", tmp_path / "f", format=format)
    old = [{name: value for name, value in row.items() if name not in ("bytes", "sha256")} for row in rows(out)]
    (out / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    (out / "files.json").unlink()
    before = (out / old[0]["file"]).stat()
    extract(audio, "logmel", out, format=format)
    assert (out / old[0]["file"]).stat() == before, "nothing was to be done"
    cut(out / old[0]["file"])
    extract(audio, "logmel", out, format=format)
    same(out, whole, format)


def test_an_extraction_that_lost_a_file_is_no_longer_whole_until_it_is_made_again(audio, tmp_path, monkeypatch):
    out = extract(audio, "logmel", tmp_path / "f", format="npy")
    cut(out / "0train.npy")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("audio_ssl.features.job.Job.run_share", stop)
    with pytest.raises(KeyboardInterrupt):
        extract(audio, "logmel", out, format="npy")
    assert not (out / "index.jsonl").exists()
    monkeypatch.undo()
    extract(audio, "logmel", out, format="npy")
    assert len(rows(out)) == 4
    assert all(fault(out / row["file"], seal(out / row["file"]), full=True) is None for row in rows(out))


@pytest.mark.parametrize("text", ["", '{"model": ', '{"model": "mfcc"}'])
def test_a_damaged_record_of_a_store_is_written_again(audio, tmp_path, text):
    out = extract(audio, "logmel", tmp_path / "f", format="safetensors")
    meta = out / "store" / "meta.json"
    whole = meta.read_text()
    meta.write_text(text)
    extract(audio, "logmel", out, format="safetensors")
    assert meta.read_text() == whole


def test_rows_tell_length_and_hash_of_their_file(audio, tmp_path):
    out = extract(audio, "logmel", tmp_path / "f")
    (file,) = {row["file"] for row in rows(out)}
    told = seal(out / file)
    assert {(row["bytes"], row["sha256"]) for row in rows(out)} == {(told.bytes, told.sha256)}
    assert read_seals(out / "store") == {file.removeprefix("store/"): told}


def filled(folder, shard_bytes=1):
    with StoreWriter(folder, {"kind": "x"}, shard_bytes=shard_bytes, resume=True) as writer:
        for name in "abc":
            if name not in writer.done:
                writer.add(name, {"0": torch.arange(1000.0) + ord(name)})
    return folder


@pytest.mark.parametrize("damage", ["cut", "gone", "cut without record"])
def test_a_damaged_shard_is_refused_by_readers_and_made_again_by_the_writer(tmp_path, caplog, damage):
    store = filled(tmp_path / "store")
    shard = store / "shard-00001.safetensors"
    shard.unlink() if damage == "gone" else cut(shard)
    if "without" in damage:
        (store / SEALS_FILE).unlink()
    with pytest.raises(UserError, match="run the command that made it again"):
        ArrayStore(store)
    with caplog.at_level(logging.WARNING):
        filled(store)
    assert ("its clips are computed again" in caplog.text) == (damage != "gone")
    read = ArrayStore(store)
    assert sorted(read) == ["a", "b", "c"]
    for name in "abc":
        torch.testing.assert_close(read[name]["0"], torch.arange(1000.0) + ord(name), atol=0, rtol=0)


@pytest.mark.parametrize("damage", ["gone", "cut", "flip", "no config"])
def test_a_finished_run_without_its_model_is_made_whole_again(run, trained, speech, caplog, damage):
    weights = run / "model.safetensors"
    {"gone": weights.unlink, "cut": lambda: cut(weights), "flip": lambda: flip(weights)}.get(
        damage, (run / "config.json").unlink
    )()
    with caplog.at_level(logging.INFO):
        pretrain(str(run / "recipe.yaml"), [], run, resume=True)
    assert "is marked as finished, but" in caplog.text
    assert "the model is made again from the last checkpoint" in caplog.text
    assert weights.read_bytes() == (trained / "model.safetensors").read_bytes()
    assert is_marked_finished(run)
    assert faults(run, ["config.json", "model.safetensors"], full=True) == {}


def test_a_run_that_nothing_can_make_whole_says_so(run):
    (run / "model.safetensors").unlink()
    shutil.rmtree(run / "state")
    with pytest.raises(UserError, match="is missing, and there is no checkpoint to make it from"):
        pretrain(str(run / "recipe.yaml"), [], run, resume=True)
    assert is_marked_finished(run)


def test_a_whole_run_is_not_touched(run, caplog):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    with caplog.at_level(logging.INFO):
        pretrain(str(run / "recipe.yaml"), [], run, resume=True)
    assert "is finished" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def answered(speech, tmp_path_factory):
    settings = [f"data.manifest={speech}", "optim.steps=2", "optim.eval_every=1", "head.dim=8"]
    return run_probe("demo_asr", "logmel", tmp_path_factory.mktemp("answered") / "r", settings), settings


@pytest.mark.parametrize("name", ["head.safetensors", "predictions.parquet"])
@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink()])
def test_a_damaged_answer_is_given_again(answered, tmp_path, caplog, name, damage):
    done, settings = answered
    out = shutil.copytree(done, tmp_path / "r")
    damage(out / name)
    with caplog.at_level(logging.WARNING):
        run_probe("demo_asr", "logmel", out, settings)
    assert f"{out / name} " in caplog.text
    assert "it is computed again" in caplog.text
    assert faults(out, full=True) == {}


def test_editing_a_recipe_or_card_is_no_damage(run):
    (run / "README.md").write_text("mine")
    config = run / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text())))
    assert faults(run, ["config.json", "README.md"], full=True) == {}


def test_a_record_is_kept_up(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    write_seals(tmp_path, ["a", "b"])
    (tmp_path / "a").unlink()
    with pytest.raises(UserError, match="a is missing: the folder is damaged"):
        require_whole(tmp_path, "mend it")
    write_seals(tmp_path, ["b"])
    assert list(read_seals(tmp_path)) == ["b"]
    (tmp_path / SEALS_FILE).write_text('{"files": {"b": 1}}')
    with pytest.raises(UserError, match="`b` must be an object"):
        read_seals(tmp_path)
