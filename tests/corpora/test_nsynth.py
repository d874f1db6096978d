import json

import pytest

from audio_ssl.data.corpus import UserError, load_corpus


def note(family="bass", source="synthetic", number=33, pitch=22, velocity=50):
    instrument = f"{family}_{source}_{number:03d}"
    name = f"{instrument}-{pitch:03d}-{velocity:03d}"
    return name, {
        "note": 201034,
        "note_str": name,
        "sample_rate": 16000,
        "qualities": [0, 1, 0],
        "qualities_str": ["dark"],
        "pitch": pitch,
        "velocity": velocity,
        "instrument": 417,
        "instrument_str": instrument,
        "instrument_family": 0,
        "instrument_family_str": family,
        "instrument_source": 2,
        "instrument_source_str": source,
    }


def make(root, part, notes, write_audio, write_text):
    write_text(root / f"nsynth-{part}/examples.json", json.dumps(dict(notes)))
    for name, _ in notes:
        write_audio(root / f"nsynth-{part}/audio/{name}.wav", 0.5)


def test_notes_become_clips(tmp_path, write_audio, write_text):
    make(tmp_path, "train", [note(), note("vocal", "acoustic", 0, 60, 127)], write_audio, write_text)
    make(tmp_path, "test", [note("mallet", "acoustic", 62)], write_audio, write_text)
    clips = list(load_corpus("nsynth").read(tmp_path, None))
    assert [(c.label, c.split, c.extra["pitch"]) for c in clips] == [
        ("bass", "train", 22),
        ("vocal", "train", 60),
        ("mallet", "test", 22),
    ]
    first = clips[0]
    assert (first.id, first.tags) == ("bass_synthetic_033-022-050", ("dark",))
    assert first.extra == {
        "pitch": 22,
        "velocity": 50,
        "source": "synthetic",
        "instrument": "bass_synthetic_033",
        "track": "bass_synthetic_033",
    }
    with pytest.raises(UserError, match="no such folder"):
        list(load_corpus("nsynth").read(tmp_path, "valid"))


def test_a_missing_note_is_left_out(tmp_path, write_audio, write_text, caplog):
    caplog.set_level("INFO")
    make(tmp_path, "valid", [note(), note(pitch=23)], write_audio, write_text)
    (tmp_path / "nsynth-valid/audio/bass_synthetic_033-022-050.wav").unlink()
    assert [c.extra["pitch"] for c in load_corpus("nsynth").read(tmp_path, "valid")] == [23]
    assert "left out 1" in caplog.text


@pytest.mark.parametrize(
    ("text", "error"),
    [("[", "not JSON"), ("[]", "an object of keys and values")],
)
def test_other_rows_are_refused(text, error, tmp_path, write_text):
    write_text(tmp_path / "nsynth-test/examples.json", text)
    with pytest.raises(UserError, match=error):
        list(load_corpus("nsynth").read(tmp_path, None))
