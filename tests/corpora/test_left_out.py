"""Every corpus, on its miniature tree: a relative root gives the same, and what is left out is named in the ledger."""

import gzip
import importlib.util
import inspect
import json
from pathlib import Path

import pytest

from audio_ssl.base import catalog
from audio_ssl.data.build import make_manifest
from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import read_manifest

TESTS = Path(__file__).parent
NAMES = catalog.names("corpora")
TABLES = {
    "table": "t.csv:",
    "nemo": "test_manifest.json:",
    "lhotse": "cuts_dev.jsonl.gz:",
    "hf_dataset": "metadata.csv, row",
}
"""Corpora whose rows are named, and not their files."""


def test_module(name):
    spec = importlib.util.spec_from_file_location(f"miniature_{name}", TESTS / f"test_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


test_module.__test__ = False


def _made(root, audio, rows):
    for row in rows:
        audio(root / f"audio/{row['name']}.flac", 1.0)
    (root / "labels.json").write_text(json.dumps({"wanted": len(rows), "clips": rows}))


def _table(root, audio, text):
    for name in "ab":
        audio(root / f"{name}.wav", 1.0)
    text(root / "t.csv", "id,path,text\n1,a.wav,one\n2,b.wav,two\n")


def _hf_dataset(root, audio, text):
    for name in "ab":
        audio(root / f"train/{name}.wav", 1.0)
    text(root / "train/metadata.csv", "file_name,text\na.wav,one\nb.wav,two\n")


def _folder(root, audio, text):
    for name in "ab":
        audio(root / f"{name}.wav", 1.0)


def _game_music(root, audio, text):
    for name in ("Apex Aleph", "Deep"):
        audio(root / f"singularity-music/usr/share/games/singularity/music/{name}.ogg", 1.0)


def _tuxpaint(root, audio, text):
    stamps = root / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    for name in ("frog", "toad"):
        text(stamps / f"{name}.txt", f"A green {name}.\nfr.utf8=Une bête verte, {name}.\n")
        audio(stamps / f"{name}_desc_fr.ogg", 1.5)


def _mtg_jamendo(root, audio, text):
    test_module("mtg_jamendo").make(root / "data", text)
    for name in ("48/948", "82/382", "14/214"):
        audio(root / f"audio/{name}.mp3", 1.0)


def _nsynth(root, audio, text):
    module = test_module("nsynth")
    module.make(root, "train", [module.note(), module.note("vocal", "acoustic", 0, 60, 127)], audio, text)


def _rendered_scores(root, audio, text):
    row = {"label": "C major", "split": "train", "instrument": "piano", "mode": "major", "metre": "4/4"}
    _made(root, audio, [{**row, "name": name, "dance": None, "composer": None} for name in "ab"])


def _synthetic_speech(root, audio, text):
    row = {"text": "x", "translation": "x", "language": "en", "speaker": "f1", "split": "train", "template": "t"}
    _made(root, audio, [{**row, "name": name} for name in "ab"])


def _synthetic_voices(root, audio, text):
    row = {"text": "x", "language": "en", "speaker": "paul", "gender": None, "accent": "en", "source": "cldr"}
    row |= {"words_per_minute": 150, "pitch": 50, "pitch_range": 50, "split": "train"}
    _made(root, audio, [{**row, "name": name} for name in "ab"])


def _flite_voices(root, audio, text):
    row = {"text": "x", "speaker": "slt", "split": "train", "stretch": 1.0, "shift": 1.0}
    _made(root, audio, [{**row, "name": name} for name in "ab"])


def _rendered_bands(root, audio, text):
    row = {"label": "C major", "split": "train", "tags": ["piano"], "instruments": "melody piano", "metre": "4/4"}
    _made(root, audio, [{**row, "name": name} for name in "ab"])


def _maps(root, audio, text):
    pieces = [("MUS", name, "ENSTDkCl") for name in "ab"]
    test_module("maps").make(root, audio, text, *pieces)


def _inside(folder):
    return lambda name: lambda root, audio, text: test_module(name).make(root / folder, audio, text)


BUILD = {
    **{name[1:]: value for name, value in list(globals().items()) if name[1:] in NAMES},
    "mtedx": _inside("es-en")("mtedx"),
    "common_voice": _inside("fr")("common_voice"),
}


def build(name, root, audio, text):
    """Make the miniature tree: that of the corpus's own tests where it is none of the above."""
    make = BUILD.get(name) or test_module(name).make
    given = {"write_audio": audio, "write_text": text, "audio": audio, "text": text}
    more = [given[one] for one in list(inspect.signature(make).parameters)[1:] if one in given]
    make(root, *more)


def read(name, root, ledger=None):
    corpus = load_corpus(name)
    options = {"written": root / "written"} if "written" in corpus.options else {}
    return {clip.id: clip for clip in corpus.read(root, None, ledger=ledger, **options)}


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_root_gives_the_same(name, tmp_path, monkeypatch, write_audio, write_text):
    build(name, tmp_path / "corpus", write_audio, write_text)
    monkeypatch.chdir(tmp_path)
    make_manifest(name, Path("relative.jsonl"), root=Path("corpus"))
    make_manifest(name, Path("absolute.jsonl"), root=tmp_path / "corpus")
    clips = read_manifest(Path("relative.jsonl"))
    assert clips == read_manifest(Path("absolute.jsonl"))
    assert len(clips) > 1
    assert all(Path(clip.path).is_file() for clip in clips)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(name, tmp_path, write_audio, write_text):
    build(name, tmp_path, write_audio, write_text)
    before = read(name, tmp_path)
    broken = min(clip.path for clip in before.values())
    Path(broken).write_bytes(b"")
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    after = read(name, tmp_path, ledger)
    assert set(after) == {key for key, clip in before.items() if clip.path != broken}
    assert after
    new = [row.path for row in ledger.rows()]
    ids = {key for key, clip in before.items() if clip.path == broken}
    assert any(path == broken or path in ids or TABLES.get(name, "\0") in path for path in new), new
    assert all(row.reason for row in ledger.rows())


BAD_ROWS = [
    ("asap", "Bach/Fugue/bwv_846/Na05M_annotations.txt", "0.5\t", "half\t", "Na05M"),
    ("asap", "metadata.csv", ",,,,,\n", ",\n", "metadata.csv:4"),
    ("common_voice", "fr/train.tsv", "Oui.", "Oui.\tx", "train.tsv:4"),
    ("covost2", "covost_v2.fr_en.tsv", "Here.", "Here.\tx", "covost_v2.fr_en.tsv:4"),
    ("emodb", "wav/03a01Fa.wav", None, "wav/another.wav", "another.wav"),
    ("emomusic", "static_annotations.csv", "3.1", "calm", "static_annotations.csv:2"),
    ("emomusic", "static_annotations.csv", "3.1,", "", "static_annotations.csv:2"),
    ("fillets", "fillets-ng-data/usr/share/games/fillets-ng/script/airplane/dialogs_nl.lua", "d", b"\xff", "_nl.lua"),
    ("fluent_speech_commands", "data/valid_data.csv", "Kitchen heat up", "Kitchen, heat up", "valid_data.csv:2"),
    ("free_spoken_digits", "recordings/7_jackson_0.wav", None, "recordings/seven.wav", "seven.wav"),
    ("giantsteps", "giantsteps-key-dataset/annotations/key/1004923.LOFI.key", "Db major\n", "", "1004923.LOFI.key"),
    ("giantsteps", "giantsteps-key-dataset/annotations/key/1004923.LOFI.key", "major", "major\nC minor", "LOFI.key"),
    ("giantsteps", "giantsteps-key-dataset/annotations/key/1004923.LOFI.key", "D", b"\xff", "1004923.LOFI.key"),
    ("giantsteps", "giantsteps-mtg-key-dataset-master/annotations/annotations.txt", "A major\t2", "A major", "txt:3"),
    ("gtzan", "test_filtered.txt", "rock/rock", "polka/polka", "test_filtered.txt:1"),
    ("iemocap", "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt", "4.0000, 3.5000, 2.0000", "4.0, 3", "M001.wav"),
    ("librispeech", "SPEAKERS.TXT", "|  0.03 | Kara Shallenberg", "", "SPEAKERS.TXT:2"),
    ("magnatagatune", "annotations_final.csv", '"c/x', '"x', "annotations_final.csv:4"),
    ("magnatagatune", "annotations_final.csv", '"7"\t"1"', '"7"', "annotations_final.csv:4"),
    ("mtedx", "es-en/data/train/txt/train.yaml", "offset: 2.0", "offset: late", "es-en/train, segment 2"),
    ("mtg_jamendo", "data/splits/split-0/autotagging_top50tags-test.tsv", "\t14/214.mp3\t124.6", "", "-test.tsv:2"),
    ("must_she", "tsv/MONOLINGUAL.it_v1.2.tsv", "venuti venute", "", "it_v1.2.tsv:2"),
    ("must_she", "tsv/MONOLINGUAL.it_v1.2.tsv", "Siamo venuti.\t", "", "it_v1.2.tsv:2"),
    ("nsynth", "nsynth-train/examples.json", '"pitch": 22', '"pitch": "low"', "bass_synthetic_033-022-050.wav"),
    ("nsynth", "nsynth-train/examples.json", '"pitch": 22, ', "", "bass_synthetic_033-022-050.wav"),
    ("ravdess", "Actor_12/03-01-06-01-02-01-12.wav", None, "Actor_12/03.wav", "Actor_12/03.wav"),
    ("speech_commands", "bed/0a7c2a8d_nohash_0.wav", None, "bed/mine.wav", "bed/mine.wav"),
    ("table", "t.csv", "1,a.wav", "1,a.wav,a.wav", "t.csv:2"),
    ("hf_dataset", "train/metadata.csv", "a.wav,one", "a.wav,one,two", "metadata.csv:2"),
    ("voxceleb1", "iden_split.txt", "3 id", "9 id", "iden_split.txt:3"),
    ("voxceleb1", "vox1_meta.csv", "\tf\tUSA\ttest", "", "vox1_meta.csv:3"),
]


@pytest.mark.parametrize(("name", "file", "old", "new", "named"), BAD_ROWS)
def test_one_bad_annotation_is_named_and_leaves_out_one(name, file, old, new, named, tmp_path, write_audio, write_text):
    build(name, tmp_path, write_audio, write_text)
    before = read(name, tmp_path)
    path = tmp_path / file
    if old is None:
        path.rename(tmp_path / new)
    else:
        content = path.read_bytes()
        assert content.count(old.encode()) >= 1
        path.write_bytes(content.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1))
    ledger = ErrorLedger(tmp_path / "errors.jsonl")
    after = read(name, tmp_path, ledger)
    assert len(before) - 1 <= len(after) <= len(before)
    assert [row.reason for row in ledger.rows() if named in row.path], list(ledger.rows())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("asap", "metadata.csv"),
        ("common_voice", "fr/train.tsv"),
        ("covost2", "covost_v2.fr_en.tsv"),
        ("emomusic", "songs_info.csv"),
        ("fluent_speech_commands", "data/train_data.csv"),
        ("giantsteps", "giantsteps-key-dataset/annotations/key/1004923.LOFI.key"),
        ("giantsteps", "giantsteps-mtg-key-dataset-master/annotations/annotations.txt"),
        ("gtzan", "train_filtered.txt"),
        ("librispeech", "test-other/19/198/19-198.trans.txt"),
        ("librispeech", "SPEAKERS.TXT"),
        ("magnatagatune", "annotations_final.csv"),
        ("mtedx", "es-en/data/train/txt/train.es"),
        ("mtg_jamendo", "data/splits/split-0/autotagging_top50tags-train.tsv"),
        ("must_she", "tsv/MONOLINGUAL.fr_v1.2.tsv"),
        ("table", "t.csv"),
        ("voxceleb1", "iden_split.txt"),
    ],
)
def test_a_byte_order_mark_changes_nothing(name, file, tmp_path, write_audio, write_text):
    build(name, tmp_path, write_audio, write_text)
    before = read(name, tmp_path)
    path = tmp_path / file
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(name, tmp_path) == before


def test_transcripts_that_cannot_be_unpacked_are_one_line(tmp_path):
    test_module("asterisk").make(tmp_path)
    path = next(tmp_path.rglob("core-sounds-en.txt.gz"))
    path.write_bytes(gzip.compress(b"hello: Hello." * 100)[:-12])
    with pytest.raises(Exception, match="cannot be unpacked") as error:
        read("asterisk", tmp_path)
    assert type(error.value).__name__ == "UserError"


def test_a_users_file_of_the_old_form_is_read(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", 1.0)
    path = tmp_path / "mine.py"
    path.write_text(
        '''"""Mine."""
from audio_ssl.data.corpus import Corpus, LeftOut, whole_file

CORPUS = Corpus("mine", "Mine", "Sounds.", "CC0-1.0", "me", "small", "*.wav", {"train": "all"})


def read(root, split=None):
    left_out = LeftOut(CORPUS.name)
    left_out.add("b.wav", "gone")
    yield whole_file(root / "a.wav", "a")
    left_out.log()
'''
    )
    assert make_manifest(str(path), tmp_path / "m.jsonl", root=tmp_path) == (1, 0)
