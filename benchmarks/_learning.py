"""What the learning benchmarks share: corpora, questions, runs and their cost.

Used by ``learning.py`` (does pretraining help?), ``judge.py`` (which of two models?), ``ablation.py`` (which of MERT's
teachers?) and ``cheap_roads.py`` (at what compute?). Runs that are finished are found again, so that each script can be
stopped and started.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _excerpts import OF, excerpts  # type: ignore[import-not-found]
from _frame_probes import METRICS, ask_frames, usable  # type: ignore[import-not-found]
from _heard import pooled  # type: ignore[import-not-found]
from _linear_probes import (  # type: ignore[import-not-found]
    RAREST_ANSWER,
    SEVERAL,
    Split,
    Task,
    classify,
    transcribe,
    value,
)
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _peers import made_for, open_system  # type: ignore[import-not-found]
from torch.utils.flop_counter import FlopCounterMode

from audio_ssl.base.files import write_json
from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.loader import Batch
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.features.source import FeatureSource
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.update import Updater

RESULTS = Path(__file__).parent / "results"

CORPORA: dict[str, dict[str, Any]] = {
    "fillets": {},
    "asterisk": {},
    "tuxpaint": {},
    "synthetic_speech": {"clips": 3000},
    "rendered_scores": {"clips": 1500},
    "rendered_bands": {"clips": 3000},
    "game_music": {},
}
"""Corpora that package clients reach, and how much of them is made."""

NEWER_COLUMNS = {"rendered_scores": "notes"}
"""A column that the manifests of earlier versions lack."""

PRETRAINED_ON = {
    "speech": ("fillets", "asterisk", "tuxpaint", "synthetic_speech"),
    "music": ("rendered_scores", "game_music"),
}

ASKED_ABOUT = {"speech": (), "music": ("rendered_bands",)}
"""Further corpora that questions are about. Their held-out tunes are those of `rendered_scores`."""

TASKS = {
    "speech": (
        # Five languages, read by voices that speak all of them; a sentence and its translations are resampled together.
        Task("characters", "synthetic_speech", "text", "translation"),
        # Lines of one scene of the game share words and moods.
        Task("characters, acted", "fillets", "text", "level", ("language", "cs")),
        Task("speaker", "fillets", "speaker", "level", seconds=0.5, stretches=3),
        # Every voice speaks every language, so the voice does not tell.
        Task("language", "synthetic_speech", "language", "translation"),
    ),
    "music": (
        # Eight seconds of one instrument or one tune, which are heard once for all of these.
        Task("key", "rendered_scores", "label", "", seconds=8.0),
        Task("notes", "rendered_scores", "notes", "", seconds=8.0),
        Task("beats", "rendered_scores", "beats", "", seconds=8.0),
        Task("downbeats", "rendered_scores", "downbeats", "", seconds=8.0),
        # Of whole clips every system names nearly all instruments, as one soundfont plays each.
        Task("instrument", "rendered_scores", "instrument", OF, seconds=0.5, stretches=4),
        Task("style", "game_music", "label", "track", seconds=5.0),
        # Several instruments at once, one rendering of each tune.
        Task("key, bands", "rendered_bands", "label", "track", ("take", 0), seconds=5.0),
        Task("instruments, bands", "rendered_bands", "tags", "track", ("take", 0), seconds=5.0),
        Task("notes, bands", "rendered_bands", "notes", "track", ("take", 0), seconds=5.0),
        Task("chords", "rendered_bands", "chords", "track", ("take", 0), seconds=5.0),
    ),
}

_MEASURED_CLIPS, _MEASURED_UPDATES, _COUNTED_UPDATES = 200, 8, 2


def corpora(data: Path, names: Iterable[str]) -> dict[str, list[Clip]]:
    """Fetch corpora and return their clips, splits included."""
    found = {}
    for name in names:
        path = data / f"{name}.jsonl"
        if not path.is_file():
            corpus = load_corpus(name)
            if corpus.fetch is not None:
                corpus.fetch(data / name, **CORPORA[name])
            write_manifest(path, corpus.read(data / name, None))
        found[name] = read_manifest(path)
        newer = NEWER_COLUMNS.get(name)
        if newer and not any(newer in clip.extra for clip in found[name]):
            # A manifest of before its reader knew them.
            found[name] = list(load_corpus(name).read(data / name, None))
    return found


def prepare(domain: str, data: Path, out: Path) -> tuple[dict[str, list[Clip]], Path]:
    """Return a domain's clips by corpus, and the manifest of its training clips, which it writes."""
    clips = corpora(data, (*PRETRAINED_ON[domain], *ASKED_ABOUT[domain]))
    manifest = out / f"{domain}.jsonl"
    write_manifest(manifest, [c for name in PRETRAINED_ON[domain] for c in clips[name] if c.split == "train"])
    return clips, manifest


def asked_of(task: Task, clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips, or the stretches of clips, that a question can be asked of."""
    if task.where is not None:
        clips = [clip for clip in clips if value(clip, task.where[0]) == task.where[1]]
    if task.answer not in ("text", *SEVERAL, *METRICS):
        counts = Counter(value(clip, task.answer) for clip in clips if clip.split == "train")
        clips = [clip for clip in clips if counts[value(clip, task.answer)] >= RAREST_ANSWER]
    if task.seconds is not None:
        clips = [one for clip in clips for one in excerpts(clip, task.seconds, task.stretches)]
    return usable(task.answer, clips) if task.answer in METRICS else list(clips)


def split_of(task: Task, clips: Sequence[Clip]) -> Split:
    """Return the clips of a task: nine tenths and one tenth of the training clips, and all held-out ones."""
    clips = asked_of(task, clips)
    group = {clip.id: str(value(clip, task.cluster)) if task.cluster else clip.id for clip in clips}
    chooses = {one for one in set(group.values()) if int(hashlib.sha256(one.encode()).hexdigest(), 16) % 10 == 0}
    train_clips = [clip for clip in clips if clip.split == "train"]
    return Split(
        [clip for clip in train_clips if group[clip.id] not in chooses],
        [clip for clip in train_clips if group[clip.id] in chooses],
        [clip for clip in clips if clip.split != "train"],
    )


def probe(
    domain: str,
    systems: dict[str, str],
    clips: dict[str, list[Clip]],
    kept: Path,
    names: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Ask every system the questions of a domain, as `ask`; print and return the rows."""
    return [row for row, _ in ask(domain, systems, clips, kept, names)]


def ask(
    domain: str,
    systems: dict[str, str],
    clips: dict[str, list[Clip]],
    kept: Path,
    names: Sequence[str] | None = None,
) -> list[tuple[dict[str, Any], ClipCounts]]:
    """Ask every system the questions of a domain; print and return rows, and what each is a score of.

    Parameters
    ----------
    domain
        ``speech`` or ``music``.
    systems
        Names of the table to what `open_source` opens.
    clips
        By corpus.
    kept
        Folder of answers that are known already: one file a system and task.
    names
        Of the questions; None: all.
    """
    tasks = [task for task in TASKS[domain] if names is None or task.name in names]
    splits = {task.name: split_of(task, clips[task.corpus]) for task in tasks}
    found: dict[tuple[str, str], tuple[dict[str, Any], ClipCounts]] = {}
    # System by system, so that questions about the same clips hear them once.
    for system, name in systems.items():
        source = open_system(name)
        for task in tasks:
            if not made_for(name, task.name):
                continue
            split = splits[task.name]
            path = kept / f"{task.name} of {source.fingerprint}, asked {asked(task, split)}.json"
            if not path.is_file():
                write_json(path, _answer(task, split, source))
            row = json.loads(path.read_text(encoding="utf-8"))
            counts = ClipCounts.of_row(row.pop("counts"))
            # Off the counts, so that an answer that was kept has the interval of today.
            row.update(counts.interval()._asdict())
            found[task.name, system] = {"system": system, **row}, counts
            print(line(found[task.name, system][0]), flush=True)
    return [found[task.name, system] for task in tasks for system in systems if (task.name, system) in found]


PROBES = (
    "_linear_probes.py",
    "_frame_probes.py",
    "_clip_probes.py",
    "_whitening.py",
    "_excerpts.py",
    "_ctc.py",
    "_linear_layer.py",
)
"""Modules whose change changes answers."""


def asked(task: Task, split: Split) -> str:
    """Return a hash of a question, its clips and the probe: answers of another probe are not taken up."""
    clips = [[clip.id, clip.start, clip.seconds] for part in vars(split).values() for clip in part]
    probes = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in PROBES)
    return hashlib.sha256(f"{task}{clips}{probes}".encode()).hexdigest()[:12]


def ask_one(task: Task, split: Split, source: FeatureSource) -> tuple[ClipCounts, int]:
    """Return what a representation answers on the test clips, and the layer that was chosen."""
    if task.answer == "text":
        return transcribe(split, task, source)  # type: ignore[no-any-return]
    if task.answer in METRICS:
        counts, layer, _ = ask_frames(split, task, source)
        return counts, layer
    return classify(split, task, pooled([*split.train, *split.valid, *split.test], source))  # type: ignore[no-any-return]


def _answer(task: Task, split: Split, source: FeatureSource) -> dict[str, Any]:
    counts, layer = ask_one(task, split, source)
    return {
        "task": task.name,
        "metric": SHOWN.get(counts.metric, counts.metric),
        "layer": layer,
        "train_clips": len(split.train),
        "test_clips": len(counts.clips),
        "counts": counts.row(),
    }


SHOWN = {"frame_ap": "AP", "chord_accuracy": "time right", "beat_f70": "F 70 ms", "downbeat_f70": "F 70 ms"}
"""Scores by the names that tables give them."""


def line(row: dict[str, Any]) -> str:
    """Return one row of the table as text."""
    interval = f"{row['value']:6.1f} % [{row['low']:5.1f}, {row['high']:5.1f}]"
    return f"{row['task']:<17} {row['metric']:<10} {row['system']:<28} {interval}  layer {row['layer']}"


def train(recipe: str, settings: Sequence[str], manifest: Path, out: Path) -> Path:
    """Pretrain by a recipe, or find it done; return the run's folder."""
    return pretrain(recipe, [f"data.manifest={manifest}", *settings], out, resume=True)


@dataclass
class Cost:
    """What a recipe's updates cost."""

    gflop_per_update: float
    """Matrix products and convolutions, forward and backward; teachers left out."""

    seconds_per_update: float
    """Median, by the clock of this machine."""

    audio_seconds_per_update: float
    """As the recipe says."""


@dataclass
class _Counter:
    flops: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


@contextmanager
def _counted() -> Iterator[_Counter]:
    """Count the operations of the first updates of each stretch of training."""
    counter, add = _Counter(), Updater.add

    def counting(self: Updater, batch: Batch, step: int) -> None:
        if step >= _COUNTED_UPDATES:
            return add(self, batch, step)
        with FlopCounterMode(display=False) as mode:
            add(self, batch, step)
        counter.flops.append(mode.get_total_flops())
        counter.steps.append(step)
        return None

    Updater.add = counting  # type: ignore[method-assign]
    try:
        yield counter
    finally:
        Updater.add = add  # type: ignore[method-assign]


def measure(recipe: str, settings: Sequence[str], manifest: Path) -> Cost:
    """Make a few updates of a recipe with few clips, as costs do not depend on what is heard."""
    heard = load_recipe(recipe, settings).data.seconds_per_update
    clips = read_manifest(manifest)
    with TemporaryDirectory() as name, _counted() as counter:
        few = Path(name) / "few.jsonl"
        write_manifest(few, clips[:: max(1, len(clips) // _MEASURED_CLIPS)])
        mine = [f"data.manifest={few}", *settings, f"steps={_MEASURED_UPDATES}", "data.valid_share=0"]
        run = pretrain(recipe, mine, Path(name) / "run")
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    timed = [row for row in rows if row["step"] > _COUNTED_UPDATES]
    # A codec that the run trained first was counted before.
    last = len(counter.steps) - 1 - counter.steps[::-1].index(0)
    flops = sum(counter.flops[last:]) / (1 + counter.steps[-1])
    return Cost(flops / 1e9, statistics.median(heard / row["audio_seconds_per_second"] for row in timed), heard)
