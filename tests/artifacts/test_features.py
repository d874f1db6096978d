"""Rows of an index of features: written with the same bytes in every release, and refused where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audio_ssl.artifacts.features import IndexRow, as_index_row, read_extraction, read_index
from audio_ssl.base.checksums import Seal
from audio_ssl.base.errors import UserError

ROW = {
    "id": "a\u0161",
    "number": 4,
    "path": "a.wav",
    "seconds": 0.5,
    "frames": 2,
    "layers": [0, 12],
    "hop_seconds": 0.02,
    "model": "abc",
    "file": "a.npy",
    "bytes": 7,
    "sha256": "00",
    "later": {"deep": [1]},
}


def test_a_row_is_written_back_with_its_keys_in_order() -> None:
    row = as_index_row(ROW, "index.jsonl, line 1")
    assert row.line(number=True) == json.dumps(ROW)
    assert row.line() == json.dumps({key: value for key, value in ROW.items() if key != "number"})
    assert (row.layers, row.seal, row.more) == ((0, 12), Seal(7, "00"), {"later": {"deep": [1]}})


def test_a_row_of_an_earlier_release_lacks_keys() -> None:
    row = as_index_row({"id": "a", "file": "a.npy"}, "index.jsonl")
    assert (row, row.seal) == (IndexRow("a", file="a.npy"), None)
    assert row.line() == '{"id": "a", "file": "a.npy"}'


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bytes": "7"}, "line 1: `bytes` must be an integer, but is '7'"),
        ({"file": None}, "line 1: `file` must be text"),
        ({"seconds": True}, "line 1: `seconds` must be a number, but is True"),
        ({"number": 1 << 62}, "line 1: `number` must be the place of a clip"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, change: dict[str, object], text: str) -> None:
    (tmp_path / "index.jsonl").write_text(json.dumps({**ROW, **change}) + "\n")
    with pytest.raises(UserError, match=text):
        list(read_index(tmp_path))


def test_what_an_extraction_holds_is_refused_with_a_remedy_where_it_is_damaged(tmp_path: Path) -> None:
    assert read_extraction(tmp_path) is None
    (tmp_path / "extraction.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"extraction.json: .*\(choose another --out, or delete the folder"):
        read_extraction(tmp_path)
