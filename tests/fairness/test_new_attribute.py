"""A new attribute is no file at all: any column of a table makes groups (CONTRIBUTING, "A new fairness attribute")."""

import json
import re

import pytest

from audio_ssl.commands.evaluate import fairness
from audio_ssl.fairness.wording import people

HEADSET, TABLE = "headset", "on the table"


def row(speaker, clip):
    far = speaker % 2 == 1
    wrong = far and clip % 2
    return {
        "id": f"{speaker}-{clip}",
        "speaker": f"s{speaker}",
        "gender": "FM"[speaker // 2 % 2],
        "reference": "the sea is old",
        "hypothesis": "the sea" if wrong or clip == speaker // 2 % 3 else "the sea is old",
    }


@pytest.mark.parametrize("joined", [False, True])
def test_groups_of_any_column_are_compared_and_named(tmp_path, joined):
    rows = [row(speaker, clip) for speaker in range(24) for clip in range(4)]
    column = [{"id": one["id"], "microphone": (HEADSET, TABLE)[int(one["speaker"][1:]) % 2]} for one in rows]
    if not joined:
        rows = [{**one, **more} for one, more in zip(rows, column, strict=True)]
    table, manifest = tmp_path / "p.jsonl", tmp_path / "m.jsonl"
    table.write_text("".join(json.dumps(one) + "\n" for one in rows))
    clips = ({"path": "x.wav", "seconds": 1.0, "sample_rate": 16000, "start": 0.0, **one} for one in column)
    manifest.write_text("".join(json.dumps(one) + "\n" for one in clips))
    more = {"manifest": manifest} if joined else {}
    fairness(table, by=("microphone", "gender"), out=tmp_path / "page.html", replicates=200, metric=("wer",), **more)
    report = json.loads((tmp_path / "page.json").read_text())
    groups = {one["group"]: one["speakers"] for one in report["groups"] if one["by"] == "microphone"}
    assert groups == {HEADSET: 12, TABLE: 12}
    gap = next(one for one in report["comparisons"] if one["by"] == "microphone")
    assert gap["p_value"] < 0.05
    page = (tmp_path / "page.html").read_text()
    assert re.search(r"<h2[^>]*>By microphone</h2>", page)
    assert people("microphone", TABLE) == "speakers of microphone on the table"
    assert people("microphone", TABLE) in page
    assert "women × headset" in page or "headset × women" in page
