import json

import pytest

pytest.importorskip("pretty_midi")

import pretty_midi

from audio_ssl.base.errors import AudioError
from audio_ssl.data.corpus import ErrorLedger, UserError, load_corpus
from audio_ssl.data.corpus_tools.midi import midi_notes, notes_within, sustained

COLUMNS = ("canonical_composer", "canonical_title", "split", "year", "midi_filename", "audio_filename", "duration")
ROWS = [
    ("Frédéric Chopin", "Ballade No. 1, Op. 23", "train", "2018", "2018/a.midi", "2018/a.wav", "3.0"),
    ("Alban Berg", "Sonata Op. 1", "validation", "2008", "2008/b.midi", "2008/b.wav", "3.0"),
    ("Alban Berg", "Sonata Op. 1", "test", "2009", "2009/c.midi", "2009/c.wav", "3.0"),
]


def write_midi(path, notes, pedal=()):
    """Write notes of start, end and pitch as they are played."""
    file = pretty_midi.PrettyMIDI(initial_tempo=120)
    piano = pretty_midi.Instrument(0)
    piano.notes = [pretty_midi.Note(80, pitch, start, end) for start, end, pitch in notes]
    piano.control_changes = [pretty_midi.ControlChange(64, value, time) for time, value in pedal]
    drums = pretty_midi.Instrument(0, is_drum=True)
    drums.notes = [pretty_midi.Note(80, 36, 0.0, 1.0)]
    file.instruments = [piano, drums]
    path.parent.mkdir(parents=True, exist_ok=True)
    file.write(str(path))


def make(root, write_audio, form="csv"):
    if form == "csv":
        lines = [",".join(f'"{cell}"' for cell in row) for row in (COLUMNS, *ROWS)]
        root.mkdir(parents=True, exist_ok=True)
        (root / "maestro-v3.0.0.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        columns = {name: {str(i): row[place] for i, row in enumerate(ROWS)} for place, name in enumerate(COLUMNS)}
        root.mkdir(parents=True, exist_ok=True)
        (root / "maestro-v3.0.0.json").write_text(json.dumps(columns), encoding="utf-8")
    for row in ROWS:
        write_audio(root / row[5], 3.0, 44100)
        write_midi(root / row[4], [(0.5, 1.0, 60), (0.5, 1.0, 64), (2.0, 2.5, 60)], [(0.75, 127), (2.25, 0)])


def read(root, split=None, ledger=None, **options):
    return list(load_corpus("maestro").read(root, split, ledger=ledger, **options))


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("folder", ["", "maestro-v3.0.0"])
def test_performances_with_notes_that_the_pedal_holds(form, folder, tmp_path, write_audio):
    make(tmp_path / folder, write_audio, form)
    clips = read(tmp_path)
    assert [(c.id, c.split) for c in clips] == [("2018/a", "train"), ("2008/b", "valid"), ("2009/c", "test")]
    assert clips[0].extra == {
        # The pedal holds both: one until its key is struck again, the other until the pedal is up.
        "notes": "0.500 2.000 60; 0.500 2.250 64; 2.000 2.500 60",
        "composer": "Frédéric Chopin",
        "title": "Ballade No. 1, Op. 23",
        "year": "2018",
        "track": "2018/a",
    }
    assert [c.id for c in read(tmp_path, "test")] == ["2009/c"]


def test_pieces_share_their_track(tmp_path, write_audio):
    make(tmp_path, write_audio)
    pieces = read(tmp_path, "train", seconds="1.5")
    assert [(c.id, c.extra["track"]) for c in pieces] == [("2018/a#000", "2018/a"), ("2018/a#001", "2018/a")]
    assert pieces[1].extra["notes"] == "0.000 0.500 60; 0.000 0.750 64; 0.500 1.000 60"


def test_what_is_missing_or_damaged_is_left_out_by_name(tmp_path, write_audio):
    make(tmp_path, write_audio)
    (tmp_path / "2018/a.midi").write_bytes(b"MThd nonsense")
    (tmp_path / "2008/b.wav").unlink()
    table = tmp_path / "maestro-v3.0.0.csv"
    table.write_text(table.read_text(encoding="utf-8").replace('"test"', '"held out"'), encoding="utf-8")
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    assert read(tmp_path, ledger=ledger) == []
    said = (tmp_path / "errors.jsonl").read_text()
    assert "a.midi cannot be read" in said
    assert "2008/b" in said
    assert "its split is `held out`" in said


def test_a_folder_without_the_table_and_a_table_without_a_column(tmp_path):
    with pytest.raises(UserError, match=r"no maestro-v3.0.0.csv"):
        read(tmp_path)
    (tmp_path / "maestro-v3.0.0.json").write_text('{"split": {"0": "train"}}')
    with pytest.raises(UserError, match="the columns canonical_composer, canonical_title, year"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("notes", "pedal", "expected"),
    [
        ([(0, 1, 60)], [], [(0, 1, 60)]),
        # Up before the key is: the key holds it. 63 is up, 64 down.
        ([(0, 1, 60)], [(0.2, 100), (0.8, 0)], [(0, 1, 60)]),
        ([(0, 1, 60)], [(0.5, 63), (2.0, 0)], [(0, 1, 60)]),
        ([(0, 1, 60)], [(0.5, 64), (2.0, 63)], [(0, 2.0, 60)]),
        # Pressed again before it is up: one and the same.
        ([(0, 1, 60)], [(0.5, 64), (1.5, 127), (3.0, 0)], [(0, 3.0, 60)]),
        # Two times of the pedal: the note belongs to the one during which its key goes up.
        ([(0, 1, 60), (2, 3, 62)], [(0.5, 90), (1.5, 0), (2.5, 90), (4, 0)], [(0, 1.5, 60), (2, 4, 62)]),
        # Never up: until the last key is.
        ([(0, 1, 60), (2, 3, 62)], [(0.5, 90)], [(0, 3, 60), (2, 3, 62)]),
        # Down after the key went up: too late.
        ([(0, 1, 60)], [(1.1, 90), (2, 0)], [(0, 1, 60)]),
    ],
)
def test_the_pedal(notes, pedal, expected):
    assert sustained(notes, pedal) == expected


def test_drums_are_no_notes_and_other_files_no_midi(tmp_path):
    write_midi(tmp_path / "a.mid", [(0.0, 0.5, 60)])
    assert midi_notes(tmp_path / "a.mid", pretty_midi) == [(0.0, 0.5, 60)]
    (tmp_path / "b.mid").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"b.mid cannot be read"):
        midi_notes(tmp_path / "b.mid", pretty_midi)
    assert notes_within([(0.0, 1.0, 60), (1.0, 2.0, 61)], 1.0, 1.5) == [(0.0, 0.5, 61)]
