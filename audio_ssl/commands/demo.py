"""The whole path in small, stage by stage: what ``audio-ssl demo`` and ``make demo`` run.

Every stage is the function its own command calls; this package only says which corpora, recipe and probes to use and in
which order (`audio_ssl.commands.demo_corpora`), and how long each takes (`audio_ssl.commands.demo_clock`). Each stage
leaves its artifact under ``out`` and is skipped or resumed when the demo is run again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from audio_ssl.artifacts.result import BASELINES, is_result
from audio_ssl.artifacts.run import STATE_FOLDER
from audio_ssl.base.files import locked_folder
from audio_ssl.commands.demo_clock import Clock, Stage, machine_pace
from audio_ssl.commands.demo_corpora import Plan, choose, fetch, manifest_path, prepare
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.fairness.about import About, with_example
from audio_ssl.fairness.audit import audit
from audio_ssl.features.extract import extract
from audio_ssl.pretrain.checkpoint import checkpoints, read_state
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.run_folder import is_whole
from audio_ssl.probing.features import BankCache
from audio_ssl.probing.run import run_probe
from audio_ssl.report.build import build_fairness_report, build_report
from audio_ssl.report.language.answer import summary_lines
from audio_ssl.report.summary import read_report
from audio_ssl.shipped import PREFIX, SHIPPED

logger = logging.getLogger(__name__)

PROBES = {
    "demo_characters": "sentences",
    "demo_words": "words",
    "demo_meaning": "sentences",
    "demo_instrument": "moments_of_music",
}
"""What is asked, and of which manifest."""

EXAMPLE = "whisper_tiny_en"
"""The table that the fairness page is about: a real recogniser on real readers."""

RECIPE = "demo"

SECONDS = {
    "corpora": 75.0,
    "pretrain": 150.0,
    "extract": 3.0,
    "demo_characters": 63.0,
    "demo_words": 32.0,
    "demo_meaning": 31.0,
    "demo_instrument": 45.0,
    "fairness": 1.0,
    "report": 2.0,
}
"""What each stage took on two cores with AVX2 (docs/lab-notes.md)."""

RUN = "demo_model"
"""Folder of the run, and so what the report calls its model."""

MEMORY_GB = 3.0
"""For features that probes share: sentences are asked for their characters and for what they mean, and heard once."""

OF_SHIPPED = {"demo_characters": 1.1, "demo_words": 0.6, "demo_meaning": 0.4, "demo_instrument": 0.4}
"""What a probe of a shipped model takes of that. It is larger, and asked beside log-mel alone: its own untrained twin
would take as long again."""


def run_demo(out: Path, data: Path, pip_only: bool = False) -> Path:
    """Run every stage and return the path of the report.

    Parameters
    ----------
    out
        Folder for the artifacts.
    data
        Folder for the corpora, kept between demos.
    pip_only
        Do without Debian's packages.
    """
    with locked_folder(out, deep=False):
        return _demo(out, data, pip_only)


def _demo(out: Path, data: Path, pip_only: bool) -> Path:
    Clock(stages(out, data, choose(pip_only)), out / "times.json", machine_pace).run()
    for line in summary_lines(read_report(out / "report.html")):
        logger.info(line)
    return out / "report.html"


def stages(out: Path, data: Path, plan: Plan) -> list[Stage]:
    """Return the stages of a demo in order, each with what it takes and how much of it is left to do."""
    run, probes, heard = out / RUN, out / "probes", BankCache()

    def corpora() -> None:
        prepare(fetch(plan, data), data, out)

    made = manifest_path(out, "moments_of_music")
    found = [
        _stage("corpora", "made or fetched, then listed", corpora, lambda: _unless(made.exists())),
        _stage("pretrain", f"MERT in small, recipe `{RECIPE}`", partial(_pretrain, out), lambda: _untrained(run)),
        _stage("extract", "a vector a layer of each test clip of music", partial(_extract, out)),
    ]
    for probe in PROBES:
        ask, left = partial(_probe, out, probe, str(run), probes, heard), partial(_unanswered, probes / probe)
        found.append(_stage(probe, "the model, then its baselines", ask, left))
    for name in SHIPPED.names():
        folder = out / f"probes_{name}"
        for probe in PROBES:
            ask = partial(_probe, out, probe, f"{PREFIX}{name}", folder, heard, ["baselines=[logmel]"])
            left = partial(_unanswered, folder / probe)
            found.append(_stage(f"{probe} of {name}", "the model that comes with the package", ask, left))
    found += [
        _stage("fairness", "a real recogniser on real readers, then the demo's own", partial(_fairness, out)),
        _stage("report", "one page about all of it", partial(_report, out)),
    ]
    return found


def _stage(name: str, about: str, work: Callable[[], object], left: Callable[[], float] = lambda: 1.0) -> Stage:
    first, _, shipped = name.partition(" of ")
    return Stage(name, about, SECONDS[first] * (OF_SHIPPED[first] if shipped else 1.0), work, left)


def _unless(done: bool) -> float:
    return 0.0 if done else 1.0


def _untrained(run: Path) -> float:
    """Return the share of updates that an earlier demo has left."""
    if is_whole(run):
        return 0.0
    saved = checkpoints(run / STATE_FOLDER)
    return 1.0 - read_state(saved[-1]).step / load_recipe(RECIPE).steps if saved else 1.0


def _unanswered(result: Path) -> float:
    """Return the share of systems that an earlier demo has not asked."""
    systems = [result, *((result / BASELINES).iterdir() if (result / BASELINES).is_dir() else ())]
    answered = sum(is_result(one) for one in systems)
    return 1.0 - answered / max(len(systems), 3) if answered < len(systems) or answered < 3 else 0.0


def _pretrain(out: Path) -> None:
    run = out / RUN
    pretrain(RECIPE, [f"data.manifest={manifest_path(out, 'pretrain')}"], run, resume=run.exists())


def _extract(out: Path) -> None:
    """Extract one pooled vector a layer for the test clips of the music, as a table anyone can open."""
    path = manifest_path(out, "music_test")
    write_manifest(path, [clip for clip in read_manifest(manifest_path(out, "music")) if clip.split == "test"])
    extract(path, str(out / RUN), out / "features", layers="all", pool="mean", format="parquet")


def _probe(out: Path, probe: str, model: str, results: Path, heard: BankCache, overrides: Sequence[str] = ()) -> None:
    settings = [f"data.manifest={manifest_path(out, PROBES[probe])}", f"data.memory_gb={MEMORY_GB}", *overrides]
    run_probe(probe, model, results / probe, settings, heard)


def _fairness(out: Path) -> None:
    """Audit a real recogniser on real readers, and the demo's own on synthetic voices, on a page each."""
    (table,), asked = with_example([Path(EXAMPLE)], About(), None)
    real = audit([table], ["gender"], normaliser=asked.normaliser, about=asked.about)
    build_fairness_report(real, out / "fairness.html")
    about = About(("the demo's linear layer",), (), "synthetic voices: differences say nothing about people")
    own = audit([out / "probes" / "demo_characters"], ["gender"], metrics=["cer"], about=about)
    build_fairness_report(own, out / "fairness_of_the_demo.html")


def _report(out: Path) -> None:
    results = [folder / probe for folder in sorted(out.glob("probes*")) for probe in PROBES]
    audits = [out / "fairness.json", out / "fairness_of_the_demo.json"]
    build_report([out / RUN, *results, *audits], out / "report.html", title="audio_ssl demo")
