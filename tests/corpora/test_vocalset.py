import pytest

from audio_ssl.data.corpus import UserError, load_corpus

NAMES = [f"female{n}" for n in range(1, 10)] + [f"male{n}" for n in range(1, 12)]


def make(root, write_audio):
    for name in NAMES:
        singer = name.replace("emale", "").replace("ale", "")
        write_audio(root / f"FULL/{name}/scales/belt/{singer}_scales_belt_a.wav", 0.1, 44100)
    write_audio(root / "FULL/female2/scales/vibrato/f2_scales_vibrato_a(1).wav", 0.1, 44100)
    # The name lacks the singer, as some do.
    write_audio(root / "FULL/male8/excerpts/straight/row_straight.wav", 0.1, 44100)
    write_audio(root / "FULL/male8/long_tones/messa/m8_long_messa_a.wav", 0.1, 44100)


def test_techniques_are_split_by_singer(tmp_path, write_audio, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio)
    clips = list(load_corpus("vocalset").read(tmp_path, None))
    singers = {part: {c.speaker for c in clips if c.split == part} for part in ("train", "valid", "test")}
    assert singers["test"] == {"f2", "f8", "m3", "m5", "m10"}
    assert singers["valid"] == {"f4", "f7", "m4", "m8"}
    assert singers["train"] == {"f1", "f3", "f5", "f6", "f9", "m1", "m2", "m6", "m7", "m9", "m11"}
    found = {c.id: c for c in clips}
    own = found["m8/excerpts/straight/row_straight"]
    assert (own.label, own.speaker, own.gender, own.sample_rate) == ("straight", "m8", "M", 44100)
    assert own.extra == {"technique": "straight", "exercise": "excerpts"}
    assert "1 a copy, or no recording" in caplog.text
    assert "1 not one of the ten techniques" in caplog.text
    assert {c.speaker for c in load_corpus("vocalset").read(tmp_path / "FULL", "valid")} == singers["valid"]


def test_singers_are_known_in_each_split(tmp_path, write_audio):
    for number in range(40):
        write_audio(tmp_path / f"female1/scales/belt/f1_{number}.wav", 0.05)
    make(tmp_path / "whole", write_audio)
    clips = list(load_corpus("vocalset").read(tmp_path, None, task="singer"))
    assert {c.label for c in clips} == {"f1"}
    assert {c.split for c in clips} == {"train", "valid", "test"}
    labels = {c.id: c.label for c in load_corpus("vocalset").read(tmp_path / "whole", None, task="singer")}
    assert labels["m8/long_tones/messa/m8_long_messa_a"] == "m8"
    with pytest.raises(UserError, match="unknown task `vowel`"):
        list(load_corpus("vocalset").read(tmp_path, None, task="vowel"))


def test_the_corpus_own_list_of_test_singers_counts(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio)
    write_text(tmp_path / "test_singers_technique.txt", "female1\nmale11\n")
    assert {c.speaker for c in load_corpus("vocalset").read(tmp_path, "test")} == {"f1", "m11"}
