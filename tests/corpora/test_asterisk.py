import gzip

import pytest

from audio_ssl.data.corpus import UserError, load_corpus

TEXTS = {
    "en": (
        "; a remark\n\nhello: Hello, world.\nbeep: [a beep]\nletters/dash: dash [-]\nonly: English only.\n"
        "rest: (1 second of silence)\n"
    ),
    "it": (
        "\ufeff; osservazione\nhello: “Ciao, mondo.”\nbeep: [tono]\nletters/dash: trattino [-]\nsorry: No [no].\n"
        "tone: un lungo suono di beep ascendente\n"
    ),
}
VOICES = {"en": "en_US_f_Allison", "it": "it_IT_m_Carlo"}


def make(root, languages=("en", "it")):
    for language in languages:
        package = f"asterisk-core-sounds-{language}"
        transcripts = root / package / "usr/share/doc" / package / f"core-sounds-{language}.txt.gz"
        transcripts.parent.mkdir(parents=True)
        transcripts.write_bytes(gzip.compress(TEXTS[language].encode()))
        for prompt in ("hello", "beep", "letters/dash", "sorry", "rest", "tone"):
            sound = root / f"{package}-g722/usr/share/asterisk/sounds" / VOICES[language] / f"{prompt}.g722"
            sound.parent.mkdir(parents=True, exist_ok=True)
            # Each byte of g722 is two samples at 16 kHz, whatever it is.
            sound.write_bytes(b"\xfa" * 8000)


def test_prompts_become_clips_with_the_english_text_as_translation(tmp_path):
    make(tmp_path)
    clips = {c.id: c for c in load_corpus("asterisk").read(tmp_path, None)}
    assert set(clips) == {"en/hello", "en/letters/dash", "it/hello", "it/letters/dash"}
    hello = clips["it/hello"]
    assert (hello.text, hello.translation) == ("Ciao, mondo.", "Hello, world.")
    assert (hello.speaker, hello.gender, hello.language) == ("carlo_flora", "M", "it")
    assert (hello.seconds, hello.sample_rate) == (1.0, 16000)
    assert hello.split == clips["en/hello"].split
    assert clips["it/letters/dash"].text == "trattino"


def test_without_the_english_texts_there_is_no_corpus(tmp_path):
    make(tmp_path, ["it"])
    with pytest.raises(UserError, match="English transcripts of Asterisk prompts were expected here"):
        list(load_corpus("asterisk").read(tmp_path, None))
