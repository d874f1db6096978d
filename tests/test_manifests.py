import numpy as np
import pytest
import soundfile

from audio_ssl.data.manifest import read_manifest
from audio_ssl.errors import UserError
from audio_ssl.manifests import make_manifest

CORPUS = '''
"""Two clips, for a test."""
from pathlib import Path
from audio_ssl.data.corpus import Corpus
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="mine", title="Mine", description="d", licence="CC0", citation="none", size="2 clips", layout="a.wav",
    splits={"train": "first", "test": "second"}, languages=("en",), labels=("text",), requires=(),
)

def read(root, split=None):
    for name, part in (("a", "train"), ("b", "test")):
        if split in (None, part):
            yield Clip(name, str(Path(root) / f"{name}.wav"), 0.0, 1.0, 16000, text=name, split=part)
'''


def test_a_folder_is_cut_into_rows(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 5, np.float32), 16000)
    assert make_manifest(str(tmp_path), tmp_path / "m.jsonl", max_seconds=2.0) == (3, 0)
    clips = read_manifest(tmp_path / "m.jsonl")
    assert [c.id for c in clips] == ["long.wav#000", "long.wav#001", "long.wav#002"]
    assert sum(c.seconds for c in clips) == pytest.approx(5.0)


def test_a_corpus_file_of_the_users_own(tmp_path):
    card = tmp_path / "mine.py"
    card.write_text(CORPUS)
    assert make_manifest(str(card), tmp_path / "m.jsonl", root=tmp_path, split="test") == (1, 0)
    assert read_manifest(tmp_path / "m.jsonl")[0].text == "b"
    with pytest.raises(UserError, match="cannot be fetched"):
        make_manifest(str(card), tmp_path / "m.jsonl", root=tmp_path, fetch=True)
    with pytest.raises(UserError, match="is for folders"):
        make_manifest(str(card), tmp_path / "m.jsonl", root=tmp_path, max_seconds=2.0)


@pytest.mark.parametrize("option", [{"split": "train"}, {"fetch": True}, {"root": "x"}])
def test_corpus_options_do_not_apply_to_folders(option, tmp_path):
    with pytest.raises(UserError, match="is for corpora"):
        make_manifest(str(tmp_path), tmp_path / "m.jsonl", **option)


def test_an_old_ledger_does_not_speak_of_this_manifest(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    (tmp_path / "m.errors.jsonl").write_text('{"path": "gone.wav", "reason": "old"}\n')
    assert make_manifest(str(tmp_path / "a.wav"), tmp_path / "m.jsonl") == (1, 0)
    assert not (tmp_path / "m.errors.jsonl").exists()


def test_columns_and_options_are_checked(tmp_path):
    (tmp_path / "t.csv").write_text("file,sentence\n")
    out = tmp_path / "m.jsonl"
    with pytest.raises(UserError, match="is for corpora that are tables"):
        make_manifest("librispeech", out, root=tmp_path, columns=["text=sentence"])
    with pytest.raises(UserError, match="unknown option `foldr`; known: folder"):
        make_manifest("table", out, root=tmp_path / "t.csv", options=["foldr=clips"])
    with pytest.raises(UserError, match="must be NAME=VALUE, but is `text`"):
        make_manifest("table", out, root=tmp_path / "t.csv", columns=["text"])
    with pytest.raises(UserError, match="`--column` names `text` twice"):
        make_manifest("table", out, root=tmp_path / "t.csv", columns=["text=a", "text=b"])
    with pytest.raises(UserError, match="`--column` is for corpora"):
        make_manifest(str(tmp_path), out, columns=["text=sentence"])
