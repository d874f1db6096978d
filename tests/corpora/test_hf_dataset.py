import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from audio_ssl.data.audio import read_clip
from audio_ssl.data.build import make_manifest
from audio_ssl.data.corpus import UserError, load_corpus
from audio_ssl.data.manifest import read_manifest

FEATURES = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "audio": {"_type": "Audio"}}
SAVED = "test/data-00000-of-00001.arrow"
METADATA = {"huggingface": json.dumps({"info": {"features": FEATURES}})}


def sound(hertz, seconds=0.5):
    file = io.BytesIO()
    soundfile.write(
        file,
        0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16000)) / 16000),
        16000,
        "PCM_16",
        format="FLAC",
    )
    return file.getvalue()


def table():
    return pa.table(
        {
            "audio": [
                {"bytes": sound(200), "path": "../../a.flac"},
                {"bytes": sound(300, 0.25), "path": None},
                {"bytes": None, "path": None},
                {"bytes": b"text", "path": "a.txt"},
            ],
            "sentence": ["one", "two", "three", "four"],
            "label": [1, -1, 0, 0],
            "tags": [["x", "y"], [], None, None],
            "vector": [[0.5], [0.5], [0.5], [0.5]],
            "age": [30, 40, 50, 60],
        }
    ).replace_schema_metadata(METADATA)


def check(clips, split):
    assert [(c.text, c.label, c.split, c.seconds) for c in clips] == [
        ("one", "dog", split, 0.5),
        ("two", None, split, 0.25),
    ]
    assert clips[0].tags == ("x", "y")
    assert clips[0].extra == {"age": 30}


def test_embedded_audio_is_written_beside_the_manifest(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "set/data").mkdir(parents=True)
    pq.write_table(table(), tmp_path / "set/data/validation-00000-of-00001.parquet")
    out = tmp_path / "made/m.jsonl"
    assert make_manifest("hf_dataset", out, root=tmp_path / "set", columns=["text=sentence"]) == (2, 3)
    clips = read_manifest(out)
    check(clips, "valid")
    assert [c.id for c in clips] == [f"data/validation-00000-of-00001/00000{n}" for n in (0, 1)]
    files = sorted((tmp_path / "made/m/audio").iterdir())
    assert sorted(c.path for c in clips) == [str(f) for f in files]
    assert {f.read_bytes() for f in files} == {sound(200), sound(300, 0.25)}
    assert [p.name for p in tmp_path.rglob("*.flac") if "m/audio" not in str(p)] == []
    for reason in ("no audio in the row", "of no known format", "column `vector`, which is binary or nested"):
        assert reason in caplog.text


def test_what_save_to_disk_wrote(tmp_path):
    (tmp_path / "test").mkdir()
    with pa.OSFile(str(tmp_path / SAVED), "wb") as file, pa.ipc.new_stream(file, table().schema) as stream:
        stream.write_table(table())
    (tmp_path / "test/state.json").write_text("{}")
    corpus = load_corpus("hf_dataset")
    columns = {"text": "sentence"}
    check(list(corpus.read(tmp_path, "test", columns=columns, written=tmp_path / "w")), "test")
    assert list(corpus.read(tmp_path, "train", columns=columns, written=tmp_path / "w")) == []


def test_an_audio_folder(tmp_path, write_audio, write_text):
    write_audio(tmp_path / "train/sub/a.wav", 1.0)
    write_text(tmp_path / "train/metadata.csv", "file_name,transcription\nsub/a.wav,hello\n")
    (clip,) = load_corpus("hf_dataset").read(tmp_path, None, columns={"text": "transcription"})
    assert (clip.id, clip.text, clip.split, clip.path) == (
        "train/sub/a.wav",
        "hello",
        "train",
        str(tmp_path / "train/sub/a.wav"),
    )
    assert not (tmp_path / "written_audio").exists()


def test_wrong_columns_and_files_are_told(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match="no column has the audio; the columns are x"):
        list(load_corpus("hf_dataset").read(tmp_path, None))
    pq.write_table(table(), tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match="unknown column `sentense`; known: age, audio"):
        list(load_corpus("hf_dataset").read(tmp_path, None, columns={"text": "sentense"}))
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="the table cannot be read"):
        list(load_corpus("hf_dataset").read(tmp_path, None))


def test_embedded_audio_without_a_name_is_known_by_its_content(tmp_path):
    contents = []
    for rate, format, subtype in (
        (16000, "MP3", None), (8000, "MP3", None), (24000, "MP3", None), (44100, "MP3", None),
        (16000, "RF64", "PCM_16"),
        (16000, "W64", "PCM_16"), (16000, "AU", "PCM_16"), (16000, "CAF", "PCM_16"), (16000, "NIST", "PCM_16"),
        (16000, "AIFF", "PCM_16"), (16000, "OGG", "OPUS"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        soundfile.write(buffer, np.full(rate, 0.1, np.float32), rate, format=format, subtype=subtype)
        contents.append(buffer.getvalue())
    rows = [{"bytes": content, "path": None} for content in contents]
    # A name that lies is no better than none.
    rows += [{"bytes": contents[0], "path": "x.wav"}]
    pq.write_table(pa.table({"audio": rows}), tmp_path / "train-00000-of-00001.parquet")
    make_manifest("hf_dataset", tmp_path / "m.jsonl", root=tmp_path)
    clips = read_manifest(tmp_path / "m.jsonl")
    assert len(clips) == len(rows)
    for clip in clips:
        assert len(read_clip(clip, clip.sample_rate)) == clip.sample_rate
