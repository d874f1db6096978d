"""The demo: its corpora and manifests, what it says of time, and the whole of it in small, on tones."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml
from audio_ssl.base.errors import UserError
from audio_ssl.commands import demo, demo_clock, demo_corpora
from audio_ssl.commands.demo_clock import Clock, Stage, in_words
from audio_ssl.data.manifest import Clip, read_manifest
from tests.conftest import RATE, speech, tone

SMALL_RECIPE = """
kind: masked_prediction
steps: 3
data: {sample_rate: 16000, crop_seconds: 1.0, min_seconds: 0.4, seconds_per_update: 4.0, seconds_per_batch: 4.0}
optim: {lr: 1.0e-3, warmup_steps: 2}
frontend: {kind: mel, n_mels: 16, stack: 2, normalize: false}
encoder: {kind: transformer, layers: 1, dim: 16, ffn_dim: 16, heads: 2, position_kernel_frames: 8, position_groups: 2}
teachers:
  - {kind: random_projection, n_mels: 16, stack: 2, codebook_size: 16}
objectives:
  - {kind: masked_codes, teacher: 0, final_dim: 8}
checkpoint: {every: 2, valid_every: 3}
"""
QUICK = ["optim.steps=4", "optim.eval_every=2"]


def voices(folder):
    """Forty-eight clips of twelve speakers in two languages, of twenty-four sentences."""
    rng = np.random.default_rng(0)
    for number in range(48):
        text = "".join(rng.choice(list("abcd"), 9))
        path = folder / f"{number}.wav"
        soundfile.write(path, speech(text, rng), RATE)
        said = number // 2
        what = {
            "text": text,
            "translation": f"Saying {said} in the {('garden', 'kitchen')[said % 2]}.",
            "split": "train" if said < 12 else "valid" if said < 20 else "test",
            "extra": {"word_times": "0.0 0.3 abba; 0.3 0.6 baba"},
        }
        who = {"speaker": f"s{number % 12}", "gender": "FM"[number % 2], "language": ("cs", "de")[said % 2]}
        yield Clip(f"v{number}", str(path), 0.0, soundfile.info(path).duration, RATE, **what, **who)


def tunes(folder):
    """Eighteen clips of two notes on two instruments."""
    rng = np.random.default_rng(1)
    for number in range(18):
        path = folder / f"{number}.wav"
        wave = np.concatenate([tone(440.0 * (1 + number % 2), 1.0, rng), tone(660.0, 1.0, rng)])
        soundfile.write(path, wave.astype(np.float32), RATE)
        extra = {"instrument": ("flute", "organ")[number % 2]}
        split = "train" if number < 14 else "valid"
        yield Clip(f"t{number}", str(path), 0.0, 2.0, RATE, split=split, extra=extra)


@pytest.fixture
def toy_corpora(monkeypatch, tmp_path):
    """Stand in for the demo's corpora; the names of those that are fetched are noted."""
    fetched = []
    (tmp_path / "sounds" / "v").mkdir(parents=True)
    (tmp_path / "sounds" / "t").mkdir()
    clips = {
        demo_corpora.SPEECH: list(voices(tmp_path / "sounds" / "v")),
        demo_corpora.MUSIC: list(tunes(tmp_path / "sounds" / "t")),
    }

    def load(name):
        def fetch(root, **options):
            fetched.append(name)
            if name == "asterisk":
                raise UserError("apt-get cannot reach its packages")

        return SimpleNamespace(fetch=fetch, read=lambda root, split: clips[name])

    monkeypatch.setattr(demo_corpora, "load_corpus", load)
    return fetched


@pytest.fixture
def small(monkeypatch, toy_corpora, tmp_path):
    """Make the demo a small one."""
    (tmp_path / "small.yaml").write_text(SMALL_RECIPE)
    ask = demo.run_probe
    monkeypatch.setattr(demo, "RECIPE", str(tmp_path / "small.yaml"))
    monkeypatch.setattr(demo, "run_probe", lambda p, m, out, given, heard: ask(p, m, out, [*given, *QUICK], heard))
    monkeypatch.setattr(demo, "machine_pace", lambda: 1.0)
    # Models that ship are asked in a test of their own.
    monkeypatch.setattr(demo, "SHIPPED", SimpleNamespace(names=list))


def test_the_whole_demo_in_small(small, tmp_path, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "out"
    assert demo.run_demo(out, tmp_path / "data", pip_only=True) == out / "report.html"
    report = json.loads((out / "report.json").read_text())
    assert [result["name"] for result in report["results"]] == list(demo.PROBES)
    for result in report["results"]:
        assert {"model", "untrained", "logmel"} <= {system["system"] for system in result["systems"]}
    # A real recogniser on real readers, and the demo's own on twelve voices; both are on the page.
    real, own = report["fairness"]
    assert real["results"][0]["system"] == "Whisper tiny.en"
    assert {row["group"] for row in own["groups"]} == {"F", "M"}
    assert {row["metric"] for row in own["groups"]} == {"cer"}
    for name in ("fairness.html", "fairness_of_the_demo.html", f"{demo.RUN}/README.md", "features/index.jsonl"):
        assert (out / name).is_file(), name
    # Nothing of what a first user reads is about something to repair or to resume.
    assert not [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "resum" not in caplog.text
    assert "[1/9] corpora" in caplog.text
    assert "[9/9] report" in caplog.text

    caplog.clear()
    before = (out / demo.RUN / "model.safetensors").stat().st_mtime_ns
    demo.run_demo(out, tmp_path / "data", pip_only=True)
    assert (out / demo.RUN / "model.safetensors").stat().st_mtime_ns == before
    # What is there already takes no time, and the estimate knows.
    assert json.loads((out / "times.json").read_text())["stages"][0]["said_left"] < 30


def test_a_shipped_model_is_asked_the_same_questions(small, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "SHIPPED", SimpleNamespace(names=lambda: ["small"]))
    asked = []
    monkeypatch.setattr(demo, "run_probe", lambda probe, model, out, given, _: asked.append((probe, model, out, given)))
    found = demo.stages(tmp_path / "out", tmp_path / "data", demo_corpora.PIP_ONLY)
    names = [stage.name for stage in found]
    assert names[-6:-2] == [f"{probe} of small" for probe in demo.PROBES]
    found[names.index("demo_words of small")].work()
    ((probe, model, out, given),) = asked
    assert (probe, model, out.parent.name) == ("demo_words", "shipped:small", "probes_small")
    assert "baselines=[logmel]" in given


def test_every_probe_of_the_demo_is_there_and_compared_with_the_untrained_twin():
    suite = read_yaml(catalog.find("probes/suites", "suite_demo"))
    assert {name: entry["manifest"] for name, entry in suite["probes"].items()} == demo.PROBES
    for probe in demo.PROBES:
        assert "untrained" in catalog.find("probes", probe).read_text()
        assert probe in demo.SECONDS


def test_without_apt_the_demo_says_so_and_uses_pip_alone(monkeypatch, toy_corpora, tmp_path, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(demo_corpora, "apt_available", lambda: False)
    assert demo_corpora.fetch(demo_corpora.choose(pip_only=False), tmp_path) == demo_corpora.PIP_ONLY
    assert toy_corpora == [demo_corpora.SPEECH, demo_corpora.MUSIC]
    assert "no apt-get here" in caplog.text


def test_unreachable_packages_leave_what_pip_gives(monkeypatch, toy_corpora, tmp_path, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(demo_corpora, "apt_available", lambda: True)
    assert demo_corpora.fetch(demo_corpora.choose(pip_only=False), tmp_path) == demo_corpora.PIP_ONLY
    assert toy_corpora == [demo_corpora.SPEECH, demo_corpora.MUSIC, "asterisk"]
    assert "apt-get cannot reach its packages" in caplog.text


def test_the_mix_for_pretraining_holds_no_test_clip(toy_corpora, tmp_path):
    demo_corpora.prepare(demo_corpora.PIP_ONLY, tmp_path, tmp_path)
    mix = read_manifest(demo_corpora.manifest_path(tmp_path, "pretrain"))
    assert {clip.split for clip in mix} == {"train", "valid"}
    assert {clip.id[0] for clip in mix} == {"v", "t"}
    heard = {clip.path for clip in mix}
    for name in demo.PROBES.values():
        asked = read_manifest(demo_corpora.manifest_path(tmp_path, name))
        assert {clip.split for clip in asked} == {"train", "valid", "test"}
        assert not heard & {clip.path for clip in asked if clip.split == "test"}


class Machine:
    """A clock that stages move; they take `slower` times what was measured."""

    def __init__(self, slower):
        self.slower, self.time = slower, 0.0

    def stage(self, name, seconds, share=1.0):
        def work():
            self.time += self.slower * seconds * share

        return Stage(name, "something", seconds, work, lambda: share)


@pytest.mark.parametrize("slower", [0.3, 1.0, 2.5])
def test_the_time_left_follows_the_machine(slower, tmp_path):
    machine = Machine(slower)
    stages = [machine.stage(name, seconds) for name, seconds in (("a", 60), ("b", 240), ("c", 60), ("d", 30))]
    run = Clock(stages, tmp_path / "times.json", now=lambda: machine.time)
    run.run()
    errors = [abs(one.said_left - one.left) / one.left for one in run.told]
    # Nothing is known of the machine before the first stage.
    assert errors[0] == pytest.approx(abs(1 / slower - 1))
    assert errors[2] < 0.25 * errors[0] + 1e-9
    assert errors[3] < 0.25 * errors[0] + 1e-9
    rows = json.loads((tmp_path / "times.json").read_text())
    assert rows["seconds"] == pytest.approx(390 * slower)
    assert [row["stage"] for row in rows["stages"]] == ["a", "b", "c", "d"]


def test_a_guess_of_the_pace_serves_before_any_stage_has_ended():
    machine = Machine(2.0)
    run = Clock([machine.stage("a", 60), machine.stage("b", 60)], pace=lambda: 2.0, now=lambda: machine.time)
    run.run()
    assert [one.said_left for one in run.told] == [240, 120]


def test_what_an_earlier_demo_has_done_is_not_counted(caplog):
    caplog.set_level("INFO")
    machine = Machine(1.0)
    stages = [machine.stage("a", 600, 0.0), machine.stage("b", 200, 0.5), machine.stage("c", 30)]
    run = Clock(stages, now=lambda: machine.time)
    run.run()
    assert [one.said_left for one in run.told] == [130, 130, 30]
    assert "[1/3] a · something · about 2 min 10 s left" in caplog.text
    assert "[3/3] c · something · about 30 s left" in caplog.text


def test_the_pace_of_this_machine_is_a_number(monkeypatch):
    monkeypatch.setattr(demo_clock, "_TRY_SECONDS", 0.02)
    assert 0 < demo_clock.machine_pace() < float("inf")
    assert in_words(3600) == "about 60 min"
    assert dataclasses.is_dataclass(demo_clock.Told)
