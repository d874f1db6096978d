"""Every command on a full disk, and on one that takes no larger file: one line, status 2, the old file as it was."""

import shutil
import subprocess

import pytest

from audio_ssl import __main__
from audio_ssl.data.build import make_manifest
from audio_ssl.pretrain import loop
from tests.faults.conftest import SMALL

COMMANDS = {
    "manifest": ["manifest", "{audio}", "--out", "{out}.jsonl"],
    "audit": ["audit", "{speech}", "--out", "{out}.html"],
    "audit_levels": ["audit", "{speech}", "--levels", "--out", "{out}.html"],
    "fairness": ["fairness", "{table}", "--replicates", "100", "--out", "{out}.html"],
    "report": ["report", "{trained}", "--out", "{out}.html"],
    "targets": ["targets", "hubert_mel_tiny", "data.manifest={speech}", *SMALL, "--out", "{out}"],
    "pretrain": ["pretrain", "hubert_mel_tiny", "data.manifest={speech}", *SMALL, "--out", "{out}"],
    "pretrain_codec": [
        *("pretrain", "codec_tiny", "data.manifest={speech}", "steps=2", "data.valid_share=0.2", "device=cpu"),
        *(
            "data.crop_seconds=0.5",
            "data.min_seconds=0.5",
            "data.seconds_per_update=1.0",
            "data.seconds_per_batch=1.0",
            "--out",
            "{out}",
        ),
    ],
    "extract_safetensors": ["extract", "{audio}", "logmel", "--out", "{out}"],
    "extract_npy": ["extract", "{audio}", "logmel", "--format", "npy", "--out", "{out}"],
    "extract_parquet": ["extract", "{audio}", "logmel", "--format", "parquet", "--out", "{out}"],
    "extract_long": ["extract", "{audio}", "{model}", "chunk_seconds=0.4", "context_seconds=0.1", "--out", "{out}"],
    "probe": [
        *("probe", "demo_asr", "logmel", "data.manifest={speech}", "optim.steps=2", "optim.eval_every=1", "head.dim=8"),
        *("--out", "{out}"),
    ],
    "probe_on_disk": [
        *("probe", "demo_asr", "{model}", "data.manifest={speech}", "data.features=disk", "optim.steps=2"),
        *("optim.eval_every=1", "head.dim=8", "--out", "{out}"),
    ],
    "export": ["export", "{model}", "--out", "{out}"],
    "export_fairseq2": ["export", "{model}", "--to", "fairseq2", "--out", "{out}"],
}
TABLE = "id,reference,hypothesis,speaker,gender\n" + "".join(
    f"c{n},a b c,a b{' c' * (n % 3 > 0)},s{n % 12},{'FM'[n % 2]}\n" for n in range(48)
)


@pytest.fixture
def words(speech, audio, trained, model_folder, tmp_path):
    """Fill in the names of a command."""
    (tmp_path / "table.csv").write_text(TABLE)
    names = {
        "speech": speech, "audio": audio, "trained": trained, "model": model_folder, "table": tmp_path / "table.csv",
    }  # fmt: skip
    return lambda command, out: [word.format(out=out, **names) for word in COMMANDS[command]]


def refused(argv, capsys, *texts):
    """Run a command that must end in one line."""
    capsys.readouterr()
    status = __main__.run(argv)
    heard = capsys.readouterr().err
    errors = [line for line in heard.splitlines() if line.startswith("error: ")]
    assert status == 2, heard
    assert len(errors) == 1, heard
    assert "Traceback" not in heard
    for text in texts:
        assert text in errors[0], errors[0]


@pytest.mark.parametrize("left", [0, 5_000, 20_000])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_named(command, left, words, small_disk, capsys):
    disk, fill = small_disk
    fill(left)
    argv = words(command, disk / "made" / "out")
    status = __main__.run(argv)
    if status == 0:
        # It had room enough.
        assert left > 0
        return
    shutil.rmtree(disk / "made", ignore_errors=True)
    said = "need" if command == "probe_on_disk" and left > 4096 else "cannot be written: No space left on device"
    refused(argv, capsys, f"{disk}/made", said, f"the disk mounted at {disk} has ")
    assert not list(disk.rglob(".partial-*"))
    assert not list(disk.rglob("*.lock"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_limit_of_the_system_is_named(command, words, largest_file, tmp_path, capsys):
    with largest_file(250):
        refused(
            words(command, tmp_path / "made" / "out"), capsys, f"{tmp_path}/made", "cannot be written: File too large"
        )
    assert not list(tmp_path.rglob(".partial-*"))


@pytest.mark.parametrize("command", ["manifest", "audit", "pretrain", "extract_npy", "probe", "report", "export"])
def test_a_disk_that_is_read_only_is_named(command, words, small_disk, capsys):
    disk, _ = small_disk
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    argv = words(command, disk / "made" / "out")
    said = f"cannot be written: Read-only file system; the disk is mounted at {disk} (choose a place that you may"
    refused(argv, capsys, f"error: {disk}/made", said)


def test_what_was_there_stays(small_disk, audio, speech, words, capsys):
    disk, fill = small_disk
    make_manifest(str(audio), disk / "m.jsonl")
    before = (disk / "m.jsonl").read_bytes()
    fill(4096)
    refused(["manifest", str(speech.parent), "--out", str(disk / "m.jsonl")], capsys, str(disk / "m.jsonl"))
    assert (disk / "m.jsonl").read_bytes() == before


def test_a_full_disk_at_a_checkpoint_leaves_the_one_before_and_goes_on_with_room(
    small_disk, words, trained, capsys, monkeypatch
):
    disk, fill = small_disk
    argv = words("pretrain", disk / "run")
    save = loop.save_checkpoint

    def fill_and_save(folder, state, *rest):
        if state.step == 2:
            fill(10_000)
        return save(folder, state, *rest)

    monkeypatch.setattr(loop, "save_checkpoint", fill_and_save)
    said = f"{disk}/run/state/step_2: cannot be written: No space left on device"
    refused(argv, capsys, said, " are needed", "then run the same command again with --resume)")
    assert [path.name for path in (disk / "run" / "state").iterdir()] == ["step_1"]
    (disk / ".filling").unlink()
    monkeypatch.undo()
    assert __main__.run([*argv, "--resume"]) == 0
    assert (disk / "run" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
