import itertools
import json
import re

import pytest
import soundfile

pytest.importorskip("espeakng_loader")

import espeakng_loader

from audio_ssl.commands.demo_corpora import MEANINGS
from audio_ssl.data.corpus import UserError, load_corpus


def test_four_clips(tmp_path):
    corpus = load_corpus("synthetic_speech")
    corpus.fetch(tmp_path, clips=4)
    clips = list(corpus.read(tmp_path, None))
    assert [c.language for c in clips] == ["cs", "de", "en", "es"]
    assert len({c.translation for c in clips}) == 1
    assert clips[2].text == clips[2].translation
    for clip in clips:
        assert 0.8 < clip.seconds < 6.0
        assert clip.sample_rate == 22050
        samples, _ = soundfile.read(clip.path)
        assert samples.std() > 0.01


def test_phones_and_words_lie_where_they_are_heard(tmp_path):
    corpus = load_corpus("synthetic_speech")
    corpus.fetch(tmp_path, clips=5)
    for clip in corpus.read(tmp_path, None):
        samples, rate = soundfile.read(clip.path)
        energy = samples**2
        for column in ("phone_times", "word_times"):
            spans = [item.split(" ", 2) for item in clip.extra[column].split("; ")]
            times = [(float(start), float(end)) for start, end, _ in spans]
            assert all(0 <= start < end <= clip.seconds + 1e-3 for start, end in times)
            assert all(later[0] >= earlier[1] - 1e-3 for earlier, later in itertools.pairwise(times))
            # Outside of what is said there are pauses, far quieter than speech.
            inside = sum(float(energy[int(a * rate) : int(b * rate)].sum()) for a, b in times)
            assert inside > 0.98 * energy.sum()
        words = [label for _, _, label in spans]
        assert " ".join(words) == re.sub(r"[.,;:!?]", "", clip.text)


def test_labels_without_times_are_made_again_and_the_audio_stays(tmp_path):
    corpus = load_corpus("synthetic_speech")
    corpus.fetch(tmp_path, clips=2)
    labels = tmp_path / "labels.json"
    old = json.loads(labels.read_text())
    times = [p.stat().st_mtime_ns for p in (tmp_path / "audio").rglob("*.flac")]
    for row in old["clips"]:
        del row["phone_times"], row["word_times"]
    labels.write_text(json.dumps(old))
    assert "phone_times" not in next(corpus.read(tmp_path, None)).extra
    corpus.fetch(tmp_path, clips=2)
    assert next(corpus.read(tmp_path, None)).extra["phone_times"]
    assert [p.stat().st_mtime_ns for p in (tmp_path / "audio").rglob("*.flac")] == times


def test_an_interrupted_synthesis_goes_on(tmp_path):
    corpus = load_corpus("synthetic_speech")
    corpus.fetch(tmp_path, clips=4)
    first, *others = sorted((tmp_path / "audio").rglob("*.flac"))
    times = [p.stat().st_mtime_ns for p in others]
    first.unlink()
    (tmp_path / "labels.json").unlink()
    with pytest.raises(UserError, match="was not finished"):
        list(corpus.read(tmp_path, None))
    corpus.fetch(tmp_path, clips=4)
    assert len(list(corpus.read(tmp_path, None))) == 4
    assert [p.stat().st_mtime_ns for p in others] == times


def test_genders_are_those_the_voices_declare(corpus_module):
    voices = espeakng_loader.get_data_path()
    for voice, gender in corpus_module("synthetic_speech").VOICES.items():
        with open(f"{voices}/voices/!v/{voice}", encoding="utf-8") as file:
            declared = re.search(r"(?m)^gender\s+(\w+)", file.read())
        assert declared[1] == {"F": "female", "M": "male"}[gender]


def test_ten_voices_and_more_speak_every_language_in_every_split(corpus_module):
    module = corpus_module("synthetic_speech")
    rows = module._rows(1000)
    for gender in "FM":
        assert list(module.VOICES.values()).count(gender) >= 5
    for language in module.CORPUS.languages:
        assert {r["speaker"] for r in rows if r["language"] == language} == set(module.VOICES)
    assert {(r["speaker"], r["split"]) for r in rows} == {(v, s) for v in module.VOICES for s in module.CORPUS.splits}


def test_sentences_are_parallel_and_stay_in_one_split(corpus_module):
    rows = corpus_module("synthetic_speech")._rows(500)
    splits = {}
    for row in rows:
        splits.setdefault(row["translation"], set()).add((row["split"], row["template"]))
        assert "{" not in row["text"]
        assert row["text"].endswith(".")
        assert row["text"][0].isupper()
    assert len(splits) == 100
    assert {len(s) for s in splits.values()} == {1}


def test_every_phrase_is_in_all_languages(corpus_module):
    module = corpus_module("synthetic_speech")
    for name, phrases in module.SLOTS.items():
        for phrase in phrases:
            assert len([p for p in phrase.split("|") if p.strip()]) == 5, (name, phrase)
    for name, (sentences, slots) in module.TEMPLATES.items():
        for sentence in sentences.split("|"):
            assert set(re.findall(r"{(\w+)}", sentence)) == set(slots), name


@pytest.mark.parametrize("clips", [0, 20001])
def test_number_of_clips_out_of_range(tmp_path, clips):
    with pytest.raises(UserError, match=f"`clips` must be from 1 to 20000, but is {clips}"):
        load_corpus("synthetic_speech").fetch(tmp_path, clips=clips)


def test_every_sentence_means_one_of_what_the_demo_asks_for(corpus_module):
    module = corpus_module("synthetic_speech")
    said = {row["translation"] for row in module._rows(2000)}
    for sentence in said:
        found = [word for word in MEANINGS if f" {word} " in f" {sentence.strip('.')} "]
        # "The house number is …" means its number.
        assert len(found) == 1 or found == ["house", "house number"], sentence
    assert {word for word in MEANINGS if any(word in sentence for sentence in said)} == set(MEANINGS)
