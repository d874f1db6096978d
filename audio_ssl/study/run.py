"""The `study` stage: draws sets, pretrains a model on each, runs the same probes on all models, compares the scores.

The folder of a study has ``study.yaml`` and ``provenance.json``; ``sets/NAME/`` with ``manifest.jsonl``,
``balance.json``, ``run/`` and ``probes/COLUMN/``; ``untrained/probes/COLUMN/``; and the table as ``study.json``,
``study.md`` and ``study.html``. With several seeds, each set has a folder ``seed_N/`` per seed. Finished work is not
repeated, so a stopped study continues with the same command.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from audio_ssl.artifacts.records import to_json, write_record
from audio_ssl.artifacts.run import PROVENANCE_FILE, hash_recipe
from audio_ssl.artifacts.study import StudyOrigin, StudyResult, read_origin
from audio_ssl.base.config import dump_yaml
from audio_ssl.base.documents import as_object, parse_yaml, read_text, read_yaml
from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.base.files import is_used, locked_folder, write_text
from audio_ssl.data.manifest import hash_manifest, write_manifest
from audio_ssl.features.source import UNTRAINED_PREFIX
from audio_ssl.pretrain.recipe import identity
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.run_folder import is_whole
from audio_ssl.probing.features import BankCache
from audio_ssl.probing.result import is_finished
from audio_ssl.probing.run import run_probe
from audio_ssl.report.html import Page, render
from audio_ssl.report.language.study import study_answer, study_markdown
from audio_ssl.report.numbers import count
from audio_ssl.report.pages import sections_of
from audio_ssl.study.plan import StudyPlan, make_plan
from audio_ssl.study.settings import DrawnSet, StudyFolders
from audio_ssl.study.table import read_study

logger = logging.getLogger(__name__)


def run_study(name: str, out: Path, overrides: Sequence[str] = ()) -> Path:
    """Run a study, or continue a stopped one.

    Parameters
    ----------
    name
        Name or path of a study.
    out
        Folder of the study. A folder of another study is refused.
    overrides
        ``key=value`` settings, among them ``manifest=POOL.jsonl``.

    Returns
    -------
    The page, ``out/study.html``.

    Raises
    ------
    UserError
        For an error in the study, the pool or the folder, before any training.
    StoppedBySignal
        After a signal during pretraining, with the state saved.
    """
    # Paths are absolute, so that a study continues from any working directory.
    out = out.absolute()
    plan = make_plan(name, overrides)
    with locked_folder(out):
        return _do(plan, out)


def _do(plan: StudyPlan, out: Path) -> Path:
    layout = StudyFolders(out, plan.study)
    _claim(out, plan)
    for warning in plan.warnings:
        logger.warning("%s", warning)
    steps = len(layout.places()) + len(_twins(layout))
    for number, place in enumerate(layout.places(), 1):
        logger.info("[%d/%d] %s", number, steps, _title(plan, place))
        _draw(plan, place)
        _pretrain(plan, place)
        _ask(plan, place, str(place.folder / "run"))
    first = {place.seed: place for place in reversed(layout.places())}
    for number, place in enumerate(_twins(layout), len(layout.places()) + 1):
        logger.info("[%d/%d] %s", number, steps, _title(plan, place))
        _ask(plan, place, f"{UNTRAINED_PREFIX}{first[place.seed].folder / 'run'}")
    return write_pages(out, read_study(plan, layout))


def _twins(layout: StudyFolders) -> list[DrawnSet]:
    return layout.untrained() if layout.study.untrained else []


def _title(plan: StudyPlan, place: DrawnSet) -> str:
    return place.set if len(plan.study.seeds) == 1 else f"{place.set}, seed {place.seed}"


def _claim(out: Path, plan: StudyPlan) -> None:
    """Write the settings of the study; refuse a folder that holds something else."""
    text, origin = dump_yaml(plan.study), _origin(plan)
    path = out / "study.yaml"
    if path.exists():
        old = read_origin(out, remedy="choose another --out") or StudyOrigin()
        compared = ("manifests", "probe_hashes", "recipe_hash", "study")
        differ = [key for key in compared if getattr(old, key) != getattr(origin, key)]
        if read_text(path) != text or differ:
            then, now = read_yaml(path), as_object(parse_yaml(text, "study"), "study")
            differ += sorted(key for key in now if not isinstance(then, dict) or then.get(key) != now[key])
            raise UserError(
                f"the folder holds another study; what differs: {', '.join(differ)}",
                where=str(out),
                remedy="choose another --out",
            )
        return
    # A process that was killed right at its start leaves the provenance only.
    if is_used(out, PROVENANCE_FILE):
        raise UserError("the folder is not empty and holds no study", where=str(out), remedy="choose another --out")
    write_record(out / PROVENANCE_FILE, origin)
    write_text(path, text)


def _origin(plan: StudyPlan) -> StudyOrigin:
    """Return hashes of what the study names: manifests, and recipe and probes with all their settings."""
    manifests = {str(plan.study.manifest)} | {str(question.probe.data.manifest) for question in plan.questions}
    return StudyOrigin(
        command=("audio-ssl", *sys.argv[1:]),
        study=plan.name,
        manifests={path: hash_manifest(Path(path)) for path in sorted(manifests)},
        recipe_hash=hash_recipe(identity(plan.recipe)),
        probe_hashes={q.name: hash_recipe({"probe": dump_yaml(q.probe)}) for q in plan.questions},
        seeds=plan.study.seeds,
        versions={"audio_ssl": version("audio-ssl"), "torch": torch.__version__},
    )


def _draw(plan: StudyPlan, place: DrawnSet) -> None:
    drawn = plan.drawn[place.set, place.seed]
    if not (place.folder / "balance.json").exists():
        write_manifest(place.folder / "manifest.jsonl", drawn.clips)
        write_record(place.folder / "balance.json", drawn.record)


def _pretrain(plan: StudyPlan, place: DrawnSet) -> None:
    run = place.folder / "run"
    if not is_whole(run):
        settings = plan.settings(place, place.folder / "manifest.jsonl")
        try:
            pretrain(plan.study.pretrain.recipe, settings, run, resume=run.exists())
        except StoppedBySignal as stop:
            # The message of `pretrain` names an option that `study` does not have.
            said = StoppedBySignal(f"stopped while pretraining on {place.set}; the same command continues from there")
            said.said = stop.said
            raise said from stop


def _ask(plan: StudyPlan, place: DrawnSet, model: str) -> None:
    cache = BankCache()
    for question in plan.questions:
        out = place.folder / "probes" / question.name
        if not is_finished(out):
            probe, settings = plan.ask(question.name, place.seed)
            run_probe(probe, model, out, settings, cache)


def write_pages(out: Path, study: StudyResult) -> Path:
    """Write ``study.json``, ``study.md`` and ``study.html`` into `out`; return the page."""
    write_record(out / "study.json", study)
    write_text(out / "study.md", study_markdown(study))
    columns, sets = count(len(study.columns), "question"), count(len(study.sets), "pretraining set")
    page = Page(
        title=f"Study {study.name}",
        answer=study_answer(study),
        sections=sections_of(study),
        about=f"Made by audio_ssl: {sets}, {columns} asked of each model.",
        json_name="study.json",
        data=to_json(study),
    )
    write_text(out / "study.html", render(page))
    return out / "study.html"
