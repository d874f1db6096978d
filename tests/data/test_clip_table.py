"""A manifest by columns is the manifest by rows, whatever is in it; what is refused is refused in the same words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_ssl.artifacts.composition import AuditedManifest
from audio_ssl.base.errors import UserError
from audio_ssl.data import clip_table
from audio_ssl.data.audit import columns_needed, describe_manifest
from audio_ssl.data.audit_columns import columns_of
from audio_ssl.data.balance import balance, parse_balance
from audio_ssl.data.clip_table import read_table, table_of
from audio_ssl.data.columns import recorded
from audio_ssl.data.manifest import hash_manifest, read_manifest

COLUMNS = ("speaker", "gender", "split", "age", "date", "mixed", "flag")


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"c{number}", "path": f"sound/{number}.wav", "start": 0, "seconds": 1.5 + number % 3,
        "sample_rate": 16000, "text": "Žluťoučký kůň 😀 \\ \" \n", "tags": ["a", "b"], "speaker": f"s{number % 4}",
        "gender": ("female", "M", None, "n/a", "divers")[number % 5], "split": ("train", "test")[number % 2],
        "age": 20 + number, "level_dbfs": -20.5 - number, **more,
    }  # fmt: skip


ROWS = {
    "plain": [row(n) for n in range(40)],
    "dates": [row(n, date=f"2020-01-{n + 1:02d}", time="2020-01-01 10:00:00") for n in range(9)],
    "numbers": [row(n, age=(31, 31.5, 31.0, None)[n % 4], flag=n % 2 == 0, empty=None) for n in range(9)],
    "later columns": [row(n, **({"accent": "x"} if n > 30 else {})) for n in range(40)],
    "types that differ": [row(n, mixed=("a", 1, True)[n % 3]) for n in range(9)],
    "no tags": [row(n, tags=[]) for n in range(3)],
    "file names that are no text": [row(n, path="a\udcff.wav", id=f"a\udcff{n}") for n in range(3)],
    "large numbers": [row(n, big=2**60 + n, wide=2.0**70) for n in range(3)],
    "spaces": [row(n, speaker=" s1 ", age=" 31 ") for n in range(3)],
}


def write(path: Path, rows: list[dict[str, Any]], ascii_only: bool = True) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=ascii_only) + "\n" for one in rows), encoding="utf-8")
    return path


@pytest.fixture(params=[8 << 20, 1000], ids=["one block", "many blocks"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(clip_table, "_BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("name", ROWS)
def test_columns_are_those_of_the_rows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "m.jsonl", ROWS[name], name != "plain")
    clips, table = read_manifest(path), read_table(path, COLUMNS, ["level_dbfs"])
    assert list(table) == clips
    assert (table.names(), table.hash) == ([clip.id for clip in clips], hash_manifest(path))
    assert table.seconds.tolist() == [clip.seconds for clip in clips]
    assert table.numbers["level_dbfs"].tolist() == [clip.extra["level_dbfs"] for clip in clips]
    for column in COLUMNS:
        written = table.columns[column]
        values = [written.values[code] if code >= 0 else None for code in written.index.tolist()]
        assert values == [recorded(clip, column) for clip in clips], column
    needed = columns_needed(["gender", "age"])
    source = AuditedManifest("m.jsonl")
    by_table = describe_manifest(
        columns_of(read_table(path, ["speaker", *needed], ["level_dbfs"]), needed), ["gender", "age"], source
    )
    assert by_table == describe_manifest(
        columns_of(table_of(clips, ["speaker", *needed], ["level_dbfs"]), needed), ["gender", "age"], source
    )


def test_clips_are_made_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", ROWS["plain"])
    clips, table = read_manifest(path), read_table(path, ["speaker"])
    assert table[3] == clips[3]
    assert table[-1] == clips[-1]
    assert list(table[5:20:3]) == clips[5:20:3]
    some = table.take(np.array([7, 2]))
    assert list(some) == [clips[7], clips[2]]
    speakers = some.columns["speaker"]
    assert [speakers.values[code] for code in speakers.index.tolist()] == ["s3", "s2"]
    assert sorted(speakers.values) == ["s2", "s3"]
    with pytest.raises(IndexError):
        table[40]
    write(path, ROWS["plain"][1:])
    with pytest.raises(UserError, match="the manifest changed while it was being read"):
        table[3]


@pytest.mark.parametrize(
    "text",
    ["\ufeff{}\n", "{}\n\n  \n{}\n", "{}\r\n{}\r\n", "{}\n{}", "\n{}\n"],
    ids=["byte order mark", "empty lines", "line ends", "no last line end", "empty first line"],
)
def test_what_is_written_in_other_ways_is_read_alike(tmp_path: Path, text: str) -> None:
    lines = [json.dumps(one) for one in ROWS["plain"]]
    for number in range(text.count("{}")):
        text = text.replace("{}", lines[number], 1)
    path = tmp_path / "m.jsonl"
    path.write_bytes(text.encode())
    assert list(read_table(path)) == read_manifest(path)
    assert len(read_table(path)) == text.count('"id"')


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "c1"}, {"id": None}, {"id": 3}, {"seconds": "long"}, {"seconds": 0}, {"seconds": -1}, {"seconds": 1e12},
        {"start": -1},
        {"sample_rate": 16000.0}, {"sample_rate": 0}, {"path": None}, {"text": 3}, {"tags": "a"}, {"tags": [1]},
        {"tags": [None]}, {"extra": {"a": 1}}, {"extra": [1]}, {"gender": True}, {"sample_rate": None},
        {"text": "a\0b"}, {"text": "\ud800"}, {"start": True},
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_in_the_same_words(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = write(tmp_path / "m.jsonl", [*(row(n) for n in range(5)), {**row(5), **bad}])
    _same_refusal(path)


@pytest.mark.parametrize(
    "line", ["{", "[1]", "3", '{"id": "a"}', '{"id": NaN}', "x", '{"id": "a", "id": "b"}', '{"a": 1}{"b": 2}', "\\"]
)
def test_a_bad_line_is_refused_in_the_same_words(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "m.jsonl", [row(n) for n in range(5)])
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    _same_refusal(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe{\x00", "Žena".encode("iso-8859-2"), b"\0\0"])
def test_a_bad_file_is_refused_in_the_same_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.jsonl").write_bytes(content)
    _same_refusal(tmp_path / "m.jsonl")
    _same_refusal(tmp_path / "missing.jsonl")


def _same_refusal(path: Path) -> None:
    with pytest.raises(UserError) as by_rows:
        read_manifest(path)
    with pytest.raises(UserError) as by_columns:
        read_table(path)
    assert str(by_columns.value) == str(by_rows.value)


def test_a_draw_from_a_table_is_that_from_clips(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", [row(n, speaker=None if n == 7 else f"s{n % 9}") for n in range(200)])
    asked = parse_balance("gender=F:0.25,M:0.75")
    table = balance(read_table(path, ["speaker", "gender"]), asked, 0.01, speaker_hours=0.002)
    assert table == balance(read_manifest(path), asked, 0.01, speaker_hours=0.002)
    assert len(table.clips) > 10
