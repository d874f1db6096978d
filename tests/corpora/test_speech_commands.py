from collections import Counter

import pytest

from audio_ssl.data.corpus import UserError, load_corpus

WORDS = ("yes/0a7c2a8d_nohash_0", "yes/0a7c2a8d_nohash_1", "go/1b4c9b89_nohash_0", "bed/0a7c2a8d_nohash_0")


def make(root, write_audio, write_text):
    for name in (*WORDS, "bed/2bdbe5f7_nohash_0", "no/3cfc6b3a_nohash_2"):
        write_audio(root / f"{name}.wav", 0.25)
    write_audio(root / "_background_noise_/running_tap.wav", 10.4)
    write_text(root / "validation_list.txt", "go/1b4c9b89_nohash_0.wav\n")
    write_text(root / "testing_list.txt", "bed/2bdbe5f7_nohash_0.wav\nno/3cfc6b3a_nohash_2.wav\n")


def read(root, split=None):
    return {c.id: c for c in load_corpus("speech_commands").read(root, split)}


def test_words_have_their_label_speaker_and_split(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = read(tmp_path)
    yes = clips["yes/0a7c2a8d_nohash_1"]
    assert (yes.label, yes.text, yes.speaker, yes.split, yes.language) == ("yes", "yes", "0a7c2a8d", "train", "en")
    assert (clips["bed/0a7c2a8d_nohash_0"].label, clips["bed/0a7c2a8d_nohash_0"].text) == ("unknown", "bed")
    assert clips["go/1b4c9b89_nohash_0"].split == "valid"
    assert clips["no/3cfc6b3a_nohash_2"].split == "test"


def test_silence_is_cut_from_the_noise_without_overlap(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    silence = [c for c in read(tmp_path).values() if c.label == "silence"]
    assert Counter(c.split for c in silence) == {"train": 8, "valid": 1, "test": 1}
    assert [c.start for c in silence] == [float(i) for i in range(10)]
    assert {c.seconds for c in silence} == {1.0}
    assert silence[9].id == "_background_noise_/running_tap#009"
    assert silence[0].text is silence[0].speaker is None


def test_the_official_test_set_replaces_the_list(tmp_path, write_audio, write_text):
    make(tmp_path / "speech_commands_v0.02", write_audio, write_text)
    folder = tmp_path / "speech_commands_test_set_v0.02"
    for name in ("no/3cfc6b3a_nohash_2", "_unknown_/bed_2bdbe5f7_nohash_0", "_unknown_/7_x", "_silence_/0"):
        write_audio(folder / f"{name}.wav", 0.25)
    clips = read(tmp_path, "test")
    assert {name: c.label for name, c in clips.items()} == {
        "test_set/no/3cfc6b3a_nohash_2": "no",
        "test_set/_unknown_/bed_2bdbe5f7_nohash_0": "unknown",
        "test_set/_unknown_/7_x": "unknown",
        "test_set/_silence_/0": "silence",
    }
    unknown = clips["test_set/_unknown_/bed_2bdbe5f7_nohash_0"]
    assert (unknown.text, unknown.speaker) == ("bed", "2bdbe5f7")
    assert clips["test_set/_unknown_/7_x"].text is None
    assert clips["test_set/no/3cfc6b3a_nohash_2"].speaker == "3cfc6b3a"
    assert {c.split for c in read(tmp_path, "valid").values()} == {"valid"}
    assert Counter(c.split for c in read(tmp_path).values()) == {"train": 11, "valid": 2, "test": 4}


def test_a_missing_list_is_named(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    (tmp_path / "validation_list.txt").unlink()
    with pytest.raises(UserError, match="no such file") as error:
        read(tmp_path)
    assert error.value.where == str(tmp_path / "validation_list.txt")


def test_a_damaged_file_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "yes/0a7c2a8d_nohash_0.wav").write_bytes(b"")
    assert "yes/0a7c2a8d_nohash_0" not in read(tmp_path)
    assert "left out 1: 1 the file is empty" in caplog.text
