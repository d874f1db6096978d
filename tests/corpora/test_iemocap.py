from collections import Counter

import pytest

from audio_ssl.data.corpus import UserError, load_corpus

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 2; act 3; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[4.0000, 3.5000, 2.0000]
C-E2:\tExcited;\t()

[14.8872 - 18.0175]\tSes01F_impro01_F001\txxx\t[2.0000, 3.0000, 3.0000]
"""
TEXTS = """Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses01F_impro01_M001 [010.0100-011.3925]: Yeah.
"""


def make(root, write_audio, write_text):
    session = root / "Session1"
    write_text(session / "dialog/EmoEvaluation/Ses01F_impro01.txt", EVALUATION)
    write_text(session / "dialog/EmoEvaluation/._Ses01F_impro01.txt", "litter")
    write_text(session / "dialog/transcriptions/Ses01F_impro01.txt", TEXTS)
    for turn in ("F000", "M001", "F001"):
        write_audio(session / f"sentences/wav/Ses01F_impro01/Ses01F_impro01_{turn}.wav", 0.5)
    script = "[1.0 - 2.0]\tSes02M_script01_1_F004\tang\t[1.0, 4.0, 4.0]\n"
    write_text(root / "Session2/dialog/EmoEvaluation/Ses02M_script01_1.txt", script)
    write_audio(root / "Session2/sentences/wav/Ses02M_script01_1/Ses02M_script01_1_F004.wav", 0.5)


def read(root, split=None):
    return {c.id: c for c in load_corpus("iemocap").read(root, split)}


def test_turns_have_emotion_speaker_and_session(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = read(tmp_path)
    clip = clips["Ses01F_impro01_M001"]
    assert (clip.label, clip.text, clip.speaker, clip.gender) == ("happy", "Yeah.", "Ses01M", "M")
    assert clip.extra == {
        "emotion": "excited",
        "session": "Session1",
        "valence": 4.0,
        "arousal": 3.5,
        "dominance": 2.0,
        "improvised": True,
    }
    # The woman wears the markers in the one, the man in the other; the last letter is who speaks.
    angry = clips["Ses02M_script01_1_F004"]
    assert (angry.label, angry.speaker, angry.gender, angry.text) == ("angry", "Ses02F", "F", None)
    assert (angry.split, angry.extra["session"], angry.extra["improvised"]) == ("Session2", "Session2", False)


def test_turns_outside_the_four_classes_have_no_label(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = read(tmp_path)
    assert Counter(c.label for c in clips.values()) == {"neutral": 1, "happy": 1, "angry": 1, None: 1}
    assert clips["Ses01F_impro01_F001"].extra["emotion"] == "no agreement"


def test_one_session_and_the_folder_above(tmp_path, write_audio, write_text):
    make(tmp_path / "IEMOCAP_full_release", write_audio, write_text)
    assert set(read(tmp_path, "Session2")) == {"Ses02M_script01_1_F004"}
    with pytest.raises(UserError, match="no folder Session5"):
        read(tmp_path, "Session5")


def test_a_missing_recording_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    assert len(read(tmp_path)) == 3
    assert "left out 1: 1 cannot be opened: No such file" in caplog.text


def test_a_session_without_its_evaluation(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    (tmp_path / "Session3").mkdir()
    with pytest.raises(UserError, match="no such folder") as error:
        read(tmp_path)
    assert error.value.where == str(tmp_path / "Session3/dialog/EmoEvaluation")
