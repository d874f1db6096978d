import csv
import json

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.predictions import read_predictions
from audio_ssl.fairness.tables.formats import open_source
from audio_ssl.fairness.tables.lines import Lookup
from audio_ssl.fairness.tables.source import nowhere

HEADER = "id,reference,hypothesis,speaker,gender"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path):
    source = open_source(path)
    return list(source.rows(source.columns, nowhere))


def test_quoted_line_ends_commas_and_marks(tmp_path):
    text = '\ufeffid,reference,hypothesis,speaker,gender\r\na,"one, two\nthree","say ""no""",s,\r\n\r\nb,,,t,F\r\n'
    assert rows_of(write(tmp_path / "p.csv", text)) == [
        (2, {"id": "a", "reference": "one, two\nthree", "hypothesis": 'say "no"', "speaker": "s", "gender": ""}),
        (5, {"id": "b", "reference": "", "hypothesis": "", "speaker": "t", "gender": "F"}),
    ]


def test_quotes_mean_nothing_between_tabs(tmp_path):
    path = write(tmp_path / "p.tsv", HEADER.replace(",", "\t") + '\na\t"one\t"\ts\tF\n')
    assert rows_of(path) == [(2, {"id": "a", "reference": '"one', "hypothesis": '"', "speaker": "s", "gender": "F"})]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_rows_of_another_width_are_left_out_by_line(tmp_path, suffix):
    text = f"{HEADER}\na,yes,s,F\nb,yes,yes,s,F\nc,yes,yes, no,s,F\nd,yes,no,s,F,\n"
    found = read_predictions(write(tmp_path / f"p{suffix}", text.replace(",", "\t" if suffix == ".tsv" else ",")))
    assert {e.reason: (e.count, e.names) for e in found.exclusions} == {
        "4 cells in the row, but 5 in the header": (1, ("line 2",)),
        "6 cells in the row, but 5 in the header": (1, ("line 4",)),
    }
    assert found.statistics["wer"].tolist() == [[0, 0, 0, 1], [1, 0, 0, 1]]


def test_long_cells_are_read_and_the_limit_is_put_back(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path / "p.csv", f"{HEADER}\na,yes,{'word ' * 100_000},s,F\n")
    found = read_predictions(path)
    assert found.statistics["wer"].tolist() == [[1, 0, 99_999, 1]]
    assert len(found.examples[0].texts.hypothesis) == 301
    assert csv.field_size_limit() == before


def test_a_speech_of_100_000_words_against_another(tmp_path):
    said = ["one two three four"] * 2500
    row = {
        "id": "a",
        "reference": " ".join(said),
        "hypothesis": " ".join([*said[1:], "x"]),
        "speaker": "s",
        "gender": "F",
    }
    path = write(tmp_path / "p.jsonl", json.dumps(row))
    assert read_predictions(path, metrics=["wer"]).statistics["wer"].tolist() == [[1, 3, 0, 10_000]]


def test_what_takes_hours_to_align_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("audio_ssl.fairness.counting._LONGEST_ALIGNMENT", 100)
    path = write(tmp_path / "p.csv", f"{HEADER}\na,{'x' * 11},{'y' * 11},s,F\nb,yes,yes,s,F\n")
    (left_out,) = read_predictions(path).exclusions
    assert (left_out.reason, left_out.names) == ("reference and hypothesis too long to align", ("a",))
    assert read_predictions(path, metrics=["bleu"]).exclusions == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", f"{HEADER}\na,b,c,d,e,f\n", r"p\.csv: no row can be used: 1 6 cells in the row, but 5 in the header"),
        ("p.csv", f'{HEADER}\na,b,"c,d,e\nf,b,c,d,e\n', r"p\.csv:2: a quote is opened here and not closed in its row"),
        ("p.csv", "id,id\n", "a column's name appears twice"),
        ("p.csv", f"{HEADER}\na,{'привет,' * 4}".encode("cp1251"), r"p\.csv:2: the line is neither UTF-8 nor .*iconv"),
        ("p.csv", HEADER.encode("utf-16"), "p.csv: the table has no rows"),
        ("p.csv", "", "the table has no rows"),
        ("p.csv", f"{HEADER}\n", "the table has no rows"),
        ("p.jsonl", '{"id": "a"}\n{"id": \n', r"p\.jsonl:2:\d+: not JSON"),
        ("p.jsonl", '[{"id": "a"}]', r"p\.jsonl:1: a row must be a JSON object"),
        ("p.jsonl", "[" * 100_000, r"p\.jsonl:1: lists and objects are nested more than 64 deep"),
        (
            "p.jsonl",
            b'{"id": "\xff"}',
            r"p\.jsonl:1: the file is not in UTF-8: .*iconv -f CP1252 -t UTF-8 \S+p\.jsonl > ",
        ),
        ("p.jsonl", '{"id": "a"}'.encode("utf-16"), r"p\.jsonl: the file is in UTF-16.*iconv -f UTF-16 -t UTF-8 "),
        ("p.parquet", "PAR1", "cannot be read"),
    ],
)
def test_broken_files_say_where(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        read_predictions(write(tmp_path / name, content))


def test_a_line_that_is_no_row_stops(tmp_path, monkeypatch):
    monkeypatch.setattr("audio_ssl.fairness.tables.lines.LONGEST_BYTES", 100)
    with pytest.raises(UserError, match=r"p\.jsonl:1: the line has more than 100 bytes: this is not a table"):
        read_predictions(write(tmp_path / "p.jsonl", "x" * 1000))


def test_lookup_holds_places_only(tmp_path):
    path = write(tmp_path / "a", "\ufeffa eins\nb zwei\n\nc drei")
    found = Lookup(path, lambda number, line: line[0] if line.strip() else None)
    assert found.get("c") == (4, "c drei")
    assert found.get("a") == (1, "a eins\n")
    assert found.get("x") is None
    assert list(found.unused()) == ["b"]
    found.close()
    with pytest.raises(UserError, match="`a` was given in line 1 already"):
        Lookup(write(path, "a 1\na 2\n"), lambda number, line: line[0])
