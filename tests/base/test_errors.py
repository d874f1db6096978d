import pytest

from audio_ssl.base.errors import AudioError, UserError, shown, unknown_name


def test_user_error_says_where_what_and_remedy():
    error = UserError("`steps` must be positive, but is 0", where="$.steps", remedy="give steps=400")
    assert str(error) == "$.steps: `steps` must be positive, but is 0 (give steps=400)"


def test_unknown_name_lists_known_names_and_a_guess():
    error = unknown_name("teacher", "kmean", ["kmeans", "cqt"], "$.teachers[0]")
    assert str(error) == "$.teachers[0]: unknown teacher `kmean`; known: cqt, kmeans (did you mean `kmeans`?)"


def test_unknown_name_without_any_known_name():
    assert "known: none" in str(unknown_name("probe", "x", []))


@pytest.mark.parametrize("part", ["what", "where", "remedy"])
def test_a_message_is_one_bounded_line_whatever_it_is_about(part):
    told = {"what": "bad", part: "a\nb\r\nc\x1b[31m\0\u2028" + "x" * 10_000_000 + "end"}
    error = UserError(**told)
    text = str(error)
    assert len(text) < 2500
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert "a b c\\x1b[31m\\x00" in text
    assert "end" in text
    assert len(getattr(error, part)) < 1300


def test_the_reason_of_a_file_is_one_bounded_line():
    assert len(AudioError("a\n" * 100_000).reason) < 1300
    assert "\n" not in str(AudioError("a\nb"))


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, "\n" * 500, list(range(10**6)), {"a" * 500: "b" * 500}, 10**5000, 1.5, None, [[[[[[1]]]]]]],
    ids=lambda value: type(value).__name__,
)
def test_a_shown_value_is_short(value):
    assert len(shown(value)) <= 80
    assert shown(value).isprintable()


def test_short_values_are_shown_as_they_are():
    assert [shown(v) for v in ("many", True, 1.5, {"a": [1, "b"]})] == ["'many'", "True", "1.5", "{'a': [1, 'b']}"]


def test_the_guess_for_a_giant_name_is_short_and_fast():
    assert len(str(unknown_name("key", "x" * 10**6, ["steps"], "$"))) < 300
