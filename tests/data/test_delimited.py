import contextlib
import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.data.delimited import Read, open_delimited

HEADER = "id,reference,hypothesis,speaker"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **how):
    """Return the rows, the refused lines, and the counts."""
    refused = {}
    counts = Read()
    table = open_delimited(path, **how)
    rows = list(table.rows(lambda number, why: refused.update({number: why}), counts))
    assert (len(rows), len(refused)) == (counts.rows, counts.refused)
    return rows, refused, table, counts


ROWS = [["id", "reference", "hypothesis"], ["a", "où, là; hé", 'elle dit "non"'], ["b", "", "œuvre à 3 €"]]


def as_text(delimiter, ends="\r\n", **how):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=ends, **how).writerows(ROWS)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("p.csv", as_text(",").encode(), ()),
        ("p.csv", as_text(",").encode("utf-8-sig"), ()),
        ("p.csv", as_text(";").encode("cp1252"), ("read as Windows-1252", "semicolons between cells")),
        ("p.csv", as_text("\t").encode(), ("tabs between cells",)),
        ("p.csv", ("sep=;\r\n" + as_text(";")).encode("utf-8-sig"), ("semicolons between cells",)),
        ("p.csv", ("sep=|\r\n" + as_text("|")).encode(), ("'|' between cells",)),
        ("p.txt", as_text("\t").encode("utf-16"), ("read as UTF-16", "tabs between cells")),
        ("p.txt", as_text("\t").encode("utf-16-le"), ("read as UTF-16", "tabs between cells")),
        ("p.tsv", as_text("\t").encode("utf-16"), ("read as UTF-16", "quotes hold cells together")),
        ("p.tsv", as_text("\t").encode(), ("quotes hold cells together",)),
        ("p.tsv", as_text(",").encode(), ("commas between cells", "quotes hold cells together")),
        ("p.csv", as_text(",", "\r").encode(), ()),
        ("p.csv", as_text(";", quoting=csv.QUOTE_ALL).encode(), ("semicolons between cells",)),
    ],
)
def test_tables_as_programs_write_them(tmp_path, name, content, notes):
    rows, refused, table, _ = read(write(tmp_path / name, content))
    assert [list(table.header), *(cells for _, cells in rows)] == ROWS
    assert table.notes == notes
    assert not refused


def test_decimal_commas_and_prose_do_not_pass_for_delimiters(tmp_path):
    text = "id;seconds;text (a, b, c)\n1;3,25;one, two, three\n2;4,5;no\n"
    rows, _, table, _ = read(write(tmp_path / "p.csv", text))
    assert table.header == ("id", "seconds", "text (a, b, c)")
    assert rows == [(2, ["1", "3,25", "one, two, three"]), (3, ["2", "4,5", "no"])]


def test_header_without_spaces_around_and_columns_without_a_name(tmp_path):
    rows, _, table, _ = read(write(tmp_path / "p.csv", ' id ,"hypo\n thesis",,\na,b,,\n,,,\n\nc,d,,,,\n'))
    assert table.header == ("id", "hypo thesis", "", "")
    assert rows == [(3, ["a", "b", "", ""]), (6, ["c", "d", "", ""])]


def test_rows_of_another_width_are_refused_by_line(tmp_path):
    text = f'{HEADER}\na,x,y,s\nb,x,s\nc,x,y, z,s\n"d","x" y,z,s\ne,x,say "y",s\n'
    rows, refused, *_ = read(write(tmp_path / "p.csv", text))
    assert [cells[0] for _, cells in rows] == ["a", "e"]
    assert rows[1] == (6, ["e", "x", 'say "y"', "s"])
    assert refused == {
        3: "3 cells in the row, but 4 in the header",
        4: "5 cells in the row, but 4 in the header",
        5: "there is text after a closing quote",
    }


def test_cells_of_several_lines(tmp_path):
    text = f'{HEADER}\na,"one, two\nthree ""four""\n\nfive",y,s\n"b\nb",x,y,s\n'
    rows, refused, _, counts = read(write(tmp_path / "p.csv", text))
    assert rows == [(2, ["a", 'one, two\nthree "four"\n\nfive', "y", "s"]), (6, ["b\nb", "x", "y", "s"])]
    assert (counts.rows, counts.several_lines, refused) == (2, 2, {})


@pytest.mark.parametrize(
    "later",
    [
        [],
        ['c8,x,"y, z",s'],
        ['c8,x,y",s'],
        ['"c8",x,y,s', '"c9",x,y,s'],
        ['c8,x,"y",s', 'c9,x,y z"', "c10,x"],
    ],
)
@pytest.mark.parametrize("between", [0, 1, 3])
@pytest.mark.parametrize("stray", ['c2,x,"y,s', '"c2,x,y,s', 'c2,x,y,"s', 'c2,"a, b","y,s', 'c2,x,"y, z,s'])
def test_a_stray_quote_swallows_nothing(tmp_path, later, between, stray):
    plain = [f"c{n},x,y,s" for n in range(3, 3 + between)]
    path = write(tmp_path / "p.csv", "\n".join([HEADER, "c1,x,y,s", stray, *plain, *later, ""]))
    with pytest.raises(UserError, match=r"p\.csv:3: a quote is opened here and (never closed|not closed in its row)"):
        read(path)


def test_prose_of_two_columns(tmp_path):
    text = 'path,text\na1.wav,"One\ntwo, three\nfour, ""five"""\na2.wav,six\n'
    rows, *_ = read(write(tmp_path / "p.csv", text))
    assert [cells for _, cells in rows] == [["a1.wav", 'One\ntwo, three\nfour, "five"'], ["a2.wav", "six"]]
    with pytest.raises(UserError, match=r"p\.csv:2: .* swallow line 3"):
        read(write(tmp_path / "p.csv", 'path,text\na1.wav,"One\na2.wav,two\na3.wav,"three"\n'))


def test_quotes_between_tabs_are_signs(tmp_path):
    path = write(tmp_path / "p.tsv", 'id\ttext\na\t"one"\nb\t"\nc\t"two" three\nd\tx\\\n')
    rows, refused, table, _ = read(path)
    assert [cells[1] for _, cells in rows] == ['"one"', '"', '"two" three', "x\\"]
    assert not refused
    assert table.notes == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("é".encode() * 20 + b"\n\xe9\n", r"p\.csv:2: the line is not UTF-8: byte 0xe9; all else in the file is"),
        ("id,text\n1,привет мир\n".encode("cp1251"), r"p\.csv:2: the line is neither UTF-8 nor Windows-1252: .*iconv"),
        ("id,text\n1,żółw łąka źródło ołów\n".encode("cp1250"), r"p\.csv:2: the line is neither UTF-8"),
        ("id,text\n1,これは日本語です。\n".encode("shift_jis"), r"p\.csv:2: the line is neither UTF-8"),
        ("id,text\n1,a\n".encode("utf-16")[:-1], r"p\.csv:3?2?: the line is not UTF-16"),
        (b"PK\x03\x04...", "this is a workbook, not a table of text .save the sheet as CSV"),
        ("id,id\n", r"p\.csv:1: a column's name appears twice: id"),
        ("id,id" + "x" * 1000 + ",id" + "x" * 1000, r"twice: idx{27}…x{29}$"),
        ('id,"text\n1,a\n', r"p\.csv:1: a quote is opened here and never closed"),
        ('id,"te" xt\n1,a\n', r"p\.csv:1: the header cannot be read: there is text after"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "p.csv", content))


def test_a_long_line_is_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr("audio_ssl.data.delimited.LONGEST", 100)
    with pytest.raises(UserError, match=r"p\.csv:2: the line has more than 100 characters"):
        read(write(tmp_path / "p.csv", "id,a\n" + "x" * 1000))
    with pytest.raises(UserError, match=r"p\.csv:2: a quote is opened here and never closed"):
        read(write(tmp_path / "p.csv", 'id,a\nb,"' + "xx\n" * 100))


def test_long_cells_leave_python_s_limit_alone(tmp_path):
    before = csv.field_size_limit()
    rows, *_ = read(write(tmp_path / "p.csv", 'id,a\nb,"' + "word " * 100_000 + '"\n'))
    assert len(rows[0][1][1]) == 500_000
    assert csv.field_size_limit() == before


def test_an_empty_file_has_no_header(tmp_path):
    rows, _, table, _ = read(write(tmp_path / "p.csv", ""))
    assert (rows, table.header) == ([], ("",))


CELL = st.text(st.sampled_from("ab ,;\"\n'é\t"), max_size=8)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from([0, 1]))
def test_what_python_writes_is_read_back_or_refused(tmp_path, rows, quoting):
    file = io.StringIO()
    writer = csv.writer(file, quoting=[csv.QUOTE_MINIMAL, csv.QUOTE_ALL][quoting])
    writer.writerows([["id", "reference", "hypothesis"], *rows])
    path = write(tmp_path / "p.csv", file.getvalue())
    if any("\n" in cell for row in rows for cell in row):
        # A cell that holds what looks like a row stops the reading; nothing else may happen.
        with contextlib.suppress(UserError):
            assert [cells for _, cells in read(path, delimiter=",")[0]] == [row for row in rows if any(row)]
        return
    found, refused, *_ = read(path, delimiter=",")
    assert not refused
    assert [cells for _, cells in found] == [row for row in rows if any(row)]
