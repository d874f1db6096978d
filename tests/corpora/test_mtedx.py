import pytest

from audio_ssl.data.corpus import UserError, load_corpus

YAML = (
    "- {duration: 1.5, offset: 0.25, speaker_id: 0123, wav: 0123.wav}\n"
    "- {duration: 1.0, offset: 2.0, speaker_id: 0123, wav: 0123.wav}\n"
    "- {duration: 1.0, offset: 0.0, speaker_id: -aBc, wav: -aBc.wav}\n"
)
SEGMENTS = "0123_0000 0123 0.25 1.75\n0123_0001 0123 2.0 3.0\n-aBc_0000 -aBc 0.0 1.0\n"
SPANISH = "Hola a todos.\nMe llamo\u2028Ana.\nGracias.\n"
ENGLISH = "Hello everyone.\nMy name is Ana.\nThank you.\n"


def make(pair, write_audio, write_text, split="train", segments=YAML):
    folder = pair / "data" / split
    source, _, target = pair.name.partition("-")
    write_audio(folder / "wav/0123.flac", 3.0)
    write_audio(folder / "wav/-aBc.flac", 1.0)
    write_text(folder / "txt" / (f"{split}.yaml" if segments.startswith("- {") else "segments"), segments)
    write_text(folder / f"txt/{split}.{source}", SPANISH)
    if target != source:
        write_text(folder / f"txt/{split}.{target}", ENGLISH)
    return folder


def read(root, split=None):
    return {c.id: c for c in load_corpus("mtedx").read(root, split)}


@pytest.mark.parametrize("segments", [YAML, SEGMENTS])
def test_sentences_of_talks_become_clips(tmp_path, write_audio, write_text, segments):
    make(tmp_path / "es-en", write_audio, write_text, segments=segments)
    clips = read(tmp_path)
    assert set(clips) == {"es-en/0123_0000", "es-en/0123_0001", "es-en/-aBc_0000"}
    clip = clips["es-en/0123_0000"]
    assert (clip.text, clip.translation) == ("Hola a todos.", "Hello everyone.")
    assert (clip.start, clip.seconds, clip.sample_rate) == (0.25, 1.5, 16000)
    assert (clip.language, clip.speaker, clip.split) == ("es", "0123", "train")
    assert clip.extra == {"translation_language": "en", "pair": "es-en"}
    assert clips["es-en/0123_0001"].translation == "My name is Ana."


def test_a_pair_of_one_language_has_transcripts_only(tmp_path, write_audio, write_text):
    make(tmp_path / "es-es", write_audio, write_text)
    make(tmp_path / "es-es", write_audio, write_text, split="valid")
    clips = read(tmp_path / "es-es", "valid")
    assert {c.split for c in clips.values()} == {"valid"}
    assert {c.translation for c in clips.values()} == {None}
    assert "translation_language" not in clips["es-es/0123_0000"].row()


def test_all_pairs_are_read(tmp_path, write_audio, write_text):
    for pair in ("es-es", "es-en"):
        make(tmp_path / pair, write_audio, write_text)
    assert len(read(tmp_path)) == 6


def test_what_does_not_fit_its_talk_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    folder = make(tmp_path / "es-en", write_audio, write_text)
    write_text(folder / "txt/train.es", "Hola a todos.\n\nGracias.\n")
    write_audio(folder / "wav/-aBc.flac", 0.5)
    assert set(read(tmp_path)) == {"es-en/0123_0000"}
    assert "1 without a transcript" in caplog.text
    assert "1 not within its talk" in caplog.text
    (folder / "wav/0123.flac").unlink()
    assert read(tmp_path) == {}
    assert "2 cannot be opened: No such file" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.en", "One line.\n", "3 segments, 3 transcripts, 1 translations"),
        ("train.yaml", "- {offset: 1.0, wav: a.wav}\n", "1 segments, 3 transcripts, 3 translations"),
        ("train.yaml", "duration: 1.0\n", "not a list of segments: ValueError"),
        ("train.yaml", "- [", "not YAML"),
        ("train.en", None, "no such file"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, write_audio, write_text, name, text, message):
    folder = make(tmp_path / "es-en", write_audio, write_text)
    if text is None:
        (folder / "txt" / name).unlink()
    else:
        write_text(folder / "txt" / name, text)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path)
    assert str(folder / "txt") in error.value.where


def test_a_split_that_no_pair_has(tmp_path, write_audio, write_text):
    make(tmp_path / "es-en", write_audio, write_text)
    with pytest.raises(UserError, match="no folder like es-en/data/test"):
        read(tmp_path, "test")
