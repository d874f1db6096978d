import re
import sys
from dataclasses import replace

import pytest

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    announce,
    even_split,
    hash_split,
    is_made,
    load_corpus,
    optional_package,
    read_made,
    require_folder,
    usable_file,
    whole_file,
    write_made,
)

CARD = Corpus(
    name="mine",
    title="My corpus",
    description="Sounds of mine.",
    licence="CC0-1.0",
    citation="me",
    size="small",
    layout="*.wav",
    splits={"train": "all of it"},
)

FILE = '''"""My corpus."""

from __future__ import annotations

from dataclasses import dataclass

from audio_ssl.data.corpus import Corpus
from audio_ssl.data.manifest import Clip

CORPUS = Corpus("mine", "My corpus", "Sounds of mine.", "CC0-1.0", "me", "small", "*.wav", {"train": "all of it"})


@dataclass(frozen=True)
class Helper:
    word: str


def read(root, split=None):
    yield Clip(Helper("a").word, str(root / "a.wav"), 0.0, 1.0, 16000, split=split)
'''


@pytest.fixture
def corpus_file(tmp_path):
    def write(old="", new="", name="mine.py"):
        assert old in FILE
        path = tmp_path / name
        path.write_text(FILE.replace(old, new) if old else FILE)
        return str(path)

    return write


def test_a_users_file_is_loaded_by_path(corpus_file, tmp_path):
    before = set(sys.modules)
    corpus = load_corpus(corpus_file())
    assert corpus.card == CARD
    assert corpus.fetch is None
    (clip,) = corpus.read(tmp_path, "train")
    assert (clip.id, clip.split) == ("a", "train")
    assert not [m for m in set(sys.modules) - before if "mine" in m]


def test_a_users_file_may_have_the_name_of_one_of_ours(corpus_file):
    theirs = load_corpus(corpus_file('"mine"', '"fillets"', name="fillets.py"))
    assert theirs.card.title == "My corpus"
    assert load_corpus("fillets").card.title == "Fish Fillets dialogue"


def test_unknown_names_list_the_known():
    with pytest.raises(UserError, match=r"unknown corpus `filets`.*did you mean `fillets`"):
        load_corpus("filets")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CORPUS = ", "CARD = ", "must define `CORPUS`"),
        ("def read(", "def load(", r"must define `read\(root, split\)`"),
        ('"CC0-1.0"', '" "', "`CORPUS.licence` must be text and not empty"),
        ('"mine"', '"other"', "`CORPUS.name` must be the file's name `mine`, but is `other`"),
        ('{"train": "all of it"}', "{}", "`CORPUS.splits` must describe every split"),
        ('"all of it"}', '"all"}, languages="en"', "`CORPUS.languages` must be a tuple"),
        ("@dataclass", "fetch = 3\n\n@dataclass", "`fetch` must be a function"),
        ("def read(", "def read(:", "cannot be run: SyntaxError"),
        ("import Clip", "import Clop", "cannot be run: ImportError"),
        ("import Clip", "import Clip\nimport no_such_package", "needs the package no_such_package"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(corpus_file, old, new, message):
    with pytest.raises(UserError, match=message) as error:
        load_corpus(corpus_file(old, new))
    # What cannot be run is named with its line.
    line = r":\d+" if "cannot be run" in message else ""
    assert re.search(rf"mine\.py{line}$", error.value.where)


def test_hash_split_depends_on_the_names_alone():
    # Fixed for ever: changing these would move clips between the splits of published numbers.
    splits = {level: hash_split("fillets", level) for level in ("city", "atlantis", "corals", "gods")}
    assert splits == {"city": "train", "atlantis": "valid", "corals": "test", "gods": "train"}
    assert hash_split("x", "a\udcff") in ("train", "valid", "test")


def test_hash_split_keeps_the_shares():
    splits = [hash_split("corpus", str(i), valid=0.2, test=0.1) for i in range(5000)]
    assert splits.count("valid") / 5000 == pytest.approx(0.2, abs=0.02)
    assert splits.count("test") / 5000 == pytest.approx(0.1, abs=0.02)


def test_even_split_has_exact_shares_in_any_order():
    keys = [f"track{i}" for i in range(20)]
    splits = even_split("music", keys)
    assert splits == even_split("music", reversed(keys))
    assert {s: list(splits.values()).count(s) for s in splits.values()} == {"train": 16, "valid": 2, "test": 2}
    assert set(even_split("music", ["a", "b"]).values()) == {"train"}


def test_left_out_names_and_counts(caplog):
    caplog.set_level("DEBUG")
    left_out = LeftOut("mine")
    left_out.log()
    assert caplog.text == ""
    for name in ("a.wav", "b.wav"):
        left_out.add(name, "too short")
    left_out.add("c.wav", "silent")
    left_out.log()
    assert "left out a.wav: too short" in caplog.text
    assert "left out 3: 2 too short, 1 silent" in caplog.text


def test_announce_says_size_and_licence(caplog, tmp_path):
    caplog.set_level("INFO")
    announce(CARD, tmp_path)
    assert "My corpus: small" in caplog.text
    assert "licence: CC0-1.0" in caplog.text


def test_require_folder_says_what_was_expected(tmp_path):
    assert require_folder(tmp_path, CARD) == tmp_path
    # The card says whether it can be fetched; files of earlier releases say so by themselves.
    for card, said in (
        (replace(CARD, made=True), {}),
        (replace(CARD, requires=("apt",)), {}),
        (CARD, {"can_fetch": True}),
    ):
        with pytest.raises(UserError, match=r"My corpus was expected here.*--fetch.*layout: \*\.wav"):
            require_folder(tmp_path / "no", card, **said)
    for card, said in ((CARD, {}), (replace(CARD, made=True), {"can_fetch": False})):
        with pytest.raises(UserError) as error:
            require_folder(tmp_path / "no", card, **said)
        assert "--fetch" not in error.value.remedy


def test_a_missing_package_is_named_with_the_pip_line():
    with pytest.raises(UserError, match="corpus `mine` needs the package no_such_package") as error:
        optional_package("no_such_package", CARD)
    assert error.value.remedy == "pip install no_such_package"
    with pytest.raises(UserError, match="pip install --no-deps x"):
        optional_package("no_such_package", CARD, "pip install --no-deps x")
    assert optional_package("json", CARD).dumps(1) == "1"


def test_made_corpora_are_finished_when_their_labels_are_there(tmp_path, caplog):
    root = tmp_path / "made"
    with pytest.raises(UserError, match="no such folder"):
        read_made(root, CARD)
    root.mkdir()
    assert not is_made(root, 2)
    with pytest.raises(UserError, match=r"`labels\.json` is missing"):
        read_made(root, CARD)
    write_made(root, 2, [{"name": "é"}])
    assert is_made(root, 2)
    assert not is_made(root, 3)
    assert read_made(root, CARD) == [{"name": "é"}]
    assert caplog.text == ""
    assert not is_made(root, 1)
    assert "labels.json: 2 clips were requested before, now 1; the audio of the others is kept" in caplog.text


def test_whole_file_and_one_that_cannot_be_used(tmp_path):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 8000)
    clip = whole_file(tmp_path / "a.wav", "x")
    assert (clip.id, clip.start, clip.seconds, clip.sample_rate) == ("x", 0.0, 0.5, 8000)
    left_out = LeftOut("mine")
    assert usable_file(tmp_path / "a.wav", "x", left_out) == clip
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    assert usable_file(tmp_path / "b.wav", "y", left_out) is None
    assert sum(left_out.counts.values()) == 1
