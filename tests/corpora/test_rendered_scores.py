import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("music21")
pytest.importorskip("tinysoundfont")

import mir_eval
import music21
import tinysoundfont

from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.corpus_tools.midi import Soundfont, with_peak
from audio_ssl.data.corpus_tools.scores import Tune, abc_notes, abc_tunes, chorales, musicxml_parts
from audio_ssl.data.time_columns import ROOTS
from audio_ssl.metrics.families.music import KEYS, read_notes, segments

SCORES = Path(music21.__file__).parent / "corpus"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("rendered")
    load_corpus("rendered_scores").fetch(root, clips=12)
    return root


def test_twelve_clips_with_exact_labels(rendered):
    clips = list(load_corpus("rendered_scores").read(rendered, None))
    assert len(clips) == 12
    assert [c.extra["mode"] for c in clips].count("minor") == 6
    for clip in clips:
        assert clip.label in KEYS
        assert clip.label.endswith(clip.extra["mode"])
        assert clip.tags[:3] == (clip.extra["instrument"], clip.extra["mode"], clip.extra["metre"])
        assert 7.0 <= clip.seconds <= 13.1
        assert clip.sample_rate == 24000
        assert -6 <= clip.extra["transposed"] <= 5


def test_an_interrupted_rendering_goes_on_and_gives_the_same(rendered, tmp_path):
    corpus = load_corpus("rendered_scores")
    files = sorted((rendered / "audio").rglob("*.flac"))
    labels = (rendered / "labels.json").read_text()
    before = [soundfile.read(f)[0] for f in files]
    times = [f.stat().st_mtime_ns for f in files]
    files[0].unlink()
    (rendered / "labels.json").unlink()
    corpus.fetch(rendered, clips=12)
    assert (rendered / "labels.json").read_text() == labels
    assert [f.stat().st_mtime_ns for f in files[1:]] == times[1:]
    np.testing.assert_array_equal(soundfile.read(files[0])[0], before[0])


def test_finished_rendering_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "labels.json").write_text(json.dumps({"wanted": 600, "clips": []}))
    load_corpus("rendered_scores").fetch(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["labels.json"]


def test_chorale_notes_are_those_of_music21():
    for name in ("bwv269", "bwv66.6", "bwv253"):
        path = SCORES / "bach" / f"{name}.mxl"
        score = music21.converter.parse(path, forceSource=True).stripTies().flatten()
        expected = sorted(
            (float(n.offset), float(n.offset + n.quarterLength), p.midi) for n in score.notes for p in n.pitches
        )
        notes = sorted(note for part in musicxml_parts(path) for note in part)
        np.testing.assert_allclose(notes, expected, atol=1e-9)


def test_tune_notes_are_those_of_music21():
    # The last has triplets.
    for name in ("AcaciaReel", "AfterTheHareReel", "BlanchardsHornpipe"):
        path = SCORES / "ryansMammoth" / f"{name}.abc"
        score = music21.converter.parse(path, forceSource=True).flatten()
        expected = [(float(n.offset), p.midi) for n in score.notes if n.quarterLength for p in n.pitches]
        notes = abc_notes(path.read_text(encoding="utf-8"), music21)
        np.testing.assert_allclose([(start, pitch) for start, _, pitch in notes], expected, atol=1e-6)


def test_modal_and_doubtful_keys_are_left_out(tmp_path):
    keys = {"Am": (9, "minor"), "F#min": (6, "minor"), "Bb": (10, "major"), "C Maj": (0, "major"), "Eb": (3, "major")}
    others = ("Ador", "Dmix", "G % one sharp in the book", "Hp")
    folder = tmp_path / "some"
    folder.mkdir()
    for number, key in enumerate([*keys, *others], 1):
        (folder / f"{number}.abc").write_text(f"X: {number}\nT: Tune\nM: C|\nR: slipjig\nL: 1/8\nK: {key}\nABc|\n")
    tunes = list(abc_tunes(tmp_path, "some"))
    assert {(t.tonic, t.mode) for t in tunes} == set(keys.values())
    assert len(tunes) == len(keys)
    assert {(t.metre, t.dance) for t in tunes} == {("2/2", "slip jig")}


def test_the_player_plays_the_notes_it_is_given(corpus_module):
    module = corpus_module("rendered_scores")
    player = Soundfont(tinysoundfont, 24000, module.PIP)
    samples = with_peak(player.play([(0.0, 1.0, 69, 96), (1.0, 2.0, 81, 96)], module.INSTRUMENTS["flute"]), 0.5)
    assert samples.shape == (3 * 24000,)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=1e-4)
    for start, hertz in ((0.3, 440.0), (1.3, 880.0)):
        block = samples[round(start * 24000) :][:12000]
        spectrum = np.abs(np.fft.rfft(block * np.hanning(12000)))
        strongest = np.argsort(spectrum)[-1] * 2.0
        assert min(abs(strongest - hertz * n) for n in (1, 2, 3)) <= 6.0


def test_tonic_shift_and_label_agree(corpus_module):
    module = corpus_module("rendered_scores")
    for tonic in range(12):
        tune = Tune(f"x/{tonic}", "x", "t", tonic, "minor", "3/4", None, "")
        row = module._arrange(tune)
        name = ROOTS[(tonic + row["transposed"]) % 12]
        assert row["label"] == f"{name} minor"


def music21_beats(score, end):
    """Return the time and the number of each beat of the first part, by music21's own bars."""
    found = {}
    signature = next(iter(score.recurse().getElementsByClass(music21.meter.TimeSignature)))
    for measure in score.parts[0].getElementsByClass("Measure"):
        offset = float(measure.offset)
        upbeat = float(measure.paddingLeft)
        for place in range(signature.beatCount):
            length = float(signature.beatDuration.quarterLength)
            time = offset + place * length - upbeat
            if offset <= time < min(end, offset + float(measure.duration.quarterLength)) - 1e-6:
                found[round(time, 3)] = place + 1
    return found


@pytest.mark.parametrize(
    "file", ["bach/bwv269.mxl", "bach/bwv253.mxl", "bach/bwv66.6.mxl", "ryansMammoth/AcaciaReel.abc"]
)
def test_beats_are_those_of_music21(file, corpus_module):
    module = corpus_module("rendered_scores")
    path = SCORES / file
    tunes = chorales(SCORES) if path.suffix == ".mxl" else abc_tunes(SCORES, "ryansMammoth")
    tune = next(t for t in tunes if t.name.split("/")[1].startswith(path.stem))
    row = {**module._arrange(tune), "quarters_per_minute": 60}
    score = music21.converter.parse(path, forceSource=True)
    beats = module._columns(tune, row)["beats"].split()
    played = max(end for _, end, _ in module._played(module._score(tune).notes, row))
    expected = music21_beats(score, played)
    assert {float(b.split("/")[0]): int(b.split("/")[1]) for b in beats} == expected


def test_beats_are_in_the_manifest(rendered):
    clips = list(load_corpus("rendered_scores").read(rendered, None))
    with_beats = [c for c in clips if c.extra["beats"]]
    assert len(with_beats) >= 8
    for clip in with_beats:
        times = [float(b.split("/")[0]) for b in clip.extra["beats"].split()]
        numbers = [int(b.split("/")[1]) for b in clip.extra["beats"].split()]
        assert times == sorted(times)
        assert times[-1] < clip.seconds - 0.9
        count = max(numbers)
        assert all(after == before % count + 1 for before, after in pairwise(numbers))


@pytest.mark.parametrize("column", ["beats", "notes", "chords"])
def test_labels_of_an_older_version_get_the_column(rendered, column):
    before = (rendered / "labels.json").read_text()
    old = json.loads(before)
    for row in old["clips"]:
        del row[column]
    (rendered / "labels.json").write_text(json.dumps(old))
    times = {file: file.stat().st_mtime_ns for file in (rendered / "audio").rglob("*.flac")}
    load_corpus("rendered_scores").fetch(rendered, clips=12)
    assert (rendered / "labels.json").read_text() == before
    assert {file: file.stat().st_mtime_ns for file in (rendered / "audio").rglob("*.flac")} == times


def test_notes_are_in_the_manifest_and_sound_when_they_say(rendered):
    for clip in load_corpus("rendered_scores").read(rendered, None):
        intervals, pitches = read_notes(clip.extra["notes"])
        assert len(pitches) >= 8
        assert intervals.max() <= min(12.0, clip.seconds - 0.99)
        assert not clip.extra["composer"] or len(set(pitches)) > 8
        samples, rate = soundfile.read(clip.path)
        # The longest note, at its own frequency or those of its overtones, against the same bins of another pitch.
        longest = int(np.argmax(intervals[:, 1] - intervals[:, 0]))
        start, end = (intervals[longest] * rate).astype(int)
        sounding = {p for (a, b), p in zip(intervals, pitches, strict=True) if a < end / rate and b > start / rate}
        silent = next(p for p in range(int(pitches[longest]) + 1, 128) if p - 12 not in sounding and p not in sounding)
        power = np.abs(np.fft.rfft(samples[start:end] * np.hanning(end - start))) ** 2
        hertz = np.fft.rfftfreq(end - start, 1 / rate)

        def at(pitch, power=power, hertz=hertz):
            wanted = 440 * 2 ** ((pitch - 69) / 12)
            return sum(power[np.abs(hertz / (n * wanted) - 1) < 0.02].sum() for n in (1, 2, 4))

        assert at(pitches[longest]) > at(silent)


def test_chords_of_chorales_are_those_of_music21(corpus_module):
    module = corpus_module("rendered_scores")
    checked = 0
    for tune in chorales(SCORES):
        if not tune.name.endswith(("bwv269", "bwv66.6", "bwv253")):
            continue
        row = {**module._arrange(tune), "transposed": 0, "quarters_per_minute": 100}
        slices, labels = segments(module._columns(tune, row)["chords"])
        score = music21.converter.parse(tune.text, forceSource=True).stripTies()
        for one in score.chordify().flatten().getElementsByClass("Chord"):
            second = (float(one.offset) + float(one.quarterLength) / 2) * 0.6
            if not (one.isTriad() or one.isSeventh()) or second >= slices[-1, 1]:
                continue
            label = labels[int(np.searchsorted(slices[:, 0], second)) - 1]
            root, semitones, bass = mir_eval.chord.encode(label)
            assert (root + bass) % 12 == one.bass().pitchClass
            if not one.isAugmentedTriad() and not one.isDiminishedSeventh():
                assert root == one.root().pitchClass
                assert {int(s + root) % 12 for s in np.flatnonzero(semitones)} >= set(one.pitchClasses)
            checked += 1
    assert checked > 60


def test_tunes_have_no_chords(rendered):
    for clip in load_corpus("rendered_scores").read(rendered, None):
        assert (clip.extra["chords"] is None) == (clip.extra["composer"] is None)
