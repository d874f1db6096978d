import pytest

from audio_ssl.data.corpus import UserError, load_corpus

TABLE = (
    "path\ttranslation\tsplit\n"
    'common_voice_fr_1.mp3\t"Yes", he said.\ttrain\n'
    "common_voice_fr_2.mp3\tAnd now?\ttrain_covost\n"
    "common_voice_fr_3.mp3\tHere.\tdev\n"
    "common_voice_fr_4.mp3\tThere.\ttest\n"
)
VALIDATED = (
    "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
    'aa\tcommon_voice_fr_1.mp3\t"Oui", dit-il.\t2\t0\tthirties\tfemale\tbelgium\n'
    "bb\tcommon_voice_fr_3.mp3\tIci.\t2\t0\t\tother\t\n"
)


def make(place, write_audio, write_text):
    write_text(place / "covost_v2.fr_en.tsv", TABLE)
    write_text(place / "validated.tsv", VALIDATED)
    for number in range(1, 5):
        write_audio(place / f"clips/common_voice_fr_{number}.mp3", 0.5)


def read(root, split=None):
    return {c.id: c for c in load_corpus("covost2").read(root, split)}


@pytest.mark.parametrize("inner", ["", "fr"])
def test_translations_meet_the_clips(tmp_path, write_audio, write_text, inner):
    make(tmp_path / inner, write_audio, write_text)
    clips = read(tmp_path)
    clip = clips["fr_en/common_voice_fr_1"]
    assert (clip.text, clip.translation) == ('"Oui", dit-il.', '"Yes", he said.')
    assert (clip.speaker, clip.gender, clip.language, clip.split) == ("aa", "F", "fr", "train")
    assert clip.extra == {
        "age": "thirties",
        "accent": "belgium",
        "locale": "fr",
        "translation_language": "en",
        "pair": "fr_en",
    }
    other = clips["fr_en/common_voice_fr_2"]
    assert (other.split, other.text, other.speaker, other.gender) == ("train", None, None, None)
    assert clips["fr_en/common_voice_fr_3"].gender == "other"
    assert set(read(tmp_path, "dev")) == {"fr_en/common_voice_fr_3"}


def test_tables_by_split_hold_the_transcript(tmp_path, write_audio, write_text):
    head = "path\tsentence\ttranslation\tclient_id\n"
    write_text(tmp_path / "covost_v2.en_zh-CN.test.tsv", f"{head}common_voice_en_1.mp3\tOne.\t一。\taa\n")
    write_text(tmp_path / "covost_v2.en_zh-CN.dev.tsv", f"{head}common_voice_en_2.mp3\tTwo.\t二。\tbb\n")
    for number in (1, 2):
        write_audio(tmp_path / f"en/clips/common_voice_en_{number}.wav", 0.5)
    clips = read(tmp_path)
    assert {name: c.split for name, c in clips.items()} == {
        "en_zh-CN/common_voice_en_1": "test",
        "en_zh-CN/common_voice_en_2": "dev",
    }
    clip = clips["en_zh-CN/common_voice_en_1"]
    assert (clip.text, clip.translation, clip.speaker) == ("One.", "一。", "aa")
    assert (clip.language, clip.extra["translation_language"]) == ("en", "zh")
    assert set(read(tmp_path, "test")) == {"en_zh-CN/common_voice_en_1"}
    with pytest.raises(UserError, match=r"no table like fr/covost_v2\.fr_en\.tsv"):
        read(tmp_path, "train")


def test_tables_by_split_beside_the_whole_one_are_not_read_twice(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    write_text(tmp_path / "covost_v2.fr_en.dev.tsv", "path\ttranslation\ncommon_voice_fr_3.mp3\tHere.\n")
    clips = list(load_corpus("covost2").read(tmp_path, "dev"))
    assert [c.id for c in clips] == ["fr_en/common_voice_fr_3"]


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    write_text(tmp_path / "covost_v2.fr_en.tsv", TABLE.replace("And now?", ""))
    (tmp_path / "clips/common_voice_fr_3.mp3").unlink()
    assert set(read(tmp_path)) == {"fr_en/common_voice_fr_1", "fr_en/common_voice_fr_4"}
    assert "1 without a translation" in caplog.text
    assert "1 cannot be opened: No such file" in caplog.text


def test_missing_columns_are_named(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    write_text(tmp_path / "covost_v2.fr_en.tsv", "path\tsentence\n")
    with pytest.raises(UserError, match="the columns translation, split are missing") as error:
        read(tmp_path)
    assert error.value.where == str(tmp_path / "covost_v2.fr_en.tsv")
