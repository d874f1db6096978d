import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.commands.check import check
from audio_ssl.data.store import ArrayStore
from audio_ssl.features import arrange
from audio_ssl.features.extract import extract
from audio_ssl.features.source import open_source


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def direct(path, source):
    samples, _ = soundfile.read(path, dtype="float32")
    hidden, _ = source(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    return torch.stack([h[0] for h in hidden]).numpy()


def test_npy_mirrors_the_folder(audio, run_folder, tmp_path):
    out = extract(audio, run_folder, tmp_path / "f", format="npy")
    index = rows(out / "index.jsonl")
    assert [row["id"] for row in index] == ["a.wav", "b.flac", "sub/a.wav", "sub/c.ogg"]
    source = open_source(run_folder)
    for row in index:
        array = np.load(out / (row["id"].rsplit(".", 1)[0] + ".npy"))
        assert array.shape == (3, row["frames"], 16)
        np.testing.assert_allclose(array, direct(row["path"], source), atol=1e-5)
    assert index[0]["hop_seconds"] == 0.02
    assert index[0]["model"] == source.fingerprint
    assert index[0]["layers"] == [0, 1, 2]
    assert not (out / "errors.jsonl").exists()


@pytest.mark.parametrize(("layers", "shape"), [("all", (3, 16)), ("-1", (16,)), ("0,2", (2, 16))])
def test_pooled_layers(audio, run_folder, tmp_path, layers, shape):
    out = extract(audio, run_folder, tmp_path / "f", format="npy", layers=layers, pool="mean")
    pooled = np.load(out / "a.npy")
    assert pooled.shape == shape
    whole = direct(audio / "a.wav", open_source(run_folder)).mean(1)
    np.testing.assert_allclose(pooled.reshape(-1, 16)[-1], whole[-1], atol=1e-5)


@pytest.mark.parametrize("format", ["safetensors", "npy", "parquet"])
def test_formats_hold_the_same_values(audio, run_folder, tmp_path, format):
    out = extract(audio, run_folder, tmp_path / "f", format=format, dtype="float16", layers="1")
    expected = direct(audio / "b.flac", open_source(run_folder))[1].astype(np.float16)
    if format == "safetensors":
        got = ArrayStore(out / "store")["b.flac"]["features"].numpy()
    elif format == "npy":
        got = np.load(out / "b.npy")
    else:
        table = pq.read_table(out / "parquet" / "features-00000.parquet").to_pylist()
        row = next(r for r in table if r["id"] == "b.flac")
        got = np.array(row["features"], np.float16).reshape(row["shape"])
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, expected, atol=2e-3)


@pytest.mark.parametrize("format", ["safetensors", "npy", "parquet"])
def test_an_interrupted_extraction_goes_on(audio, run_folder, tmp_path, format, monkeypatch):
    whole = extract(audio, run_folder, tmp_path / "whole", format=format)
    arranger, calls = arrange.ClipArranger, []

    def interrupt(made):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return arranger(made)

    monkeypatch.setattr(arrange, "ClipArranger", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract(audio, run_folder, tmp_path / "f", format=format)
    assert not list((tmp_path / "f").rglob(".partial-*"))
    # An index is there when it is whole; the journal has what is on the disk.
    assert not (tmp_path / "f" / "index.jsonl").exists()
    assert len(rows(tmp_path / "f" / ".index" / "rows.jsonl")) == 2
    out = extract(audio, run_folder, tmp_path / "f", format=format)
    assert len(calls) == 5
    assert [without_file(row) for row in rows(out / "index.jsonl")] == [
        without_file(row) for row in rows(whole / "index.jsonl")
    ]
    assert not (out / ".index").exists()
    extract(audio, run_folder, tmp_path / "f", format=format)
    assert len(calls) == 5


def as_in_the_docs(folder):
    """Run the example of docs/extract.md in a folder that holds `features`; return its variables."""
    docs = Path(__file__).parents[2] / "docs" / "extract.md"
    code = next(part for part in docs.read_text().split("```") if "read_parquet" in part and part.startswith("python"))
    names = {}
    with contextlib.chdir(folder):
        exec(code.removeprefix("python\n"), names)
    return names


@pytest.mark.parametrize("layers", ["all", "1"])
def test_pandas_reads_the_folder_of_a_table_and_the_docs_say_how_layers_get_their_shape_back(
    audio, run_folder, tmp_path, layers
):
    pytest.importorskip("pandas")
    (audio / "broken.wav").write_text("no audio")
    extract(audio, run_folder, tmp_path / "features", format="parquet", layers=layers)
    assert (tmp_path / "features" / "errors.jsonl").exists()
    arrays = as_in_the_docs(tmp_path)["arrays"]
    expected = direct(audio / "b.flac", open_source(run_folder))
    np.testing.assert_allclose(arrays["b.flac"], expected if layers == "all" else expected[1], atol=1e-5)


def test_a_table_that_was_begun_beside_its_index_goes_on_there(audio, run_folder, tmp_path):
    out = extract(audio, run_folder, tmp_path / "f", format="parquet")
    # As earlier versions left it, with one clip still to do.
    old = out / "features-00000.parquet"
    table = pq.read_table(out / "parquet" / "features-00000.parquet")
    pq.write_table(table.filter(pc.not_equal(table["id"], "a.wav")), old)
    shutil.rmtree(out / "parquet")
    kept = [{**without_file(row), "file": old.name} for row in rows(out / "index.jsonl") if row["id"] != "a.wav"]
    (out / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (out / "files.json").unlink()
    extract(audio, run_folder, out, format="parquet")
    assert {row["id"]: row["file"] for row in rows(out / "index.jsonl")}["a.wav"] == "features-00001.parquet"
    assert not (out / "parquet").exists()


def without_file(row):
    """Leave out what a row tells of the file its features lie in."""
    assert row["file"]
    return {key: value for key, value in row.items() if key not in ("file", "bytes", "sha256")}


def test_an_index_that_was_changed_is_not_gone_on_with(audio, run_folder, tmp_path):
    out = extract(audio, run_folder, tmp_path / "f", format="npy")
    whole = (out / "index.jsonl").read_text()
    (out / "index.jsonl").write_text(whole.replace("a.wav", "q.wav", 1))
    with pytest.raises(
        UserError, match=r"index.jsonl has other bytes than were written.*delete index.jsonl to make it"
    ):
        extract(audio, run_folder, out, format="npy")
    (out / "index.jsonl").unlink()
    extract(audio, run_folder, out, format="npy")
    assert (out / "index.jsonl").read_text() == whole


def test_a_killed_extraction_goes_on_from_its_journal(audio, run_folder, tmp_path):
    out = extract(audio, run_folder, tmp_path / "f", format="npy")
    # As kill -9 leaves it: a journal with a torn line and no index.
    lines = (out / "index.jsonl").read_text().splitlines()
    journal = [json.dumps({**json.loads(line), "number": n}) for n, line in enumerate(lines[:2])]
    (out / ".index").mkdir()
    (out / ".index" / "rows.jsonl").write_text("\n".join(journal) + '\n{"id": "su')
    (out / "index.jsonl").unlink()
    extract(audio, run_folder, tmp_path / "f", format="npy")
    assert (out / "index.jsonl").read_text().splitlines() == lines


def test_what_was_deleted_is_made_again_and_what_is_new_is_added(audio, run_folder, tmp_path):
    out = extract(audio, run_folder, tmp_path / "f", format="npy")
    before = np.load(out / "b.npy")
    (out / "b.npy").unlink()
    soundfile.write(audio / "aa.wav", np.full(16000, 0.1, np.float32), 16000)
    extract(audio, run_folder, tmp_path / "f", format="npy")
    assert sorted(row["id"] for row in rows(out / "index.jsonl")) == [
        "a.wav", "aa.wav", "b.flac", "sub/a.wav", "sub/c.ogg"
    ]  # fmt: skip
    np.testing.assert_allclose(np.load(out / "b.npy"), before, atol=1e-5)


def test_another_extraction_in_the_same_folder_is_refused(audio, run_folder, tmp_path):
    extract(audio, run_folder, tmp_path / "f", layers="0")
    with pytest.raises(UserError, match=r"holds another extraction: `layers` is \[0\] there, \[1\] here"):
        extract(audio, run_folder, tmp_path / "f", layers="1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16", "format": "npy"}, "npy has no bfloat16"),
        ({"pool": "median"}, "`--pool` must be one of none, mean, max, attentive"),
        ({"pool": "attentive"}, "needs a probe with an attentive head"),
        ({"pool": "mean", "rate": 10.0}, "`--rate` and `--pool` cannot be combined"),
        ({"rate": 0.0}, "`--rate` must be above 0"),
        ({"rate": 1e9}, "`--rate` must be at most the 16000 samples a second, but is 1e\\+09"),
        ({"format": "hdf5"}, "`--format` must be one of npy, parquet, safetensors"),
        ({"engine": "spark"}, "`--engine` must be one of local, ray"),
        ({"overrides": ["chunk_second=3"]}, r"\$.*chunk_second.*chunk_seconds"),
        ({"overrides": ["precision=int4"]}, "unknown precision `int4`"),
        ({"overrides": ["chunk_seconds=0"]}, "must be above 0"),
        ({"overrides": ["device=tpu"]}, "must be auto, cpu or cuda"),
        ({"overrides": ["precision=float16", "device=cpu"]}, "`precision` float16 needs a GPU"),
        ({"layers": "x"}, "must be all, a number"),
        ({"layers": "7"}, "this model has the layers 0 to 2"),
    ],
)
def test_wrong_options_stop_before_any_work(audio, run_folder, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        extract(audio, run_folder, tmp_path / "f", **options)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("precision", "message"),
    [("float16", "float16 needs a GPU .*=bfloat16"), ("int8", "int8, which was removed.*=bfloat16")],
)
def test_a_precision_that_is_not_there_stops_before_any_work(audio, run_folder, tmp_path, precision, message):
    with pytest.raises(UserError, match=message):
        extract(audio, run_folder, tmp_path / "f", overrides=[f"precision={precision}", "device=cpu"])
    assert not (tmp_path / "f").exists()


def test_features_of_a_precision_that_was_removed_still_open(audio, tmp_path):
    out = extract(audio, "logmel", tmp_path / "f")
    expected = ArrayStore(out / "store")["b.flac"]["features"]
    for path in (out / "extraction.json", out / "store" / "meta.json"):
        path.write_text(path.read_text().replace('"precision": "float32"', '"precision": "int8"'))
        assert json.loads(path.read_text())["precision"] == "int8"
    (found,) = check([out])
    assert not found.damaged
    assert torch.equal(ArrayStore(out / "store")["b.flac"]["features"], expected)


def test_baselines_have_one_precision_whatever_is_asked_for(audio, tmp_path):
    out = extract(audio, "logmel", tmp_path / "f", overrides=["precision=float16", "device=cpu"])
    assert len(rows(out / "index.jsonl")) == 4


def test_a_long_file_has_the_frames_of_the_whole(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 16000 * 7 + 123).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 16000)
    whole = extract(tmp_path / "long.wav", "logmel", tmp_path / "whole", format="npy")
    chunks = ["chunk_seconds=2", "context_seconds=0.5"]
    cut = extract(tmp_path / "long.wav", "logmel", tmp_path / "cut", format="npy", overrides=chunks)
    np.testing.assert_allclose(np.load(cut / "long.npy"), np.load(whole / "long.npy"), atol=1e-4)


def test_a_name_that_an_earlier_run_gave_stays_with_its_clip(audio, run_folder, tmp_path):
    out = extract(audio, run_folder, tmp_path / "f", format="npy")
    before = np.load(out / "a.npy")
    # Comes before a.wav, and would have been a.npy.
    soundfile.write(audio / "a.flac", np.full(16000, 0.1, np.float32), 16000)
    extract(audio, run_folder, tmp_path / "f", format="npy")
    files = {row["id"]: row["file"] for row in rows(out / "index.jsonl")}
    assert files["a.wav"] == "a.npy"
    np.testing.assert_array_equal(np.load(out / "a.npy"), before)
    assert files["a.flac"].startswith("a.flac~")
    assert len(np.load(out / files["a.flac"])[0]) == 49
    assert len(set(files.values())) == 5


def test_a_folder_of_an_earlier_version_goes_on_with_its_names(audio, run_folder, tmp_path):
    (audio / "b.flac").rename(audio / "v1.2 take #3.flac")
    extract(audio, run_folder, tmp_path / "f", format="npy")
    claim = json.loads((tmp_path / "f" / "extraction.json").read_text())
    assert claim.pop("names") == 2
    assert (tmp_path / "f" / "v1.2 take #3.npy").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "extraction.json").write_text(json.dumps(claim))
    out = extract(audio, run_folder, tmp_path / "old", format="npy")
    assert {row["file"] for row in rows(out / "index.jsonl")} == {"a.npy", "v1#3.flac.npy", "sub/a.npy", "sub/c.npy"}
