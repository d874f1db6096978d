import json
import unicodedata

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import UserError
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.features.clips import walk


def manifest(path, ids):
    rows = [
        {"id": i, "path": f"{n}.wav", "start": 0.0, "seconds": 1.0, "sample_rate": 16000} for n, i in enumerate(ids)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_folder_is_walked_in_order_without_opening_files(tmp_path):
    for name in ("b.wav", "a.mp3", "sub/c.flac", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not audio")
    items = list(walk(tmp_path, ErrorLedger(tmp_path / "e")))
    assert [(i.number, i.id, i.name, i.clip) for i in items] == [
        (0, "a.mp3", "a", None),
        (1, "b.wav", "b", None),
        (2, "sub/c.flac", "sub/c", None),
    ]
    soundfile.write(tmp_path / "b.wav", np.zeros(8000, np.float32), 16000)
    assert items[1].open().seconds == 0.5


def test_names_that_differ_in_the_suffix_only_do_not_collide(tmp_path):
    for name in ("a.flac", "a.flac.ogg", "a.wav", "a.wav.ogg", "v1.2.wav"):
        (tmp_path / name).write_bytes(b"")
    names = [item.name for item in walk(tmp_path, ErrorLedger(tmp_path / "e"))]
    assert names == ["a", "a.flac", "a.wav", "a.wav.ogg", "v1.2"]


def test_only_the_last_suffix_is_replaced(tmp_path):
    files = ["take #3.wav", "v1.2 take #3.wav", "#1.flac", "a.b.c.mp3", "x #001.wav", "no 1."]
    for name in files:
        (tmp_path / name).write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    names = {item.id: item.name for item in walk(tmp_path, ErrorLedger(tmp_path / "e"))}
    assert names == {
        "take #3.wav": "take #3", "v1.2 take #3.wav": "v1.2 take #3", "#1.flac": "#1", "a.b.c.mp3": "a.b.c",
        "x #001.wav": "x #001", "no 1.": "no 1.",
    }  # fmt: skip


def test_names_that_are_one_on_some_disks_are_kept_apart(tmp_path):
    files = ["A.wav", "a.mp3", "a.wav", "B/x.wav", "b/x.wav", "b/y.wav", "cafe\u0301.wav", "caf\u00e9.wav"]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [item.name for item in walk(tmp_path, ErrorLedger(tmp_path / "e"))]
    keys = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(keys) == len(files)
    assert {"A", "a.mp3", "a.wav", "B/x", "b~2/x", "b~2/y"} <= set(names)


def test_ids_of_a_manifest_keep_what_is_no_suffix_of_audio(tmp_path):
    ids = ["s.1", "s.2", "a.mp3", "a.wav", "a.wav.flac", "A.ogg", "utt#1", "x" * 400, "x" * 401]
    names = [item.name for item in walk(manifest(tmp_path / "m.jsonl", ids), ErrorLedger(tmp_path / "e"))]
    # "a.wav.flac" has the short name that "a.wav" would fall back on.
    assert names[:7] == ["s.1", "s.2", "a", "a.wav~2", "a.wav", "A.ogg", "utt#1"]
    assert len({name.casefold() for name in names}) == len(ids)
    assert max(map(len, names)) < 250


def test_a_folder_that_an_earlier_version_began_keeps_its_names(tmp_path):
    for name in ("v1.2 take #3.wav", "x/a.flac", "x/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [item.name for item in walk(tmp_path, ErrorLedger(tmp_path / "e"), 1)]
    assert names == ["v1#3.wav", "x/a", "x/a.wav"]


def test_files_are_taken_by_what_they_are_and_others_are_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    soundfile.write(tmp_path / "made.wav", np.zeros(800, np.float32), 16000)
    content = (tmp_path / "made.wav").read_bytes()
    taken = [
        "a.sph",
        "b.caf",
        "c.wave",
        "d.aifc",
        "e.snd",
        "f.rf64",
        "g.3gp",
        "h.mka",
        "i.opus",
        "made.wav",
        "n",
        "n.x",
    ]
    for name in taken:
        (tmp_path / name).write_bytes(content)
    for name in ("a.txt", "b.txt", "c.jpg", "README", ".DS_Store", "._a.wav"):
        (tmp_path / name).write_bytes(b"not audio")
    (tmp_path / "lies.txt").write_bytes(content)
    ids = [item.id for item in walk(tmp_path, ErrorLedger(tmp_path / "e"))]
    assert ids == taken
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{tmp_path}: passed over 5 files that are not audio: 3 .txt, 1 without a suffix, 1 .jpg"]


def test_rows_of_a_manifest_keep_names_of_their_own(tmp_path):
    ids = ["x/a.wav", "b.wav#001", "x/a.flac", "../up.wav", "b.wav#000"]
    items = list(walk(manifest(tmp_path / "m.jsonl", ids), ErrorLedger(tmp_path / "e")))
    assert [item.name for item in items] == ["x/a", "b#001", "x/a.flac", "up", "b#000"]
    assert items[2].clip is not None
    assert items[2].path == str(tmp_path / "2.wav")


def test_an_id_twice_is_named_with_both_rows(tmp_path):
    with pytest.raises(UserError, match="the id `a` of row 3 was used in row 1 already"):
        list(walk(manifest(tmp_path / "m.jsonl", ["a", "b", "a"]), ErrorLedger(tmp_path / "e")))
    with pytest.raises(UserError, match="the manifest has no clips"):
        list(walk(manifest(tmp_path / "m.jsonl", []), ErrorLedger(tmp_path / "e")))
    with pytest.raises(UserError, match="no such file or folder"):
        walk(tmp_path / "nothing", ErrorLedger(tmp_path / "e"))
