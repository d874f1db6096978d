import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.catalog import folder_path
from audio_ssl.base.documents import dump_yaml, parse_yaml, read_yaml
from audio_ssl.base.errors import UserError

BOMB = "a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
    | st.sampled_from(["2024-01-01", "no", "1e3", "~", "1:30", "<<", "="]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abno1<", max_size=4), inner, max_size=4),
    max_leaves=20,
)

CARDS = sorted(path for folder in ("recipes", "probes") for path in folder_path(folder).glob("**/*.yaml"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_cards_read_as_pyyaml_reads_them(path):
    assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@given(PLAIN)
def test_what_is_dumped_is_read_as_it_was(value):
    assert repr(parse_yaml(dump_yaml(value), "a.yaml")) == repr(value)


def test_a_value_that_is_there_twice_is_dumped_twice():
    shared = ["a", "b"]
    assert parse_yaml(dump_yaml({"x": shared, "y": shared}), "a.yaml") == {"x": shared, "y": shared}


@given(st.binary(max_size=200) | st.text("[]{}\",:0123456789eEaN&*!<>?|%@`~-+.# \n\t'", max_size=200).map(str.encode))
def test_any_bytes_give_plain_values_or_one_line(data):
    said = "a.yaml"
    try:
        assert_plain(parse_yaml(data, "a.yaml"))
    except UserError as error:
        said = str(error)
    assert said.startswith("a.yaml")
    assert len(said.splitlines()) == 1


def assert_plain(value):
    assert type(value) in (type(None), bool, int, float, str, list, dict)
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_plain(inner)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("made: 2024-01-01", "2024-01-01"),
        ("made: 2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("made: !!str 5", "5"),
        ("made: '5'", "5"),
        ("made: yes", True),
        ("made: 0x10", 16),
        ("made: ~", None),
        ("made: =", "="),
        ("made: &anchor 1", 1),
    ],
)
def test_scalars(text, value):
    found = parse_yaml(text, "a.yaml")
    assert found == {"made": value}
    assert type(found["made"]) is type(value)


def test_keys_are_text_as_written():
    assert parse_yaml("{no: 1, 2: 3, 2024-01-01: 4, ~: 5}", "a.yaml") == {"no": 1, "2": 3, "2024-01-01": 4, "~": 5}


def test_all_values_can_stay_text():
    assert parse_yaml("- {wav: 12, offset: 1.50}", "a.yaml", typed=False) == [{"wav": "12", "offset": "1.50"}]


def test_an_empty_text_is_none():
    assert parse_yaml("# nothing\n", "a.yaml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            BOMB,
            r"a\.yaml:5:\d+: `\$\.e\[\d\]`: the references \(\*d\) expand to too many values",
        ),
        ("a: &x 1\nc:\n  <<: *x", r"a\.yaml:3:7: `\$\.c.*`: a merge key takes a mapping"),
        ("a: *nothing", "refers to 'nothing', which is not defined before it"),
        ("a: &a [*a]", "refers to 'a', which is not defined before it"),
        ("a: &a 1\n*a : 2", "a key must be text, but is a reference"),
        ("a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 10_000 + "]", "expand to too many values"),
        ("- &a0 [x]\n" + "".join(f"- &a{n} [*a{n - 1}]\n" for n in range(1, 100)), "more than 64 deep"),
        ("a: !!set {x}", "has the tag 'tag:yaml.org,2002:set'"),
        ("a: !!binary aGk=", "has the tag .*binary"),
        ("a: !!timestamp 2024-01-01", "has the tag .*timestamp"),
        ("a: !!python/object/apply:os.getcwd []", "has the tag .*python"),
        ("a: !mine 5", "has the tag '!mine'"),
        ("!!binary a: 5", "the key 'a' has the tag"),
        ("a: !!int x", "'x' is not of type int"),
        ("a: {b: .inf}", r"`\$\.a\.b`: the number is not finite"),
        ("a: .nan", "not finite"),
        ("a: 1.5e+999", "not finite"),
        ("a: " + "9" * 400, "a number of some 400 digits"),
        ("a: " + "1:" * 100_000 + "1", "a number of some 200001 digits"),
        ("a: 1\nb: 2\na: 3", r"a\.yaml:3:1: `\$`: the key 'a' appears twice"),
        ("? [a]\n: 1", "a key must be text"),
        ('a: "x\\0"', "contains a NUL"),
        ("a: [1", "a.yaml:2:1: not YAML"),
        ("a: \x01", "not YAML"),
        ("a: \udce9", "not YAML"),
        ("--- 1\n--- 2", "a second document begins"),
        # PyYAML 6.0.4 has a limit of its own, which it meets first.
        ("[" * 100_000, "more than 64 deep|maximum nesting depth"),
        ("{a: " * 100_000, "more than 64 deep"),
        ("- " * 100_000, "more than 64 deep"),
        ("a: caf\xe9".encode("latin-1"), "not in UTF-8"),
        ("a: 1".encode("utf-16"), "in UTF-16"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_damage_is_named_with_its_place_at_once(text, message):
    started = time.monotonic()
    with pytest.raises(UserError, match=message):
        parse_yaml(text, "a.yaml")
    assert time.monotonic() - started < 20


def test_a_file_that_is_too_large_to_be_a_recipe(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n" * 300_000)
    with pytest.raises(UserError, match="larger than 1 MiB"):
        read_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1, 2]\nb: *x",
        "base: &b {lr: 1, steps: 2}\nmine: {<<: *b, steps: 3}",
    ],
)
def test_a_few_references_mean_what_they_mean_to_pyyaml(text):
    assert parse_yaml(text, "a.yaml") == yaml.safe_load(text)


def test_of_several_merged_mappings_the_first_wins():
    # As the specification has it, and PyYAML but for some versions (6.0.4).
    text = "base: &b {lr: 1}\nother: &c {lr: 2, seed: 3}\nmine: {steps: 3, <<: [*b, *c]}"
    assert parse_yaml(text, "a.yaml")["mine"] == {"lr": 1, "seed": 3, "steps": 3}


def test_what_a_reference_gives_is_a_copy():
    value = parse_yaml("a: &x [1]\nb: *x", "a.yaml")
    value["a"].append(2)
    assert value["b"] == [1]
