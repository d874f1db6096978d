import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.texts import NAMES, get_normaliser

WITHOUT_PACKAGES = [name for name in NAMES if name != "whisper_basic"]


@given(st.text())
def test_basic_keeps_letters_digits_and_apostrophes(text):
    kept = re.sub(r"[^\w\s']|_", " ", unicodedata.normalize("NFC", text).lower())
    assert get_normaliser("basic")(text) == " ".join(kept.split())
    assert get_normaliser("basic").signature == "lower|nfc|punctuation removed, apostrophes kept"


@given(st.text(alphabet="aB éÉ’',.-1 \n\u0301"))
def test_twice_is_once(text):
    for name in WITHOUT_PACKAGES:
        normaliser = get_normaliser(name)
        assert normaliser(normaliser(text)) == normaliser(text)


def test_each_does_what_its_name_says():
    text = "  Don’t [noise] go,  Zoë — No. 5! "
    expected = {
        "none": "Don’t [noise] go, Zoë — No. 5!",
        "lower": "don’t [noise] go, zoë — no. 5!",
        "basic": "don t noise go zoë no 5",
        "librispeech": "DON'T NOISE GO ZOE NO 5",
        "characters": "dontnoisegozoëno5",
    }
    assert {name: get_normaliser(name)(text) for name in WITHOUT_PACKAGES} == expected


def test_whisper_basic_removes_brackets_and_symbols():
    pytest.importorskip("transformers")
    assert get_normaliser("whisper_basic")("  Don't [noise] go (laughs), Zoë 5€! ") == "don t go zoë 5"


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers.models.whisper.english_normalizer", None)
    with pytest.raises(UserError, match="normaliser `whisper_basic` needs the package transformers"):
        get_normaliser("whisper_basic")


def test_signatures_differ_and_unknown_names_are_refused():
    assert len({get_normaliser(name).signature for name in WITHOUT_PACKAGES}) == len(WITHOUT_PACKAGES)
    with pytest.raises(UserError, match=r"unknown normaliser `libri`; known: .* \(did you mean `librispeech`"):
        get_normaliser("libri")
