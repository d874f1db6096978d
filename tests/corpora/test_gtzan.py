import pytest

from audio_ssl.data.corpus import UserError, load_corpus


def make(root, write_audio, write_text, suffix="wav"):
    for name in ("blues/blues.00000", "jazz/jazz.00054", "rock/rock.00099", "rock/rock.00001"):
        write_audio(root / f"genres/{name}.{suffix}", 0.5, 22050)
    write_text(root / "train_filtered.txt", "blues/blues.00000.wav\n")
    write_text(root / "valid_filtered.txt", "jazz/jazz.00054.wav\n")
    write_text(root / "test_filtered.txt", "rock/rock.00099.wav\n\n")


@pytest.mark.parametrize("suffix", ["wav", "au"])
def test_excerpts_of_the_lists_become_clips(suffix, tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text, suffix)
    clips = list(load_corpus("gtzan").read(tmp_path, None))
    assert [(c.id, c.label, c.split, c.sample_rate) for c in clips] == [
        ("blues.00000", "blues", "train", 22050),
        ("jazz.00054", "jazz", "valid", 22050),
        ("rock.00099", "rock", "test", 22050),
    ]
    assert clips[0].path.endswith(f"genres/blues/blues.00000.{suffix}")
    assert [c.id for c in load_corpus("gtzan").read(tmp_path, "test")] == ["rock.00099"]


def test_the_genres_themselves_may_be_the_root(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    for path in tmp_path.glob("*.txt"):
        path.rename(tmp_path / "genres" / path.name)
    assert len(list(load_corpus("gtzan").read(tmp_path / "genres", None))) == 3
    assert len(list(load_corpus("gtzan").read(tmp_path, None))) == 3


def test_a_missing_list_says_where_it_is_published(tmp_path, write_audio, write_text):
    make(tmp_path, write_audio, write_text)
    (tmp_path / "valid_filtered.txt").unlink()
    with pytest.raises(UserError, match=r"`valid_filtered\.txt` is missing") as error:
        list(load_corpus("gtzan").read(tmp_path, None))
    assert "https://" in error.value.remedy


def test_the_damaged_excerpt_is_left_out(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, write_audio, write_text)
    (tmp_path / "genres/jazz/jazz.00054.wav").write_bytes(b"")
    assert list(load_corpus("gtzan").read(tmp_path, "valid")) == []
    assert "left out 1: 1 the file is empty" in caplog.text
