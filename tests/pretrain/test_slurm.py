"""The job script of the documentation, with stand-ins for srun and scontrol on the path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.pretrain.conftest import MakeManifest
from tests.pretrain.test_run import SMALL

SCRIPT = Path(__file__).parents[2] / "docs" / "pretrain.sbatch"

SRUN = """#!{python}
import os, pathlib, random, subprocess, sys, time
run = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
job = random.SystemRandom().randrange(10**6)
base = dict(os.environ, SLURM_NTASKS="2", SLURM_JOB_ID=str(job), SLURM_NODELIST="localhost", OMP_NUM_THREADS="1")
command = ["{python}", "-W", "ignore", "-m", "audio_ssl", *sys.argv[2:]]
tasks = [subprocess.Popen(command, env=base | dict(SLURM_PROCID=str(n), SLURM_LOCALID=str(n))) for n in range(2)]
# The first time, SLURM's signal comes after an update.
rows = run / "metrics.jsonl"
if not rows.exists():
    while not (rows.exists() and rows.read_text()) and any(task.poll() is None for task in tasks):
        time.sleep(0.01)
    for task in tasks:
        task.send_signal(10)
sys.exit(max(task.wait() for task in tasks))
"""

SCONTROL = """#!/bin/sh
echo "$@" >> {log}
"""


def test_the_job_script_saves_requeues_and_goes_on(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest, recipe, out = make_manifest(), tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(SMALL)
    log, tools = tmp_path / "scontrol.log", tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL.format(log=log))):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711"}
    command = ["bash", str(SCRIPT), str(recipe), str(manifest), str(out), "steps=30", "checkpoint.valid_every=30"]

    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert first.returncode == 75, first.stderr
    assert log.read_text() == "requeue 4711\n"
    rows = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert 0 < len(rows) < 30

    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert log.read_text() == "requeue 4711\n"
    rows = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 31))
    assert (out / "model.safetensors").is_file()
