"""Segments of longer files: NeMo's offsets, lhotse's cuts, and manifests of them."""

import gzip
import json

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.predictions import read_predictions


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def nemo(count=6, **more):
    """Segments of two files, two seconds each."""
    return [
        {"audio_filepath": f"wav/f{n % 2}.wav", "offset": 2.0 * (n // 2), "duration": 2.0, "text": f"yes {n}", **more}
        for n in range(count)
    ]


def cut(n, **custom):
    said = {
        "id": f"r{n % 2}-{n}",
        "recording_id": f"r{n % 2}",
        "start": 0.0,
        "duration": 2.0,
        "channel": 0,
        "text": f"yes {n}",
        "language": "en",
        "speaker": f"s{n}",
        "gender": "FM"[n % 2],
    }
    recording = {
        "id": f"r{n % 2}",
        "sources": [{"type": "file", "channels": [0], "source": f"wav/f{n % 2}.wav"}],
        "sampling_rate": 16000,
        "num_samples": 160000,
        "duration": 10.0,
        "channel_ids": [0],
    }
    whole = {"id": f"cut-{n}", "start": 2.0 * (n // 2), "duration": 2.0, "channel": 0, "supervisions": [said]}
    return {**whole, "recording": recording, "custom": custom, "type": "MonoCut"}


def ids(found):
    return [example.texts.id for example in found.examples]


def test_segments_of_one_file_are_clips_of_their_own(tmp_path):
    rows = [{**row, "pred_text": "yes", "speaker": f"s{n}", "gender": "F"} for n, row in enumerate(nemo(4))]
    found = read_predictions(lines(tmp_path / "p.json", rows))
    assert found.statistics["wer"].sum(0).tolist() == [0, 4, 0, 8]
    assert found.seconds.tolist() == [2.0] * 4
    assert set(ids(found)) <= {"wav/f0.wav", "wav/f1.wav", "wav/f0.wav@2", "wav/f1.wav@2"}
    assert "@2" in ids(found)[-1]


@pytest.mark.parametrize("given", ["id", "path"])
def test_segments_find_their_rows_in_a_manifest(tmp_path, given):
    rows = [{**row, "pred_text": "yes"} for row in nemo()]
    manifest = [
        {
            "id": (f"{row['audio_filepath']}@{row['offset']:g}" if row["offset"] else row["audio_filepath"])
            if given == "id"
            else f"x{n}",
            "path": f"../{row['audio_filepath']}",
            "start": row["offset"],
            "speaker": f"s{n}",
            "gender": "FM"[n % 2],
        }
        for n, row in enumerate(nemo())
    ]
    found = read_predictions(lines(tmp_path / "p.json", rows), manifest=lines(tmp_path / "m" / "m.jsonl", manifest))
    assert [found.speakers.names[i] for i in found.speakers.index] == [f"s{n}" for n in range(6)]
    assert not found.exclusions
    assert f"by {'id' if given == 'id' else 'audio_filepath = path'}" in found.signature


def test_a_wrong_offset_leaves_out_one_clip(tmp_path):
    rows = [{**row, "pred_text": "yes", "speaker": "s", "gender": "F"} for row in nemo()]
    rows[3]["offset"] = -1
    found = read_predictions(lines(tmp_path / "p.json", rows))
    (left_out,) = found.exclusions
    assert (left_out.reason, left_out.names) == ("`offset`: -1 is not a number of seconds from 0", ("line 4",))
    assert len(found.words) == 5


def test_offsets_of_tables(tmp_path):
    table = "path,offset,reference,hypothesis,speaker,gender\na.wav,0,yes,yes,s,F\na.wav,2.50,yes,no,s,F\n"
    (tmp_path / "p.csv").write_text(table)
    found = read_predictions(tmp_path / "p.csv")
    assert ids(found) == ["a.wav@2.5"]
    assert "ids: path and offset" in found.signature


def test_translations_of_nemo_are_scored_as_such(tmp_path):
    more = {"source_lang": "en", "target_lang": "de", "answer": "ja doch", "pred_text": "ja doch", "speaker": "s"}
    found = read_predictions(lines(tmp_path / "p.json", nemo(gender="F", **more)))
    assert list(found.statistics) == ["bleu", "chrf"]
    assert found.words.tolist() == [2] * 6
    same = read_predictions(
        lines(tmp_path / "q.json", nemo(gender="F", **{**more, "target_lang": "en", "answer": "na"}))
    )
    assert list(same.statistics) == ["wer", "cer"]
    assert same.statistics["wer"].sum(0).tolist() == [12, 0, 0, 12]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
@pytest.mark.parametrize("key", ["pred_text", "hyp"])
def test_cuts_of_lhotse(tmp_path, name, key):
    found = read_predictions(lines(tmp_path / name, [cut(n, **{key: "yes"}) for n in range(4)]))
    assert found.statistics["wer"].sum(0).tolist() == [0, 4, 0, 8]
    assert found.speakers.names == ["s0", "s1", "s2", "s3"]
    assert found.attributes["gender"].names == ["F", "M"]
    assert found.seconds.tolist() == [2.0] * 4
    assert set(ids(found)) == {f"cut-{n}" for n in range(4)}
    assert "lhotse's cuts" in found.signature


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_cuts_as_a_manifest(tmp_path, name):
    predictions = lines(tmp_path / "p.jsonl", [{"id": f"cut-{n}", "hypothesis": "yes"} for n in range(4)])
    found = read_predictions(predictions, manifest=lines(tmp_path / name, [cut(n) for n in range(4)]))
    assert found.statistics["wer"].sum(0).tolist() == [0, 4, 0, 8]
    assert found.attributes["gender"].names == ["F", "M"]


def test_cuts_that_are_no_span_are_left_out(tmp_path):
    rows = [cut(n, hyp="yes") for n in range(4)]
    rows[1] = {"id": "m", "type": "MixedCut", "tracks": [{"cut": cut(1), "offset": 0.0}]}
    rows[2]["recording"]["sources"][0]["type"] = "command"
    found = read_predictions(lines(tmp_path / "p.jsonl", rows))
    assert {e.reason: e.names for e in found.exclusions} == {
        "a MixedCut is not a part of one file": ("line 2",),
        "the recording is not a file, but of the type `command`": ("line 3",),
    }


def test_several_supervisions_of_a_cut(tmp_path):
    rows = [cut(n, hyp="yes 0 no") for n in range(2)]
    first = rows[0]["supervisions"][0]
    rows[0]["supervisions"] = [{**first, "start": 1.0, "text": "no"}, first]
    rows[1]["supervisions"] = [{**first, "speaker": other} for other in ("a", "b")]
    found = read_predictions(lines(tmp_path / "p.jsonl", rows))
    assert found.statistics["wer"].tolist() == [[0, 0, 0, 3]]
    assert [(e.reason, e.names) for e in found.exclusions] == [("no speaker", ("cut-1",))]


def test_a_packed_file_that_is_none(tmp_path):
    (tmp_path / "p.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"p\.jsonl\.gz: cannot be read: Not a gzipped file"):
        read_predictions(tmp_path / "p.jsonl.gz")
    whole = gzip.compress(b'{"id": "a"}\n' * 1000)
    (tmp_path / "q.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"q\.jsonl\.gz: cannot be read: Compressed file ended"):
        read_predictions(tmp_path / "q.jsonl.gz")


def test_rows_of_other_splits_are_no_part_of_the_test(tmp_path):
    manifest = [
        {"id": f"{split}{n}", "text": "yes", "speaker": "s", "gender": "F", "split": split}
        for split in ("train", "test")
        for n in range(3)
    ]
    predictions = lines(tmp_path / "p.jsonl", [{"id": f"test{n}", "hypothesis": "yes"} for n in range(2)])
    found = read_predictions(predictions, manifest=lines(tmp_path / "m.jsonl", manifest))
    assert [(e.reason, e.names) for e in found.exclusions] == [("in the manifest, but no hypothesis", ("test2",))]
    assert "3 clips of its other splits are no part of this" in found.signature
