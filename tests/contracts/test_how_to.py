"""Each "A new X, in one file" of CONTRIBUTING.md is walked once: its file is written, found by name, and used.

A code block begins with the file that it is. It is written to a temporary folder beside the package's own, and nothing
else is touched.
"""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.base import catalog
from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.manifest import write_manifest
from audio_ssl.fairness.audit import audit
from audio_ssl.interop.read import read_model
from audio_ssl.metrics import registry
from audio_ssl.pretrain.optim import OptimConfig
from audio_ssl.pretrain.run import pretrain
from audio_ssl.probing.format import fitting, write_shared
from audio_ssl.probing.run import run_probe
from audio_ssl.report.build import build_fairness_report, build_report
from tests.contracts import test_parts
from tests.probing.toys import clip

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
RATE = 16000


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Give a function that writes files of CONTRIBUTING.md where their names are looked for."""
    added = []
    kept = catalog.folder_path

    def write(*files):
        for file in files:
            path = tmp_path / "added" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(BLOCKS[file], encoding="utf-8")
            if file.startswith("audio_ssl/"):
                package = importlib.import_module(".".join(Path(file).parent.parts))
                if str(path.parent) not in package.__path__:
                    monkeypatch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
                added.append((package, path.stem))
        importlib.invalidate_caches()

    def folder_path(folder):
        own = tmp_path / "added" / folder
        return own if own.is_dir() else kept(folder)

    monkeypatch.setattr(catalog, "folder_path", folder_path)
    yield write
    for package, name in added:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)
    registry._family.cache_clear()


@pytest.fixture
def words(tmp_path):
    """Write 60 recordings of two words, one high and loud, by twelve speakers, and their manifest."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(60):
        word, speaker, split = ("ab", "ba")[number % 2], number // 5, ("train", "train", "valid", "test")[number % 4]
        time = np.arange(RATE // 2) / RATE
        wave = 0.1 * (1 + number % 2) * np.sin(2 * np.pi * 200 * (1 + 4 * (number % 2)) * time)
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, wave + 0.01 * rng.normal(size=len(time)), RATE)
        person = {"speaker": f"s{speaker}", "gender": "FM"[speaker % 2]}
        clips.append(clip(str(number), str(path), seconds=0.5, split=split, text=word, label=word, **person))
    write_manifest(tmp_path / "m.jsonl", clips)
    return tmp_path / "m.jsonl"


def test_every_how_to_of_one_file_has_its_file():
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    promised = [section for section in sections if ", in one file" in section.splitlines()[0]]
    # That of a report section is in tests/report/test_pages.py.
    lacking = [section.splitlines()[0] for section in promised if not re.search(r"```(python|yaml)\n# \S+\.", section)]
    assert lacking == ["A new schedule or mask, in one file", "A new report section, in one file"]


def test_a_new_task_head_baseline_and_probe(add, words, tmp_path):
    parts = ("audio_ssl/probing/tasks/first_letter.py", "audio_ssl/probing/heads/cosine.py")
    add(*parts, "audio_ssl/features/baselines/energy.py", "probes/first_letter.yaml")
    result = run_probe("first_letter", "energy", tmp_path / "r", [f"data.manifest={words}"])
    scores = json.loads((result / "scores.json").read_text())
    assert (scores["task"], scores["model"], scores["main_metric"]) == ("first_letter", "energy", "accuracy")
    assert scores["metrics"]["accuracy"]["value"] == 100
    for part in parts:
        check_part(part)


def test_a_new_format_of_predictions(add, tmp_path):
    add("audio_ssl/probing/formats/trn.py")
    one = ClipPrediction(id="a b.wav", path="a b.wav", seconds=1.0, sample_rate=RATE, task="asr", text="ça va")
    write_shared("trn", tmp_path / "x.trn", [one])
    assert (tmp_path / "x.trn").read_text(encoding="utf-8") == "ça va (a%20b.wav)\n"
    assert fitting(["text"]) == ["jams", "json", "parquet", "trn", "txt"]


def test_a_new_frontend_encoder_teacher_objective_and_recipe(add, words, tmp_path):
    parts = [name for name in BLOCKS if re.match("audio_ssl/(models|targets|pretrain)/", name)]
    assert len(parts) == 4
    add(*parts, "recipes/loudness_tiny.yaml")
    for part in parts:
        check_part(part)
    settings = ["steps=2", "data.seconds_per_update=4", "checkpoint={valid_every: 2, valid_seconds: 4}"]
    run = pretrain("loudness_tiny", [f"data.manifest={words}", *settings], tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["loss"] > 0 and row["absolute_error"] > 0 for row in rows)
    model = read_model(run)
    generator = torch.Generator().manual_seed(0)
    batch, lengths = torch.randn(2, 8000, generator=generator), torch.tensor([8000, 5000])
    with torch.inference_mode():
        together, alone = model(batch, lengths), model(batch[1:, :5000])
    assert together.lengths.tolist() == [25, 15]
    for ours, single in zip(together.hidden, alone.hidden, strict=True):
        torch.testing.assert_close(ours[1, :15], single[0])
        assert not ours[1, 15:].any()


def test_schedules_and_masks_are_known_to_one_file():
    """A new one is then a change of that file."""
    hints = get_type_hints(OptimConfig)
    schedules = {f'"{name}"' for name in get_args(hints["schedule"])} - {'"linear"', '"constant"', '"cosine"'}
    masks = {f"mask.{name}" for name in ("prob", "length_frames", "min_masks", "trim_frames", "adjust", "blocks")}
    package = Path(__file__).parents[2] / "audio_ssl"
    found = {"schedule": set(), "mask": set()}
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for what, words_ in (("schedule", schedules), ("mask", masks)):
            if any(word in text for word in words_):
                found[what].add(path.relative_to(package).as_posix())
    assert found == {"schedule": {"pretrain/optim.py"}, "mask": {"pretrain/masking.py"}}


def check_part(file):
    """Hold what the contract tests hold the parts of the package to."""
    place, kind = Path(file).relative_to("audio_ssl").parent.as_posix(), Path(file).stem
    folder = next(short for short in test_parts.PART_FOLDERS if catalog.part_files(short)[0].parent.match(f"*/{place}"))
    test_parts.test_part_has_a_frozen_config_and_a_build(folder, kind)
    test_parts.test_every_option_has_a_docstring(folder, kind)
    test_parts.test_default_configs_round_trip(folder, kind)


def test_a_new_metric_is_in_scores_audits_and_reports(add, words, tmp_path):
    add("audio_ssl/metrics/families/class_error.py")
    probe = tmp_path / "p.yaml"
    probe.write_text("task: {kind: classification}\nhead: {kind: mlp}\noptim: {lrs: [1e-2], steps: 20}\n")
    settings = [f"data.manifest={words}", "task.metric=class_error"]
    result = run_probe(str(probe), "logmel", tmp_path / "r", settings)
    scores = json.loads((result / "scores.json").read_text())
    assert list(scores["metrics"]) == ["class_error", "accuracy", "uar", "macro_f1"]
    found = scores["metrics"]["class_error"]
    assert (found["unit"], found["higher_is_better"]) == ("%", False)
    assert found["value"] == pytest.approx(100 - scores["metrics"]["accuracy"]["value"])
    # Without being asked for, it is in the results of its task and in their audits, behind the main one.
    report = audit([result], replicates=200, min_speakers=1)
    assert list(dict.fromkeys(row.metric for row in report.groups)) == ["accuracy", "class_error"]
    build_fairness_report(report, tmp_path / "audit.html")
    assert "Classification error" in (tmp_path / "audit.html").read_text()
    build_report([result], tmp_path / "page.html")
    assert re.search(r"\berror\b.{0,40}lower is better", (tmp_path / "page.html").read_text(), re.DOTALL)


def test_a_new_corpus(add, tmp_path, caplog):
    caplog.set_level("INFO")
    add("corpora/single_words.py")
    for speaker in ("anna", "ben"):
        for index in range(3):
            path = tmp_path / "root" / "words" / speaker / f"yes_{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(RATE), RATE)
    (path.parent / "no_0.wav").write_bytes(b"no sound")
    clips = list(load_corpus("single_words").read(tmp_path / "root"))
    assert {(one.speaker, one.label, one.split) for one in clips} >= {("anna", "yes", "test"), ("ben", "yes", "train")}
    assert len(clips) == 6
    assert "left out 1" in caplog.text
