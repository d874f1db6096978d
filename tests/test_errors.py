from audio_ssl.errors import UserError, unknown_name


def test_user_error_says_where_what_and_remedy():
    error = UserError("`steps` must be positive, but is 0", where="$.steps", remedy="give steps=400")
    assert str(error) == "$.steps: `steps` must be positive, but is 0 (give steps=400)"


def test_unknown_name_lists_known_names_and_a_guess():
    error = unknown_name("teacher", "kmean", ["kmeans", "cqt"], "$.teachers[0]")
    assert str(error) == "$.teachers[0]: unknown teacher `kmean`; known: cqt, kmeans (did you mean `kmeans`?)"


def test_unknown_name_without_any_known_name():
    assert "known: none" in str(unknown_name("probe", "x", []))
