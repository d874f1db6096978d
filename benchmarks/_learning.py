"""What the learning benchmarks share: corpora, questions, runs and their cost.

Used by ``learning.py`` (does pretraining help?), ``judge.py`` (which of two models?), ``ablation.py`` (which of MERT's
teachers?) and ``cheap_roads.py`` (at what compute?). Runs that are finished are found again, so that each script can be
stopped and started.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _frame_probes import METRICS, ask_frames, usable  # type: ignore[import-not-found]
from _linear_probes import (  # type: ignore[import-not-found]
    Split,
    Task,
    classify,
    pooled,
    transcribe,
    value,
)
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _peers import open_system  # type: ignore[import-not-found]
from torch.utils.flop_counter import FlopCounterMode

from audio_ssl.atomic import write_json
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
    "game_music": {},
}
"""Corpora that package clients reach, and how much of them is made."""

NEWER_COLUMNS = {"rendered_scores": "notes"}
"""A column that the manifests of earlier versions lack."""

PRETRAINED_ON = {
    "speech": ("fillets", "asterisk", "tuxpaint", "synthetic_speech"),
    "music": ("rendered_scores", "game_music"),
}

TASKS = {
    "speech": (
        # Five languages, read by voices that speak all of them; a sentence and its translations are resampled together.
        Task("characters", "synthetic_speech", "text", "translation"),
        # Lines of one scene of the game share words and moods.
        Task("characters, acted", "fillets", "text", "level", ("language", "cs")),
        Task("speaker", "fillets", "speaker", "level", seconds=0.5),
        # Every voice speaks every language, so the voice does not tell.
        Task("language", "synthetic_speech", "language", "translation"),
    ),
    "music": (
        Task("key", "rendered_scores", "label", ""),
        # Of whole clips every system names nearly all instruments, as one soundfont plays each.
        Task("instrument", "rendered_scores", "instrument", "", seconds=0.5),
        Task("style", "game_music", "label", "track"),
        Task("notes", "rendered_scores", "notes", ""),
        # Of the chorales; fiddle tunes have one voice.
        Task("chords", "rendered_scores", "chords", ""),
        Task("beats", "rendered_scores", "beats", ""),
        Task("downbeats", "rendered_scores", "downbeats", ""),
    ),
}

RAREST_ANSWER = 10
"""Answers with fewer training clips are not asked for (speakers of two lines)."""

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
    clips = corpora(data, PRETRAINED_ON[domain])
    manifest = out / f"{domain}.jsonl"
    write_manifest(manifest, [c for name in PRETRAINED_ON[domain] for c in clips[name] if c.split == "train"])
    return clips, manifest


def split_of(task: Task, clips: Sequence[Clip]) -> Split:
    """Return the clips of a task: nine tenths and one tenth of the training clips, and all held-out ones."""
    if task.where is not None:
        clips = [clip for clip in clips if value(clip, task.where[0]) == task.where[1]]
    if task.answer in METRICS:
        clips = usable(task.answer, clips)
    elif task.answer != "text":
        train = [value(clip, task.answer) for clip in clips if clip.split == "train"]
        clips = [clip for clip in clips if train.count(value(clip, task.answer)) >= RAREST_ANSWER]
    if task.seconds is not None:
        clips = [excerpt(clip, task.seconds) for clip in clips]
    group = {clip.id: str(value(clip, task.cluster)) if task.cluster else clip.id for clip in clips}
    chooses = {one for one in set(group.values()) if int(hashlib.sha256(one.encode()).hexdigest(), 16) % 10 == 0}
    train_clips = [clip for clip in clips if clip.split == "train"]
    return Split(
        [clip for clip in train_clips if group[clip.id] not in chooses],
        [clip for clip in train_clips if group[clip.id] in chooses],
        [clip for clip in clips if clip.split != "train"],
    )


def excerpt(clip: Clip, seconds: float) -> Clip:
    """Return a stretch of a clip, in its first four fifths, at a place chosen by the hash of its name."""
    share = int(hashlib.sha256(clip.id.encode()).hexdigest()[:8], 16) / 2**32
    return replace(clip, start=clip.start + share * max(0.0, 0.8 * clip.seconds - seconds), seconds=seconds)


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
    found = []
    for task in TASKS[domain]:
        if names is not None and task.name not in names:
            continue
        split = split_of(task, clips[task.corpus])
        for system, name in systems.items():
            source = open_system(name)
            path = kept / f"{task.name} of {source.fingerprint}, asked {_asked(task)}.json"
            if not path.is_file():
                write_json(path, _answer(task, split, source))
            row = json.loads(path.read_text(encoding="utf-8"))
            counts = ClipCounts.of_row(row.pop("counts"))
            found.append(({"system": system, **row}, counts))
            print(line(found[-1][0]), flush=True)
    return found


PROBES = ("_linear_probes.py", "_frame_probes.py", "_ctc.py", "_linear_layer.py")
"""Modules whose change changes answers."""


def _asked(task: Task) -> str:
    """Return a hash of a question and of the probe that asks it: answers of another probe are not taken up."""
    probes = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in PROBES)
    return hashlib.sha256(f"{task}{probes}".encode()).hexdigest()[:8]


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
    interval = counts.interval()
    return {
        "task": task.name,
        "metric": SHOWN.get(counts.metric, counts.metric),
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "layer": layer,
        "train_clips": len(split.train),
        "test_clips": len(counts.clips),
        "counts": counts.row(),
    }


SHOWN = {"frame_ap": "frame AP", "chord_accuracy": "time right", "beat_f70": "F 70 ms", "downbeat_f70": "F 70 ms"}
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
