"""Cheaper roads to the same representation: held-out scores per compute.

The waveform recipe (`hubert_tiny`, first iteration's labels) gets a budget; the cheap recipes get a quarter of its
operations or less: mel frames at 50 and at 25 a second, linear logits, and masked frames left out of the encoder with
several masks a clip. Operations are matrix products and convolutions, forward and backward, counted by torch; seconds
are this machine's, for a few updates of each recipe one after the other. Then the same linear probes as in
``learning.py``: characters, speaker, language.

Run ``python benchmarks/cheap_roads.py`` (an hour on two cores) or with ``--updates 100``; prints a table and writes
``benchmarks/results/cheap_roads.json``. Finished runs and answers below ``--out`` are kept; seconds are measured anew.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _learning import (  # type: ignore[import-not-found]
    RESULTS,
    Cost,
    line,
    measure,
    prepare,
    probe,
    train,
)

from audio_ssl.base.files import write_json

WAVEFORM = "hubert_tiny"
# One iteration, on the labels that the mel recipes have.
WAVEFORM_SETTINGS = ("iterations=[]", "teachers=[{kind: kmeans, standardize: true, clusters: 100, hop_samples: 320}]")
# The recipe as it was measured: stacked mel frames, a transformer, masked spans. It has SpeechBrain's network now.
BESTRQ_SETTINGS = (
    "frontend={kind: mel, n_mels: 80, stack: 4}",
    "encoder={kind: transformer, layers: 4, dim: 256, ffn_dim: 1024, heads: 4, pre_norm: true, dropout: 0.05, "
    "attention_dropout: 0.0, input_dropout: 0.0, layer_drop: 0.0, position_kernel_frames: 32, position_groups: 16}",
    "teachers=[{kind: random_projection, n_mels: 80, stack: 4, codebook_size: 1024}]",
    "mask={prob: 0.6, length_frames: 10, min_masks: 2}",
    "optim={lr: 8.0e-4, warmup_steps: 400, warmup_start: one, weight_decay_on: matrices, schedule: linear, "
    "clip_norm: 5.0}",
)
CHEAP = ("hubert_mel_tiny", "bestrq_tiny", "hubert_visible_tiny")
SHARE = 0.25
ASKED = ("characters", "speaker", "language")


def cheap_updates(waveform: Cost, updates: int, cheap: Cost) -> int:
    """Return the updates of a cheap recipe that cost no more than `SHARE` of the waveform recipe's."""
    return int(SHARE * waveform.gflop_per_update * updates / cheap.gflop_per_update)


def table(costs: dict[str, Cost], updates: dict[str, int], rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of costs and scores as lines."""
    lines = [
        f"{'recipe':<22}{'updates':>8}{'audio h':>9}{'TFLOP':>8}{'share':>7}{'s/update':>10}{'share of seconds':>18}"
    ]
    full = costs[WAVEFORM]
    for name, cost in costs.items():
        flops = cost.gflop_per_update * updates[name]
        hours = cost.audio_seconds_per_update * updates[name] / 3600
        seconds = cost.seconds_per_update * updates[name]
        lines.append(
            f"{name:<22}{updates[name]:>8}{hours:>9.2f}{flops / 1e3:>8.1f}"
            f"{flops / (full.gflop_per_update * updates[WAVEFORM]):>7.2f}{cost.seconds_per_update:>10.2f}"
            f"{seconds / (full.seconds_per_update * updates[WAVEFORM]):>18.2f}"
        )
    return [*lines, "", *map(line, rows), "", *verdict(rows)]


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Say which cheap recipes reach the waveform recipe's score, task by task."""
    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of = {row["system"]: row for row in rows if row["task"] == task}
        lower = of[WAVEFORM]["metric"] == "CER"
        reach = [
            n
            for n in CHEAP
            if (of[n]["value"] <= of[WAVEFORM]["value"] if lower else of[n]["value"] >= of[WAVEFORM]["value"])
        ]
        found.append(
            f"{task}: {', '.join(reach) or 'no cheap recipe'} reach{'es' if len(reach) < 2 else ''} {WAVEFORM}"
        )
    return found


def main() -> None:
    """Measure, train, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("runs/cheap_roads"), help="folder of the runs")
    parser.add_argument("--updates", type=int, default=600, help="of the waveform recipe")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips, manifest = prepare("speech", args.data, args.out)
    changed: dict[str, tuple[str, ...]] = {
        WAVEFORM: WAVEFORM_SETTINGS,
        "bestrq_tiny": BESTRQ_SETTINGS,
    }
    costs = {name: measure(name, changed.get(name, ()), manifest) for name in (WAVEFORM, *CHEAP)}
    updates = {name: cheap_updates(costs[WAVEFORM], args.updates, cost) for name, cost in costs.items()}
    updates[WAVEFORM] = args.updates
    systems = {"log-mel": "logmel"}
    for name, number in updates.items():
        run = train(name, [f"steps={number}", *changed.get(name, ())], manifest, args.out / f"{name}_{number}")
        systems[name] = str(run)
    rows = probe("speech", systems, clips, args.out / "answers", ASKED)
    print("\n".join(["", *table(costs, updates, rows)]))
    costs_json = {name: {**asdict(cost), "updates": updates[name]} for name, cost in costs.items()}
    write_json(RESULTS / "cheap_roads.json", {"costs": costs_json, "rows": rows, "verdict": verdict(rows)})


if __name__ == "__main__":
    main()
