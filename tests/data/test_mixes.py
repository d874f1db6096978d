"""Mixes of corpora: hours of each, which clips, and what is said of them."""

import json
from collections import Counter

import pytest

from audio_ssl.artifacts.draws import MIX_SUFFIX
from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml, structure
from audio_ssl.base.errors import UserError
from audio_ssl.data.build import make_manifest
from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.manifest import Clip, hash_manifest, read_manifest
from audio_ssl.data.mix import Mix, MixPart, draw_part

NAMES = catalog.names("recipes/mixes")


def clips(number, seconds=6.0, split="train"):
    return [
        Clip(f"{split}{i}", f"{i}.wav", 2.0, seconds, 16000, text="words", speaker="s", gender="F", split=split,
             extra={"track": f"t{i}", "beats": "0 1"})
        for i in range(number)
    ]  # fmt: skip


def mix(**part):
    whole = MixPart("speech", **{"hours": 1.0, **part})
    return whole, Mix({"a": whole})


def test_a_corpus_that_is_longer_gives_some_of_its_clips():
    drawn = draw_part("a", clips(1000), *mix(hours=0.5))
    assert drawn.hours == pytest.approx(0.5)
    assert drawn.available_hours == pytest.approx(1000 * 6 / 3600)
    assert drawn.clips == len(drawn.train) == len({c.id for c in drawn.train}) == 300
    # Not the first ones of the corpus, and the same ones each time, whatever order they come in.
    assert {c.id for c in drawn.train} != {f"a/train{i}" for i in range(300)}
    assert draw_part("a", reversed(clips(1000)), *mix(hours=0.5)) == drawn


def test_a_corpus_that_is_shorter_gives_its_clips_several_times():
    drawn = draw_part("a", clips(60), *mix(hours=0.25, repeats=3))
    assert drawn.hours == pytest.approx(0.25)
    assert drawn.clips == 60
    times = Counter(c.path for c in drawn.train)
    assert Counter(times.values()) == {2: 30, 3: 30}
    assert len({c.id for c in drawn.train}) == 150
    assert draw_part("a", clips(60), *mix(hours=10, repeats=3)).hours == pytest.approx(0.3)
    assert draw_part("a", clips(60), *mix(hours=10)).hours == pytest.approx(0.1)


def test_rows_are_pieces_with_what_is_known_of_the_whole():
    drawn = draw_part("a", clips(1, seconds=25.0), *mix())
    assert [(c.start, c.seconds) for c in drawn.train] == [
        (2.0, pytest.approx(25 / 3)),
        (pytest.approx(2 + 25 / 3), pytest.approx(25 / 3)),
        (pytest.approx(2 + 50 / 3), pytest.approx(25 / 3)),
    ]
    assert [c.id for c in drawn.train] == ["a/train0#00", "a/train0#01", "a/train0#02"]
    for clip in drawn.train:
        assert (clip.speaker, clip.gender, clip.text) == ("s", "F", None)
        assert clip.row()["track"] == "t0"
        assert {k: v for k, v in clip.extra.items() if k != "track"} == {"domain": "speech", "corpus": "a"}


def test_only_splits_asked_for_are_heard_and_short_clips_are_counted():
    some = [*clips(10), *clips(100, split="valid"), *clips(10, split="test"), *clips(3, seconds=0.9)]
    drawn = draw_part("a", some, *mix())
    assert len(drawn.train) == 10
    # At most three minutes.
    assert len(drawn.valid) == 30
    assert {c.split for c in drawn.train} == {"train"}
    assert {c.split for c in drawn.valid} == {"valid"}
    assert drawn.too_short == 3
    renamed = draw_part("a", clips(2, split="train-clean-100"), *mix(train=("train-clean-100",)))
    assert {c.split for c in renamed.train} == {"train"}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"parts": {}}, r"\$\.parts"),
        ({"parts": {"a": {"domain": "speech", "hours": 0}}}, r"\$\.parts\.a\.hours"),
        ({"parts": {"a": {"domain": "speech", "hours": 1, "repeats": 0}}}, r"\$\.parts\.a\.repeats"),
        ({"parts": {"a": {"domain": "speech", "hours": 1, "valid": ["train"]}}}, r"\$\.parts\.a\.valid"),
        ({"piece_seconds": 1.5}, r"\$\.min_seconds"),
        ({"valid_minutes": -1}, r"\$\.valid_minutes"),
    ],
)
def test_what_makes_no_sense_is_refused(change, where):
    good = {"parts": {"a": {"domain": "speech", "hours": 1}}}
    structure(Mix, good).check()
    with pytest.raises(UserError, match=where):
        structure(Mix, {**good, **change}).check()


@pytest.mark.parametrize("name", NAMES)
def test_every_mix_names_corpora_and_their_splits(name):
    path = catalog.find("recipes/mixes", name)
    assert path.read_text(encoding="utf-8").startswith("# ")
    made = structure(Mix, read_yaml(path))
    made.check()
    for corpus, part in made.parts.items():
        card = load_corpus(corpus).card
        assert set(part.train) | set(part.valid) <= set(card.splits), corpus
        assert not [split for split in part.train if not split.startswith("train")]
        assert not [split for split in part.valid if split.startswith("test")]


def test_small_hears_as_much_speech_as_music_and_voices_after_what_they_speak():
    made = structure(Mix, read_yaml(catalog.find("recipes/mixes", "small")))
    order = list(made.parts)
    assert order.index("synthetic_voices") > max(
        order.index(name) for name in ("fillets", "tuxpaint", "asterisk", "synthetic_speech")
    )
    assert order.index("flite_voices") > order.index("synthetic_voices")
    hours = Counter()
    for name, part in made.parts.items():
        # LibriSpeech is there for some.
        hours[part.domain] += part.hours if name != "librispeech" else 0
    assert set(hours) == {"speech", "music"}
    assert hours["speech"] == pytest.approx(hours["music"], rel=0.15)


OWN = '''
"""A corpus of a test."""
from audio_ssl.data.corpus import Corpus, require_folder
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="{name}", title="The {name}", description="d", licence="CC0", citation="nobody", size="2 clips",
    layout="a.wav", splits={{"train": "first", "test": "second"}}, languages=("en",), labels=("text",), requires=(),
)

def read(root, split=None):
    require_folder(root, CORPUS, can_fetch=False)
    for name, part in (("a", "train"), ("b", "valid"), ("c", "test")):
        yield Clip(name, str(root / (name + ".wav")), 0.0, 12.0, 16000, text=name, split=part)

def fetch(root, clips=1):
    root.mkdir(parents=True, exist_ok=True)
    (root / "made").write_text(str(clips))
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A mix of two corpora of a test, the second a user's own folder."""
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(OWN.format(name=name))
    monkeypatch.setattr("audio_ssl.data.mix.load_corpus", lambda name: load_corpus(str(tmp_path / f"{name}.py")))
    path = tmp_path / "own.yaml"
    path.write_text(
        "parts:\n"
        "  first: {domain: speech, hours: 1, fetch: {clips: 7}}\n"
        "  second: {domain: speech, hours: 1, repeats: 2}\n"
    )
    return path


def test_a_mix_becomes_a_manifest_and_says_what_is_in_it(own, tmp_path):
    out, data = tmp_path / "m.jsonl", tmp_path / "data"
    assert make_manifest(str(own), out, root=data, fetch=True) == (2 + 2 + 4 + 2, 0)
    assert (data / "first" / "made").read_text() == "7"
    read = read_manifest(out)
    assert {c.split for c in read} == {"train", "valid"}
    assert not [c for c in read if c.path.endswith("c.wav")]
    said = json.loads(out.with_suffix(MIX_SUFFIX).read_text())
    assert said["mix"] == "own"
    assert said["manifest_hash"] == hash_manifest(out)
    assert said["missing"] == {}
    assert [(c["corpus"], c["hours"] * 3600, c["share"], c["rows"], c["licence"]) for c in said["corpora"]] == [
        ("first", pytest.approx(12), pytest.approx(1 / 3), 2, "CC0"),
        ("second", pytest.approx(24), pytest.approx(2 / 3), 4, "CC0"),
    ]
    assert said["domains"] == {"speech": {"hours": pytest.approx(0.01), "share": pytest.approx(1)}}


def test_a_corpus_that_is_not_there_is_named_and_gone_without(own, tmp_path, caplog):
    out, data = tmp_path / "m.jsonl", tmp_path / "data"
    (data / "first").mkdir(parents=True)
    assert make_manifest(str(own), out, root=data) == (4, 0)
    assert "skipping the corpus `second`" in caplog.text
    assert list(json.loads(out.with_suffix(MIX_SUFFIX).read_text())["missing"]) == ["second"]
    (tmp_path / "elsewhere").mkdir()
    option = f"second={tmp_path / 'elsewhere'}"
    assert make_manifest(str(own), out, root=data, options=[option]) == (10, 0)


def test_what_does_not_go_with_a_mix_is_refused(own, tmp_path):
    out = tmp_path / "m.jsonl"
    with pytest.raises(UserError, match="has no speech: all of its corpora are missing"):
        make_manifest(str(own), out, root=tmp_path / "data")
    with pytest.raises(UserError, match="unknown corpus `third`; known: first, second"):
        make_manifest(str(own), out, options=["third=x"])
    with pytest.raises(UserError, match="`--split` is not for a mix"):
        make_manifest(str(own), out, split="train")
    with pytest.raises(UserError, match=r"neither a folder nor a corpus; .*mixes of them: .*small"):
        make_manifest("nothing", out)
    assert not out.exists()
