import pytest

from audio_ssl.data.corpus import UserError, load_corpus

NAMES = ("03-01-06-01-02-01-12", "03-02-05-02-01-02-01", "03-01-01-01-01-01-17", "03-01-08-01-01-01-24")


def make(root, write_audio):
    for name in (*NAMES, "01-01-06-01-02-01-12"):
        write_audio(root / f"Actor_{name[-2:]}/{name}.wav", 0.25, 48000)


def read(root, split=None):
    return {c.id: c for c in load_corpus("ravdess").read(root, split)}


def test_the_name_tells_all(tmp_path, write_audio):
    make(tmp_path, write_audio)
    clips = read(tmp_path)
    assert set(clips) == set(NAMES)
    clip = clips[NAMES[0]]
    assert (clip.label, clip.text, clip.language) == ("fearful", "Dogs are sitting by the door", "en")
    assert (clip.speaker, clip.gender, clip.sample_rate) == ("12", "F", 48000)
    assert clip.extra == {
        "emotion": "fearful",
        "channel": "speech",
        "intensity": "normal",
        "statement": 2,
        "repetition": 1,
    }
    song = clips[NAMES[1]]
    assert (song.label, song.gender, song.extra["channel"], song.extra["intensity"]) == ("angry", "M", "song", "strong")
    assert song.extra["repetition"] == 2


def test_splits_are_by_actor(tmp_path, write_audio):
    make(tmp_path, write_audio)
    assert [read(tmp_path)[name].split for name in NAMES] == ["train", "train", "valid", "test"]
    assert set(read(tmp_path, "valid")) == {NAMES[2]}


def test_a_second_copy_is_left_out_and_counted(tmp_path, write_audio, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio)
    make(tmp_path / "audio_speech_actors_01-24", write_audio)
    clips = list(load_corpus("ravdess").read(tmp_path, None))
    assert sorted(c.id for c in clips) == sorted(NAMES)
    assert "4 the same recording again" in caplog.text


def test_a_damaged_file_is_left_out_and_counted(tmp_path, write_audio, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio)
    (tmp_path / f"Actor_12/{NAMES[0]}.wav").write_bytes(b"")
    assert set(read(tmp_path)) == set(NAMES[1:])
    assert "1 the file is empty" in caplog.text


def test_files_with_other_names_are_not_the_corpus(tmp_path, write_audio):
    write_audio(tmp_path / "Actor_01/angry.wav", 0.25)
    with pytest.raises(UserError, match="no file is named like Actor_12/03-01"):
        read(tmp_path)
