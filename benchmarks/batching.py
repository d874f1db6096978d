"""What an update is made of: neighbours in length, groups of them drawn at random as in fairseq, or single clips.

Two questions, by the lengths and the audio of a manifest of read speech:

* ``lengths``: the update of HuBERT base, 32 groups of 87.5 s: padding, lengths inside an update and of updates, and the
  micro-batches that 32 processes share;
* ``noise``: how far the gradient of an update is from that of all clips. A tiny model is trained for a while; then
  the gradient of each of many crops is taken once, alone, and sketched (Charikar et al. 2002: coordinates are added up
  in buckets with random signs, which keeps inner products). As batched equals single, the gradient of any update is a
  sum of these, so that hundreds of updates of each kind cost nothing.

Run ``python benchmarks/batching.py --manifest M.jsonl`` (three minutes of a core); prints, and writes
``benchmarks/results/batching.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audio_ssl.base.files import write_json
from audio_ssl.base.seeds import generator
from audio_ssl.data.batching import Batching, Crop, Update
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import Batch, Loader, LoaderSetup, Position, collate, load_crop
from audio_ssl.data.subsets import lengths_of
from audio_ssl.pretrain.jobs import StageContext, Training, loader_setups
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.recipe import Recipe, load_recipe
from audio_ssl.pretrain.selection import select_clips
from audio_ssl.pretrain.update import Updater

RESULT = Path(__file__).parent / "results" / "batching.json"
RATE = 16000
CROP_SECONDS, UPDATE_SECONDS, GROUP_SECONDS = 15.6, 2800.0, 87.5
"""Of HuBERT base."""

WAYS: dict[str, float | None] = {
    "neighbours in length": None,
    "groups of 87.5 s": GROUP_SECONDS,
    "single clips": CROP_SECONDS,
}
BUCKETS = 8192
TINY = (
    *("encoder.layers=2", "encoder.dim=128", "encoder.ffn_dim=512", "encoder.dropout=0.0", "data.min_seconds=1.0"),
    *(f"data.crop_seconds={CROP_SECONDS}", "teachers.0.clusters=50", "device=cpu", "checkpoint.valid_seconds=600"),
)


def drawn_lengths(seconds: Sequence[float], number: int, seed: int) -> list[int]:
    """Return lengths drawn from between those of real clips, in samples."""
    known = np.sort(np.asarray(seconds))
    places = np.random.default_rng(seed).random(number) * (len(known) - 1)
    return [int(length * RATE) for length in np.interp(places, np.arange(len(known)), known)]


def plan(lengths: Sequence[int], group_seconds: float | None, seed: int = 1) -> Batching:
    """Return HuBERT base's plan of clips of these lengths, in samples."""
    return Batching(
        tuple(lengths),
        hop_samples=320,
        crop_samples=int(CROP_SECONDS * RATE),
        update_samples=int(UPDATE_SECONDS * RATE),
        batch_samples=int(GROUP_SECONDS * RATE),
        seed=seed,
        group_samples=None if group_seconds is None else int(group_seconds * RATE),
    )


def composition(updates: Sequence[Update]) -> dict[str, float]:
    """Return what updates are made of."""
    seconds = [[[crop.num_samples / RATE for crop in micro] for micro in update] for update in updates]
    inside = [[length for micro in update for length in micro] for update in seconds]
    padded = sum(max(micro) * len(micro) for update in seconds for micro in update)
    rounds = [-(-len(update) // 32) for update in seconds]
    return {
        "padding": 1 - sum(map(sum, inside)) / padded,
        "deviation_inside": statistics.mean(map(statistics.pstdev, inside)),
        "deviation_of_means": statistics.pstdev(map(statistics.mean, inside)),
        "seconds": statistics.mean(map(sum, inside)),
        "micro_batches": statistics.mean(map(len, seconds)),
        "busy_of_32": sum(map(len, seconds)) / (32 * sum(rounds)),
    }


def lengths_part(seconds: Sequence[float]) -> list[dict[str, Any]]:
    """Compare the ways by the lengths alone."""
    lengths = drawn_lengths(seconds, 20_000, 0)
    # The last update of an epoch may be of another size.
    return [{"way": way, **composition(plan(lengths, group).epoch(0)[:-1])} for way, group in WAYS.items()]


def prepared(recipe: Recipe, out: Path) -> tuple[Training, LoaderSetup]:
    """Fit the teachers, build the learner and what it reads."""
    assert isinstance(recipe, masked_prediction.Config)
    selection = select_clips(recipe.data)
    ledger = ErrorLedger(out / "errors.jsonl")
    reader, device = ClipReader(RATE), torch.device("cpu")
    context = StageContext(out, selection, reader, ledger, device, None, lambda recipe, folder: folder)
    training = masked_prediction.build(recipe, context)
    return training, loader_setups(recipe, training, context)[0]


def virtual_crops(setup: LoaderSetup, number: int) -> list[Crop]:
    """Return crops of drawn lengths, each somewhere in a clip that is long enough, with masks of their own."""
    rng = np.random.default_rng(1)
    known = np.asarray(setup.batching.lengths_samples)
    crops = []
    for drawn in drawn_lengths([length / RATE for length in known], number, 2):
        length = min(drawn, int(CROP_SECONDS * RATE))
        clip = int(rng.choice(np.flatnonzero(known >= length)))
        start = int(rng.integers(0, (known[clip] - length) // 640 + 1)) * 640
        crops.append(Crop(clip, start, length, int(rng.integers(2**62))))
    return crops


def sketched(training: Training, setup: LoaderSetup, crops: Sequence[Crop]) -> tuple[Tensor, Tensor]:
    """Return each crop's sketched gradient of the summed loss, and its count of masked frames."""
    parameters = [one for one in training.learner.parameters() if one.requires_grad]
    size = sum(one.numel() for one in parameters)
    draw = torch.Generator().manual_seed(5)
    bucket = torch.randint(BUCKETS, (size,), generator=draw)
    sign = torch.randint(2, (size,), generator=draw) * 2.0 - 1
    sums, counts = torch.zeros(len(crops), BUCKETS), torch.zeros(len(crops))
    training.learner.eval()
    for row, crop in enumerate(crops):
        batch: Batch = collate([load_crop(setup, crop)], RATE)
        training.learner.zero_grad()
        output = training.learner(batch, generator(row), 0)
        output.loss_sum.backward()
        gradient = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
        )
        sums[row].index_add_(0, bucket, gradient * sign)
        counts[row] = output.count
    return sums, counts


def noise_of(updates: Sequence[Update], sums: Tensor, counts: Tensor) -> float:
    """Return the mean squared distance of the updates' gradients from that of all crops, over its square."""
    whole = sums.sum(0) / counts.sum()
    found = []
    for update in updates:
        rows = torch.tensor([crop.clip for micro in update for crop in micro])
        found.append(float((sums[rows].sum(0) / counts[rows].sum() - whole).square().sum()))
    return statistics.mean(found) / float(whole.square().sum())


def noise_part(manifest: Path, out: Path, number: int, updates: int) -> dict[str, Any]:
    """Compare the ways by the noise of the gradient, before and after some training."""
    recipe = load_recipe("hubert_mel_tiny", [f"data.manifest={manifest}", f"steps={max(1, updates)}", *TINY])
    training, setup = prepared(recipe, out)
    updater = Updater(training.learner, recipe, recipe.steps, torch.device("cpu"))
    crops = virtual_crops(setup, number)
    lengths = [crop.num_samples for crop in crops]
    rows = []
    for done in (0, updates):
        if done:
            _train(updater, setup, done)
        sums, counts = sketched(training, setup, crops)
        for way, group in WAYS.items():
            # The crops are the clips of the plan; each epoch makes other updates of them, the last a smaller one.
            values = [noise_of(plan(lengths, group, seed).epoch(0)[:-1], sums, counts) for seed in range(40)]
            error = statistics.stdev(values) / len(values) ** 0.5
            rows.append({"way": way, "after_updates": done, "noise": statistics.mean(values), "error": error})
    return {"crops": number, "rows": rows}


def _train(updater: Updater, setup: LoaderSetup, updates: int) -> None:
    done = 0
    with Loader(setup, Position(0, 0)) as loader:
        for item in loader:
            if isinstance(item, Batch):
                updater.add(item, done)
                continue
            updater.finish(done)
            done += 1
            if done == updates:
                return


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="read speech at 16 kHz, clips of about 15 s")
    parser.add_argument("--out", type=Path, default=Path("runs/batching"), help="folder of the runs")
    parser.add_argument("--parts", nargs="+", default=["lengths", "noise"])
    parser.add_argument("--crops", type=int, default=1000, help="crops whose gradients are taken")
    parser.add_argument("--updates", type=int, default=60, help="updates of training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    recipe = load_recipe("hubert_mel_tiny", [f"data.manifest={options.manifest}"])
    seconds = lengths_of(select_clips(dataclasses.replace(recipe.data, valid_share=0.0)).train)
    result["clips"] = len(seconds)
    options.out.mkdir(parents=True, exist_ok=True)
    if "lengths" in options.parts:
        result["lengths"] = lengths_part(seconds)
    if "noise" in options.parts:
        result["noise"] = noise_part(options.manifest, options.out / "noise", options.crops, options.updates)
    print(json.dumps(result, indent=2))
    write_json(RESULT, result)


if __name__ == "__main__":
    main()
