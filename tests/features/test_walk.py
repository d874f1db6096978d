import json

import numpy as np
import pytest
import soundfile

from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.errors import UserError
from audio_ssl.features.walk import walk


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
