import inspect
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from audio_ssl import __main__
from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.commands import evaluate, prepare, train, units

COMMANDS = [
    "list", "demo", "manifest", "audit", "targets", "pretrain", "extract", "export", "probe", "predict", "fairness",
    "report", "study", "check", "units",
]  # fmt: skip


def run(*argv, **options):
    return subprocess.run(
        [sys.executable, "-m", "audio_ssl", *argv], capture_output=True, text=True, check=False, **options
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from audio_ssl.__main__ import run; run(['--help']);"
        "print([m for m in ('torch', 'numpy', 'soundfile', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_at_most_eight_options(command, capsys):
    assert __main__.run([command, "--help"]) == 0
    assert "Usage: audio-ssl" in capsys.readouterr().out
    name = {"list": "list_"}.get(command, command)
    function = next(vars(file)[name] for file in (evaluate, prepare, train, units) if name in vars(file))
    options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    # Drawing a balanced part (four options) belongs to the command that makes manifests; what an audit states of its
    # subject (system, version, test set, tolerance) and how its tables are read to the one that writes the page.
    assert len(options) <= {"manifest": 11, "fairness": 16}.get(command, 8)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["pretrain", "demos", "--out", "x"], "unknown recipe `demos`; known: "),
        (["probe", "demo_asr", "logmel"], "--out"),
        (["nothing"], "Unknown command"),
        (["report", "--out", "r.html"], "`inputs` must name at least one"),
        (["report", "x", "--out", "r.pdf"], "`--out` must end in .html"),
        (["manifest", "no_such_thing", "--out", "m.jsonl"], "neither a folder nor a corpus; corpora: "),
        (["manifest", ".", "--split", "train", "--out", "m.jsonl"], "`--split` is for corpora"),
        (["extract", "missing", "logmel", "--out", "f"], "missing"),
        (["predict", "nowhere", "m.jsonl", "--out", "p"], "nowhere: `result` must be a folder that `audio-ssl probe`"),
        (["predict", ".", "m.jsonl", "--out", "p"], "but this one has no scores.json"),
        (["manifest", "librispeech", "--out", "."], "`--out` is a folder"),
        (["audit", "m.jsonl", "--empty-by", "--out", "a.html"], "--empty-by"),
        (["fairness", "p.csv", "--empty-by", "--out", "a.html"], "--empty-by"),
    ],
)
def test_wrong_use_exits_2_in_one_line_without_a_traceback(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert __main__.run(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("raised", "status"), [(UserError("x"), 2), (StoppedBySignal("saved"), 75), (KeyboardInterrupt(), 75)]
)
def test_exit_statuses(raised, status, monkeypatch):
    def stop(*_):
        raise raised

    monkeypatch.setattr("audio_ssl.commands.explain.listing_lines", stop)
    assert __main__.run(["list"]) == status


def test_manifest_of_a_folder(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    (tmp_path / "b.wav").write_text("not audio")
    out = tmp_path / "m.jsonl"
    done = run("manifest", str(tmp_path), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "1 clips; 1 unusable" in done.stdout
    assert json.loads(out.read_text())["id"] == "a.wav"
    assert "not an audio file" in out.with_suffix(".errors.jsonl").read_text()


def test_a_folder_without_usable_audio_exits_2(tmp_path):
    (tmp_path / "b.wav").write_text("not audio")
    done = run("manifest", str(tmp_path), "--out", str(tmp_path / "m.jsonl"))
    assert done.returncode == 2
    assert "no usable clip" in done.stderr
    assert not (tmp_path / "m.jsonl").exists()


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m audio_ssl list | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stdout == "recipes\n"
    assert done.stderr == ""


def test_sigterm_unwinds_and_exits_75(tmp_path):
    code = (
        "import time, audio_ssl.commands.explain as l\n"
        "def slow(what):\n    print('ready', flush=True)\n    time.sleep(60)\n    yield ''\n"
        "l.listing_lines = slow\nfrom audio_ssl.__main__ import main\nmain(['list'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "run the same command again" in error


def test_pretraining_that_is_interrupted_before_its_first_update_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("audio_ssl.pretrain.run.pretrain", interrupted)
    assert __main__.run(["pretrain", "hubert_mel_tiny", "--out", str(tmp_path / "run")]) == 75
    said = capsys.readouterr().err
    assert said == "stopped: what was finished is on the disk; run the same command with --resume to go on\n"


def test_a_place_that_cannot_be_written_is_named_without_a_traceback(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16000)
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "m.jsonl"
    assert __main__.run(["manifest", str(tmp_path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'file'}")
    assert len(said.splitlines()) == 1


def test_other_errors_of_the_system_are_raised(monkeypatch):
    def broken(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("audio_ssl.commands.explain.listing_lines", broken)
    with pytest.raises(OSError, match="Input/output"):
        __main__.run(["list"])
