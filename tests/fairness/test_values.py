import pytest

from audio_ssl.artifacts.fairness import ALL, CROSSED, REST, UNKNOWN
from audio_ssl.data.columns import is_unknown
from audio_ssl.fairness.tables.scalars import Spellings, plain
from audio_ssl.fairness.wording import PEOPLE


@pytest.mark.parametrize(
    "said", ["F", "f", "female", "Female", " woman ", "femme", "weiblich", "female_feminine", "Féminin"]
)
def test_women(said):
    assert Spellings("gender").read(said) == "F"
    assert PEOPLE["F"] == "women"


@pytest.mark.parametrize("said", ["M", "m", "male", "MALE", "man", "homme", "männlich", "male_masculine"])
def test_men(said):
    assert Spellings("speaker_gender").read(said) == "M"


@pytest.mark.parametrize(
    "said", [None, "", "  ", "unknown", "unk", "N/A", "none", "null", float("nan"), "do_not_wish_to_say"]
)
def test_unknown(said):
    for attribute in ("gender", "accent", "age"):
        assert Spellings(attribute).read(said) is None


@pytest.mark.parametrize(("said", "group"), [("non-binary", "non-binary"), (0, "0"), (1.0, "1"), (True, "true")])
def test_other_groups_stay(said, group):
    assert Spellings("gender").read(said) == group


def test_only_gender_is_read_so():
    accent = Spellings("accent")
    assert [accent.read(said) for said in ("male", "NA", "w")] == ["male", "NA", "w"]
    assert accent.note() == ""


@pytest.mark.parametrize(
    ("said", "group"),
    [
        (23, "20–29"),
        ("23", "20–29"),
        (29.9, "20–29"),
        (30, "30–39"),
        (7, "0–9"),
        (101, "100–109"),
        ("20-29", "20–29"),
        ("20 – 29", "20–29"),
        ("0-9", "0–9"),
        ("20-39", "20-39"),
        ("twenties", "20–29"),
        ("fourties", "40–49"),
        ("teens", "10–19"),
        ("adult", "adult"),
        (0, None),
        (-1, None),
        ("1e9", None),
        ("inf", None),
    ],
)
def test_ages(said, group):
    assert Spellings("age").read(said) == group


def test_values_of_equal_hash_are_not_mixed_up():
    values = Spellings("x")
    assert [values.read(v) for v in (1, True, 1.0, False, 0)] == ["1", "true", "1", "false", "0"]


@pytest.mark.parametrize("said", ["all", "all others", "All", "F × M"])
def test_what_the_report_itself_calls_rows_is_no_group(said):
    values = Spellings("accent")
    group = values.read(said)
    assert group not in (ALL, REST, UNKNOWN)
    assert CROSSED not in group
    assert values.note() == ("" if said == "All" else f"accent: {said} → {group}")


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\ud800", "\ufffe"])
def test_signs_that_steer_screens_are_shown_as_signs(sign):
    shown = plain(f"a{sign}b")
    assert len(shown) == 3
    assert sign not in shown
    assert shown.isprintable()


def test_a_value_is_one_line():
    assert plain("a\n\tb\u2028c") == "a  b c"
    assert plain("Zoë  Ångström ‘x’ 日本 👩🏽‍🦰") == "Zoë  Ångström ‘x’ 日本 👩🏽‍🦰"


def test_lists_are_no_values():
    with pytest.raises(TypeError):
        Spellings("x").read(["a"])
    with pytest.raises(TypeError):
        plain(b"a")


def test_a_long_note_is_cut():
    ages = Spellings("age")
    for years in range(20, 60):
        ages.read(years)
    assert ages.note() == "age: numbers → decades"


def test_speakers_called_na_are_people():
    assert is_unknown("unknown")
    assert not is_unknown("NA")
