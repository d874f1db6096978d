"""The whole path on real audio, stage by stage: what ``audio-ssl demo`` and ``make demo`` run.

Every stage is the function its own command calls; this module only says which corpora, recipe and probes to use and
in which order. Each stage leaves its artifact under ``out`` and is skipped or resumed when the demo is run again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audio_ssl.data.corpus import apt_available, load_corpus
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.errors import UserError
from audio_ssl.lock import locked_folder

logger = logging.getLogger(__name__)

PROBES = (("demo_asr", "speech"), ("demo_st", "speech"), ("demo_key", "music"), ("demo_tagging", "music"))
"""What is asked of the model, and of which corpus."""

_LONGEST_SECONDS = 6.0


@dataclass(frozen=True)
class Plan:
    """What the demo uses; which plan depends on whether Debian's packages can be had."""

    speech: str
    """Corpus with transcripts, translations and recorded genders."""

    music: tuple[str, ...]
    """Corpora of music; the first has keys and tags."""

    where: str
    """Which of the speech clips the speech probes use."""

    music_minutes: float
    """Of each music corpus, at most this much goes into pretraining."""


WITH_APT = Plan("fillets", ("rendered_scores", "game_music"), "language: cs", 40.0)
PIP_ONLY = Plan("synthetic_speech", ("rendered_scores",), "", 40.0)

GAME_MUSIC_PACKAGES = ("hyperrogue-music", "singularity-music", "nexuiz-music")
"""A third of the corpus, 199 MB: the demo hears an hour of it."""


@dataclass
class Stage:
    """One stage: its name, roughly how long it takes on two cores, and what it does."""

    name: str
    expected_seconds: float
    work: Callable[[], object]


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
    started = time.monotonic()
    logger.info("[1/7] corpora · downloads and a minute of rendering")
    plan = _fetch(_choose(pip_only), data)
    logger.info("      corpora: %.0f s", time.monotonic() - started)
    stages = [
        Stage("manifest", 20, lambda: _manifests(plan, data, out)),
        Stage("pretrain", 270, lambda: _pretrain(out)),
        Stage("extract", 20, lambda: _extract(out)),
        Stage("probe", 280, lambda: _probes(plan, out)),
        Stage("fairness", 5, lambda: _fairness(out)),
        Stage("report", 5, lambda: _report(out)),
    ]
    _run(stages, first=2)
    from audio_ssl.report.build import read_report
    from audio_ssl.report.summary import summary_lines

    for line in summary_lines(read_report(out / "report.html")):
        logger.info(line)
    return out / "report.html"


def _choose(pip_only: bool) -> Plan:
    if pip_only:
        return PIP_ONLY
    if not apt_available():
        logger.warning(
            "apt-get is not here: using the corpora that pip alone gives (rendered scores, synthetic speech)"
        )
        return PIP_ONLY
    return WITH_APT


def _run(stages: Sequence[Stage], first: int) -> None:
    """Run the stages in order, saying before each which it is and how much time is left."""
    pace = 1.0
    for number, stage in enumerate(stages, first):
        left = pace * sum(s.expected_seconds for s in stages[number - first :])
        minutes = "less than a minute" if left < 60 else f"about {left / 60:.0f} min"
        logger.info("[%d/%d] %s · %s left", number, first + len(stages) - 1, stage.name, minutes)
        started = time.monotonic()
        stage.work()
        spent = time.monotonic() - started
        logger.info("      %s: %.0f s", stage.name, spent)
        if stage.name == "pretrain":
            # The pretraining tells how fast this machine is; the probes scale with it. A resumed one tells nothing.
            pace = min(max(spent / stage.expected_seconds, 1.0), 10.0)


def _fetch(plan: Plan, data: Path) -> Plan:
    """Fetch the plan's corpora; where Debian's packages turn out not to be reachable, those of the other plan."""
    try:
        for name in (plan.speech, *plan.music):
            corpus = load_corpus(name)
            if corpus.fetch is not None:
                options = {"packages": GAME_MUSIC_PACKAGES} if name == "game_music" else {}
                corpus.fetch(data / name, **options)
    except UserError as error:
        if plan == PIP_ONLY:
            raise
        logger.warning("%s\nGoing on with the corpora that pip alone gives.", error)
        return _fetch(PIP_ONLY, data)
    return plan


def _manifests(plan: Plan, data: Path, out: Path) -> None:
    """Write one manifest a corpus, and the mix that pretraining sees: training and validation clips only."""
    mix: list[Clip] = []
    for name in (plan.speech, *plan.music):
        path = _manifest(out, name)
        if not path.exists():
            write_manifest(path, load_corpus(name).read(data / name, None))
        clips = [c for c in read_manifest(path) if c.split in ("train", "valid")]
        mix += clips if name == plan.speech else _at_most(_shorten(clips), plan.music_minutes * 60)
    write_manifest(_manifest(out, "pretrain"), mix)
    # Probes and the fairness stage find the corpora by role, so that the two plans share everything after this.
    for role, name in (("speech", plan.speech), ("music", plan.music[0])):
        write_manifest(_manifest(out, role), read_manifest(_manifest(out, name)))


def _at_most(clips: Sequence[Clip], seconds: float) -> list[Clip]:
    """Return every n-th clip so that their total is at most `seconds`; spreads over all tracks."""
    total = sum(c.seconds for c in clips)
    step = max(1.0, total / seconds)
    return [clips[int(i * step)] for i in range(int(len(clips) / step))]


def _shorten(clips: Sequence[Clip]) -> list[Clip]:
    """Return the beginnings of long clips: teachers see whole clips, and a crop needs four seconds."""
    return [replace(clip, seconds=min(clip.seconds, _LONGEST_SECONDS)) for clip in clips]


def _pretrain(out: Path) -> None:
    from audio_ssl.pretrain.run import pretrain

    run = out / "run"
    pretrain("demo", [f"data.manifest={_manifest(out, 'pretrain')}"], run, resume=run.exists())


def _extract(out: Path) -> None:
    """Extract one pooled vector a layer for the test clips of the music corpus, as a table anyone can open."""
    from audio_ssl.features.extract import extract

    clips = [c for c in read_manifest(_manifest(out, "music")) if c.split == "test"]
    path = _manifest(out, "music_test")
    write_manifest(path, clips)
    extract(path, str(out / "run"), out / "features", layers="all", pool="mean", format="parquet")


def _probes(plan: Plan, out: Path) -> None:
    from audio_ssl.probing.features import BankCache
    from audio_ssl.probing.run import run_probe

    cache = BankCache()
    for probe, role in PROBES:
        overrides = [f"data.manifest={_manifest(out, role)}"]
        if role == "speech":
            overrides.append(f"data.where={{{plan.where}}}")
        logger.info("      %s: the model, then its baselines", probe)
        run_probe(probe, str(out / "run"), out / "probes" / probe, overrides, cache)


def _fairness(out: Path) -> None:
    from audio_ssl.fairness.audit import audit
    from audio_ssl.report.build import build_fairness_report

    results = [out / "probes" / "demo_asr", out / "probes" / "demo_st"]
    build_fairness_report(audit(results, ["gender"]), out / "fairness.html")


def _report(out: Path) -> None:
    from audio_ssl.report.build import build_report

    results = sorted((out / "probes").iterdir())
    build_report([out / "run", *results, out / "fairness.json"], out / "report.html", title="audio_ssl demo")


def _manifest(out: Path, name: str) -> Path:
    return out / "manifests" / f"{name}.jsonl"
