import hashlib

import pytest

from audio_ssl.data.corpus import UserError, load_corpus

RATINGS = "song_id,mean_arousal,std_arousal,mean_valence,std_valence\n2,3.1,1.9,3.0,0.7\n3,5.5,1,6.25,2\n4,7,1,8,1\n"
HEADER = "song_id,file_name,Artist,Song title,start of the segment (min.sec),end of the segment (min.sec),Genre,"
SONGS = f"""{HEADER}Mediaeval 2013 set
2,2.mp3\t,The Kyoto Connection\t,Hachiko\t,0.22,1.07,Blues\t,development
3,3.mp3\t,Mü,Song\t,0.22,1.07,Rock\t,evaluation
5,5.mp3\t,Nobody\t,Song\t,0.22,1.07,Rock\t,development
"""


def make(root, write_audio, write_text, tables="", clips="clips_45seconds"):
    write_text(root / tables / "static_annotations.csv", RATINGS)
    write_text(root / tables / "songs_info.csv", SONGS)
    write_audio(root / clips / "2.mp3", 1.0, 44100)
    write_audio(root / clips / "3.wav", 1.0, 44100)


@pytest.mark.parametrize("folders", [{}, {"tables": "annotations", "clips": "clips_45sec/clips_45seconds"}])
def test_songs_with_their_means(folders, tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text, **folders)
    clips = {c.id: c for c in load_corpus("emomusic").read(tmp_path, None)}
    assert sorted(clips) == ["2", "3"]
    assert clips["2"].extra == {
        "valence": 3.0,
        "arousal": 3.1,
        "valence_std": 0.7,
        "arousal_std": 1.9,
        "artist": "The Kyoto Connection",
        "genre": "Blues",
        "track": "2",
    }
    assert clips["3"].split == "test"
    assert "left out 1: 1 not in songs_info.csv" in caplog.text
    assert [c.id for c in load_corpus("emomusic").read(tmp_path, "test")] == ["3"]


def test_the_development_set_is_divided_by_artist(corpus_module):
    split = corpus_module("emomusic").artist_split
    place = int(hashlib.sha1(b"the kyoto connection").hexdigest(), 16) % 10
    assert split("The Kyoto  Connection 3") == ("train" if place < 8 else "valid")
    parts = [split("x" * n) for n in range(1, 201)]
    assert 20 <= parts.count("valid") <= 60


def test_what_is_missing_is_told(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    corpus = load_corpus("emomusic")
    write_text(tmp_path / "static_annotations.csv", RATINGS.replace("mean_arousal", "arousal"))
    with pytest.raises(UserError, match="the columns mean_arousal are missing"):
        list(corpus.read(tmp_path, None))
    (tmp_path / "songs_info.csv").unlink()
    with pytest.raises(UserError, match=r"`songs_info\.csv` is missing"):
        list(corpus.read(tmp_path, None))
