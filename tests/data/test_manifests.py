import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from audio_ssl.base.errors import UserError
from audio_ssl.data.balance import Balance
from audio_ssl.data.build import make_manifest
from audio_ssl.data.manifest import Clip, hash_manifest, read_manifest, write_manifest

CORPUS = '''
"""Two clips, for a test."""
from pathlib import Path
from audio_ssl.data.corpus import Corpus
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="mine", title="Mine", description="d", licence="CC0", citation="none", size="2 clips", layout="a.wav",
    splits={"train": "first", "test": "second"}, languages=("en",), labels=("text",), requires=(),
)

def read(root, split=None):
    for name, part in (("a", "train"), ("b", "test")):
        if split in (None, part):
            yield Clip(name, str(Path(root) / f"{name}.wav"), 0.0, 1.0, 16000, text=name, split=part)
'''


def test_a_folder_is_cut_into_rows(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 5, np.float32), 16000)
    assert make_manifest(str(tmp_path), tmp_path / "m.jsonl", max_seconds=2.0) == (3, 0)
    clips = read_manifest(tmp_path / "m.jsonl")
    assert [c.id for c in clips] == ["long.wav#000", "long.wav#001", "long.wav#002"]
    assert sum(c.seconds for c in clips) == pytest.approx(5.0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_length_of_rows_that_cannot_be_is_refused(tmp_path, seconds):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    with pytest.raises(UserError, match="`--max-seconds` must be above 0, but is"):
        make_manifest(str(tmp_path), tmp_path / "m.jsonl", max_seconds=seconds)


def _hinted(error):
    """Run the first command of a message, beside the files that it names."""
    words = shlex.split(str(error.value).split("`audio-ssl manifest ")[1].split("`")[0])
    named = dict(zip(words[1::2], words[2::2], strict=True))
    return make_manifest(words[0], Path(named["--out"]), root=Path(named["--root"]))


@pytest.mark.parametrize("name", ["nemo.json", "nemo.jsonl", "take list.tsv", "shards"])
def test_a_list_taken_for_audio_leads_to_its_reader(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(16000, np.float32), 16000)
    if name == "shards":
        table = pa.table({"audio": [{"bytes": Path("a.wav").read_bytes(), "path": None}]})
        Path(name).mkdir()
        pq.write_table(table, Path(name) / "train.parquet")
    elif name.endswith(".tsv"):
        Path(name).write_text("path\ttext\na.wav\thello\n")
    else:
        Path(name).write_text('{"audio_filepath": "a.wav", "duration": 1.0, "text": "hello"}\n')
    with pytest.raises(UserError) as error:
        make_manifest(name, Path("M.jsonl"))
    assert _hinted(error) == (1, 0)


def test_cuts_of_lhotse_taken_for_a_manifest_lead_to_their_reader(tmp_path):
    (tmp_path / "cuts.jsonl").write_text('{"id": "c", "recording": {}, "start": 0}\n')
    with pytest.raises(UserError, match=r"`audio-ssl manifest lhotse --root \S+cuts\.jsonl --out M\.jsonl`"):
        read_manifest(tmp_path / "cuts.jsonl")


def test_the_lock_of_a_manifest_is_no_file_of_the_folder(tmp_path, caplog):
    caplog.set_level("INFO")
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    make_manifest(str(tmp_path), tmp_path / "m.txt")
    assert "passed over" not in caplog.text


def test_a_corpus_file_of_the_users_own(tmp_path):
    card = tmp_path / "mine.py"
    card.write_text(CORPUS)
    assert make_manifest(str(card), tmp_path / "m.jsonl", root=tmp_path, split="test") == (1, 0)
    assert read_manifest(tmp_path / "m.jsonl")[0].text == "b"
    with pytest.raises(UserError, match="cannot be fetched"):
        make_manifest(str(card), tmp_path / "m.jsonl", root=tmp_path, fetch=True)
    with pytest.raises(UserError, match="is for folders"):
        make_manifest(str(card), tmp_path / "m.jsonl", root=tmp_path, max_seconds=2.0)


@pytest.mark.parametrize("option", [{"split": "train"}, {"fetch": True}, {"root": "x"}])
def test_corpus_options_do_not_apply_to_folders(option, tmp_path):
    with pytest.raises(UserError, match="is for corpora"):
        make_manifest(str(tmp_path), tmp_path / "m.jsonl", **option)


def test_an_old_ledger_does_not_speak_of_this_manifest(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    (tmp_path / "m.errors.jsonl").write_text('{"path": "gone.wav", "reason": "old"}\n')
    assert make_manifest(str(tmp_path / "a.wav"), tmp_path / "m.jsonl") == (1, 0)
    assert not (tmp_path / "m.errors.jsonl").exists()


def test_columns_and_options_are_checked(tmp_path):
    (tmp_path / "t.csv").write_text("file,sentence\n")
    out = tmp_path / "m.jsonl"
    with pytest.raises(UserError, match="is for corpora that are tables"):
        make_manifest("librispeech", out, root=tmp_path, columns=["text=sentence"])
    with pytest.raises(UserError, match="unknown option `foldr`; known: folder"):
        make_manifest("table", out, root=tmp_path / "t.csv", options=["foldr=clips"])
    with pytest.raises(UserError, match="must be NAME=VALUE, but is `text`"):
        make_manifest("table", out, root=tmp_path / "t.csv", columns=["text"])
    with pytest.raises(UserError, match="`--column` names `text` twice"):
        make_manifest("table", out, root=tmp_path / "t.csv", columns=["text=a", "text=b"])
    with pytest.raises(UserError, match="`--column` is for corpora"):
        make_manifest(str(tmp_path), out, columns=["text=sentence"])


def pool(path, clips=40):
    """Clips of a hundredth of an hour by ten speakers, the last without a gender."""
    rows = [
        Clip(
            f"c{i}",
            str(path.parent / f"c{i}.wav"),
            0.0,
            36.0,
            16000,
            speaker=f"s{i % 10}",
            gender="FM"[i % 2],
            split="train",
        )
        for i in range(clips)
    ]
    nobody = Clip("z", "z.wav", 0.0, 36.0, 16000, speaker="z", split="test")
    write_manifest(path, [*rows, nobody])
    return str(path)


def test_a_manifest_is_drawn_from_with_its_record_beside_it(tmp_path):
    source, out = pool(tmp_path / "pool.jsonl"), tmp_path / "m.jsonl"
    assert make_manifest(source, out, balance="gender=F:0.75,M:0.25", hours=0.2, seed=3) == (20, 0)
    clips = read_manifest(out)
    assert [c.gender for c in clips].count("F") == 15
    assert clips[0].path == str(tmp_path / f"{clips[0].id}.wav")
    record = json.loads((tmp_path / "m.balance.json").read_text())
    assert record["asked"]["seed"] == 3
    assert record["excluded"] == {"gender unknown": {"clips": 1, "hours": 0.01}}
    assert record["manifest_hash"] == hash_manifest(out)
    make_manifest(source, tmp_path / "same.jsonl", balance=Balance("gender", {"F": 0.75, "M": 0.25}), hours=0.2, seed=3)
    assert (tmp_path / "same.jsonl").read_bytes() == out.read_bytes()


def test_a_draw_that_fails_leaves_the_old_manifest_and_its_record(tmp_path):
    source, out = pool(tmp_path / "pool.jsonl"), tmp_path / "m.jsonl"
    make_manifest(source, out, balance="gender=F:0.5,M:0.5", hours=0.1)
    before = out.read_bytes(), (tmp_path / "m.balance.json").read_bytes()
    with pytest.raises(UserError, match=r"at most 0\.4000 h in all"):
        make_manifest(source, out, balance="gender=F:0.5,M:0.5", hours=1.0)
    assert before == (out.read_bytes(), (tmp_path / "m.balance.json").read_bytes())


def test_what_is_kept_apart_and_who_is_in_two_groups_is_said(tmp_path, caplog):
    clips = read_manifest(Path(pool(tmp_path / "pool.jsonl")))
    torn = [replace(clip, speaker="torn") if clip.id in (clips[0].id, clips[1].id) else clip for clip in clips]
    assert {clip.gender for clip in torn if clip.speaker == "torn"} == {"F", "M"}
    write_manifest(tmp_path / "torn.jsonl", torn)
    make_manifest(str(tmp_path / "torn.jsonl"), tmp_path / "m.jsonl", balance="gender=F:0.5,M:0.5", hours=0.1)
    assert "excluded from the draw (gender unknown): 1 clips, 0.01 h" in caplog.text
    assert "more than one gender: 1 (torn)" in caplog.text


def test_a_manifest_that_was_not_drawn_has_no_record(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    (tmp_path / "m.balance.json").write_text("{}")
    make_manifest(str(tmp_path / "a.wav"), tmp_path / "m.jsonl")
    assert not (tmp_path / "m.balance.json").exists()


def test_a_corpus_is_balanced_by_any_column(tmp_path):
    (tmp_path / "mine.py").write_text(CORPUS)
    make_manifest(
        str(tmp_path / "mine.py"), tmp_path / "m.jsonl", root=tmp_path, balance="split=train:0.5,test:0.5", hours=5e-4
    )
    assert [c.split for c in read_manifest(tmp_path / "m.jsonl")] == ["train", "test"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "is a manifest already"),
        ({"hours": 1.0}, "`--hours` needs `--balance`"),
        ({"speaker_hours": 1.0}, "`--speaker-hours` needs `--balance`"),
        ({"balance": "gender=F:1"}, "`--balance` needs `--hours`"),
        ({"balance": "gender=F:1", "hours": 0.1, "root": "x"}, "`--root` is for corpora"),
        ({"balance": "gender=F:1", "hours": 0.1, "max_seconds": 2.0}, "`--max-seconds` is for folders"),
        ({"balance": "gender=F:1", "hours": 0.1, "split": "dev"}, "unknown split `dev`; known: test, train"),
        ({"balance": "gender=F:1", "hours": 0.01, "split": "test"}, "no clip has it: unknown column `gender`"),
        ({"balance": "gender=X:1", "hours": 0.1}, "unknown group `X`; known: F, M"),
    ],
)
def test_options_that_do_not_go_with_a_manifest(options, words, tmp_path):
    source = pool(tmp_path / "pool.jsonl")
    with pytest.raises(UserError, match=words):
        make_manifest(source, tmp_path / "m.jsonl", **options)


def test_a_pool_is_not_replaced_by_what_is_drawn_from_it(tmp_path):
    source = pool(tmp_path / "pool.jsonl")
    with pytest.raises(UserError, match="would replace the manifest"):
        make_manifest(source, tmp_path / "pool.jsonl", balance="gender=F:1.0", hours=0.1)
    with pytest.raises(UserError, match="no such manifest"):
        make_manifest(str(tmp_path / "none.jsonl"), tmp_path / "m.jsonl", balance="gender=F:1.0", hours=0.1)
