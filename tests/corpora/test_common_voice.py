import pytest

from audio_ssl.data.corpus import ErrorLedger, UserError, load_corpus

OLD = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
NEW = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\t"
    "locale\tsegment\n"
)


def new(speaker, name, sentence, age="", gender="", accents=""):
    return f"{speaker}\t{name}\ts1\t{sentence}\t\t2\t0\t{age}\t{gender}\t{accents}\t\tfr\t\n"


TRAIN = (
    new("aa", "common_voice_fr_1.mp3", 'Il a dit "non', "twenties", "male_masculine", "Français de France")
    + new("bb", "common_voice_fr_2.mp3", "C’est tout.", "", "female_feminine")
    + new("cc", "common_voice_fr_3.mp3", "Oui.", "", "non-binary")
    + new("dd", "common_voice_fr_4.mp3", "Non.", "", "do_not_wish_to_say")
)


def make(place, write_audio, write_text):
    write_text(place / "train.tsv", NEW + TRAIN)
    write_text(place / "dev.tsv", NEW + new("ee", "common_voice_fr_5.mp3", "Ici."))
    write_text(place / "test.tsv", NEW + new("ff", "common_voice_fr_6.mp3", "Là."))
    for number in range(1, 7):
        write_audio(place / f"clips/common_voice_fr_{number}.mp3", 0.5)


def read(root, split=None):
    return {c.id: c for c in load_corpus("common_voice").read(root, split)}


def test_sentences_become_clips(tmp_path, write_audio, write_text):
    make(tmp_path / "fr", write_audio, write_text)
    clips = read(tmp_path)
    clip = clips["common_voice_fr_1"]
    assert (clip.text, clip.speaker, clip.gender, clip.language) == ('Il a dit "non', "aa", "M", "fr")
    assert clip.extra == {"age": "twenties", "accent": "Français de France", "locale": "fr"}
    assert clip.path.endswith("fr/clips/common_voice_fr_1.mp3")
    assert [clips[f"common_voice_fr_{n}"].gender for n in range(2, 6)] == ["F", "non-binary", None, None]
    assert [clips[f"common_voice_fr_{n}"].split for n in (4, 5, 6)] == ["train", "dev", "test"]
    assert "age" not in clips["common_voice_fr_2"].row()


def test_an_older_release_of_one_language_with_converted_clips(tmp_path, write_audio, write_text):
    place = tmp_path / "zh-TW"
    rows = "aa\tcommon_voice_zh-TW_1.mp3\t你好\t2\t0\t\tfemale\t\nbb\t9f3a\t再見\t2\t0\t\tother\tTaipei\n"
    write_text(place / "test.tsv", OLD + rows)
    write_audio(place / "clips/common_voice_zh-TW_1.wav", 0.5)
    write_audio(place / "clips/9f3a.mp3", 0.5)
    clips = read(place, "test")
    first, second = clips["common_voice_zh-TW_1"], clips["9f3a"]
    assert (first.language, first.extra["locale"], first.gender, first.text) == ("zh", "zh-TW", "F", "你好")
    assert first.path.endswith("common_voice_zh-TW_1.wav")
    assert (second.gender, second.extra["accent"]) == ("other", "Taipei")


def test_a_missing_clip_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path / "fr", write_audio, write_text)
    (tmp_path / "fr/clips/common_voice_fr_2.mp3").unlink()
    assert "common_voice_fr_2" not in read(tmp_path)
    assert "left out 1: 1 cannot be opened: No such file" in caplog.text


def test_missing_tables_and_columns_are_named(tmp_path, write_audio, write_text):
    make(tmp_path / "fr", write_audio, write_text)
    write_text(tmp_path / "fr/test.tsv", "client_id\tpath\n")
    with pytest.raises(UserError, match="the columns sentence are missing"):
        read(tmp_path, "test")
    (tmp_path / "fr/dev.tsv").unlink()
    with pytest.raises(UserError, match="no such file") as error:
        read(tmp_path, "dev")
    assert error.value.where == str(tmp_path / "fr/dev.tsv")


def test_a_table_in_another_encoding_names_its_line_and_the_command(tmp_path, write_audio, write_text):
    make(tmp_path / "fr", write_audio, write_text)
    table = tmp_path / "fr/train.tsv"
    table.write_bytes((NEW + new("aa", "common_voice_fr_1.mp3", "très")).encode("cp1252"))
    with pytest.raises(
        UserError, match=r"train\.tsv:2: the file is not in UTF-8.*\(convert it: iconv -f CP1252 -t UTF-8"
    ):
        read(tmp_path, "train")


def test_all_that_was_recorded_is_there_if_asked_for(tmp_path, write_audio, write_text):
    make(tmp_path / "fr", write_audio, write_text)
    for number, name in enumerate(("validated", "invalidated", "other"), 1):
        write_text(tmp_path / f"fr/{name}.tsv", NEW + new("aa", f"common_voice_fr_{number}.mp3", "Bonjour."))
        (clip,) = read(tmp_path, name).values()
        assert (clip.id, clip.split) == (f"common_voice_fr_{number}", name)
    assert {clip.split for clip in read(tmp_path).values()} == {"train", "dev", "test"}


def test_rows_never_shift_into_another_column(tmp_path, write_audio, write_text):
    make(tmp_path / "fr", write_audio, write_text)
    rows = (
        new("aa", "common_voice_fr_1.mp3", "Finit par \\", "twenties", "female_feminine")
        + new("bb", "common_voice_fr_2.mp3", '"Ouvert', "", "male_masculine")
        + new("cc", "common_voice_fr_3.mp3", 'Il dit \\"non\\"', "", "male_masculine")
        + "dd\tcommon_voice_fr_4.mp3\ttrop court\n"
        + new("ee", "common_voice_fr_5.mp3", "tab\tde trop", "", "male_masculine")
        + new("ff", "common_voice_fr_6.mp3", "tab\\\tvoulu", "", "male_masculine")
    )
    write_text(tmp_path / "fr/train.tsv", "\ufeff" + NEW + rows)
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    clips = {c.id[-1]: c for c in load_corpus("common_voice").read(tmp_path, "train", ledger=ledger)}
    said = {name: (clip.speaker, clip.text, clip.gender) for name, clip in clips.items()}
    assert said == {
        "1": ("aa", "Finit par \\", "F"),
        "2": ("bb", '"Ouvert', "M"),
        "3": ("cc", 'Il dit "non"', "M"),
        "6": ("ff", "tab\tvoulu", "M"),
    }
    table = tmp_path / "fr/train.tsv"
    assert [(row.path, row.reason) for row in ledger.rows()] == [
        (f"{table}:5", "the row has 3 cells and the header 13"),
        (f"{table}:6", "the row has 14 cells and the header 13"),
    ]


def test_words_for_gender_are_said_in_the_log(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path / "fr", write_audio, write_text)
    read(tmp_path)
    assert "female_feminine → F, male_masculine → M" in caplog.text
