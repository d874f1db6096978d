import itertools

import mir_eval
import numpy as np
import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.data.time_columns import chord_name, chords_of_notes, notes_column
from audio_ssl.metrics.families.music import read_notes


def test_every_name_means_the_pitches_it_was_made_of():
    """All sets of one to four pitch classes over all lowest notes, as mir_eval reads their names."""
    named = 0
    for size in (1, 2, 3, 4):
        for classes in itertools.combinations(range(12), size):
            for lowest in classes:
                name = chord_name([48 + lowest, *(60 + one for one in classes)])
                if name == "X":
                    continue
                root, semitones, bass = mir_eval.chord.encode(name)
                meant = {int(root + one) % 12 for one in np.flatnonzero(semitones)}
                assert meant - set(classes) <= {(root + 7) % 12}, name
                assert set(classes) <= meant
                assert (root + bass) % 12 == lowest
                named += 1
    # One name for each set but those that divide the octave evenly, whose root is the lowest.
    assert named == 12 * sum(len(one) for one in (
        (0, 4, 7), (0, 4), (0, 3, 7), (0, 3), (0, 3, 6), (0, 4, 8), (0, 4, 7, 10), (0, 4, 10), (0, 4, 7, 11),
        (0, 4, 11), (0, 3, 7, 10), (0, 3, 10), (0, 3, 7, 11), (0, 3, 11), (0, 3, 6, 10), (0, 3, 6, 9), (0, 5, 7),
        (0, 7), (0,),
    )) - 12 * 2 - 12 * 3  # fmt: skip


def test_slices_end_where_asked_and_silence_is_no_chord():
    notes = [(0.0, 1.0, 60), (0.0, 1.0, 64), (0.0, 1.0, 67), (1.5, 3.0, 57), (1.5, 3.0, 60)]
    assert chords_of_notes(notes) == "0.000 1.000 C:maj; 1.000 1.500 N; 1.500 3.000 A:min"
    assert chords_of_notes(notes, until=2.0) == "0.000 1.000 C:maj; 1.000 1.500 N; 1.500 2.000 A:min"
    assert chords_of_notes([]) == ""


def test_a_rounding_makes_no_slice():
    third = 1 / 3
    notes = [(0.0, third, 60), (third + 1e-9, 1.0, 60), (0.0, 1.0, 64)]
    assert chords_of_notes(notes) == "0.000 1.000 C:maj"


def test_notes_of_one_pitch_never_overlap_and_keep_every_sounding_moment():
    random = np.random.default_rng(0)
    starts = random.uniform(0, 9, 300)
    ends, pitches = starts + random.uniform(0.01, 2, 300), random.integers(60, 66, 300).tolist()
    notes = list(zip(starts, ends, pitches, strict=True))
    intervals, pitches = read_notes(notes_column(notes))
    middles = np.arange(0.0017, 11, 0.01)
    for pitch in range(60, 66):
        own = intervals[pitches == pitch]
        assert (own[1:, 0] >= own[:-1, 1]).all()
        assert (np.diff(own[:, 0]) >= 0.049).all()
        said = ((own[:, :1] <= middles) & (middles < own[:, 1:])).any(0)
        true = np.array([any(s <= t < e for s, e, p in notes if p == pitch) for t in middles])
        assert (said == true).mean() > 0.999


def test_a_unison_is_one_note_and_a_key_struck_again_another():
    assert notes_column([(0.0, 1.0, 60), (0.02, 1.5, 60)]) == "0.000 1.500 60"
    assert notes_column([(0.0, 1.0, 60), (0.5, 0.8, 60)]) == "0.000 0.500 60; 0.500 1.000 60"
    assert notes_column([(0.0, 1.0, 60), (1.0, 2.0, 60)]) == "0.000 1.000 60; 1.000 2.000 60"
    assert notes_column([(0.0, 0.0002, 60)]) == ""


@pytest.mark.parametrize(
    "text", ["0 1", "0 1 A4", "1 0.5 60", "0 1 128", "-1 1 60", "0 nan 60", "0 inf 60", "0 1 60 90"]
)
def test_what_are_no_notes_is_refused(text):
    with pytest.raises(UserError, match=r"`notes` must be like `0.0 0.5 69; 0.5 1.0 71` \(seconds, MIDI pitch\)"):
        read_notes(f"0 1 60; {text}")
