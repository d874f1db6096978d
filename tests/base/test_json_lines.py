import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.documents import iterate_json_lines, readable_rows
from audio_ssl.base.errors import UserError

ROWS = st.lists(
    st.dictionaries(
        st.text('ab": \té😀', max_size=3),
        st.text('ab": \n\r\té😀\u2028', max_size=5)
        | st.integers(0, 9)
        | st.floats(0, 1)
        | st.lists(st.integers(), max_size=2),
        max_size=3,
    ),
    max_size=5,
)


def written(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path, **options):
    return [row for _, row in iterate_json_lines(path, **options)]


@given(rows=ROWS, end=st.sampled_from(["\n", "\r\n", "\r"]), last=st.booleans(), ascii_only=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, rows, end, last, ascii_only):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + (end if last else "")
    path.write_bytes(text.encode())
    assert list(iterate_json_lines(path)) == list(enumerate(rows, 1))


@given(data=st.binary(max_size=300))
def test_any_bytes_give_rows_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + data)
    said = str(path)
    try:
        rows_of(path)
    except UserError as error:
        said = str(error)
    assert said.startswith(str(path))
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("before", [0, 1, 5000])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', ":{}:8: not JSON"),
        (b"[1]", r":{}: a row must be a JSON object, but is \[1\]"),
        (b'{"a": 1} {"a": 2}', ":{}:10: not JSON: Extra data"),
        (b'{"a": 1, "a": 2}', ":{}: .*the key `a` appears twice"),
        (b'{"a" : 1, "a" : 2}', ":{}: .*the key `a` appears twice"),
        (b'{"b": {"a": 1, "a": 2}}', ":{}: .*the key `a` appears twice"),
        (b'{"a": ":", "a": 2}', ":{}: .*the key `a` appears twice"),
        (b'{"a": NaN}', ":{}: .*not finite"),
        (b'{"a": 1e999}', ":{}: .*not finite"),
        (b'{"a": [1e999]}', ":{}: .*not finite"),
        (b'{"a": ' + b"9" * 400 + b"}", ":{}: .*400 digits"),
        (b'{"a": "\\u0000"}', ":{}: .*NUL"),
        (b'{"a": "\\ud800"}', ":{}: .*surrogate"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", ":{}: .*64 deep"),
        (b'{"a": "caf\xe9"}', ":{}: the file is not in UTF-8"),
        (b'{"a": "\0"}', ":{}: the file is damaged: it contains NUL bytes"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, before, line, message):
    path = written(tmp_path, b'{"a": 1, "b": "some text"}\n' * before + line + b"\n" + b'{"a": 3}\n' * 3)
    with pytest.raises(UserError, match=message.replace("{}", str(before + 1))):
        rows_of(path)


def test_empty_lines_and_a_byte_order_mark_are_passed_over(tmp_path):
    path = written(tmp_path, b'\xef\xbb\xbf{"a": 1}\n\n  \n  {"a": 2}  \n')
    assert list(iterate_json_lines(path)) == [(1, {"a": 1}), (4, {"a": 2})]
    assert rows_of(written(tmp_path, b"")) == []


@pytest.mark.parametrize("end", [b'{"a": 2', b'{"a": "caf\xc3', b'{"a": tr'])
def test_a_torn_end_is_left_out_where_a_log_may_have_one(tmp_path, end):
    path = written(tmp_path, b'{"a": 1}\n' + end)
    assert rows_of(path, torn_end=True) == [{"a": 1}]
    with pytest.raises(UserError, match=":2"):
        rows_of(path)
    with pytest.raises(UserError, match=":2"):
        rows_of(written(tmp_path, b'{"a": 1}\n' + end + b"\n"), torn_end=True)


def test_lines_across_blocks_of_reading_are_whole(tmp_path):
    rows = [{"id": str(number), "text": "é" * (number % 700)} for number in range(2000)]
    path = written(tmp_path, "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows))
    assert rows_of(path) == rows


def test_a_file_without_line_breaks_ends_at_once(tmp_path):
    path = tmp_path / "zeros.jsonl"
    with path.open("wb") as file:
        file.write(b"[" * (1 << 20))
        file.truncate(1 << 33)
    started = time.monotonic()
    with pytest.raises(UserError, match="longer than 16 MiB"):
        rows_of(path)
    assert time.monotonic() - started < 20


def test_nan_is_a_missing_number_where_that_is_asked_for(tmp_path):
    path = written(tmp_path, b'{"a": NaN, "b": 1}\n{"a": [1e999, {"c": -Infinity}], "b": 2.5}\n')
    assert rows_of(path, nan_is_null=True) == [{"a": None, "b": 1}, {"a": [None, {"c": None}], "b": 2.5}]


def test_a_log_is_read_as_far_as_it_can_be(tmp_path):
    path = written(tmp_path, b'{"a": 1}\n{"a": \n\0\0\0\ncaf\xe9\n[1]\n{"a": 2}\n{"a"')
    assert list(readable_rows(path)) == [{"a": 1}, {"a": 2}]
    assert list(readable_rows(tmp_path / "none.jsonl")) == []
