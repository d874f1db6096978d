import pytest

from audio_ssl.data.corpus import UserError, load_corpus

ANNOTATIONS = """"clip_id"\t"no voice"\t"guitar"\t"loud"\t"mp3_path"
"2"\t"0"\t"1"\t"0"\t"b/band-album-01-song-30-59.mp3"
"6"\t"0"\t"1"\t"1"\t"b/band-album-01-song-59-88.mp3"
"7"\t"1"\t"1"\t"1"\t"c/x-y-02-z-0-29.mp3"
"8"\t"0"\t"0"\t"0"\t"d/x-y-03-z-0-29.mp3"
"9"\t"0"\t"0"\t"0"\t"f/x-y-04-z-0-29.mp3"
"""
INFO = """"clip_id"\t"track_number"\t"title"\t"artist"\t"album"\t"mp3_path"
"2"\t"1"\t"Song"\t"Band"\t"Album"\t"b/band-album-01-song-30-59.mp3"
"6"\t"1"\t"Song"\t"Band"\t"Album"\t"b/band-album-01-song-59-88.mp3"
"7"\t"2"\t"Z"\t"X"\t"Y"\t"c/x-y-02-z-0-29.mp3"
"8"\t"3"\t"Z"\t"X"\t"Y"\t"d/x-y-03-z-0-29.mp3"
"""


def make(root, write_audio, write_text):
    write_text(root / "annotations_final.csv", ANNOTATIONS)
    write_text(root / "clip_info_final.csv", INFO)
    for line in ANNOTATIONS.splitlines()[1:]:
        write_audio(root / "mp3" / line.split('"')[-2], 0.5)


def test_clips_with_their_tags_split_and_track(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = {c.id: c for c in load_corpus("magnatagatune").read(tmp_path, None)}
    assert {name: (c.split, c.tags) for name, c in clips.items()} == {
        "2": ("train", ("guitar",)),
        "6": ("train", ("guitar", "loud")),
        "7": ("valid", ("guitar", "loud", "no voice")),
        "8": ("test", ()),
        "9": ("test", ()),
    }
    # Clips of one track are resampled together.
    assert clips["2"].extra == clips["6"].extra == {"track": "Band/Album/1/Song", "artist": "Band"}
    assert clips["9"].extra == {"track": "9"}
    assert [c.id for c in load_corpus("magnatagatune").read(tmp_path, "test")] == ["8", "9"]


def test_only_the_most_frequent_tags(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    clips = {c.id: c.tags for c in load_corpus("magnatagatune").read(tmp_path, None, tags="2")}
    assert clips["7"] == ("guitar", "loud")
    with pytest.raises(UserError, match="must be a number above 0, but is `many`"):
        list(load_corpus("magnatagatune").read(tmp_path, None, tags="many"))


def test_empty_files_are_left_out(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "mp3/d/x-y-03-z-0-29.mp3").write_bytes(b"")
    assert [c.id for c in load_corpus("magnatagatune").read(tmp_path, "test")] == ["9"]
    assert "left out 1: 1 the file is empty" in caplog.text


def test_other_tables_are_refused(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    write_text(tmp_path / "annotations_final.csv", ANNOTATIONS.replace("mp3_path", "file"))
    with pytest.raises(UserError, match="the columns mp3_path are missing"):
        list(load_corpus("magnatagatune").read(tmp_path, None))
    (tmp_path / "clip_info_final.csv").unlink()
    with pytest.raises(UserError, match=r"`clip_info_final\.csv` is missing"):
        list(load_corpus("magnatagatune").read(tmp_path, None))
