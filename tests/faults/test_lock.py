"""Two commands in one folder: the second is told who writes. What killed ones left goes, the living one's stays."""

import errno
import fcntl
import json
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from audio_ssl import __main__
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import (
    LOCK_FILE,
    atomic_folder,
    atomic_write,
    clear_partials,
    is_used,
    locked_file,
    locked_folder,
    remove_folder,
)

HOLDER = """
import sys, time
from pathlib import Path
from audio_ssl.base.files import atomic_write
from audio_ssl.base.files import locked_folder
with locked_folder(Path(sys.argv[1])), atomic_write(Path(sys.argv[1]) / "made.bin") as partial:
    partial.write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def partials(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".partial-")]


def test_the_second_is_told_whose_the_folder_is_until_its_owner_is_killed(holder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError) as caught, locked_folder(out):
        pass
    text = str(caught.value)
    assert text.startswith(f"{out}: another command is writing here: process {holder.pid} on {platform.node()} since ")
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
    clear_partials(out)
    assert len(partials(out)) == 1, "a living process is writing it"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked_folder(out):
        assert partials(out) == []
        assert is_used(out) is False
    assert list(out.iterdir()) == []


def test_a_folder_made_for_nothing_is_taken_away(tmp_path):
    with pytest.raises(RuntimeError), locked_folder(tmp_path / "new"):
        owner = json.loads((tmp_path / "new" / LOCK_FILE).read_text())
        assert owner["pid"] == os.getpid()
        raise RuntimeError
    assert not (tmp_path / "new").exists()
    with locked_folder(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_files_have_locks_of_their_own(tmp_path):
    refused = pytest.raises(UserError, match=r"a\.jsonl: another command is writing here")
    with (
        locked_file(tmp_path / "a.jsonl"),
        locked_file(tmp_path / "b.jsonl"),
        refused,
        locked_file(tmp_path / "a.jsonl"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_clears_what_was_to_become_it_alone(tmp_path):
    for name in ("a.json", "b.json"):
        with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / name) as partial:
            partial.write_text("half")
            os.link(partial, tmp_path / f"kept-{partial.name}")
            raise KeyboardInterrupt
    for path in tmp_path.glob("kept-*"):
        path.rename(tmp_path / path.name.removeprefix("kept-"))
    assert len(partials(tmp_path)) == 2
    with locked_file(tmp_path / "a.jsonl", ".json"):
        assert len(partials(tmp_path)) == 1


def test_a_lock_that_nobody_holds_is_taken_over(tmp_path):
    (tmp_path / LOCK_FILE).write_text('{"pid": 1, "host": "gone"}')
    with locked_folder(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK_FILE).exists()


def test_unfinished_files_of_earlier_versions_go_when_they_are_old(tmp_path):
    (tmp_path / ".partial-abc.json").write_text("half")
    clear_partials(tmp_path)
    assert partials(tmp_path) == [".partial-abc.json"]
    long_ago = time.time() - 100_000
    os.utime(tmp_path / ".partial-abc.json", (long_ago, long_ago))
    clear_partials(tmp_path)
    assert partials(tmp_path) == []


def test_a_folder_that_is_being_written_stays(tmp_path):
    with atomic_folder(tmp_path / "step_1") as partial:
        (partial / "state.json").write_text("{}")
        clear_partials(tmp_path)
        assert partial.is_dir()
    (tmp_path / ".partial-step_2").mkdir()
    (tmp_path / ".partial-step_2" / "state.json").write_text("{}")
    clear_partials(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_1"]


def test_a_folder_half_removed_by_a_killed_process_is_none(tmp_path, monkeypatch):
    for name in ("model.safetensors", "state.json"):
        (tmp_path / "step_1").mkdir(exist_ok=True)
        (tmp_path / "step_1" / name).write_text("x")

    def killed(path, **_):
        if path.exists():
            (path / "state.json").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(tmp_path / "step_1")
    monkeypatch.undo()
    assert not (tmp_path / "step_1").exists()
    with locked_folder(tmp_path):
        assert is_used(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), locked_folder(tmp_path / "out"):
        (tmp_path / "out" / "x").write_text("")
    assert "has no locks (No locks available): make sure that no other command writes there" in caplog.text


COMMANDS = {
    "manifest": ["manifest", "{audio}", "--out", "{out}.jsonl"],
    "audit": ["audit", "{manifest}", "--out", "{out}.html"],
    "fairness": ["fairness", "{table}", "--out", "{out}.html"],
    "report": ["report", "{audio}", "--out", "{out}.html"],
    "targets": ["targets", "hubert_tiny", "data.manifest={manifest}", "--out", "{out}"],
    "pretrain": ["pretrain", "hubert_tiny", "data.manifest={manifest}", "steps=2", "device=cpu", "--out", "{out}"],
    "resume": ["pretrain", "hubert_tiny", "data.manifest={manifest}", "device=cpu", "--resume", "--out", "{out}"],
    "extract": ["extract", "{audio}", "logmel", "--format", "parquet", "--out", "{out}"],
    "probe": ["probe", "demo_asr", "logmel", "data.manifest={manifest}", "--out", "{out}"],
    "demo": ["demo", "--out", "{out}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_what_another_one_writes(command, speech, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("id,reference,hypothesis,speaker,gender\n1,a,a,s,F\n")
    names = {"audio": speech.parent, "manifest": speech, "table": tmp_path / "t.csv", "out": tmp_path / "out"}
    argv = [part.format(**names) for part in COMMANDS[command]]
    out = tmp_path / argv[-1]
    with locked_file(out) if out.suffix else locked_folder(out):
        assert __main__.run(argv) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert said[0].startswith(f"error: {out}: another command is writing here: process {os.getpid()} on ")
    assert not out.exists()


def test_a_corpus_is_fetched_by_one(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(CORPUS)
    argv = ["manifest", str(tmp_path / "mine.py"), "--fetch", "--root", str(tmp_path / "root"), "--out", "{}/m.jsonl"]
    argv[-1] = str(tmp_path / "m.jsonl")
    with locked_folder(tmp_path / "root"):
        assert __main__.run(argv) == 2
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'root'}: another command is writing here" in said
    assert not (tmp_path / "root").exists()


CORPUS = """
from audio_ssl.data.corpus import Corpus

CORPUS = Corpus("mine", "Mine", "Mine.", "CC0-1.0", "Me.", "small", "files", {"all": "everything"})


def read(root, split):
    return iter(())


def fetch(root):
    (root / "fetched").write_text("")
"""


def test_processes_of_one_job_share_a_folder_and_are_refused_together(audio, tmp_path):
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "audio_ssl"]
    argv += ["extract", str(audio), "logmel", "--format", "parquet", "--out", str(tmp_path / "f")]
    options = {"capture_output": True, "text": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "check": False}
    with locked_folder(tmp_path / "f"):
        refused = subprocess.run(argv, **options)
    assert refused.returncode != 0
    assert refused.stderr.count("another command is writing here") >= 1
    # Else in the launcher's own traceback.
    assert "audio_ssl/features" not in refused.stderr
    done = subprocess.run(argv, **options)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "f" / "index.jsonl").read_text().splitlines()) == 4
