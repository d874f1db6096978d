import json
import logging
import re

import pytest
import soundfile

pytest.importorskip("espeakng_loader")
pytest.importorskip("babel")
pytest.importorskip("music21")

from audio_ssl.data.corpus import UserError, load_corpus
from audio_ssl.data.manifest import Clip

NAME = "synthetic_voices"


@pytest.fixture
def beside(corpus_module, monkeypatch):
    """Give the corpus sentences as if other corpora lay beside it; returns the module."""

    def give(**corpora):
        module = corpus_module(NAME)

        class Corpus:
            def __init__(self, clips):
                self.clips = clips

            def read(self, root):
                if self.clips is None:
                    raise UserError("was expected here")
                return [Clip(str(i), "a.wav", 0.0, 1.0, 16000, **c) for i, c in enumerate(self.clips)]

        monkeypatch.setattr(module, "load_corpus", lambda name: Corpus(corpora.get(name)))
        return module

    return give


def test_some_clips(tmp_path):
    corpus = load_corpus(NAME)
    corpus.fetch(tmp_path / NAME, clips=6)
    clips = list(corpus.read(tmp_path / NAME, None))
    assert len({(c.speaker, c.extra["accent"]) for c in clips}) == 6
    for clip in clips:
        assert 1.0 < clip.seconds < 30.0
        samples, rate = soundfile.read(clip.path)
        assert rate == clip.sample_rate == 16000
        assert samples.std() > 0.01
        assert clip.text
        assert clip.language in corpus.card.languages
        assert clip.gender in (None, "F", "M")


def test_more_clips_begin_with_the_same_and_what_is_there_stays(tmp_path):
    corpus = load_corpus(NAME)
    root = tmp_path / NAME
    corpus.fetch(root, clips=2)
    before = {p: p.stat().st_mtime_ns for p in (root / "audio").rglob("*.flac")}
    # As a stop leaves it.
    (root / "labels.json").unlink()
    with pytest.raises(UserError, match="was not finished"):
        list(corpus.read(root, None))
    corpus.fetch(root, clips=3)
    assert len(list(corpus.read(root, None))) == 3
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_pitch_and_pace_are_heard(tmp_path):
    import espeakng_loader
    import numpy as np

    from audio_ssl.data.corpus_tools.synthesis import Espeak

    espeak = Espeak(str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()))

    def lowest_peak(pitch):
        samples = espeak.speak("aaaa mmmm aaaa", "de", "m3", 120, pitch, 0).samples.astype(float)
        spectrum = np.fft.rfft(samples[4000:20000])
        power = np.fft.irfft(np.abs(spectrum) ** 2)
        return 40 + int(power[40:400].argmax())

    assert lowest_peak(80) < 0.8 * lowest_peak(20)
    slow, fast = (len(espeak.speak("one two three four five", "en", "m3", pace).samples) for pace in (120, 220))
    assert fast < 0.7 * slow
    # A pitch does not stay for the next.
    espeak.speak("a", "de", "m3", 120, 99, 99)
    assert abs(lowest_peak(50) - lowest_peak(50)) <= 2


def test_sentences_held_out_anywhere_are_never_spoken(beside, tmp_path):
    module = beside(
        fillets=[
            {"text": "Dobrý den.", "language": "cs", "split": "train", "translation": "Good day.",
             "extra": {"translation_de": "Guten Tag.", "line": "x"}},
            {"text": "Ahoj!", "language": "cs", "split": "valid", "translation": "Hello",
             "extra": {"translation_de": "Hallo!"}},
            {"text": "Ne.", "language": "cs", "split": "train", "extra": {"translation_de": "Hallo"}},
        ],
        asterisk=[
            {"text": "Hello.", "language": "en", "split": "train"},
            {"text": "good  day", "language": "en", "split": "test"},
            {"text": "Press one.", "language": "en", "split": "train"},
        ],
        tuxpaint=[{"text": "ahoj", "language": "cs", "split": "train"}],
    )  # fmt: skip
    found = module._sentences(tmp_path)
    assert found["cs"] == {"fillets": ["Dobrý den.", "Ne."]}
    assert found["de"]["fillets"] == ["Guten Tag."]
    # Held out by another corpus, in other letters.
    assert "fillets" not in found["en"]
    assert found["en"]["asterisk"] == ["Press one."]


def test_sentences_of_the_probes_are_never_spoken(beside, corpus_module, tmp_path):
    synthetic = corpus_module("synthetic_speech")._rows(1000)
    keys = ("text", "translation", "language", "split")
    module = beside(synthetic_speech=[{key: row[key] for key in keys} for row in synthetic])
    sentences, voices = module._sentences(tmp_path), {"m3": "M"}
    spoken = " | ".join(module._row(number, sentences, voices)["text"] for number in range(2000))
    train = {row["text"] for row in synthetic if row["split"] == "train"}
    held_out = {row["text"] for row in synthetic if row["split"] != "train"}
    assert sum(text in spoken for text in train) > 100
    assert not [text for text in held_out if text in spoken]


def test_what_lies_not_beside_is_said_and_gone_without(beside, tmp_path, caplog):
    module = beside()
    with caplog.at_level(logging.WARNING):
        found = module._sentences(tmp_path)
    assert all(f"`{name}`" in caplog.text for name in module.SOURCES)
    assert {source for sources in found.values() for source in sources} == {"books"}


def test_books_are_sentences_without_what_encloses_them(beside, tmp_path):
    module = beside()
    found = module._sentences(tmp_path)
    assert set(found) == {"de", "en", "fr", "it", "la", "nl"}
    for sources in found.values():
        assert len(sources["books"]) > 300
        assert not [text for text in sources["books"] if re.search("gutenberg|gallica", text, re.IGNORECASE)]
    book = "TITLE\n\nA line that\n  goes on. Another, [1] noted_.\n\n* * *\n\nProject Gutenberg is here."
    assert module._of_book(book) == ["A line that goes on.", "Another, noted."]


def test_languages_and_voices_are_many_and_the_five_of_the_probes_most(beside, tmp_path):
    module = beside()
    import pathlib

    import espeakng_loader

    voices = module._voices(pathlib.Path(espeakng_loader.get_data_path()) / "voices" / "!v")
    assert len(voices) > 80
    assert voices["Annie"] == voices["f1"] == "F"
    assert voices["Storm"] == voices["m7"] == "M"
    rows = [module._row(number, module._sentences(tmp_path) if number == 0 else {}, voices) for number in range(3000)]
    languages = [row["language"] for row in rows]
    assert len(set(languages)) > 50
    assert 0.5 < sum(language in ("cs", "de", "en", "es", "fr") for language in languages) / 3000 < 0.65
    assert len({(row["speaker"], row["accent"]) for row in rows}) > 1500
    assert {row["split"] for row in rows} == set(module.CORPUS.splits)


def test_every_language_has_names_and_every_accent_a_voice(corpus_module):
    import espeakng_loader

    from audio_ssl.data.corpus_tools.synthesis import Espeak

    module = corpus_module(NAME)
    espeak = Espeak(str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()))
    for language in module.CORPUS.languages:
        texts = list(module._names(language, lambda what, choices: hash_of(what) % choices))
        assert len(texts) > 12, language
        assert not [text for text in texts if re.search(r"\b[a-z]+-[a-z]+-|None|\{", text)], language
        for accent in module.ACCENTS.get(language, (language,)):
            assert len(espeak.speak(texts[0], accent, "m3", 200).samples) > 4000, accent


def hash_of(text):
    return sum(ord(letter) * 31**place for place, letter in enumerate(text))


def test_the_same_number_is_the_same_clip(beside, tmp_path):
    module = beside()
    sentences = module._sentences(tmp_path)
    rows = [module._row(7, sentences, {"m3": "M", "f1": "F"}) for _ in range(2)]
    assert rows[0] == rows[1]
    assert json.dumps(rows[0])
    assert rows[0] != module._row(8, sentences, {"m3": "M", "f1": "F"})


def test_number_of_clips_out_of_range(tmp_path):
    with pytest.raises(UserError, match="`clips` must be at least 1, but is 0"):
        load_corpus(NAME).fetch(tmp_path, clips=0)


def test_no_clip_is_as_long_as_a_menu(beside, tmp_path):
    module = beside(
        asterisk=[{"text": text, "language": "en", "split": "train"} for text in ("Dial one. " * 40, "Yes.")]
    )
    sentences = module._sentences(tmp_path)
    rows = [module._row(number, sentences, {"m3": "M"}) for number in range(300)]
    spoken = [row["text"] for row in rows if row["source"] == "asterisk"]
    assert spoken
    assert all("Yes." in text and "Dial" not in text for text in spoken)
