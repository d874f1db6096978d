import json

import pytest

from audio_ssl.commands.app import app
from audio_ssl.data.corpus import UserError, load_corpus
from audio_ssl.data.manifest import read_manifest


def read(root, split=None, **options):
    return list(load_corpus("table").read(root, split, **options))


def test_columns_are_named_guessed_and_kept(tmp_path, write_audio, write_text):
    write_audio(tmp_path / "clips/a.wav", 2.0)
    table = write_text(
        tmp_path / "my.csv",
        "name,path,sentence,text,start,seconds,tags,up_votes,valence,split\n"
        'x,clips/a.wav,"Yes, no.",raw,0.5,1.0,rock|slow jazz,3,0.25,dev\n',
    )
    (clip,) = read(table, columns={"text": "sentence", "id": "name", "track": "up_votes"})
    assert (clip.id, clip.path, clip.start, clip.seconds, clip.sample_rate) == (
        "x",
        str(tmp_path / "clips/a.wav"),
        0.5,
        1.0,
        16000,
    )
    assert (clip.text, clip.tags, clip.split) == ("Yes, no.", ("rock", "slow jazz"), "valid")
    assert clip.extra == {"table_text": "raw", "track": "3", "valence": 0.25}


def test_tsv_quotes_are_letters_and_audio_may_lie_in_a_folder(tmp_path, write_audio, write_text):
    write_audio(tmp_path / "clips/a.flac", 1.0)
    write_text(tmp_path / "test.tsv", 'path\tsentence\tage\na.flac\t"Yes\t\n')
    write_text(tmp_path / "train.tsv", "path\tsentence\tage\na.flac\tNo\tteens\n")
    columns = {"text": "sentence"}
    clips = read(tmp_path, columns=columns, folder="clips")
    assert [(c.text, c.split, dict(c.extra)) for c in clips] == [
        ('"Yes', "test", {}),
        ("No", "train", {"age": "teens"}),
    ]
    assert [c.text for c in read(tmp_path, "train", columns=columns, folder="clips")] == ["No"]


def test_json_lines_may_differ_in_their_keys(tmp_path, write_audio, write_text):
    write_audio(tmp_path / "a.wav", 1.0)
    rows = [{"audio": "a.wav"}, {"audio": "a.wav", "tags": ["x"], "pitch": 60, "words": [[0, 1]]}]
    table = write_text(tmp_path / "m.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    first, second = read(table)
    assert (first.id, second.id) == ("a.wav", "a.wav#001")
    assert second.tags == ("x",)
    assert second.extra == {"pitch": 60, "words": "[[0, 1]]"}


def test_a_wrong_column_is_told_with_the_known_ones(tmp_path, write_audio, write_text):
    write_audio(tmp_path / "a.wav")
    table = write_text(tmp_path / "m.csv", "file,sentence\na.wav,yes\n")
    with pytest.raises(UserError, match=r"unknown column `sentense`; known: file, sentence .did you mean `sentence`"):
        read(table, columns={"text": "sentense"})
    table = write_text(tmp_path / "m.csv", "sound,sentence\na.wav,yes\n")
    with pytest.raises(UserError, match="no column has the audio file; the columns are sound, sentence"):
        read(table)
    assert [c.path for c in read(table, columns={"path": "sound"})] == [str(tmp_path / "a.wav")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("gone.wav,0,1", "cannot be opened"),
        (",0,1", "no audio file in the row"),
        ("a.wav,zero,1", "`start` is not a number"),
        ("a.wav,0.5,1", "the span is not within the file"),
        ("a.wav,0,-1", "the span is not within the file"),
    ],
)
def test_an_unusable_row_is_left_out_and_counted(row, reason, tmp_path, write_audio, write_text, caplog):
    caplog.set_level("DEBUG")
    write_audio(tmp_path / "a.wav", 1.0)
    table = write_text(tmp_path / "m.csv", f"path,start,seconds\n{row}\na.wav,0,1\n")
    assert [c.seconds for c in read(table)] == [1.0]
    assert reason in caplog.text
    assert f"{table}:2" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("m.csv", "path,path\na.wav,b\n", "appears twice"),
        ("m.csv", 'path,text\na.wav,"b\na.wav,b\n', "quote"),
        ("m.csv", "path,id\na.wav,x\na.wav,x\n", "the id `x` appears twice"),
        ("m.jsonl", '{"path": \n', "not JSON"),
        ("m.jsonl", "[1]\n", "must be"),
        ("m.txt", "path\na.wav\n", "must be a .csv"),
    ],
)
def test_a_bad_table_is_refused(name, content, error, tmp_path, write_audio, write_text):
    write_audio(tmp_path / "a.wav")
    with pytest.raises(UserError, match=error):
        read(write_text(tmp_path / name, content))


def test_the_command_line_passes_columns_and_options(tmp_path, write_audio, write_text, capsys):
    write_audio(tmp_path / "clips/a.wav")
    table = write_text(tmp_path / "m.csv", "file,sentence,who\na.wav,yes,me\n")
    out = tmp_path / "out.jsonl"
    call = ["manifest", "table", "--root", str(table), "--out", str(out), "--option", "folder=clips"]
    app([*call, "--column", "text=sentence", "--column", "speaker=who"], result_action="return_value")
    (clip,) = read_manifest(out)
    assert (clip.text, clip.speaker) == ("yes", "me")
