import pytest

from audio_ssl.data.corpus import UserError, load_corpus

HEAD = ",path,speakerId,transcription,action,object,location\n"
PEOPLE = (
    "speakerId,Self-reported fluency level ,First Language spoken,Current language used for work/school,"
    "gender,ageRange\n"
    "2BqVo8kVB2Skwgyb,native,English (United States),English (United States),female,22-40\n"
)
ROWS = {
    "train": "0,wavs/speakers/2BqVo8kVB2Skwgyb/0a3129c0.wav,2BqVo8kVB2Skwgyb,Turn on the lights,activate,lights,none\n"
    '1,wavs/speakers/2BqVo8kVB2Skwgyb/0ee42a80.wav,2BqVo8kVB2Skwgyb,"Louder, please",increase,volume,none\n',
    "valid": "0,wavs/speakers/xxx/1.wav,xxx,Kitchen heat up,increase,heat,kitchen\n",
    "test": "0,wavs/speakers/yyy/2.wav,yyy,Fetch my shoes,bring,shoes,none\n",
}


def make(root, write_audio, write_text):
    for split, rows in ROWS.items():
        write_text(root / f"data/{split}_data.csv", HEAD + rows)
    for name in ("2BqVo8kVB2Skwgyb/0a3129c0", "2BqVo8kVB2Skwgyb/0ee42a80", "xxx/1", "yyy/2"):
        write_audio(root / f"wavs/speakers/{name}.wav", 0.25)
    write_text(root / "data/speaker_demographics.csv", PEOPLE)


def read(root, split=None):
    return {c.id: c for c in load_corpus("fluent_speech_commands").read(root, split)}


def test_commands_have_intent_and_person(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = read(tmp_path)
    clip = clips["0a3129c0"]
    assert (clip.text, clip.label, clip.split) == ("Turn on the lights", "activate-lights-none", "train")
    assert (clip.speaker, clip.gender, clip.language) == ("2BqVo8kVB2Skwgyb", "F", "en")
    assert clip.extra == {
        "action": "activate",
        "object": "lights",
        "location": "none",
        "age": "22-40",
        "first_language": "English (United States)",
        "fluency": "native",
    }
    assert clips["0ee42a80"].text == "Louder, please"
    assert (clips["1"].label, clips["1"].split, clips["1"].gender) == ("increase-heat-kitchen", "valid", None)


def test_one_split_and_the_folder_above_without_the_people(tmp_path, write_audio, write_text):
    inner = tmp_path / "fluent_speech_commands_dataset"
    make(inner, write_audio, write_text)
    (inner / "data/speaker_demographics.csv").unlink()
    assert {name: (c.split, c.gender) for name, c in read(tmp_path, "test").items()} == {"2": ("test", None)}


def test_a_missing_file_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "wavs/speakers/xxx/1.wav").unlink()
    assert "1" not in read(tmp_path)
    assert "left out 1: 1 cannot be opened: No such file" in caplog.text


def test_missing_tables_and_columns_are_named(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    write_text(tmp_path / "data/test_data.csv", ",path,speakerId,transcription\n")
    with pytest.raises(UserError, match="the columns action, object, location are missing"):
        read(tmp_path)
    (tmp_path / "data/test_data.csv").unlink()
    with pytest.raises(UserError, match="no such file") as error:
        read(tmp_path, "test")
    assert error.value.where == str(tmp_path / "data/test_data.csv")
