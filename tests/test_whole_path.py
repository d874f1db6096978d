"""From audio to a fairness report through the command line, on a toy language of tones."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from audio_ssl import __main__, demo
from audio_ssl.data.manifest import read_manifest
from audio_ssl.errors import UserError

QUICK_RUN = [
    "steps=3",
    "data.seconds_per_update=6",
    "data.crop_seconds=1.0",
    "data.min_seconds=0.4",
    "encoder.layers=2",
    "encoder.dim=32",
    "encoder.ffn_dim=32",
    "frontend.channels=[16, 16, 16, 16, 16, 16, 16]",
    "codec.steps=2",
]
QUICK_PROBE = ["optim.steps=4", "optim.eval_every=2"]


def audio_ssl(*argv):
    assert __main__.run([str(a) for a in argv]) == 0


def test_the_whole_path(toy_manifest, tmp_path, capsys):
    run = tmp_path / "run"
    audio_ssl("pretrain", "demo", f"data.manifest={toy_manifest}", *QUICK_RUN, "--out", run)
    for name in ("recipe.yaml", "config.json", "model.safetensors", "README.md", "metrics.jsonl", "provenance.json"):
        assert (run / name).is_file(), name
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert {"loss", "lr", "grad_norm", "audio_seconds_per_second", "accuracy_0", "cqt_mse"} <= metrics[0].keys()

    audio_ssl("extract", toy_manifest, run, "--out", tmp_path / "f", "--pool", "mean", "--format", "parquet")
    assert len((tmp_path / "f" / "index.jsonl").read_text().splitlines()) == 210

    results = []
    for probe in ("demo_asr", "demo_st", "demo_key", "demo_tagging"):
        results.append(tmp_path / probe)
        audio_ssl("probe", probe, run, f"data.manifest={toy_manifest}", *QUICK_PROBE, "--out", results[-1])
    audio_ssl("fairness", *results[:2], "--by", "gender", "--out", tmp_path / "fairness.html")
    fairness = json.loads((tmp_path / "fairness.json").read_text())
    # Three speakers a group: counted, not scored and not tested.
    assert fairness["groups"] == []
    assert {(row["groups"][0], row["speakers"]) for row in fairness["suppressed"]} == {("F", 3), ("M", 3)}
    assert {c["metric"] for c in fairness["comparisons"]} == {"wer", "cer", "bleu", "chrf"}
    assert all("at least 5 a group are needed" in c["refused"] for c in fairness["comparisons"])

    audio_ssl("report", run, *results, tmp_path / "fairness.json", "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in ("demo_asr", "demo_key", "untrained", "log-mel", "at least 5 a group are needed"):
        assert text in page
    assert json.loads((tmp_path / "report.json").read_text())
    assert "next: audio-ssl" in capsys.readouterr().out


@pytest.fixture
def fetched(monkeypatch):
    """Corpora that note what is fetched; the packages of one cannot be reached."""
    names = []

    def load(name):
        def fetch(root, **options):
            names.append(name)
            if name == "fillets":
                raise UserError("apt-get cannot reach its packages")

        return SimpleNamespace(fetch=fetch)

    monkeypatch.setattr(demo, "load_corpus", load)
    return names


def test_without_apt_the_demo_says_so_and_uses_pip_alone(monkeypatch, fetched, tmp_path, caplog):
    monkeypatch.setattr(demo, "apt_available", lambda: False)
    assert demo._fetch(demo._choose(pip_only=False), tmp_path) == demo.PIP_ONLY
    assert fetched == ["synthetic_speech", "rendered_scores"]
    assert "apt-get is not here" in caplog.text


def test_unreachable_packages_fall_back_to_pip_alone(monkeypatch, fetched, tmp_path, caplog):
    monkeypatch.setattr(demo, "apt_available", lambda: True)
    assert demo._fetch(demo._choose(pip_only=False), tmp_path) == demo.PIP_ONLY
    assert fetched == ["fillets", "synthetic_speech", "rendered_scores"]
    assert "apt-get cannot reach its packages" in caplog.text


def test_the_mix_for_pretraining_holds_no_test_clip(toy_manifest, monkeypatch, tmp_path):
    clips = read_manifest(Path(toy_manifest))

    corpus = SimpleNamespace(read=lambda root, split: clips)
    monkeypatch.setattr(demo, "load_corpus", lambda name: corpus)
    monkeypatch.setattr(demo, "write_manifest", unique_ids(demo.write_manifest))
    demo._manifests(demo.PIP_ONLY, tmp_path, tmp_path)
    mix = read_manifest(tmp_path / "manifests" / "pretrain.jsonl")
    assert {c.split for c in mix} == {"train", "valid"}
    assert (tmp_path / "manifests" / "speech.jsonl").exists()


def unique_ids(write):
    """Give clips ids of their own: here both corpora of the plan are the same clips."""
    return lambda path, clips: write(path, [dataclasses.replace(c, id=f"{i}/{c.id}") for i, c in enumerate(clips)])


def test_the_demo_says_the_stage_and_the_time_left(caplog):
    caplog.set_level("INFO")
    done = []
    stages = [demo.Stage("one", 90, lambda: done.append(1)), demo.Stage("two", 30, lambda: done.append(2))]
    demo._run(stages, first=2)
    assert done == [1, 2]
    assert "[2/3] one · about 2 min left" in caplog.text
    assert "[3/3] two · less than a minute left" in caplog.text
