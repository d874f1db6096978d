import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("music21")
pytest.importorskip("tinysoundfont")

import mir_eval
import music21
import tinysoundfont

from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus import LeftOut
from audio_ssl.data.corpus_tools import scores as tunes
from audio_ssl.data.corpus_tools.layout import hash_split
from audio_ssl.data.corpus_tools.midi import Soundfont
from audio_ssl.metrics.families.music import KEYS, read_notes, segments

SCORES = Path(music21.__file__).parent / "corpus"


@pytest.fixture(scope="module")
def some():
    """Return two chorales and three tunes; the whole of the corpus would take a minute to read."""
    found = [tune for tune in tunes.chorales(SCORES) if tune.name in ("bach/bwv269", "bach/bwv253")]
    wanted = ("AcaciaReel", "AfterTheHareReel", "BlanchardsHornpipe")
    found += [tune for tune in tunes.abc_tunes(SCORES, "ryansMammoth") if tune.name.split("/")[1].startswith(wanted)]
    assert len(found) == 5
    return found


@pytest.fixture
def module(corpus_module, monkeypatch, some):
    made = corpus_module("rendered_bands")
    monkeypatch.setattr(tunes, "all_tunes", lambda _: some)
    monkeypatch.setattr(made, "CLIP_SECONDS", 9.0)
    monkeypatch.setattr(made, "SHORTEST_SECONDS", 4.0)
    return made


@pytest.fixture
def voices(module, some):
    """Return the renderings of some takes, before they are played."""
    scores = {tune.name: tunes.read_score(tune, music21) for tune in some}
    fit = [tune for tune in some if module._why_not(tune, scores[tune.name]) is None]
    assert {tune.source for tune in fit} == {"bach", "ryansMammoth"}
    return [(tune, module._arrange(tune, scores[tune.name], "train", take)) for tune in fit for take in range(6)]


def clips_of(module, root):
    return list(module.read(root, None, left_out=LeftOut("rendered_bands")))


def test_bands_are_rendered_with_stems_that_add_up_and_an_interrupted_one_goes_on(module, tmp_path):
    module.fetch(tmp_path, clips=5, stems=True)
    clips = clips_of(module, tmp_path)
    assert len(clips) == 5
    for clip in clips:
        mixture, rate = soundfile.read(clip.path)
        stems = dict(one.split(" ", 1) for one in clip.extra["stems"].split("; "))
        assert list(stems) == [one.split(" ")[0] for one in clip.extra["instruments"].split("; ")]
        together = sum(soundfile.read(path)[0] for path in stems.values())
        # Each file is rounded to 16 bits.
        np.testing.assert_allclose(together, mixture, atol=len(stems) / 2**15)
        assert rate == 24000
        assert 0.29 < np.abs(mixture).max() <= 0.9
        assert clip.seconds <= 10.1
        assert clip.label in KEYS
    labels = (tmp_path / "labels.json").read_text()
    files = sorted((tmp_path / "audio").rglob("*.flac"))
    before, times = soundfile.read(files[0])[0], [file.stat().st_mtime_ns for file in files]
    files[0].unlink()
    (tmp_path / "labels.json").unlink()
    module.fetch(tmp_path, clips=5, stems=True)
    assert (tmp_path / "labels.json").read_text() == labels
    assert [file.stat().st_mtime_ns for file in files[1:]] == times[1:]
    np.testing.assert_array_equal(soundfile.read(files[0])[0], before)


def test_a_finished_corpus_is_left_alone_and_gets_stems_where_asked_for(module, tmp_path):
    module.fetch(tmp_path, clips=1)
    (clip,) = clips_of(module, tmp_path)
    time = Path(clip.path).stat().st_mtime_ns
    assert "stems" not in clip.extra
    module.fetch(tmp_path, clips=1)
    assert Path(clip.path).stat().st_mtime_ns == time
    module.fetch(tmp_path, clips=1, stems=True)
    assert "stems" in clips_of(module, tmp_path)[0].extra
    with pytest.raises(UserError, match="`clips` must be at least 1"):
        module.fetch(tmp_path, clips=0)


def test_splits_are_those_of_rendered_scores_and_held_out_tunes_are_played_twice(module, some, monkeypatch):
    monkeypatch.setattr(module, "_MOST_TAKES", 4)
    held = next(name for name in map(str, range(99)) if hash_split("rendered_scores", name) == "test")
    kept = next(name for name in map(str, range(99)) if hash_split("rendered_scores", name) == "train")
    first, second = [tune for tune in some if tune.source == "bach"]
    known = [replace(first, title=held, name="x/first"), replace(second, title=kept, name="x/second")]
    monkeypatch.setattr(tunes, "all_tunes", lambda _: known)
    rows = [one.row for one in module._renderings(LeftOut("rendered_bands"))]
    assert [(row["name"], row["split"]) for row in rows if row["split"] == "test"] == [
        ("x/first-0", "test"), ("x/first-1", "test")
    ]  # fmt: skip
    assert sum(row["split"] == "train" for row in rows) == 4


def test_a_tune_to_train_on_that_is_held_out_under_another_title_is_left_out(module, some, monkeypatch):
    held = next(name for name in map(str, range(99)) if hash_split("rendered_scores", name) == "valid")
    kept = next(name for name in map(str, range(99)) if hash_split("rendered_scores", name) == "train")
    tune = next(tune for tune in some if tune.source != "bach")
    higher = tune.text.replace("K: G", "K: A")
    known = [replace(tune, title=kept, name="x/kept", text=higher), replace(tune, title=held, name="x/held")]
    monkeypatch.setattr(tunes, "all_tunes", lambda _: known)
    monkeypatch.setattr(module, "_MOST_TAKES", 1)
    assert [one.row["name"] for one in module._renderings(LeftOut("rendered_bands"))] == ["x/held-0"]


def test_what_accompanies_plays_the_chord_that_is_written(voices):
    checked = 0
    for tune, one in voices:
        if tune.source == "bach":
            continue
        spans, labels = segments(one.row["chords"])
        for voice in one.voices:
            if voice.name not in ("chords", "bass"):
                continue
            for start, end, pitch, _ in voice.notes:
                label = labels[int(np.searchsorted(spans[:, 0], (start + end) / 2)) - 1]
                root, semitones, _ = mir_eval.chord.encode(label)
                assert (pitch - root) % 12 in np.flatnonzero(semitones)
                checked += 1
    assert checked > 400


def test_chords_change_with_the_bar_and_a_whole_tune_ends_on_its_tonic(module, voices, monkeypatch):
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(module, "CLIP_SECONDS", 90.0)
        for tune, one in voices:
            if tune.source == "bach":
                continue
            if whole:
                one = module._arrange(tune, tunes.read_score(tune, music21), "train", one.row["take"])
            spans, labels = segments(one.row["chords"])
            beats = {item.split("/")[0] for item in one.row["beats"].split()}
            assert {f"{start:.3f}" for start in spans[:, 0] if start} <= beats
            if whole:
                quality = "maj" if tune.mode == "major" else "min"
                assert labels[-1] == f"{one.row['label'].split(' ')[0]}:{quality}"


def test_every_note_but_the_drums_is_in_the_column(voices):
    for _, one in voices:
        intervals, pitches = read_notes(one.row["notes"])
        said = set(pitches.tolist())
        assert said == {note[2] for voice in one.voices if not voice.drums for note in voice.notes}
        assert intervals.max() <= one.seconds + 0.1
        for voice in one.voices:
            for start, _, pitch, velocity in voice.notes if not voice.drums else ():
                # A unison within 50 ms is one note.
                assert np.abs(intervals[pitches == pitch, 0] - start).min() <= 0.0501
                assert 20 <= velocity <= 127


def test_renderings_of_a_tune_differ_and_chorales_have_four_families(voices):
    for name in {tune.name for tune, _ in voices}:
        own = [one for tune, one in voices if tune.name == name]
        assert len({one.row["instruments"] for one in own}) == len(own)
        assert len({one.row["notes"] for one in own}) == len(own)
    for tune, one in voices:
        if tune.source == "bach":
            assert len({voice.family for voice in one.voices}) == len(one.voices) == 4
        assert one.row["tags"] == sorted({voice.family for voice in one.voices})
    assert any("drums" in one.row["tags"] for _, one in voices)


def test_chords_of_a_chorale_are_those_of_rendered_scores(voices, corpus_module):
    scores = corpus_module("rendered_scores")
    for tune, one in voices:
        if tune.source == "bach":
            row = {**one.row, "instrument": "piano"}
            expected = scores._columns(tune, row)["chords"]
            spans, labels = segments(expected)
            ours, our_labels = segments(one.row["chords"])
            shared = min(spans[-1, 1], ours[-1, 1]) - 0.01
            for time in np.arange(0.01, shared, 0.25):
                assert labels[int(np.searchsorted(spans[:, 0], time)) - 1] == our_labels[
                    int(np.searchsorted(ours[:, 0], time)) - 1
                ]  # fmt: skip


def test_tuning_and_drums_of_the_soundfont(module):
    player = Soundfont(tinysoundfont, 24000, module.PIP)

    def pitch(**settings):
        samples = player.play([(0.0, 2.0, 69, 100)], 16, seconds=2.0, **settings)[12000:36000]
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(24000)))
        near = slice(400, 480)
        return 400 + int(spectrum[near].argmax())

    assert pitch() == pytest.approx(440, abs=2)
    assert pitch(tuning=0.5) == pytest.approx(440 * 2 ** (0.5 / 12), abs=2)
    drum = player.play([(0.0, 0.2, 36, 100)], 0, drums=True, seconds=1.0)
    assert len(drum) == 24000
    assert np.abs(np.fft.rfft(drum)).argmax() < 200


def test_every_melody_is_heard_at_its_pitch_and_in_time(module):
    """Programs that sound an octave lower, or only after a while, would make notes of the column wrong."""
    player = Soundfont(tinysoundfont, 24000, module.PIP)
    assert not set(module.MELODY) & set(module.SLOW)
    for program in {*module.MELODY, *module.CHORDS} - set(module.SLOW):
        samples = player.play([(0.0, 0.6, 69, 100)], program, seconds=0.7)
        level = np.sqrt(np.convolve(samples**2, np.ones(240) / 240, "same"))
        assert level[:3600].max() > 0.35 * level.max(), program
        spectrum = np.abs(np.fft.rfft(samples[:12000] * np.hanning(12000)))
        near = [spectrum[round(hertz / 2) - 4 : round(hertz / 2) + 5].max() for hertz in (220, 440, 660, 880, 1320)]
        # Organs have a stop an octave below, not stronger than the pitch itself and its overtones.
        assert max(near[1], near[3], near[4]) > 0.7 * max(near[0], near[2]), program


def test_labels_say_how_many_were_wanted(module, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_TAKES", 1)
    module.fetch(tmp_path, clips=1)
    assert json.loads((tmp_path / "labels.json").read_text())["wanted"] == 1
