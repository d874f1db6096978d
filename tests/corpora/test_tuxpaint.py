from audio_ssl.data.corpus import load_corpus

STAMPS = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"


def test_descriptions_become_clips(tmp_path, write_audio, write_text):
    folder = tmp_path / STAMPS / "animals"
    write_text(folder / "frog.txt", "A green frog.\nfr.utf8=Une grenouille verte.\nes.utf8=Una rana.\nxx\n")
    write_audio(folder / "frog_desc_fr.ogg", 1.5, 44100)
    write_audio(folder / "frog_desc_es.ogg", 1.0, 44100)
    write_audio(folder / "frog_desc_ru.ogg", 1.0, 44100)
    write_audio(folder / "frog.ogg", 1.0, 44100)
    spanish, french = load_corpus("tuxpaint").read(tmp_path, None)
    assert (french.text, french.translation) == ("Une grenouille verte.", "A green frog.")
    assert (french.language, french.speaker, french.gender) == ("fr", "tuxpaint_fr", "M")
    assert french.extra == {"stamp": "animals/frog"}
    assert (spanish.gender, spanish.split) == ("F", french.split)


def test_texts_longer_than_the_recording_are_left_out(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    text = "Esta descripció es va allargar més tard, quan ja s'havia enregistrat."
    write_text(tmp_path / STAMPS / "a.txt", f"A.\nca.utf8={text}\nes.utf8={text}\n")
    write_audio(tmp_path / STAMPS / "a_desc_ca.ogg", 2.5)
    write_audio(tmp_path / STAMPS / "a_desc_es.ogg", 2.5)
    (clip,) = load_corpus("tuxpaint").read(tmp_path, None)
    assert clip.language == "es"
    assert "1 whose length does not fit the text" in caplog.text


def test_the_same_recording_counts_once(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    for folder in ("seasonal", "shapes"):
        write_text(tmp_path / STAMPS / folder / "star.txt", "A star.\nfr.utf8=Une étoile.\n")
        write_audio(tmp_path / STAMPS / folder / "star_desc_fr.ogg", 1.0)
    (clip,) = load_corpus("tuxpaint").read(tmp_path, None)
    assert clip.id == "seasonal/star_desc_fr"
    assert "1 the same recording again" in caplog.text
