"""Units: the nearest centroid of each frame, whatever the batches, chunks, processes and stops."""

import json
import pickle

import joblib
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from sklearn.cluster import MiniBatchKMeans

from audio_ssl.__main__ import run as command
from audio_ssl.artifacts.unit_records import read_units_record
from audio_ssl.base.errors import UserError
from audio_ssl.commands.check import check
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.features import job
from audio_ssl.features.extract import extract
from audio_ssl.features.job import ProcessShare
from audio_ssl.features.source import open_source
from audio_ssl.targets.code_books import CODE_BOOK_FILE, of_centroids, read_code_book
from audio_ssl.units import run as stage
from audio_ssl.units.run import make_units
from audio_ssl.units.tables import iterate_codes, runs_of


def rows(out):
    return [json.loads(line) for line in (out / "units.jsonl").read_text().splitlines()]


def frames_of(model, path, layer):
    seconds = soundfile.info(path).duration
    waveform = torch.from_numpy(read_clip(Clip("a", str(path), 0.0, seconds, 16000), 16000))
    hidden, _ = open_source(model)(waveform[None], torch.tensor([len(waveform)]))
    return hidden[layer][0]


def same(out, other):
    """Everything that people read is the same, byte for byte."""
    assert (out / "units.jsonl").read_bytes() == (other / "units.jsonl").read_bytes()
    assert pq.read_table(out / "units.parquet").equals(pq.read_table(other / "units.parquet"))
    assert (out / CODE_BOOK_FILE).read_bytes() == (other / CODE_BOOK_FILE).read_bytes()
    assert (out / "errors.jsonl").read_bytes() == (other / "errors.jsonl").read_bytes()


def test_units_are_what_scikit_learn_predicts_of_the_layer(audio, model, tmp_path):
    test = torch.cat([frames_of(model, path, 1) for path in sorted(audio.glob("[!3].wav"))]).numpy()
    theirs = MiniBatchKMeans(7, n_init=1, random_state=0).fit(test)
    joblib.dump(theirs, tmp_path / "km7.bin", compress=("zlib", 3))
    out = make_units(audio, model, tmp_path / "u", layer=1, code_book=tmp_path / "km7.bin")
    found = rows(out)
    assert [row["id"] for row in found] == [f"{number}.wav" for number in (0, 1, 2, 4, 5, 6)]
    assert found[0]["path"] == str(audio / "0.wav")
    labels = np.concatenate([row["unit"] for row in found])
    assert labels.tolist() == theirs.predict(test).tolist()
    assert len(set(labels.tolist())) > 3
    assert found[0]["start"][:3] == [0.0, 0.02, 0.04]
    assert found[0]["end"] == pytest.approx([start + 0.02 for start in found[0]["start"]])
    record = read_units_record(out)
    assert (record.codes, record.codebooks, record.clips, record.units) == (7, 1, 6, len(labels))
    assert record.fit is None
    assert [json.loads(line)["path"] for line in (out / "errors.jsonl").read_text().splitlines()] == [
        str(audio / "3.wav")
    ]
    (whole,) = check([out])
    assert (whole.kind, whole.damaged, whole.notes) == ("units", {}, [])


def test_both_tables_hold_the_same_merged_or_not(audio, model, tmp_path):
    out = make_units(audio, model, tmp_path / "u", layer=2, clusters=4)
    plain = rows(out)
    table = pq.read_table(out / "units.parquet").to_pylist()
    assert table == plain
    # Merged from the same folder: nothing is computed again.
    make_units(audio, model, out, layer=2, clusters=4, merge=True)
    merged = rows(out)
    assert pq.read_table(out / "units.parquet").to_pylist() == merged
    assert read_units_record(out).merged
    for whole, short in zip(plain, merged, strict=True):
        assert all(one != other for one, other in zip(short["unit"], short["unit"][1:], strict=False))
        assert short["start"][1:] == short["end"][:-1]
        counts = [round((end - start) / 0.02) for start, end in zip(short["start"], short["end"], strict=True)]
        assert np.repeat(short["unit"], counts).tolist() == whole["unit"]
    assert sum(len(row["unit"]) for row in merged) < sum(len(row["unit"]) for row in plain)


def test_runs_of_several_codebooks_end_where_any_changes():
    codes = np.array([[1, 2], [1, 2], [1, 3], [1, 3], [0, 3]], np.int32)
    found = runs_of(codes, merge=True)
    assert (found.units.tolist(), found.first.tolist(), found.stop.tolist()) == (
        [[1, 2], [1, 3], [0, 3]],
        [0, 2, 4],
        [2, 4, 5],
    )
    assert runs_of(codes[:0], merge=True).units.shape == (0, 2)


def test_a_long_file_has_the_units_of_all_its_frames(model, tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", rng.normal(0, 0.1, 16000 * 9).astype(np.float32), 16000)
    arguments = {"layer": 0, "clusters": 5}
    whole = make_units(tmp_path / "long.wav", model, tmp_path / "u", **arguments)
    book = whole / CODE_BOOK_FILE
    pieces = make_units(
        tmp_path / "long.wav", model, tmp_path / "p", layer=0, code_book=book, overrides=["chunk_seconds=2"]
    )
    # Layer 0 does not depend on chunks.
    assert rows(pieces) == rows(whole)
    assert len(rows(whole)[0]["unit"]) == 449


def test_a_fit_depends_on_the_seed_alone(audio, model, tmp_path, monkeypatch):
    first = make_units(audio, model, tmp_path / "a", layer=1, clusters=4)
    again = make_units(audio, model, tmp_path / "b", layer=1, clusters=4, overrides=["batch_seconds=1"])
    other = make_units(audio, model, tmp_path / "c", layer=1, clusters=4, overrides=["fit.seed=1"])
    one, two, three = (read_code_book(out).centroids for out in (first, again, other))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(one, three, atol=1e-2)
    fit = read_units_record(first).fit
    assert (fit.clips, fit.frames, fit.frames_heard) == (6, 193, 193)
    # Of a part of the audio, and of its frames.
    some = make_units(audio, model, tmp_path / "d", layer=1, clusters=4, overrides=["fit.hours=3e-4", "fit.frames=40"])
    fit = read_units_record(some).fit
    assert (fit.clips, fit.frames) == (2, 40)
    assert 40 < fit.frames_heard < 100


def test_processes_give_the_same_bytes(audio, model, tmp_path, monkeypatch):
    """As torchrun's and Ray's, which get the job as plain data and share windows of clips."""
    alone = make_units(audio, model, tmp_path / "alone", layer=1, clusters=4, overrides=["batch_seconds=0.5"])
    monkeypatch.setattr(job, "WINDOW_CLIPS", 2)
    share = stage.UnitJob.run_share

    def in_three(self, part, device):
        for rank in (2, 0, 1):
            share(pickle.loads(pickle.dumps(self)), ProcessShare(rank, 3), device)

    monkeypatch.setattr(stage.UnitJob, "run_share", in_three)
    out = make_units(audio, model, tmp_path / "u", layer=1, clusters=4, overrides=["batch_seconds=0.5"])
    assert len(list((out / "store").glob("shard-r000*.safetensors"))) == 3
    same(out, alone)


def test_a_stopped_command_goes_on_with_its_code_book(audio, model, tmp_path, monkeypatch):
    alone = make_units(audio, model, tmp_path / "alone", layer=1, clusters=4)
    monkeypatch.setattr(job, "WINDOW_CLIPS", 2)

    out = tmp_path / "u"
    share = stage.UnitJob.run_share

    def some(self, part, device):
        share(self, ProcessShare(0, 2), device)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage.UnitJob, "run_share", some)
    with pytest.raises(KeyboardInterrupt):
        make_units(audio, model, out, layer=1, clusters=4)
    assert (out / CODE_BOOK_FILE).exists()
    assert not (out / "units.jsonl").exists()
    with pytest.raises(UserError, match=r"not finished \(run again: audio-ssl units"):
        read_units_record(out)
    monkeypatch.setattr(stage.UnitJob, "run_share", share)
    monkeypatch.setattr(stage, "fit_code_book", None)
    make_units(audio, model, out, layer=1, clusters=4)
    same(out, alone)
    assert read_units_record(out).fit.frames == 193


def test_a_lost_code_book_is_made_again_if_the_audio_still_gives_it(audio, model, tmp_path):
    out = make_units(audio, model, tmp_path / "u", layer=1, clusters=4)
    book = (out / CODE_BOOK_FILE).read_bytes()
    (out / CODE_BOOK_FILE).unlink()
    (damage,) = check([out])
    assert damage.damaged == {CODE_BOOK_FILE: "is missing"}
    make_units(audio, model, out, layer=1, clusters=4)
    assert (out / CODE_BOOK_FILE).read_bytes() == book
    (out / CODE_BOOK_FILE).unlink()
    (audio / "0.wav").unlink()
    with pytest.raises(UserError, match="was lost, and the audio gives another one now"):
        make_units(audio, model, out, layer=1, clusters=4)


def test_new_audio_is_added_with_the_same_code_book(audio, model, tmp_path):
    out = make_units(audio, model, tmp_path / "u", layer=1, clusters=4)
    before, book = rows(out), (out / CODE_BOOK_FILE).read_bytes()
    soundfile.write(audio / "new.wav", np.random.default_rng(1).normal(0, 0.1, 9000).astype(np.float32), 16000)
    make_units(audio, model, out, layer=1, clusters=4)
    assert rows(out)[:-1] == before
    assert rows(out)[-1]["id"] == "new.wav"
    assert (out / CODE_BOOK_FILE).read_bytes() == book


@pytest.mark.parametrize("name", ["random_projection?codebooks=2&codebook_size=8&stack=2", "logmel"])
def test_teachers_and_baselines_have_units_too(audio, tmp_path, name):
    out = make_units(audio, name, tmp_path / "u", clusters=3 if name == "logmel" else None)
    record = read_units_record(out)
    assert (record.codebooks, record.codes) == ((1, 3) if name == "logmel" else (2, 8))
    first = rows(out)[0]
    if record.codebooks == 2:
        assert {len(unit) for unit in first["unit"]} == {2}
        assert max(max(unit) for unit in first["unit"]) < 8
        assert pq.read_table(out / "units.parquet").to_pylist()[0] == first
        assert not (out / CODE_BOOK_FILE).exists()
    assert first["end"][0] == pytest.approx(record.hop_seconds)


def test_a_codec_gives_a_clip_the_codes_of_its_teacher(audio, tmp_path):
    pytest.importorskip("encodec")
    from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig

    sizes = {"filters": 2, "dim": 4, "ratios": (8, 5), "codebooks": 3, "codebook_size": 4, "lstm_layers": 1}
    codec = Codec(CodecConfig(sample_rate=16000, **sizes))
    waves = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    codec.train()(waves)
    codec.after_update(0, lambda total: total)
    codec.eval().save_pretrained(tmp_path / "codec")
    # Longer than a chunk, which codecs have none of.
    out = make_units(audio, str(tmp_path / "codec"), tmp_path / "u", overrides=["chunk_seconds=0.2"])
    path = audio / "4.wav"
    waveform = torch.from_numpy(read_clip(Clip("a", str(path), 0.0, soundfile.info(path).duration, 16000), 16000))
    with torch.no_grad():
        expected = codec.encode(waveform[None])[0].T
    (codes,) = [codes for row, codes in iterate_codes(out) if row.id == "4.wav"]
    assert codes.tolist() == expected.tolist()
    assert "chunk_seconds=0.2" in read_units_record(out).command


WRONG = {
    "no layer": ({}, r"`--layer` must be given: .* has the layers 0 to 2"),
    "unknown layer": ({"layer": 3}, "`--layer` is 3, but this model has the layers 0 to 2"),
    "both": ({"layer": 1, "clusters": 2, "code_book": "book"}, "cannot be combined"),
    "no clusters": ({"layer": 1, "clusters": 0}, "`--clusters` must be 1 to 200,000"),
    "width": ({"layer": 1, "code_book": "wide.npy"}, r"frames of 17 values, but layer 1 of .* has 16"),
    "model": ({"layer": 1, "code_book": "other"}, r"fitted to the model abc and layer 2, not to layer 1 of"),
    "damaged": ({"layer": 1, "code_book": "cut.bin"}, r"cut\.bin: the code book cannot be read as joblib or pickle"),
    "missing": ({"layer": 1, "code_book": "nothing"}, "no such code book"),
    "few frames": ({"layer": 1, "clusters": 5000}, r"`--clusters` is 5000, but the audio has 193 frames"),
    "setting": ({"layer": 1, "overrides": ["fit.hour=1"]}, "unknown key `hour`"),
    "negative": ({"layer": 1, "overrides": ["fit.hours=-1"]}, "`hours` must be at least 0"),
    "engine": ({"layer": 1, "engine": "spark"}, "`--engine` must be one of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_and_nothing_is_left(audio, model, tmp_path, monkeypatch, case):
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.ones((3, 17), np.float32))
    replace(of_centroids(torch.ones(3, 16)), model="abc", layer=2).save(tmp_path / "other" / CODE_BOOK_FILE)
    joblib.dump(np.ones((3, 16)), "cut.bin")
    with open("cut.bin", "r+b") as file:
        file.truncate(100)
    options, match = WRONG[case]
    options = {key: tmp_path / value if key == "code_book" else value for key, value in options.items()}
    with pytest.raises(UserError, match=match):
        make_units(audio, model, tmp_path / "u", **options)
    assert not (tmp_path / "u").exists() or not [p for p in (tmp_path / "u").iterdir() if p.name != ".lock"]


def test_other_options_and_teachers_with_options_are_refused(audio, model, tmp_path):
    out = make_units(audio, model, tmp_path / "u", layer=1, clusters=4)
    for options in ({"layer": 2, "clusters": 4}, {"layer": 1, "clusters": 5}, {"layer": 1, "code_book": out}):
        with pytest.raises(UserError, match="the folder holds another extraction"):
            make_units(audio, model, out, **options)
    with pytest.raises(UserError, match="the folder holds another extraction"):
        extract(audio, model, out, layers="1")
    with pytest.raises(UserError, match="random_projection has codes of its own"):
        make_units(audio, "random_projection", tmp_path / "v", layer=1)
    with pytest.raises(UserError, match="the teacher `mel` gives values, not codes"):
        make_units(audio, "mel", tmp_path / "v")
    with pytest.raises(UserError, match="`ema` follows a model"):
        make_units(audio, "ema", tmp_path / "v")
    with pytest.raises(UserError, match="unknown key `size`"):
        make_units(audio, "random_projection?size=3", tmp_path / "v")


def test_the_command_says_what_it_made(audio, model, tmp_path, capsys):
    out = tmp_path / "u"
    assert command(["units", str(audio), model, "--layer", "-1", "--clusters", "3", "--merge", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 clips, 0.00 h: ")
    assert "merged units of 3 codes" in lines[0]
    assert lines[1] == str(out)
    record = read_units_record(out)
    assert record.layer == 2
    assert record.command == f"audio-ssl units {audio} {model} --out {out} --layer 2 --clusters 3 --merge"
    assert command(["units", str(audio), model, "--layer", "1", "--codebook", "nothing", "--out", "v"]) == 2
    assert capsys.readouterr().err.startswith("error: nothing: no such code book")
