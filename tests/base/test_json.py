import codecs
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.documents import as_object, find, parse_json, parse_object, read_json, read_object
from audio_ssl.base.errors import UserError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    # What a text of a person or the name of a file may hold.
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé:", max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN, st.booleans())
def test_what_json_writes_is_read_as_it_was(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert repr(parse_json(text, "a.json")) == repr(value)
    assert repr(parse_json(text.encode(), "a.json")) == repr(value)


@given(st.binary(max_size=200) | st.text('[]{}",:0123456789eEaNufd\\ -+.', max_size=200).map(str.encode))
def test_any_bytes_give_a_value_or_one_line(data):
    said = "a.json"
    try:
        json.dumps(parse_json(data, "a.json"), allow_nan=False)
    except UserError as error:
        said = str(error)
    assert said.startswith("a.json")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[1", r"a\.json:1:3: not JSON"),
        ('{\n"a" 1}', r"a\.json:2:5: not JSON"),
        ("[1] 2", r"a\.json:1:5: not JSON: Extra data"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', r"`\$\.b`: the key `c` appears twice"),
        ('{"a": [1, NaN]}', r"`\$\.a\[1\]`: the number is not finite"),
        ('{"a": -Infinity}', r"`\$\.a`: the number is not finite"),
        ('{"a": 1e999}', r"`\$\.a`: the number is not finite"),
        ('{"a b": ' + "9" * 400 + "}", r"`\$\['a b'\]`: a number of some 400 digits is too large"),
        ("-" + "9" * 100_000, "a number of some 100001 digits"),
        ('["\\u0000"]', r"`\$\[0\]`: the text .* contains a NUL"),
        ('{"\\u0000": 1}', "contains a NUL"),
        ('["a\\ud800"]', r"half of a surrogate pair \(U\+D800\)"),
        ("[" * 100_000, "more than 64 deep"),
        ('{"a":' * 100_000, "more than 64 deep"),
        ("[" * 65 + "]" * 65, "more than 64 deep"),
    ],
)
def test_damage_is_named_with_its_place(text, message):
    with pytest.raises(UserError, match=message):
        parse_json(text, "a.json")


def test_what_is_allowed_to_the_limit():
    assert parse_json("[" * 64 + "]" * 64, "a.json")
    assert parse_json("9" * 300, "a.json") == int("9" * 300)
    # An emoji is a whole pair; the bytes of a file name that is not UTF-8 are halves with a meaning.
    assert parse_json('["\\ud83d\\ude00", "caf\\udce9.wav"]', "a.json") == ["😀", "caf\udce9.wav"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"a": "é"}'.encode("latin-1"), r":1: the file is not in UTF-8: .* 0xe9.*iconv -f CP1252 -t UTF-8"),
        (b'{\n"a": "\x81"}', r":2: the file is not in UTF-8.*iconv -f ISO-8859-1"),
        ('{"a": 1}'.encode("utf-16"), "the file is in UTF-16, but must be in UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "the file is in UTF-16LE"),
        ('{"a": 1}'.encode("utf-16-be"), "the file is in UTF-16BE"),
        ('{"a": 1}'.encode("utf-32"), "the file is in UTF-32"),
        (b'{"a":\n 1' + b"\0" * 50, r":2: the file is damaged: it contains NUL bytes"),
    ],
)
def test_other_encodings_are_named_with_a_remedy(tmp_path, data, message):
    path = tmp_path / "my file.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_json(path)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_remedy_for_another_encoding_works_as_printed(tmp_path, encoding):
    path = tmp_path / "my file.json"
    path.write_bytes('{"name": "é"}'.encode(encoding))
    with pytest.raises(UserError) as caught:
        read_json(path)
    subprocess.run(caught.value.remedy.removeprefix("convert it: "), shell=True, check=True)
    assert read_json(tmp_path / "my file.utf8.json") == {"name": "é"}


def test_a_byte_order_mark_is_taken(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"a": 1}')
    assert read_object(path) == {"a": 1}


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
    path = tmp_path / "large.json"
    path.write_text("[" + "1," * 100 + "1]")
    with pytest.raises(UserError, match="larger than 100 bytes"):
        read_json(path, 100)


def test_an_object_is_asked_for_and_what_is_in_it():
    with pytest.raises(UserError, match=r"a\.json: must be an object of keys and values, but is \[1, 2\]"):
        parse_object("[1, 2]", "a.json")
    data = as_object({"a": 1, "b": True, "c": "x"}, "a.json")
    assert find(data, "a", float, "a.json") == 1.0
    for key, kind, message in (
        ("z", int, "the key `z` is missing"),
        ("b", int, "`b` must be an integer, but is True"),
        ("c", list, "`c` must be a list, but is 'x'"),
    ):
        with pytest.raises(UserError, match=message):
            find(data, key, kind, "a.json")
