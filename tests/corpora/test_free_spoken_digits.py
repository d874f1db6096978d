import pytest

from audio_ssl.data.corpus import UserError, load_corpus


def make(root, write_audio):
    for name in ("7_jackson_0", "7_jackson_4", "0_theo_5", "0_theo_9", "3_nicolas_10", "9_somebody_49"):
        write_audio(root / f"recordings/{name}.wav", 0.25, 8000)


def read(root, split=None):
    return {c.id: c for c in load_corpus("free_spoken_digits").read(root, split)}


def test_digits_become_clips(tmp_path, write_audio):
    make(tmp_path, write_audio)
    clips = read(tmp_path)
    clip = clips["3_nicolas_10"]
    assert (clip.label, clip.text, clip.speaker, clip.gender) == ("3", "three", "nicolas", "M")
    assert (clip.sample_rate, clip.seconds, clip.language) == (8000, 0.25, "en")
    assert clip.extra == {"accent": "BEL/French", "index": 10}
    stranger = clips["9_somebody_49"]
    assert (stranger.speaker, stranger.gender, stranger.row().get("accent")) == ("somebody", None, None)


def test_the_first_five_of_each_are_the_test(tmp_path, write_audio):
    make(tmp_path, write_audio)
    assert {name: c.split for name, c in read(tmp_path).items()} == {
        "7_jackson_0": "test",
        "7_jackson_4": "test",
        "0_theo_5": "valid",
        "0_theo_9": "valid",
        "3_nicolas_10": "train",
        "9_somebody_49": "train",
    }
    assert set(read(tmp_path, "test")) == {"7_jackson_0", "7_jackson_4"}


def test_a_damaged_file_is_left_out_and_counted(tmp_path, write_audio, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio)
    (tmp_path / "recordings/0_theo_5.wav").write_bytes(b"")
    assert "0_theo_5" not in read(tmp_path)
    assert "left out 1: 1 the file is empty" in caplog.text


def test_files_with_other_names_are_not_the_corpus(tmp_path, write_audio):
    write_audio(tmp_path / "recordings/seven.wav", 0.25, 8000)
    with pytest.raises(UserError, match=r"named like 7_jackson_32\.wav") as error:
        read(tmp_path)
    assert error.value.where == str(tmp_path / "recordings")
