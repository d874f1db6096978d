from audio_ssl.data.corpus import load_corpus

GAME = "usr/share/games/fillets-ng"
LINES = {
    "let-m-divna": (
        "font_small",
        "What ship is it?",
        {"cs": "Co je to za loď?", "nl": "Wat is dit?", "fr": "Quoi ?"},
    ),
    "let-v-oci": ("font_big", 'Look \\"here\\"!', {"cs": 'Dívej \\"sem\\"!'}),
    "let-x-hlas": ("font_yellow", "A voice.", {"cs": "Hlas."}),
    "let-p-pap": ("font_parrot", "Parrot.", {"cs": "Papoušek."}),
    "let-m-pocet": ("font_small", "It took %1 hours.", {"cs": "Trvalo to %1 hodin."}),
    "let-m-rusky": ("font_small", "Wait.", {"cs": "Подожди."}),
    "let-x-nic": ("", "", {"cs": ""}),
}


def make(root, write_audio, write_text, levels=("airplane",)):
    for level in levels:
        for language in ("cs", "nl", "fr", "de"):
            script = "".join(
                f'dialogId("{line}", "{font}", "{english}")\n'
                + (f'dialogStr("{texts[language]}")\n\n' if language in texts else "\n")
                for line, (font, english, texts) in LINES.items()
            )
            write_text(root / "fillets-ng-data" / GAME / "script" / level / f"dialogs_{language}.lua", script)
        for language in ("cs", "nl"):
            for line, (_, _, texts) in LINES.items():
                if language in texts:
                    folder = root / f"fillets-ng-data-{language}" / GAME / "sound" / level / language
                    write_audio(folder / f"{line}.ogg", rate=22050)


def test_lines_become_clips(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = {c.id: c for c in load_corpus("fillets").read(tmp_path, None)}
    small = clips["cs/airplane/let-m-divna"]
    assert (small.text, small.translation, small.language) == ("Co je to za loď?", "What ship is it?", "cs")
    assert (small.speaker, small.gender, small.sample_rate) == ("cs_small", "F", 22050)
    assert small.extra == {
        "level": "airplane",
        "line": "let-m-divna",
        "translation_nl": "Wat is dit?",
        "translation_fr": "Quoi ?",
    }
    assert clips["nl/airplane/let-m-divna"].speaker == "nl_small"
    big = clips["cs/airplane/let-v-oci"]
    assert (big.text, big.gender) == ('Dívej "sem"!', "M")


def test_other_characters_have_no_gender_and_colours_are_one_a_level(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = {c.id: c for c in load_corpus("fillets").read(tmp_path, None)}
    voice, parrot = clips["cs/airplane/let-x-hlas"], clips["cs/airplane/let-p-pap"]
    assert (voice.speaker, voice.gender) == ("cs_airplane_yellow", None)
    assert (parrot.speaker, parrot.gender) == ("cs_parrot", None)


def test_lines_that_cannot_be_used_are_counted(tmp_path, write_audio, write_text, caplog):
    make(tmp_path, write_audio, write_text)
    caplog.set_level("INFO")
    ids = {c.id for c in load_corpus("fillets").read(tmp_path, None)}
    assert not ids & {"cs/airplane/let-m-pocet", "cs/airplane/let-m-rusky", "cs/airplane/let-x-nic"}
    assert "left out 3: 3 without a transcript" in caplog.text


def test_both_languages_of_a_level_are_in_one_split(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text, levels=[f"level{i}" for i in range(12)])
    splits = {}
    for clip in load_corpus("fillets").read(tmp_path, None):
        splits.setdefault(clip.extra["level"], set()).add(clip.split)
    assert len(splits) == 12
    assert {len(s) for s in splits.values()} == {1}
    assert len(set.union(*splits.values())) > 1
