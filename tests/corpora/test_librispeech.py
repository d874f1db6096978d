import pytest

from audio_ssl.data.corpus import UserError, load_corpus

SPEAKERS = """;ID  |SEX| SUBSET           |MINUTES| NAME
19   | F | test-other       |  0.03 | Kara Shallenberg
60   | M | train-clean-100  |  0.25 | |CBW|Simon
"""


def make(root, write_audio, write_text):
    write_text(root / "SPEAKERS.TXT", SPEAKERS)
    chapter = root / "test-other/19/198"
    write_audio(chapter / "19-198-0000.flac", 1.25)
    write_audio(chapter / "19-198-0001.flac", 1.0)
    write_text(chapter / "19-198.trans.txt", "19-198-0000 ONE TWO THREE\n19-198-0001 FOUR\n")
    write_audio(root / "train-clean-100/60/5/60-5-0000.flac", 1.0)
    write_audio(root / "train-clean-100/77/5/77-5-0000.flac", 1.0)


def test_utterances_become_clips(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = {c.id: c for c in load_corpus("librispeech").read(tmp_path, None)}
    first = clips["19-198-0000"]
    assert (first.text, first.seconds, first.sample_rate) == ("ONE TWO THREE", 1.25, 16000)
    assert (first.speaker, first.gender, first.language, first.split) == ("19", "F", "en", "test-other")
    assert first.extra == {"chapter": "198"}
    without = clips["60-5-0000"]
    assert (without.text, without.gender) == (None, "M")
    assert clips["77-5-0000"].gender is None


def test_one_subset_and_the_folder_above(tmp_path, write_audio, write_text):
    make(tmp_path / "LibriSpeech", write_audio, write_text)
    clips = list(load_corpus("librispeech").read(tmp_path, "test-other"))
    assert [c.id for c in clips] == ["19-198-0000", "19-198-0001"]


def test_a_damaged_file_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("DEBUG")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "test-other/19/198/19-198-0001.flac").write_bytes(b"")
    assert "19-198-0001" not in {c.id for c in load_corpus("librispeech").read(tmp_path, None)}
    assert "left out 1: 1 the file is empty" in caplog.text
    assert "19-198-0001.flac" in caplog.text


def test_a_subset_that_is_not_there(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    with pytest.raises(UserError, match="no such folder") as error:
        list(load_corpus("librispeech").read(tmp_path, "dev-clean"))
    assert error.value.where == str(tmp_path / "dev-clean")


def test_transcripts_that_are_not_there_are_said(tmp_path, write_audio, write_text, caplog):
    make(tmp_path, write_audio, write_text)
    list(load_corpus("librispeech").read(tmp_path, None))
    assert "train-clean-100: none of the 2 clips has a transcript" in caplog.text
    assert "test-other" not in caplog.text
    caplog.clear()
    write_text(tmp_path / "test-other/19/198/19-198.trans.txt", "19-198-0000 ONE TWO THREE\n")
    assert [c.text for c in load_corpus("librispeech").read(tmp_path, "test-other")] == ["ONE TWO THREE", None]
    assert "test-other: 1 of the 2 clips lack a transcript" in caplog.text


def test_a_subset_may_be_the_root_and_the_others_need_not_exist(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    for split in (None, "test-other"):
        clips = list(load_corpus("librispeech").read(tmp_path / "test-other", split))
        assert [(c.id, c.split, c.gender) for c in clips] == [
            ("19-198-0000", "test-other", "F"),
            ("19-198-0001", "test-other", "F"),
        ]
    with pytest.raises(UserError, match="no such folder"):
        list(load_corpus("librispeech").read(tmp_path / "test-other", "dev-clean"))
