import pytest

from audio_ssl.data.corpus import ErrorLedger, UserError, load_corpus
from audio_ssl.data.corpus_tools.layout import hash_split

HEADER = "OnsetTime\tOffsetTime\tMidiPitch\n"
NOTES = HEADER + "0.5\t1.25\t60\n\n0.5\t2.5\t64\r\n1.2\t1.4\t60\n"


def make(root, write_audio, write_text, *names, seconds=3.0):
    for name in names:
        kind, piece, condition = name
        path = root / condition / kind / f"MAPS_{kind}-{piece}_{condition}"
        write_audio(path.with_suffix(".wav"), seconds, 44100)
        write_text(path.with_suffix(".txt"), NOTES)


def read(root, split=None, ledger=None, **options):
    return list(load_corpus("maps").read(root, split, ledger=ledger, **options))


def test_notes_of_the_text_and_the_split_of_the_field(tmp_path, write_audio, write_text):
    kept = next(f"p{i}" for i in range(99) if hash_split("maps", f"p{i}", 0.1, 0.0) == "train")
    chosen = next(f"p{i}" for i in range(99) if hash_split("maps", f"p{i}", 0.1, 0.0) == "valid")
    root = tmp_path / "MAPS"
    make(root, write_audio, write_text, ("MUS", "bor_ps6", "ENSTDkCl"), ("MUS", "bor_ps6", "AkPnBcht"))
    make(root, write_audio, write_text, ("MUS", kept, "AkPnBcht"), ("MUS", chosen, "SptkBGCl"))
    make(root, write_audio, write_text, ("ISOL", "NO_F_S1_M60", "AkPnBcht"))
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    clips = {clip.id: clip for clip in read(tmp_path, ledger=ledger)}
    assert {name: clip.split for name, clip in clips.items()} == {
        "MAPS_MUS-bor_ps6_ENSTDkCl": "test",
        f"MAPS_MUS-{kept}_AkPnBcht": "train",
        f"MAPS_MUS-{chosen}_SptkBGCl": "valid",
    }
    assert "the test has its piece, too" in (tmp_path / "errors.jsonl").read_text()
    clip = clips["MAPS_MUS-bor_ps6_ENSTDkCl"]
    assert clip.extra == {
        # A key that is struck again ends its note.
        "notes": "0.500 1.200 60; 0.500 2.500 64; 1.200 1.400 60",
        "title": "bor_ps6",
        "condition": "ENSTDkCl",
        "track": "MAPS_MUS-bor_ps6_ENSTDkCl",
    }
    assert [c.id for c in read(tmp_path, "test")] == [clip.id]
    isolated = read(root, sets="ISOL")
    assert [(c.id, c.split) for c in isolated] == [("MAPS_ISOL-NO_F_S1_M60_AkPnBcht", "train")]


def test_recordings_are_cut_and_notes_that_go_on_begin_at_the_cut(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text, ("MUS", "a", "ENSTDkAm"))
    clips = read(tmp_path, seconds="1")
    assert [(c.id[-4:], c.start, c.seconds) for c in clips] == [
        ("#000", 0.0, 1.0),
        ("#001", 1.0, 1.0),
        ("#002", 2.0, 1.0),
    ]
    assert [c.extra["notes"] for c in clips] == [
        "0.500 1.000 60; 0.500 1.000 64",
        "0.000 0.200 60; 0.000 1.000 64; 0.200 0.400 60",
        "0.000 0.500 64",
    ]
    (whole,) = read(tmp_path, seconds="0")
    assert whole.seconds == 3.0


def test_a_recording_without_a_text_or_with_a_bad_line_is_left_out(tmp_path, write_audio, write_text):
    make(
        tmp_path, write_audio, write_text, ("MUS", "a", "ENSTDkAm"), ("MUS", "b", "ENSTDkAm"), ("MUS", "c", "ENSTDkAm")
    )
    folder = tmp_path / "ENSTDkAm" / "MUS"
    (folder / "MAPS_MUS-a_ENSTDkAm.txt").unlink()
    (folder / "MAPS_MUS-b_ENSTDkAm.txt").write_text(HEADER + "0.5\tx\t60\n")
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    assert [c.extra["title"] for c in read(tmp_path, ledger=ledger)] == ["c"]
    said = (tmp_path / "errors.jsonl").read_text()
    assert "MAPS_MUS-a_ENSTDkAm.txt cannot be read" in said
    assert "line 2 of MAPS_MUS-b_ENSTDkAm.txt is no note" in said


def test_wrong_options_and_another_folder_are_explained(tmp_path, write_audio, write_text):
    with pytest.raises(UserError, match=r"no file is named like MAPS_MUS-bor_ps6_ENSTDkCl.wav"):
        read(tmp_path)
    make(tmp_path, write_audio, write_text, ("MUS", "a", "ENSTDkAm"))
    with pytest.raises(UserError, match="`sets` must be of MUS, ISOL, RAND, UCHO, but has `mus`"):
        read(tmp_path, sets="mus")
    with pytest.raises(UserError, match="`seconds` must be 0 or at least 1"):
        read(tmp_path, seconds="x")
