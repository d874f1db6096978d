"""`audio-ssl fairness` as a user calls it."""

import json

import pytest

from audio_ssl.cli.answers import fairness
from audio_ssl.errors import UserError


def rows(speakers=12, clips=2):
    return [
        {
            "id": f"{speaker}-{clip}",
            "reference": "the sea is old",
            "hypothesis": "the sea is" if (speaker + clip) % 3 else "a sea is old",
            "speaker": f"s{speaker}",
            "gender": "FM"[speaker % 2],
        }
        for speaker in range(speakers)
        for clip in range(clips)
    ]


def write(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def test_inputs_are_not_replaced(tmp_path):
    table = write(tmp_path / "x.json", rows())
    before = table.read_bytes()
    with pytest.raises(UserError, match="would replace one of the inputs"):
        fairness(table, out=tmp_path / "x.html")
    with pytest.raises(UserError, match="would replace one of the inputs"):
        fairness(write(tmp_path / "p.jsonl", rows()), manifest=table, out=tmp_path / "x.html")
    assert table.read_bytes() == before
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "scores.json").write_text('{"task": "asr"}')
    with pytest.raises(UserError, match="would replace one of the inputs"):
        fairness(folder, out=folder / "scores.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl", "result", "x.json"]


def test_a_page_is_written_again(tmp_path, capsys):
    table = write(tmp_path / "x.jsonl", rows())
    pages = []
    for _ in range(2):
        fairness(table, out=tmp_path / "new" / "x.html", replicates=200)
        pages.append([(tmp_path / "new" / f"x.{kind}").read_bytes() for kind in ("html", "json", "md")])
    assert pages[0] == pages[1]
    assert "tested gap" in capsys.readouterr().out
