"""What the demo asks: sentences that belong together, words cut at their times, excerpts inside their clips."""

from collections import Counter

import pytest

from audio_ssl.commands import demo_corpora
from audio_ssl.data.manifest import Clip, write_manifest
from tests.conftest import RATE


def said(number, language="en", words="0.0 0.1 a; 0.1 0.4 Dog; 0.4 0.9 sleeps", **more):
    extra = {"word_times": words, "phone_times": "0.0 0.1 a", "template": "place"}
    more = {"translation": f"Sentence {number} in the garden.", **more}
    return Clip(f"{language}/{number}", f"{language}{number}.wav", 0.5, 0.9, RATE, text="x", extra=extra, **more)


def test_what_is_asked_about_is_not_heard_and_a_sentence_stays_together():
    clips = [said(number, language, split="valid") for number in range(600) for language in ("en", "cs")]
    heard, asked = demo_corpora.apart(clips, "translation")
    known, unknown = ({clip.translation for clip in some} for some in (heard, asked))
    assert not known & unknown
    assert len(known) / 600 == pytest.approx(1 / 3, abs=0.06)
    # What is heard stays what the corpus says it is.
    assert {clip.split for clip in heard} == {"valid"}
    assert sorted(clip.id for clip in (*heard, *asked)) == sorted(clip.id for clip in clips)
    of_sentence = {}
    for clip in asked:
        of_sentence.setdefault(clip.translation, set()).add(clip.split)
    assert {len(splits) for splits in of_sentence.values()} == {1}
    counts = Counter(split for (split,) in of_sentence.values())
    assert counts["test"] / len(unknown) == pytest.approx(demo_corpora.TEST_SHARE, abs=0.06)
    assert counts["valid"] / len(unknown) == pytest.approx(demo_corpora.VALID_SHARE, abs=0.05)


def test_a_sentence_means_the_longest_of_its_words():
    clips = [
        said(1, translation="The house number is one two three."),
        said(2, translation="The king waits in the house today."),
        said(3, translation="Laura sees nine carpets."),
    ]
    found = list(demo_corpora.sentences(clips))
    assert [clip.extra.get("meaning") for clip in found] == ["house number", "house", None]
    assert [clip.extra["sentence"] for clip in found] == [clip.translation for clip in clips]
    assert found[0].extra["template"] == "place"


def test_words_are_cut_at_their_times_and_a_share_of_them_is_taken(monkeypatch):
    monkeypatch.setattr(demo_corpora, "WORDS_OF_SPLIT", {"train": 3, "test": 2})
    clips = [said(number, split=("train", "valid", "test")[number % 3]) for number in range(30)]
    found = list(demo_corpora.isolated_words(clips))
    # The article is too short; of validation nothing is wanted here.
    assert Counter((one.split, one.extra["word"]) for one in found) == {
        ("train", "dog"): 3,
        ("train", "sleeps"): 3,
        ("test", "dog"): 2,
        ("test", "sleeps"): 2,
    }
    assert len({one.id for one in found}) == len(found)
    for one in found:
        start, seconds = (0.6, 0.3) if one.extra["word"] == "dog" else (0.9, 0.5)
        assert (one.start, one.seconds) == (pytest.approx(start), pytest.approx(seconds))
        whole = next(clip for clip in clips if clip.path == one.path)
        # Text and times of the whole sentence would be wrong here.
        assert (one.text, one.translation, one.extra["sentence"]) == (None, None, whole.translation)
        assert "word_times" not in one.extra
    # Which places are taken does not depend on the order of the manifest, and they are not the first ones.
    assert {one.id for one in demo_corpora.isolated_words(clips[::-1])} == {one.id for one in found}
    assert {one.path for one in found if one.split == "train"} != {f"en{number}.wav" for number in (0, 3, 6)}


def test_only_frequent_words_of_training_sentences_are_told_apart(monkeypatch):
    monkeypatch.setattr(demo_corpora, "WORDS", 1)
    clips = [said(1, words="0.0 0.4 rare; 0.4 0.8 often", split="train"), said(2, words="0.0 0.4 often", split="train")]
    clips += [said(number, words="0.0 0.4 rare; 0.4 0.8 rare", split="test") for number in range(3, 9)]
    assert {one.extra["word"] for one in demo_corpora.isolated_words(clips)} == {"often"}


def test_pretraining_hears_four_fifths_speech_and_music_from_all_over():
    made, recorded = ([said(number, name) for number in range(count)] for name, count in (("x", 200), ("y", 500)))
    music = [Clip(f"m/{number}", "m.wav", 0.0, 6.0, RATE) for number in range(50)]
    found = demo_corpora.mixed(made, recorded, music)
    seconds = Counter()
    for clip in found:
        seconds[clip.id[0]] += clip.seconds
    assert seconds["x"] == pytest.approx(180)
    assert seconds["y"] == pytest.approx(180, abs=2)
    assert seconds["m"] / sum(seconds.values()) == pytest.approx(0.2, abs=0.03)
    kept = [int(clip.id[2:]) for clip in found if clip.id[0] == "m"]
    assert min(kept) < 20
    assert max(kept) > 45
    # Where there is little of something, all of it is heard.
    assert demo_corpora.mixed(made, [], music[:2]) == [*made, *music[:2]]
    assert demo_corpora.mixed(made, recorded[:3], []) == [*made, *recorded[:3]]


def test_excerpts_lie_in_their_clip_and_differ(tmp_path):
    clips = [
        Clip(str(n), f"{n}.wav", 1.0, 0.4 + n, RATE, extra={"notes": "0 1 60", "instrument": "x"}) for n in range(4)
    ]
    found = list(demo_corpora.excerpts(clips, 0.5, 3))
    assert {one.extra["track"] for one in found} == {"1", "2", "3"}
    assert len({(one.path, one.start) for one in found}) == 9
    for one in found:
        whole = clips[int(one.extra["track"])]
        assert one.seconds == 0.5
        assert one.extra["instrument"] == "x"
        # Times inside the whole clip would be wrong here.
        assert "notes" not in one.extra
        assert whole.start <= one.start <= whole.start + 0.8 * whole.seconds - 0.5
    assert found == list(demo_corpora.excerpts(clips, 0.5, 3))
    assert write_manifest(tmp_path / "m.jsonl", found) == 9
