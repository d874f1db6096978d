import pytest

from audio_ssl.data.corpus import ErrorLedger, UserError, load_corpus

HEADER = (
    "composer,title,folder,xml_score,midi_score,midi_performance,performance_annotations,midi_score_annotations,"
    "maestro_midi_performance,maestro_audio_performance,start,end,audio_performance\n"
)
ROW = (
    "Bach,Fugue_bwv_846,Bach/Fugue/bwv_846,x.musicxml,s.mid,{0}.mid,{0}_annotations.txt,s.txt,"
    "{{maestro}}/2006/a.midi,{{maestro}}/2006/{1}.wav,{2},{3},{0}.wav\n"
)
MIDI_ONLY = "Bach,Fugue_bwv_848,f,x.musicxml,s.mid,Bach/Na03.mid,Bach/Na03_annotations.txt,s.txt,,,,,\n"
BEATS = """0.25\t0.25\tb,,0
0.5\t0.5\tdb,4/4
0.75\t0.75\tb
1.0\t1.0\tdb
1.0\t1.0\t3/4
1.25\t1.25\tbR
1.5\t1.5\tb
1.75\t1.75\tdb
"""
SHI, NA = "Bach/Fugue/bwv_846/Shi05M", "Bach/Fugue/bwv_846/Na05M"


def make(root, write_audio, write_text, folder=""):
    write_text(
        root / folder / "metadata.csv",
        HEADER + ROW.format(SHI, "shi", "", "") + ROW.format(NA, "na", 0.5, 2.0) + MIDI_ONLY,
    )
    for name in (SHI, NA):
        write_text(root / folder / f"{name}_annotations.txt", BEATS)
    write_audio(root / "maestro-v2.0.0/2006/shi.wav", 2.0, 44100)
    write_audio(root / "maestro-v2.0.0/2006/na.wav", 3.0, 44100)


@pytest.mark.parametrize("folder", ["", "asap-dataset"])
def test_performances_with_numbered_beats(folder, tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text, folder)
    shi, na = load_corpus("asap").read(tmp_path, None)
    assert (shi.id, shi.start, shi.seconds, shi.path) == (SHI, 0.0, 2.0, str(tmp_path / "maestro-v2.0.0/2006/shi.wav"))
    assert shi.extra["beats"] == "0.250 0.500/1 0.750/2 1.000/1 1.250 1.500 1.750/1"
    assert {k: v for k, v in shi.extra.items() if k != "beats"} == {
        "composer": "Bach",
        "title": "Fugue_bwv_846",
        "track": SHI,
    }
    # Times of the annotation are from where the recording was cut.
    assert (na.start, na.seconds) == (0.5, 1.5)
    assert na.extra["beats"] == "0.250 0.500/1 0.750/2 1.000/1 1.250"
    assert shi.split == na.split
    assert "left out 1: 1 no audio: only MIDI" in caplog.text


def test_pieces_share_a_track_and_count_from_their_own_start(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    pieces = [c for c in load_corpus("asap").read(tmp_path, None, seconds="1.2") if c.extra["track"] == SHI]
    assert [(c.id, c.start, c.seconds) for c in pieces] == [(f"{SHI}#000", 0.0, 1.0), (f"{SHI}#001", 1.0, 1.0)]
    assert [c.extra["beats"] for c in pieces] == ["0.250 0.500/1 0.750/2", "0.000/1 0.250 0.500 0.750/1"]


def test_audio_that_the_script_made_needs_no_maestro(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "maestro-v2.0.0").rename(tmp_path / "elsewhere")
    write_audio(tmp_path / f"{SHI}.wav", 1.0)
    assert [c.seconds for c in load_corpus("asap").read(tmp_path, None)] == [1.0]
    assert "1 no folder of MAESTRO" in caplog.text
    away = load_corpus("asap").read(tmp_path, None, maestro=str(tmp_path / "elsewhere"))
    assert sorted(c.extra["track"] for c in away) == [NA, SHI]


def test_bad_tables_and_options_are_told(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    corpus = load_corpus("asap")
    with pytest.raises(UserError, match="must be 0 or at least 1, but is `long`"):
        list(corpus.read(tmp_path, None, seconds="long"))
    (tmp_path / f"{SHI}_annotations.txt").unlink()
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    assert [c.extra["track"] for c in corpus.read(tmp_path, None, ledger=ledger)] == [NA]
    assert "cannot be read: No such file" in next(ledger.rows()).reason
    write_text(tmp_path / "metadata.csv", "composer,title\n")
    with pytest.raises(UserError, match=r"audio_performance, .* are missing"):
        list(corpus.read(tmp_path, None))
