"""A wheel is built, installed in a folder of its own and used from there: cards included, checkout not needed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed, cwd, *argv):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "audio_ssl", *argv]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_only_the_package_enters_site_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"audio_ssl"}
    assert not [n for n in names if "tests" in n]


def test_the_wheel_carries_every_card_and_template(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("recipes", "probes", "corpora"):
        for card in (ROOT / folder).rglob("[a-z]*.*"):
            if card.suffix in (".yaml", ".py"):
                assert f"audio_ssl/_catalog/{card.relative_to(ROOT)}" in names
    for template in (ROOT / "audio_ssl" / "report" / "templates").glob("*"):
        assert f"audio_ssl/report/templates/{template.name}" in names
    for name in ("whisper_tiny_en.jsonl", "whisper_tiny_en.yaml", "whisper_tiny_en.md"):
        assert f"audio_ssl/examples/{name}" in names
    assert "audio_ssl/py.typed" in names
    assert "audio_ssl/report/schemas/fairness.json" in names


def test_the_installed_package_runs_its_own_code(installed, tmp_path):
    code = "import audio_ssl, audio_ssl.catalog as c; print(audio_ssl.__file__); print(c.folder_path('recipes'))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert all(line.startswith(str(installed)) for line in done.stdout.splitlines()), done


def test_manifest_pretrain_and_extract_from_the_wheel(installed, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(4):
        soundfile.write(tmp_path / f"{index}.wav", rng.normal(0, 0.1, 24000).astype(np.float32), 16000)
    steps = [
        ["list", "recipes"],
        ["manifest", ".", "--out", "m.jsonl"],
        ["pretrain", "bestrq_tiny", "data.manifest=m.jsonl", "data.seconds_per_update=3", "steps=1", "--out", "run"],
        ["extract", ".", "run", "--out", "features", "--format", "npy", "--pool", "mean"],
    ]
    for argv in steps:
        done = run(installed, tmp_path, *argv)
        assert done.returncode == 0, (argv, done.stderr)
    assert len((tmp_path / "features" / "index.jsonl").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "run" / "config.json").read_text())
