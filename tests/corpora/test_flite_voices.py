import numpy as np
import pytest

from audio_ssl.data.corpus import UserError, load_corpus
from audio_ssl.data.corpus_tools.synthesis import Flite
from audio_ssl.data.manifest import Clip

NAME = "flite_voices"


class Said:
    """In the place of the library: half a second, whose loudness says which voice it is."""

    def __init__(self, folder, voices):
        self.folder, self.voices = folder, list(voices)

    def speak(self, text, voice, stretch, shift):
        return np.full(round(8000 * stretch), 100 * (1 + self.voices.index(voice)), np.int16), 16000


class Texts:
    def read(self, root):
        assert root.name == "synthetic_voices"
        for number in range(7):
            yield Clip(f"{number}", "a.wav", 0.0, 1.0, 16000, text=f"Text {number}.", language="en", split="train")
        yield Clip("de", "a.wav", 0.0, 1.0, 16000, text="Nein.", language="de", split="train")
        yield Clip("v", "a.wav", 0.0, 1.0, 16000, text="Yes.", language="en", split="valid")


@pytest.fixture
def module(corpus_module, monkeypatch):
    found = corpus_module(NAME)
    monkeypatch.setattr(found, "Flite", Said)
    monkeypatch.setattr(found, "load_corpus", lambda name: Texts())

    def unpack(packages, into):
        folder = into / packages[0] / "usr/lib/x86_64-linux-gnu"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "libflite.so.1").touch()

    monkeypatch.setattr(found, "fetch_apt", unpack)
    return found


def test_four_voices_say_the_english_texts_of_the_other_corpus(module, tmp_path):
    module.fetch(tmp_path / NAME, clips=24)
    clips = list(load_corpus(NAME).read(tmp_path / NAME, None))
    assert {c.text for c in clips} == {*(f"Text {n}." for n in range(7)), "Yes."}
    assert {(c.speaker, c.gender) for c in clips} == set(module.VOICES.items())
    assert {c.split for c in clips if c.text == "Yes."} == {"valid"}
    assert [c.gender for c in clips].count("F") == 12
    # Each text by several voices.
    assert all(len({c.speaker for c in clips if c.text == text}) > 1 for text in {c.text for c in clips})
    for clip in clips:
        assert clip.seconds == pytest.approx(clip.extra["stretch"] / 2, abs=1e-3)
        assert 0.75 <= clip.extra["shift"] <= 1.3


def test_more_clips_begin_with_the_same_and_what_is_there_stays(module, tmp_path):
    module.fetch(tmp_path / NAME, clips=3)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / NAME).rglob("*.flac")}
    module.fetch(tmp_path / NAME, clips=5)
    assert len(list(load_corpus(NAME).read(tmp_path / NAME, None))) == 5
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_what_is_missing_is_named(module, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="`clips` must be at least 1, but is 0"):
        module.fetch(tmp_path / NAME, clips=0)
    monkeypatch.setattr(module, "fetch_apt", lambda packages, into: None)
    with pytest.raises(UserError, match=r"was expected to hold libflite\.so\.1"):
        module.fetch(tmp_path / NAME, clips=1)
    monkeypatch.setattr(Texts, "read", lambda self, root: [])
    with pytest.raises(UserError, match="`synthetic_voices` has no English text"):
        module.fetch(tmp_path / NAME, clips=1)
    with pytest.raises(UserError, match=r"flite's library `lib.*` does not load"):
        Flite(tmp_path, ["slt"])


def test_real_library(tmp_path):
    """Where Debian's package is unpacked below `data`, as `fetch` does it."""
    from audio_ssl.base.catalog import folder_path

    found = sorted((folder_path("corpora").parent / "data" / NAME).glob("libflite1/usr/lib/*/libflite.so.1"))
    if not found:
        pytest.skip("libflite1 is not unpacked below data/flite_voices")
    flite = Flite(found[0].parent, ["slt", "awb"])

    def pitch(samples, rate):
        power = np.fft.irfft(np.abs(np.fft.rfft(samples[: 2 * rate].astype(float), 4 * rate)) ** 2)
        return rate / (rate // 400 + int(power[rate // 400 : rate // 80].argmax()))

    text = "Oh my, you know no one. I’m in a room, alone — “Yes”."
    plain, rate = flite.speak(text, "slt")
    assert rate == 16000
    assert plain.std() > 500
    slow, _ = flite.speak(text, "slt", stretch=1.3)
    assert len(slow) == pytest.approx(1.3 * len(plain), rel=0.02)
    high, _ = flite.speak(text, "slt", shift=1.25)
    assert pitch(high, rate) == pytest.approx(1.25 * pitch(plain, rate), rel=0.05)
    assert pitch(*flite.speak(text, "awb")) < 0.9 * pitch(*flite.speak(text, "slt"))
