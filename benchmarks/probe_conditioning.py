"""Why frames are whitened before a linear CTC layer: character errors layer by layer, standardised and whitened.

Run ``python benchmarks/probe_conditioning.py RUN`` (five minutes on two cores) after ``learning.py``; RUN is a folder
of pretraining, as ``runs/learning/hubert_visible_tiny``. Prints a table for log-mel, the untrained twin and the run.
The effective rank is the exponential of the entropy of the standardised frames' variances along their directions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from _learning import TASKS, corpora, split_of  # type: ignore[import-not-found]
from _linear_probes import characters, whiten  # type: ignore[import-not-found]
from torch import Tensor

from audio_ssl.features.source import open_source


class Standardise:
    """Zero mean and unit variance of every dimension over the training clips; keeps each layer's effective rank."""

    def __init__(self) -> None:
        self.ranks: list[float] = []

    def __call__(self, frames: dict[str, Tensor], train: Sequence[str]) -> None:
        """Change frames in place."""
        sample = torch.cat([frames[name] for name in train if name in frames])
        mean, scale = sample.mean(0), 1 / (sample.std(0) + 1e-6)
        shares = torch.linalg.eigvalsh(torch.cov(((sample - mean) * scale).T.double())).clamp_min(0)
        self.ranks.append(float(torch.special.entr(shares / shares.sum()).sum().exp()))
        for name, states in frames.items():
            frames[name] = (states - mean) * scale


def main() -> None:
    """Probe every layer twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a pretraining run")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the corpora")
    args = parser.parse_args()
    task = TASKS["speech"][0]
    split = split_of(task, corpora(args.data, [task.corpus])[task.corpus])
    print(f"{'system':<10}{'layer':>6}{'rank':>7}{'CER standardised':>18}{'CER whitened':>14}")
    for system, name in {"log-mel": "logmel", "untrained": f"untrained:{args.run}", "run": args.run}.items():
        source, standardise = open_source(name), Standardise()
        errors = [
            [100 * counts[:, 0].sum() / counts[:, 1].sum() for _, counts in characters(split, source, prepare)]
            for prepare in (standardise, whiten)
        ]
        for layer, (rank, *found) in enumerate(zip(standardise.ranks, *errors, strict=True)):
            print(f"{system:<10}{layer:>6}{rank:>7.1f}{found[0]:>18.1f}{found[1]:>14.1f}", flush=True)


if __name__ == "__main__":
    main()
