import pytest

from audio_ssl.data.corpus import UserError, load_corpus

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
LINES = {
    "train": "track_0000948\tartist_000087\talbum_000149\t48/948.mp3\t212.7\tgenre---rock\tinstrument---guitar\n",
    "validation": "track_0000382\tartist_000020\talbum_000046\t82/382.mp3\t211.1\tmood/theme---happy\n",
    "test": "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\n",
}


def make(data, write_text, name="split-0/autotagging_top50tags"):
    for part, line in LINES.items():
        write_text(data / f"splits/{name}-{part}.tsv", HEADER + line)


def test_tracks_with_tags_in_the_published_split(tmp_path, write_audio, write_text):
    make(tmp_path / "data", write_text)
    write_audio(tmp_path / "audio/48/948.mp3", 1.0)
    write_audio(tmp_path / "data/audio-low/82/382.low.mp3", 1.0)
    write_audio(tmp_path / "14/214.mp3", 1.0)
    clips = list(load_corpus("mtg_jamendo").read(tmp_path, None))
    assert [(c.id, c.split, c.tags) for c in clips] == [
        ("track_0000948", "train", ("genre---rock", "instrument---guitar")),
        ("track_0000382", "valid", ("mood/theme---happy",)),
        ("track_0000214", "test", ("genre---punkrock",)),
    ]
    assert clips[0].extra == {"track": "track_0000948", "artist": "artist_000087", "album": "album_000149"}
    # What lies in the file counts, not what the table says.
    assert clips[0].seconds == pytest.approx(1.0, abs=0.1)


def test_subsets_and_other_splits(tmp_path, write_audio, write_text):
    make(tmp_path, write_text, "split-3/autotagging_genre")
    make(tmp_path, write_text, "split-0/autotagging")
    write_audio(tmp_path / "audio/14/214.mp3")
    corpus = load_corpus("mtg_jamendo")
    for options in ({"subset": "genre", "splits": "3"}, {"subset": "all"}):
        assert [c.id for c in corpus.read(tmp_path, "test", **options)] == ["track_0000214"]
    with pytest.raises(UserError, match="unknown subset `mood`; known: all, genre"):
        list(corpus.read(tmp_path, None, subset="mood"))
    with pytest.raises(UserError, match=r"`autotagging_top50tags-train\.tsv` is missing"):
        list(corpus.read(tmp_path, "train"))


def test_tracks_that_are_not_there_are_counted(tmp_path, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_text)
    assert list(load_corpus("mtg_jamendo").read(tmp_path, None)) == []
    assert "left out 3" in caplog.text


@pytest.mark.parametrize(("text", "error"), [("track\tartist\n", "first line"), ("", "first line")])
def test_other_tables_are_refused(text, error, tmp_path, write_text):
    make(tmp_path, write_text)
    write_text(tmp_path / "splits/split-0/autotagging_top50tags-test.tsv", text)
    with pytest.raises(UserError, match=error):
        list(load_corpus("mtg_jamendo").read(tmp_path, "test"))
