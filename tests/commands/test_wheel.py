"""A wheel is built, installed in a folder of its own and used from there: cards included, checkout not needed."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.base.checksums import write_seals
from audio_ssl.base.config import unstructure
from audio_ssl.base.files import write_json
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import mel
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.shipped import MOST_BYTES, SEALED, SHIPPED
from audio_ssl.shipped.facts import FACTS_FILE, FixedClip, ShippedFacts, TrainingCost

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="module")
def with_model(installed):
    """Put a model that knows nothing where shipped models lie."""
    folder = installed / "audio_ssl" / "shipped" / "toy"
    config = ModelConfig(mel.Config(n_mels=20), transformer.Config(1, 16, 32, 2, position_groups=2), 16000)
    build_model(config, torch.Generator().manual_seed(0)).save_pretrained(folder, "float16")
    cost = TrainingCost(1, 0.1, 0.1, 2.0, 12.0)
    words = ("toy", "A stand-in.", "Apache-2.0", "0", "", "", "", "", "")
    facts = ShippedFacts(*words, 0.0, "float16", 1, 1, 16, 16000, 25.0, "", "", (), cost, FixedClip(0.0, 0, (), ()))
    write_json(folder / FACTS_FILE, unstructure(facts))
    write_seals(folder, SEALED)
    return folder


def run(installed, cwd, *argv):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "audio_ssl", *argv]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_only_the_package_enters_site_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"audio_ssl"}
    assert not [n for n in names if "tests" in n.split("/")]


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


def test_the_wheel_carries_the_models_that_ship_and_stays_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {one.filename: one.compress_size for one in archive.infolist()}
    models = {f"audio_ssl/shipped/{path.relative_to(SHIPPED.root)}" for path in SHIPPED.root.glob("*/*.*")}
    assert {name for name in models if "__pycache__" not in name} <= set(sizes)
    # All else in the wheel is code and cards, now 1.5 MB.
    assert wheel.stat().st_size <= MOST_BYTES + 5_000_000
    shipped = sum(size for name, size in sizes.items() if name.startswith("audio_ssl/shipped/"))
    assert shipped <= MOST_BYTES


def test_the_installed_package_runs_its_own_code(installed, tmp_path):
    code = "import audio_ssl, audio_ssl.base.catalog as c; print(audio_ssl.__file__); print(c.folder_path('recipes'))"
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


def test_a_shipped_model_is_used_by_its_name(installed, with_model, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32), 16000)
    listed = run(installed, tmp_path, "list", "models")
    assert re.search(r"toy +A stand-in\.", listed.stdout)
    done = run(installed, tmp_path, "extract", ".", "toy", "--out", "features", "--pool", "mean", "--format", "npy")
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "features" / "index.jsonl").read_text())
    assert np.load(tmp_path / "features" / row["file"]).shape == (2, 16)
    done = run(installed, tmp_path, "export", "shipped:toy", "--out", "own")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own" / "model.safetensors").is_file()


def test_nothing_of_it_is_read_before_it_is_asked_for(installed, with_model, tmp_path):
    program = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == 'open' else None)\n"
        "import audio_ssl, audio_ssl.features.source; audio_ssl.load\n"
        "print([one for one in seen if 'shipped/toy' in one])\n"
        "audio_ssl.load('toy'); print(len([one for one in seen if 'shipped/toy' in one]) > 2)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True"]


def test_a_damaged_model_is_one_line_with_a_remedy(installed, with_model, tmp_path):
    weights = with_model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    try:
        done = run(installed, tmp_path, "extract", ".", "toy", "--out", "features")
    finally:
        weights.write_bytes(whole)
    assert done.returncode == 2
    assert "model.safetensors of the shipped model `toy` has" in done.stderr
    assert "(install the package again: pip install --force-reinstall --no-deps audio-ssl)" in done.stderr
    assert "Traceback" not in done.stderr
