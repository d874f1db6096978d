import zipfile

import pytest

from audio_ssl.data.corpus import UserError, load_corpus

SINGULARITY = "singularity-music/usr/share/games/singularity/music"
WARZONE = "warzone2100-music/usr/share/games/warzone2100/music"


def test_long_tracks_are_cut_into_equal_spans(tmp_path, write_audio):
    write_audio(tmp_path / SINGULARITY / "win" / "Apex Aleph.ogg", 70.0, 8000)
    clips = list(load_corpus("game_music").read(tmp_path, None))
    assert [c.id for c in clips] == [f"singularity/win/Apex Aleph#{i:03d}" for i in range(3)]
    assert [c.start for c in clips] == pytest.approx([0, 70 / 3, 140 / 3])
    assert sum(c.seconds for c in clips) == pytest.approx(70)
    assert {(c.label, c.tags, c.split) for c in clips} == {("singularity", ("singularity",), "train")}


def test_every_game_has_tracks_in_every_split_and_no_piece_is_torn(tmp_path, write_audio):
    for number in range(10):
        write_audio(tmp_path / SINGULARITY / f"{number}.ogg", 1.0, 8000)
        write_audio(tmp_path / WARZONE / "old" / f"track{number}.ogg", 1.0, 8000)
        write_audio(tmp_path / WARZONE / "new" / f"track{number}_enhanced.ogg", 1.0, 8000)
    clips = list(load_corpus("game_music").read(tmp_path, None))
    for game, copies in (("singularity", 1), ("warzone2100", 2)):
        splits = [c.split for c in clips if c.label == game]
        assert {s: splits.count(s) for s in splits} == {"train": 8 * copies, "valid": copies, "test": copies}
    of_piece = {}
    for clip in clips:
        of_piece.setdefault(clip.id.split("/")[-1].replace("_enhanced", ""), set()).add(clip.split)
    assert {len(s) for piece, s in of_piece.items() if piece.startswith("track")} == {1}


def test_silence_is_left_out(tmp_path, write_audio):
    folder = tmp_path / "wesnoth-1.16-music/usr/share/games/wesnoth/1.16/data/core/music"
    write_audio(folder / "silence.ogg", 1.0)
    write_audio(folder / "battle.ogg", 1.0)
    assert [c.id for c in load_corpus("game_music").read(tmp_path, None)] == ["wesnoth/battle#000"]


def test_fetch_unzips_what_is_packed(tmp_path, write_audio, monkeypatch):
    song = write_audio(tmp_path / "song.ogg", 1.0)
    archive = tmp_path / "root/nexuiz-music/usr/share/games/nexuiz/data/music.pk3"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.write(song, "sound/cdtracks/song.ogg")
    corpus = load_corpus("game_music")
    half = tmp_path / "root/nexuiz-music/unzipped.partial"
    half.mkdir()
    (half / "half.ogg").touch()
    corpus.fetch(tmp_path / "root", packages=["nexuiz-music"])
    assert [c.id for c in corpus.read(tmp_path / "root", None)] == ["nexuiz/sound/cdtracks/song#000"]


def test_no_package_at_all(tmp_path):
    with pytest.raises(UserError, match="none of Game music's packages was found here"):
        list(load_corpus("game_music").read(tmp_path, None))
