"""MERT's ablation in small: which of its orderings of teachers and of mixing hold.

Eight systems of the same recipe (`mert_mel_tiny`, masked frames left out of its encoder) get the same updates on the
same rendered scores. Their teachers are RVQ codes of a codec or k-means of log-mel and of chroma, each with and without
a constant-Q transform (CQT), each with and without in-batch mixing; three seeds of each, which also train the codec and
fit the k-means. Then linear probes on held-out clips: notes, chords, key, instrument.

Three orderings of the paper (Li et al. 2023, arXiv 2306.00107) are asked, each of all 24 models together: CQT helps key
and pitch (of its k-means teachers, chroma and CQT matter most for key), mixing helps (+1.9 over its tasks), RVQ codes
are no worse than k-means. ``_seeds.py`` says how intervals count both clips and seeds.

Run ``python benchmarks/ablation.py`` (some two hours of one core) or with ``--updates 5 --seeds 1`` to try it; prints
the tables and writes ``benchmarks/results/ablation.json``. Finished targets, runs and answers below ``--out`` are kept,
so it can be stopped and started.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _answers import answer  # type: ignore[import-not-found]
from _learning import RESULTS, TASKS, corpora, split_of, train  # type: ignore[import-not-found]
from _linear_probes import Split, Task  # type: ignore[import-not-found]
from _pairs import ClipCounts  # type: ignore[import-not-found]
from _seeds import Cell, contrast, verdict  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json
from audio_ssl.data.manifest import write_manifest
from audio_ssl.features.source import open_source
from audio_ssl.pretrain.make_targets import make_targets

RECIPE = "mert_mel_tiny"
HOP = 640
SHARED = (
    "precision=bfloat16",
    "data.crop_seconds=6.0",
    "data.seconds_per_update=24",
    "data.seconds_per_batch=24",
    # All teachers stand in all recipes, so that all systems of a seed read one store; objectives choose among them.
    "teachers=[{kind: rvq, path: CODEC}, "
    f"{{kind: kmeans, features: logmel, standardize: true, clusters: 100, hop_samples: {HOP}}}, "
    f"{{kind: kmeans, features: chroma, clusters: 100, hop_samples: {HOP}}}, "
    f"{{kind: cqt, n_bins: 84, bins_per_octave: 12, hop_samples: {HOP}, log: true}}]",
    "encoder={kind: transformer, layers: 4, dim: 192, ffn_dim: 768, heads: 4, pre_norm: true, dropout: 0.05, "
    "attention_dropout: 0.0, input_dropout: 0.0, layer_drop: 0.0, position_kernel_frames: 32}",
    # Masked frames left out and four masks a clip: so few updates teach little otherwise.
    "mask={prob: 0.6, length_frames: 8, adjust: 0.05, clones: 4}",
    "decoder={layers: 2, dim: 128, kernel_frames: 7, groups: 8, dropout: 0.0}",
    "optim={lr: 1.5e-3, warmup_steps: 60, schedule: linear, clip_norm: 5.0}",
    "checkpoint={every: 100, keep_last: 1, valid_every: 1000000}",
    "data.valid_share=0",
)
# MERT's mixing: half of the clips, up to three stretches of half a second to a second.
MIXING = "mixing={prob: 0.5, max_segments: 3, min_seconds: 0.5, max_seconds: 1.0}"
CODES = {"RVQ": (0,), "k-means": (1, 2)}
ASKED = ("notes", "chords", "key", "instrument")
# Chords of the chorales, so that all questions are about the music that was heard in training.
QUESTIONS = (
    *(task for task in TASKS["music"] if task.name in ("key", "notes", "instrument")),
    Task("chords", "rendered_scores", "chords", "", seconds=8.0),
)
METRICS = {"notes": "AP", "chords": "time right", "key": "accuracy", "instrument": "accuracy"}


@dataclass(frozen=True)
class System:
    """One of the eight."""

    codes: str
    """Name of the discrete teachers."""

    cqt: bool
    mixing: bool

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.codes}{' + CQT' if self.cqt else ''}{', mixing' if self.mixing else ''}"

    def settings(self) -> list[str]:
        """Return what is this system's own in the recipe."""
        # Losses of codebooks are averaged, so that RVQ's eight weigh no more beside the CQT than k-means' two.
        share = 1 / len(CODES[self.codes])
        heads = [
            f"{{kind: masked_codes, teacher: {index}, head: linear, codebook_loss: mean, weight: {share:g}}}"
            for index in CODES[self.codes]
        ]
        if self.cqt:
            heads.append("{kind: reconstruction, teacher: 3, weight: 1.0}")
        return [f"objectives=[{', '.join(heads)}]", MIXING if self.mixing else "mixing=null"]


SYSTEMS = tuple(System(*one) for one in itertools.product(CODES, (False, True), (False, True)))


@dataclass(frozen=True)
class Ordering:
    """What the paper found, as a contrast of the systems."""

    name: str
    factor: str
    """Field of a system."""

    above: Any
    """Its value on the side that should be ahead."""

    tasks: tuple[str, ...]
    """Whose mean is asked."""

    paper: str


ORDERINGS = (
    Ordering("CQT helps key", "cqt", True, ("key",), "k-means of log-mel and chroma 55.1, with CQT 65.0"),
    Ordering("CQT helps pitch", "cqt", True, ("notes",), "said of the CQT; pitch of notes is asked there"),
    Ordering("mixing helps", "mixing", True, ASKED, "+1.9 over its tasks"),
    Ordering("RVQ ≥ k-means", "codes", "RVQ", ASKED, "RVQ ahead over its tasks"),
)


def weights(factor: str, above: Any, among: Sequence[System] = SYSTEMS) -> dict[str, float]:
    """Return the mean of the systems with this value of a factor, minus the mean of the others."""
    ahead = [one for one in among if getattr(one, factor) == above]
    return {one.name: 1 / len(ahead) if one in ahead else -1 / (len(among) - len(ahead)) for one in among}


def run_settings(system: System | None, seed: int, updates: int, codec: Path, store: Path | None) -> list[str]:
    """Return the settings of a run, or without `system` and `store` those of the targets that all share."""
    own = (system or SYSTEMS[0]).settings()
    settings = [*(one.replace("CODEC", str(codec)) for one in SHARED), *own, f"steps={updates}", f"seed={seed}"]
    return settings if store is None else [*settings, f"data.targets={store}"]


def thinned(split: Split) -> Split:
    """Return the clips of a question with half of those that teach a probe: 24 models are asked, and all alike."""
    return replace(split, train=split.train[::2])


def ask(run: Path, clips: Mapping[str, Sequence[Any]], kept: Path) -> dict[str, ClipCounts]:
    """Return what a trained model answers on the held-out clips, task by task."""
    source = open_source(str(run))
    return {task.name: answer(task, thinned(split_of(task, clips[task.corpus])), source, kept) for task in QUESTIONS}


def asked_models(
    seed: int, updates: int, codec_updates: int, clips: Mapping[str, Sequence[Any]], manifest: Path, out: Path
) -> dict[str, dict[str, ClipCounts]]:
    """Train the eight systems of a seed, or find them done; return what each answers."""
    home, found = out / f"seed_{seed}", {}
    # 25 frames a second, as the model has.
    ratios = ["codec.ratios=[4,4,5,8]", f"steps={codec_updates}", f"seed={seed}"]
    codec = train("codec_tiny", ratios, manifest, home / "codec")
    shared = [f"data.manifest={manifest}", *run_settings(None, seed, 1, codec, None)]
    store = make_targets(RECIPE, shared, home / "targets")
    for system in SYSTEMS:
        slug = system.name.replace(",", "").replace(" + ", "_").replace(" ", "_").lower()
        settings = run_settings(system, seed, updates, codec, store)
        run = train(RECIPE, settings, manifest, home / f"{slug}_{updates}")
        found[system.name] = ask(run, clips, out / "answers")
    return found


def findings(cells: Mapping[str, Cell], asked: Sequence[str]) -> list[dict[str, Any]]:
    """Return each ordering with its contrast, of all systems, and its verdict."""
    rows = []
    for one in ORDERINGS:
        tasks = [task for task in one.tasks if task in asked]
        if tasks:
            found = contrast(cells, weights(one.factor, one.above), tasks)
            rows.append({"ordering": one.name, "paper": one.paper, "tasks": tasks, **found._asdict()})
            rows[-1]["verdict"] = verdict(found)
    return rows


def effects(cells: Mapping[str, Cell], asked: Sequence[str]) -> list[dict[str, Any]]:
    """Return what each factor does to each task, and CQT and mixing among the systems of one kind of codes."""
    found = []
    kinds = {kind: [one for one in SYSTEMS if one.codes == kind] for kind in CODES}
    for name, factor, above, among in (
        ("CQT", "cqt", True, SYSTEMS),
        *((f"CQT beside {kind}", "cqt", True, few) for kind, few in kinds.items()),
        ("mixing", "mixing", True, SYSTEMS),
        *((f"mixing with {kind}", "mixing", True, few) for kind, few in kinds.items()),
        ("RVQ instead of k-means", "codes", "RVQ", SYSTEMS),
    ):
        for task in asked:
            effect = contrast(cells, weights(factor, above, among), [task])
            found.append({"effect": name, "task": task, **effect._asdict()})
    return found


def table(cells: Mapping[str, Cell], asked: Sequence[str]) -> list[dict[str, Any]]:
    """Return the mean over seeds of each system's score on each task."""
    rows = []
    for name, cell in cells.items():
        for task in asked:
            found = contrast(cells, {name: 1.0}, [task])
            scores = [answers[task].of_all() for answers in cell]
            clips = len(cell[0][task].clips)
            about = {"metric": METRICS[task], "seeds": scores, "test_clips": clips}
            rows.append({"system": name, "task": task, **found._asdict(), **about})
    return rows


def lines(result: Mapping[str, Any]) -> list[str]:
    """Return the tables as text."""
    said = [f"{row['system']:<24}{row['task']:<12}{_interval(row)}" for row in result["rows"]]
    said += ["", *(f"{row['effect']:<24}{row['task']:<12}{_interval(row, '+')}" for row in result["effects"])]
    said += ["", *(f"{row['ordering']:<24}{_interval(row, '+')}  {row['verdict']}" for row in result["findings"])]
    return said


def _interval(row: Mapping[str, Any], sign: str = "") -> str:
    return f"{row['value']:{sign}6.1f} [{row['low']:{sign}5.1f}, {row['high']:{sign}5.1f}]"


def main() -> None:
    """Train what is missing, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--updates", type=int, default=600, help="of each of the runs")
    parser.add_argument("--codec-updates", type=int, default=200, help="of the codec whose codes RVQ predicts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--seed", type=int, action="append", help="train and ask this one alone, beside another process; no table"
    )
    parser.add_argument("--results", type=Path, default=RESULTS / "ablation.json", help="where the result is written")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips = corpora(args.data, ["rendered_scores"])
    manifest = args.out / "music.jsonl"
    write_manifest(manifest, [clip for clip in clips["rendered_scores"] if clip.split == "train"])
    cells: dict[str, list[dict[str, ClipCounts]]] = {one.name: [] for one in SYSTEMS}
    # Seed by seed: after the first there is a table of one seed to look at.
    for seed in args.seed or range(args.seeds):
        found = asked_models(seed, args.updates, args.codec_updates, clips, manifest, args.out)
        for name, counts in found.items():
            cells[name].append(counts)
    if args.seed:
        return
    asked = [task for task in ASKED if task in cells[SYSTEMS[0].name][0]]
    result = {
        "recipe": RECIPE,
        "updates": args.updates,
        "seeds": args.seeds,
        "rows": table(cells, asked),
        "effects": effects(cells, asked),
        "findings": findings(cells, asked),
    }
    print("\n".join(["", *lines(result)]))
    write_json(args.results, result)


if __name__ == "__main__":
    main()
