from collections import Counter

import pytest

from audio_ssl.data.corpus import UserError, load_corpus

NAMES = ("03a01Fa", "08b10Wb", "14a05N", "16b01Lc")


def make(root, write_audio):
    for name in NAMES:
        write_audio(root / f"wav/{name}.wav", 0.25)


def read(root, split=None):
    return {c.id: c for c in load_corpus("emodb").read(root, split)}


def test_the_name_tells_all(tmp_path, write_audio):
    make(tmp_path, write_audio)
    clips = read(tmp_path)
    clip = clips["03a01Fa"]
    assert (clip.label, clip.text, clip.language) == ("happy", "Der Lappen liegt auf dem Eisschrank.", "de")
    assert (clip.speaker, clip.gender) == ("03", "M")
    assert clip.extra == {"emotion": "happy", "age": 31, "sentence": "a01", "version": "a"}
    assert [clips[name].label for name in NAMES[1:]] == ["angry", "neutral", "bored"]
    assert [clips[name].gender for name in NAMES[1:]] == ["F", "F", "F"]
    assert "version" not in clips["14a05N"].row()


def test_splits_are_by_speaker_and_balanced(tmp_path, write_audio, corpus_module):
    make(tmp_path, write_audio)
    assert [read(tmp_path)[name].split for name in NAMES] == ["train", "train", "valid", "test"]
    assert set(read(tmp_path, "test")) == {"16b01Lc"}
    module = corpus_module("emodb")
    by_split = Counter((module._PARTS.get(s, "train"), gender) for s, (gender, _) in module.SPEAKERS.items())
    assert by_split == {(split, g): n for split, n in (("train", 3), ("valid", 1), ("test", 1)) for g in "FM"}


def test_a_damaged_file_is_left_out_and_counted(tmp_path, write_audio, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio)
    (tmp_path / "wav/14a05N.wav").write_bytes(b"")
    assert "14a05N" not in read(tmp_path)
    assert "left out 1: 1 the file is empty" in caplog.text


def test_files_with_other_names_are_not_the_corpus(tmp_path, write_audio):
    write_audio(tmp_path / "wav/03x01Fa.wav", 0.25)
    with pytest.raises(UserError, match=r"named like 03a01Fa\.wav") as error:
        read(tmp_path)
    assert error.value.where == str(tmp_path / "wav")
