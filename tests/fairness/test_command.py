"""`audio-ssl fairness` as a user calls it."""

import hashlib
import json

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.commands.evaluate import fairness


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "`seed` must be 0 or more, but is -1"),
        ({"replicates": 99}, "`replicates` must be at least 100"),
        ({"min_speakers": 0}, "`min_speakers` must be at least 1"),
        ({"by": ()}, "`by` must name at least one"),
        ({"by": ("gender", "gender")}, "`by` names gender twice"),
        ({"metric": ("wrr",)}, "unknown metric `wrr`"),
        ({"metric": ("eer",)}, "none of eer is a score of this result; known: accuracy, bleu"),
        ({"out": "p.pdf"}, "must end in .html"),
        ({"out": "\udcff.html"}, "is not UTF-8"),
    ],
)
def test_wrong_settings_stop_before_any_work(settings, message, tmp_path):
    table = write(tmp_path / "p.jsonl", rows())
    out = tmp_path / settings.pop("out", "p.html")
    with pytest.raises(UserError, match=message):
        fairness(table, out=out, **settings)
    assert list(tmp_path.iterdir()) == [table]


def test_a_page_is_written_again(tmp_path, capsys):
    table = write(tmp_path / "x.jsonl", rows())
    pages = []
    for _ in range(2):
        fairness(table, out=tmp_path / "new" / "x.html", replicates=200)
        pages.append([(tmp_path / "new" / f"x.{kind}").read_bytes() for kind in ("html", "json", "md")])
    assert pages[0] == pages[1]
    assert "comparisons between groups" in capsys.readouterr().out


def read(page):
    return json.loads(page.with_suffix(".json").read_text())


def test_nothing_is_written_before_the_page_is_drawn(tmp_path, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    table = write(tmp_path / "p.jsonl", rows())
    monkeypatch.setattr("audio_ssl.report.build.render", stopped)
    with pytest.raises(KeyboardInterrupt):
        fairness(table, out=tmp_path / "p.html", replicates=100)
    assert list(tmp_path.iterdir()) == [table]


def test_the_page_names_the_hash_of_its_numbers(tmp_path):
    fairness(write(tmp_path / "p.jsonl", rows()), out=tmp_path / "p.html", replicates=100)
    assert hashlib.sha256((tmp_path / "p.json").read_bytes()).hexdigest() in (tmp_path / "p.html").read_text()


def test_names_and_texts_cannot_steer_the_screen(tmp_path, capsys):
    evil = "\x1b[2J\u202e\x00"
    table = rows()
    for row in table:
        row |= {key: f"{row[key]}{evil}" for key in ("id", "hypothesis", "reference", "speaker")}
        row["accent"] = f"{row['gender']}{evil}\nsystem:"
    folder = tmp_path / f"x{evil[:-1]}"
    folder.mkdir()
    table.append({**table[0], "id": f"lost{evil}", "speaker": None})
    page = tmp_path / "x.html"
    path = write(folder / f"p{evil[:-1]}.jsonl", table)
    fairness(path, by=("accent",), out=page, replicates=100)
    said = capsys.readouterr().out
    assert "␛[2J" in page.read_text()
    for text in (said, *(page.with_suffix(kind).read_text() for kind in (".html", ".md"))):
        assert not {"\x1b", "\u202e", "\x00"} & set(text)
    assert not any(line.startswith("system:") for line in said.splitlines())
    assert "\\u001b" not in page.with_suffix(".json").read_text()


def test_order_of_rows_does_not_matter(tmp_path):
    table = rows(speakers=16, clips=3)
    for place, row in enumerate(table):
        row["reference"] += " old" * (place % 7)
    found = []
    for place, ordered in enumerate((table, table[::-1], sorted(table, key=lambda row: row["hypothesis"]))):
        folder = tmp_path / str(place)
        folder.mkdir()
        fairness(write(folder / "p.jsonl", ordered), out=folder / "p.html", replicates=200)
        report = read(folder / "p.html")
        found.append([report[part] for part in ("groups", "totals", "comparisons", "spread")])
    assert found[0] == found[1] == found[2]


def test_a_column_called_category_is_any_attribute(tmp_path):
    table = [{**row, "category": "FM".index(row["gender"])} for row in rows()]
    fairness(write(tmp_path / "p.jsonl", table), by=("category",), out=tmp_path / "p.html", replicates=100)
    assert [(row["a"], row["b"]) for row in read(tmp_path / "p.html")["comparisons"]] == [("0", "1")] * 2


def test_groups_called_as_rows_of_the_report_are_groups(tmp_path):
    table = [{**row, "accent": ["all", "all others"][row["gender"] == "F"]} for row in rows(20)]
    both = []
    for by in ("gender", "accent"):
        fairness(write(tmp_path / "p.jsonl", table), by=(by,), out=tmp_path / "p.html", replicates=100)
        both.append(read(tmp_path / "p.html"))
    for part in ("groups", "comparisons"):
        values = [[row.get("value", row.get("difference")) for row in report[part]] for report in both]
        assert values[0] == values[1]


def test_systems_say_on_which_clips_they_are_compared(tmp_path):
    first = write(tmp_path / "a.jsonl", rows(14))
    half = [{**row, "reference": row["reference"].upper()} if row["id"].endswith("1") else row for row in rows(14)]
    second = write(tmp_path / "b.jsonl", half)
    third = write(tmp_path / "c.jsonl", [{**row, "id": f"new {row['id']}"} for row in rows(14)])
    fairness(first, second, third, out=tmp_path / "p.html", replicates=100)
    notes = read(tmp_path / "p.html")["notes"]
    assert notes == [
        "b and a are compared on the 14 clips with the same id and reference, of 28 and 28 clips.",
        "c is not compared with another system: no clip has the same id and reference.",
    ]


def test_too_many_comparisons_for_the_permutations_are_said(tmp_path):
    table = [{**row, "accent": f"a{int(row['speaker'][1:]) // 20}"} for row in rows(160)]
    path = write(tmp_path / "p.jsonl", table)
    fairness(path, by=("accent", "gender"), out=tmp_path / "p.html", replicates=100)
    (note,) = read(tmp_path / "p.html")["notes"]
    assert "no p-value can be below" in note
    assert "--replicates" in note
    fairness(path, by=("accent", "gender"), out=tmp_path / "p.html", replicates=4000)
    assert not read(tmp_path / "p.html")["notes"]
