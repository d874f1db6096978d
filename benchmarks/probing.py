"""A sweep over layers, learning rates and seeds: one pass over all heads, beside one run each and re-extraction.

The question is the key of rendered scores from the mean frame of 13 layers; 13 layers, 6 rates and 3 seeds are 234
heads. All systems have the same features, head, optimiser, batches of 64 and stopping (ten epochs without a better
validation score, at most 100), and the same choice by validation.

- *stacked*: this library, all heads in one pass.
- *one run each, files*: MARBLE v1's way, a loop over runs, each reading the clips' features from .npy files, batch by
  batch.
- *one run each, memory*: the same with features in memory, which MARBLE v1 does not do: what stacking alone gives.
- *Lightning, a process each*: the same in the library and in the way that MARBLE v1 calls it, once a run; some runs
  are measured, and all are as many times more. Lightning needs no environment of its own: ``pip install --no-deps
  --target FOLDER lightning pytorch-lightning lightning-utilities torchmetrics`` and ``--lightning FOLDER``.
- *re-extraction*: s3prl's way, a learned mix of layers whose features are computed for every batch; some steps are
  measured, all steps of 18 runs (6 rates, 3 seeds) are as many times more.

Run ``python benchmarks/probing.py --manifest M`` with a manifest of rendered_scores (``audio-ssl manifest
rendered_scores --fetch --out M``); prints a table and writes ``benchmarks/results/probing.json``. The model is HuBERT
base with random weights, which costs what a trained one costs; ``--model`` names another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _machine  # type: ignore[import-not-found]
import numpy as np
import torch
from _extract_systems import our_model  # type: ignore[import-not-found]
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from audio_ssl.base.files import write_json
from audio_ssl.base.progress import Progress
from audio_ssl.data.manifest import Clip, read_manifest
from audio_ssl.features.source import FeatureSource, ModelSource, open_source
from audio_ssl.probing.clips import choose_clips
from audio_ssl.probing.features import BankCache, LayerBatch, extract_features
from audio_ssl.probing.heads import mlp
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, LayerStatistics, measure_layers
from audio_ssl.probing.live import LiveBank
from audio_ssl.probing.probe import HeadTraining, ProbeData
from audio_ssl.probing.quick import ValidationScorer
from audio_ssl.probing.score import score_test
from audio_ssl.probing.sweep import choose_run
from audio_ssl.probing.tasks import key
from audio_ssl.probing.train import Examples, TrainedHead, train_heads

HOME = Path(__file__).resolve().parents[1]
RATES = (1e-2, 5e-3, 1e-3, 5e-4, 1e-4, 5e-5)
"""MARBLE's grid."""
SEEDS = (0, 1, 2)
BATCH, EPOCHS, PATIENCE = 64, 100, 10
MEASURED_PROCESSES, MEASURED_STEPS = 12, 3


@dataclass(frozen=True)
class Setting:
    """What all systems share."""

    task: key.Key
    train: Examples
    valid: Examples
    test: list[Clip]
    statistics: LayerStatistics
    optim: HeadTraining

    def make(self, run: HeadRun) -> LayerHead:
        """Make a run's system."""
        head = mlp.build(mlp.Config(), self.statistics.mean.shape[-1], len(self.task.classes), self.task.output)
        return LayerHead(head, self.statistics, run.layer)

    def scorer(self) -> ValidationScorer:
        """Return the scorer of the validation clips."""
        return ValidationScorer(self.task, self.valid.clips, self.valid.targets)


def prepare(manifest: Path, source: FeatureSource, limit: int | None, seconds: float) -> tuple[Setting, float]:
    """Extract the features of all layers once; return them and the seconds it took."""
    task = key.build(key.Config())
    clips = read_manifest(manifest)
    if seconds:
        clips = [replace(clip, seconds=min(clip.seconds, seconds)) for clip in clips]
    (parts,), _ = choose_clips(clips, ProbeData(max_train_clips=limit), task)
    everything = [clip for part in parts.values() for clip in part]
    started = time.monotonic()
    bank = extract_features(
        everything, source, True, ProbeData(), Path("."), BankCache(), lambda clip, reason: print(clip.id, reason)
    )
    taken = time.monotonic() - started
    train, valid = (
        Examples(parts[split], [task.target(clip) for clip in parts[split]], bank) for split in ("train", "valid")
    )
    epoch = -(-len(train.clips) // BATCH)
    optim = HeadTraining(
        lrs=RATES, steps=EPOCHS * epoch, batch_clips=BATCH, optimizer="adam", eval_every=epoch, patience=PATIENCE
    )
    return Setting(task, train, valid, parts["test"], measure_layers(bank, train.clips), optim), taken


def grid(layers: Sequence[int | None]) -> list[HeadRun]:
    """Return all runs."""
    return [HeadRun(layer, lr, seed) for seed in SEEDS for lr in RATES for layer in layers]


def stacked(setting: Setting, runs: Sequence[HeadRun]) -> list[TrainedHead]:
    """Train all runs in one pass."""
    with Progress("stacked", total=setting.optim.steps) as progress:
        return train_heads(
            setting.make,
            runs,
            setting.statistics,
            setting.train,
            setting.valid,
            setting.scorer(),
            setting.optim,
            progress,
        )


class Files(Dataset):  # type: ignore[type-arg]
    """Features of clips in files, written here, as MARBLE v1 reads them."""

    def __init__(self, folder: Path, examples: Examples) -> None:
        self._paths = [folder / f"{number}.npy" for number in range(len(examples.clips))]
        self._targets = examples.targets
        folder.mkdir(parents=True)
        for path, clip in zip(self._paths, examples.clips, strict=True):
            np.save(path, examples.bank.one(clip)[:, 0].numpy())

    def __len__(self) -> int:
        """Return how many clips there are."""
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read a clip."""
        return torch.from_numpy(np.load(self._paths[index])), self._targets[index]


class Memory(Dataset):  # type: ignore[type-arg]
    """The same in memory."""

    def __init__(self, examples: Examples) -> None:
        self._features = [examples.bank.one(clip)[:, 0] for clip in examples.clips]
        self._targets = examples.targets

    def __len__(self) -> int:
        """Return how many clips there are."""
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a clip."""
        return self._features[index], self._targets[index]


def alone(setting: Setting, run: HeadRun, train: Dataset, valid: Dataset) -> TrainedHead:  # type: ignore[type-arg]
    """Train one run in a plain loop."""
    torch.manual_seed(run.seed)
    system, layer = setting.make(run), int(run.layer or 0)
    head, scorer = system.head, setting.scorer()
    mean, scale = setting.statistics.mean[layer, 0], setting.statistics.scale[layer, 0]
    optimizer = torch.optim.Adam(head.parameters(), lr=run.lr, fused=True)
    order = torch.Generator().manual_seed(run.seed)
    batches = DataLoader(train, BATCH, shuffle=True, generator=order)
    fitted, stale = TrainedHead(run), 0
    one = torch.ones(1, dtype=torch.long)

    for _ in range(EPOCHS):
        head.train()
        for features, targets in batches:
            optimizer.zero_grad(set_to_none=True)
            x = ((features[:, layer] - mean) * scale)[:, None]
            loss = nn.functional.cross_entropy(head(x, one), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(head.parameters(), 5.0)
            optimizer.step()
            fitted.steps += 1
        head.eval()
        with torch.no_grad():
            outputs = [head(((x[:, layer] - mean) * scale)[:, None], one) for x, _ in DataLoader(valid, BATCH)]
        (value,) = scorer.quick(scorer.condense(torch.cat(outputs)[None])) or [float("nan")]
        stale += 1
        if np.isnan(fitted.valid) or scorer.better(value, fitted.valid):
            fitted.valid, stale = value, 0
            fitted.state = {name: v.detach().clone() for name, v in system.state_dict().items()}
        if stale >= PATIENCE:
            break
    return fitted


def loop(setting: Setting, runs: Sequence[HeadRun], folder: Path | None) -> list[TrainedHead]:
    """Train one run after another, features from files or in memory."""
    parts = (setting.train, setting.valid)
    train: Dataset  # type: ignore[type-arg]
    valid: Dataset  # type: ignore[type-arg]
    if folder is None:
        train, valid = (Memory(part) for part in parts)
    else:
        train, valid = (Files(folder / name, part) for name, part in zip(("train", "valid"), parts, strict=True))
    fitted = []
    with Progress("one run each", total=len(runs)) as progress:
        for run in runs:
            fitted.append(alone(setting, run, train, valid))
            progress.advance()
    return fitted


def with_lightning(setting: Setting, runs: Sequence[HeadRun], home: Path) -> float:
    """Return the mean seconds of a run in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, part in (("train", setting.train), ("valid", setting.valid)):
            Files(folder / split, part)
        np.savez(
            folder / "setting.npz",
            mean=setting.statistics.mean[:, 0].numpy(),
            scale=setting.statistics.scale[:, 0].numpy(),
            train=torch.stack(setting.train.targets).numpy(),
            valid=torch.stack(setting.valid.targets).numpy(),
            classes=len(setting.task.classes),
            batch=BATCH,
            epochs=EPOCHS,
            patience=PATIENCE,
        )
        script = str(HOME / "benchmarks" / "_probing_lightning.py")
        measured = runs[:: -(-len(runs) // MEASURED_PROCESSES)]
        started = time.monotonic()
        for run in measured:
            words = [sys.executable, script, name, str(run.layer), str(run.lr), str(run.seed)]
            subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(home)}, stdout=subprocess.DEVNULL)
        return (time.monotonic() - started) / len(measured)


def reextracted(setting: Setting, source: FeatureSource) -> float:
    """Return the seconds of one step whose features are computed for it, the mix of layers and the head trained."""
    live = LiveBank(source, True)
    used = setting.train.clips[: BATCH * MEASURED_STEPS]
    live.open(used, lambda clip, reason: None)
    system = setting.make(HeadRun(None, 1e-3, 0))
    optimizer = torch.optim.Adam(system.parameters(), lr=1e-3)
    started = time.monotonic()
    for step in range(MEASURED_STEPS):
        rows = range(step * BATCH, (step + 1) * BATCH)
        # In portions, so that a batch fits memory; a frozen model's features are the same.
        portions = [live.batch([used[row] for row in rows[first : first + 8]]) for first in range(0, BATCH, 8)]
        frames = torch.ones(BATCH, dtype=torch.long)
        layers = LayerBatch(torch.cat([portion.values for portion in portions], dim=1), frames)
        batch = system.batch(setting.statistics.standardise(layers))
        loss = system.head.loss(batch, [setting.train.targets[row] for row in rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return (time.monotonic() - started) / MEASURED_STEPS


def products(seconds: float = 0.5) -> dict[str, float]:
    """Return the GFLOP/s of the first layer of 13 heads: stacked, one by one, and as one wide product."""
    heads, dim, hidden = 13, 768, 512
    x, weight = torch.randn(heads, BATCH, dim), torch.randn(heads, hidden, dim)
    ways: dict[str, Callable[[], object]] = {
        "stacked": lambda: torch.bmm(x, weight.transpose(1, 2)),
        "one by one": lambda: [nn.functional.linear(a, b) for a, b in zip(x, weight, strict=True)],
        "one wide product": lambda: nn.functional.linear(x[0], weight.flatten(0, 1)),
    }
    found = {}
    for name, way in ways.items():
        way()
        started, done = time.monotonic(), 0
        while (taken := time.monotonic() - started) < seconds:
            way()
            done += 1
        found[name] = 2e-9 * done * heads * BATCH * dim * hidden / taken
    return found


def tested(setting: Setting, fitted: Sequence[TrainedHead]) -> dict[str, Any]:
    """Return the choice of some runs and its score on the test clips."""
    chosen = choose_run(fitted, True)
    system = setting.make(chosen.run)
    system.load_state_dict(chosen.state)
    predictions = system.predict(setting.train.bank, setting.test)
    scores, unit, _ = score_test(setting.task, setting.test, predictions)
    main = scores[setting.task.metrics[0]]
    return {
        "value": main.value,
        "low": main.low,
        "high": main.high,
        "unit": unit,
        "chosen": vars(chosen.run),
        "valid": chosen.valid,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="clips with keys and three splits")
    parser.add_argument("--model", help="what is probed; HuBERT base with random weights if not given")
    parser.add_argument("--clips", type=int, help="at most so many training clips")
    parser.add_argument("--seconds", type=float, default=0.0, help="cut clips to so many seconds; 0: whole clips")
    parser.add_argument("--lightning", type=Path, help="folder where Lightning is installed")
    parser.add_argument("--out", type=Path, default=HOME / "benchmarks" / "results" / "probing.json")
    args = parser.parse_args()
    source = ModelSource("hubert_base", our_model()) if args.model is None else open_source(args.model)
    setting, extraction = prepare(args.manifest, source, args.clips, args.seconds)
    runs = grid(range(source.num_layers))
    rows: list[dict[str, Any]] = []

    def note(system: str, seconds: float, how: str, fitted: Sequence[TrainedHead] = ()) -> None:
        steps = sum(one.steps for one in fitted)
        test = tested(setting, fitted) if fitted else None
        rows.append({"system": system, "seconds": seconds, "how": how, "steps": steps, "test": test})
        print(f"{system}: {seconds:.1f} s ({how})", flush=True)

    def timed(work: Callable[[], list[TrainedHead]]) -> tuple[list[TrainedHead], float]:
        started = time.monotonic()
        return work(), time.monotonic() - started

    ours, seconds = timed(lambda: stacked(setting, runs))
    note("stacked", seconds, "measured", ours)
    with tempfile.TemporaryDirectory() as folder:
        theirs, of_files = timed(lambda: loop(setting, runs, Path(folder)))
    note("one run each, files", of_files, "measured", theirs)
    fitted, of_memory = timed(lambda: loop(setting, runs, None))
    note("one run each, memory", of_memory, "measured", fitted)
    if args.lightning is not None:
        each = with_lightning(setting, runs, args.lightning)
        note("Lightning, a process each", each * len(runs), f"{each:.1f} s a run, {MEASURED_PROCESSES} measured")
    mixes, of_mixes = timed(lambda: stacked(setting, grid([None])))
    note("stacked, mixes alone", of_mixes, "measured", mixes)
    step, steps = reextracted(setting, source), sum(one.steps for one in mixes)
    note("re-extraction, mixes alone", step * steps, f"{steps} steps of {step:.1f} s, {MEASURED_STEPS} measured")
    write_json(
        args.out,
        {
            "machine": _machine.measure().as_dict(),
            "runs": len(runs),
            "clips": {"train": len(setting.train.clips), "valid": len(setting.valid.clips), "test": len(setting.test)},
            "products_gflops": products(),
            "extraction_seconds": extraction,
            "rows": rows,
        },
    )
    print(f"features, once for all: {extraction:.0f} s; {len(runs)} runs on {len(setting.train.clips)} training clips")
    print(f"{'system':<28}{'seconds':>10}{'times ours':>12}{'with features':>15}  test")
    for row in rows:
        base = of_mixes if "mixes" in row["system"] else seconds
        extra = 0.0 if row["system"].startswith("re-extraction") else extraction
        total = (row["seconds"] + extra) / (base + extraction)
        score = "" if row["test"] is None else "{value:.1f} [{low:.1f}, {high:.1f}]".format(**row["test"])
        print(f"{row['system']:<28}{row['seconds']:>10.1f}{row['seconds'] / base:>12.1f}{total:>15.1f}  {score}")


if __name__ == "__main__":
    main()
