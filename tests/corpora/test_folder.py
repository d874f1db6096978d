from audio_ssl.data.corpus import load_corpus


def test_files_become_clips_and_top_folders_splits(tmp_path, write_audio, caplog):
    caplog.set_level("DEBUG")
    write_audio(tmp_path / "train" / "deep" / "a.wav", 0.25)
    write_audio(tmp_path / "test" / "b.flac")
    write_audio(tmp_path / "elsewhere" / "c.ogg")
    write_audio(tmp_path / "test.wav")
    (tmp_path / "broken.wav").write_text("no audio")
    clips = {c.id: c for c in load_corpus("folder").read(tmp_path, None)}
    assert {name: c.split for name, c in clips.items()} == {
        "train/deep/a.wav": "train",
        "test/b.flac": "test",
        "elsewhere/c.ogg": None,
        "test.wav": None,
    }
    assert clips["train/deep/a.wav"].seconds == 0.25
    assert "broken.wav" in caplog.text
    assert [c.id for c in load_corpus("folder").read(tmp_path, "test")] == ["test/b.flac"]
