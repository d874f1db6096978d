import hashlib
from pathlib import Path

import pytest

from audio_ssl.data.corpus import ErrorLedger, UserError, load_corpus
from audio_ssl.metrics.families.music import KEYS

METADATA = "ID\tARTIST\tSONG TITLE\tMIX\n1\tAva, Ben\tx\ty\n2\tBen\tx\ty\n3\tCem\tx\ty\n4\tCem\tx\ty\n5\tCem\tx\ty\n"
ANNOTATIONS = (
    "ID\tMANUAL KEY\tC\n1\tD# minor\t2\n2\tA major\t2\n3\tF minor\t1\n4\tC minor / F# minor\t2\n5\tG# major\t2\n"
)


def make(root, write_audio, write_text):
    mtg, test = root / "giantsteps-mtg-key-dataset-master", root / "giantsteps-key-dataset"
    write_text(mtg / "annotations/beatport_metadata.txt", METADATA)
    write_text(mtg / "annotations/annotations.txt", ANNOTATIONS)
    for number in range(1, 6):
        write_audio(mtg / f"audio/{number}.LOFI.mp3", 0.5, 44100)
    write_text(test / "annotations/key/1004923.LOFI.key", "Db major\n")
    write_audio(test / "audio/1004923.LOFI.wav", 0.5, 44100)


def test_both_repositories_become_clips(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    clips = {c.id: c for c in load_corpus("giantsteps").read(tmp_path, None)}
    assert {name: c.label for name, c in clips.items()} == {
        "1": "Eb minor",
        "2": "A major",
        "5": "Ab major",
        "1004923": "C# major",
    }
    assert clips["1"].extra == {"track": "1", "artist": "Ava, Ben", "confidence": 2}
    assert clips["1004923"].split == "test"
    # Both have Ben, so they go together.
    assert clips["1"].split == clips["2"].split
    assert "left out 2: 1 not of confidence 2, 1 not one major or minor key" in caplog.text


def test_the_split_is_by_artist_and_follows_collaborators(corpus_module):
    module = corpus_module("giantsteps")
    places = {name: int(hashlib.sha1(name.encode()).hexdigest(), 16) % 116 for name in map(str, range(300))}
    valid = [name for name, place in places.items() if place >= 100]
    train = [name for name, place in places.items() if place < 100]
    tracks = [[train[0]], [train[1], train[2]], [train[2], valid[0]], [train[3]]]
    splits = module.split_artists(tracks)
    assert {name for name, split in splits.items() if split == "valid"} == {train[1], train[2], valid[0]}
    assert module.split_artists([[train[0].upper()]]) == {train[0].upper(): "train"}


def test_keys_are_spelled_as_the_probes_spell_them(corpus_module):
    normal = corpus_module("giantsteps").normal_key
    sharps = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    flats = ("C", "Db", "D", "Eb", "Fb", "F", "Gb", "G", "Ab", "A", "Bb", "Cb")
    for mode in ("major", "minor"):
        assert [normal(f"{t} {mode}") for t in sharps] == [k for k in KEYS if k.endswith(mode)]
        assert {normal(f"{t.lower()} {mode}") for t in flats} == {k for k in KEYS if k.endswith(mode)}
    assert [normal(text) for text in ("-", "C", "G minor/major", "E / B / A minor", "A/E major", "H minor")] == [
        None
    ] * 6


def test_one_repository_is_enough_but_not_for_any_split(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    (tmp_path / "giantsteps-mtg-key-dataset-master").rename(tmp_path / "elsewhere")
    corpus = load_corpus("giantsteps")
    assert [c.id for c in corpus.read(tmp_path, None)] == ["1004923"]
    with pytest.raises(UserError, match="no such folder") as error:
        list(corpus.read(tmp_path, "train"))
    assert error.value.where == str(tmp_path / "giantsteps-mtg-key-dataset")


def test_missing_artists_and_other_keys_are_told(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    (tmp_path / "giantsteps-mtg-key-dataset-master/annotations/beatport_metadata.txt").unlink()
    with pytest.raises(UserError, match=r"`beatport_metadata\.txt` is missing"):
        list(load_corpus("giantsteps").read(tmp_path, "valid"))
    keys = tmp_path / "giantsteps-key-dataset/annotations/key"
    write_text(keys / "1.LOFI.key", "atonal")
    write_text(keys / "2.LOFI.key", " \n")
    write_text(keys / "3.LOFI.key", "C minor\nD minor\n")
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    assert [c.id for c in load_corpus("giantsteps").read(tmp_path, "test", ledger=ledger)] == ["1004923"]
    found = {Path(row.path).name: row.reason.removeprefix("a key must be like `D# minor`, ") for row in ledger.rows()}
    assert found == {
        "1.LOFI.key": "but is `atonal`",
        "2.LOFI.key": "but the file is empty",
        "3.LOFI.key": "but is `C minor D minor`",
    }
