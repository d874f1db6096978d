import pytest

from audio_ssl.data.corpus import UserError, load_corpus

HEAD = "ID\tLANG\tTALK\tSRC\tREF\tWRONG-REF\tSPEAKER\tGENDER\tCATEGORY\tCOMMENT\tGENDERTERMS\n"
FRENCH = (
    "fr-0001\tfr\tted_1\tI was born here.\tJe suis née ici.\tJe suis né ici.\tAnn Lee\tShe\t1F\t\tnée né\n"
    'fr-0002\tfr\tted_2\tHe said "I am new".\t"Il a dit ""je suis nouveau"""\t"Il a dit ""je suis nouvelle"""\t'
    "Bo Ray\tMulti-He\t2M\tquoted\tnouveau nouvelle;un une\n"
)
ITALIAN = "it-0001\tit\tted_3\tWe came.\tSiamo venuti.\tSiamo venute.\tTwo\tMulti-Mix\t1M\t\tvenuti venute\n"


def make(root, write_audio, write_text):
    write_text(root / "tsv/MONOLINGUAL.fr_v1.2.tsv", HEAD + FRENCH)
    write_text(root / "tsv/MONOLINGUAL.it_v1.2.tsv", HEAD + ITALIAN)
    for name in ("fr-0001", "fr-0002", "it-0001"):
        write_audio(root / f"wav/{name}.wav", 0.5)


def read(root, split=None):
    return {c.id: c for c in load_corpus("must_she").read(root, split)}


@pytest.mark.parametrize("inner", ["", "MuST-SHE-v1.2-data"])
def test_segments_have_both_references_and_the_terms(tmp_path, write_audio, write_text, inner):
    make(tmp_path / inner, write_audio, write_text)
    clips = read(tmp_path, "test")
    assert set(clips) == {"fr/fr-0001", "fr/fr-0002", "it/it-0001"}
    clip = clips["fr/fr-0001"]
    assert (clip.text, clip.translation) == ("I was born here.", "Je suis née ici.")
    assert (clip.speaker, clip.gender, clip.language, clip.split) == ("Ann Lee", "F", "en", "test")
    assert clip.extra == {
        "translation_language": "fr",
        "wrong_reference": "Je suis né ici.",
        "category": "1F",
        "terms": "née né",
        "talk": "ted_1",
        "comment": None,
    }
    quoted = clips["fr/fr-0002"]
    assert (quoted.text, quoted.translation) == ('He said "I am new".', 'Il a dit "je suis nouveau"')
    assert (quoted.gender, quoted.extra["terms"]) == ("M", "nouveau nouvelle;un une")
    assert clips["it/it-0001"].gender == "Multi-Mix"


def test_only_the_quotes_of_a_spreadsheet_are_taken_off(corpus_module):
    unquote = corpus_module("must_she")._unquote
    assert unquote('"Hello," she said, "you"') == '"Hello," she said, "you"'
    assert unquote('"Hello"') == '"Hello"'
    assert unquote('"He said ""no"""') == 'He said "no"'
    assert unquote('"') == '"'


def test_a_missing_recording_is_left_out_and_counted(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "wav/fr-0002.wav").unlink()
    assert set(read(tmp_path)) == {"fr/fr-0001", "it/it-0001"}
    assert "left out 1: 1 cannot be opened: No such file" in caplog.text


def test_what_is_missing_in_a_table_is_named(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    write_text(tmp_path / "tsv/MONOLINGUAL.fr_v1.2.tsv", "ID\tLANG\n")
    with pytest.raises(UserError, match="the columns SRC, REF, WRONG-REF, CATEGORY, GENDERTERMS are missing"):
        read(tmp_path)
