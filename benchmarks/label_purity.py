"""How well k-means labels tell phones apart: features as they are against features standardised, and what a fit needs.

Synthetic speech in five languages says when each phone is spoken. Labels are fitted to its training sentences, and
frames of the other sentences are counted with the phone at their middle (a pause is a phone of its own). As HuBERT's
authors measure it (Hsu et al. 2021, arXiv 2106.07447, section V-A): *phone purity*, the share of frames that have the
commonest phone of their label; *cluster purity*, the share that have the commonest label of their phone; *PNMI*, how
much of the phone's entropy the label removes. Every figure is a mean over three fits.

The hidden layer is that of ``hubert_visible_tiny`` after 100 updates of 12 s, trained here.

Run ``python benchmarks/label_purity.py``; four minutes of one core; needs espeakng-loader and scikit-learn.
Writes ``benchmarks/results/label_purity.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _scikit_kmeans import fairseq_kmeans  # type: ignore[import-not-found]
from torch import Tensor

from audio_ssl.base.files import write_json
from audio_ssl.data.audio import read_clip
from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.interop.read import read_model
from audio_ssl.metrics.families.units import phone_terms, score_of
from audio_ssl.models.model import build_model
from audio_ssl.pretrain.run import pretrain
from audio_ssl.targets.teachers import kmeans

RESULT = Path(__file__).parent / "results" / "label_purity.json"
RATE, CLUSTERS, SEEDS = 16_000, 100, 3
CPU = torch.device("cpu")
UPDATES, LAYER = 100, 3
TRAIN = ("data.seconds_per_update=12", "data.seconds_per_batch=12", "checkpoint.valid_every=1000", "data.valid_share=0")
UNTRAINED = "untrained:"
FAIRSEQ = "scikit-learn with fairseq's settings"

Label = Callable[[Tensor], Tensor]
Row = dict[str, Any]


@dataclass(frozen=True)
class Speech:
    """Clips of one split: waveforms, and phones as spans of seconds."""

    waveforms: list[Tensor]
    spans: list[list[tuple[float, float, str]]]

    def phones(self, grid: FrameGrid, counts: Sequence[int]) -> list[str]:
        """Return the phone at the middle of each frame of all clips, one clip after the other."""
        found: list[str] = []
        for spans, count in zip(self.spans, counts, strict=True):
            names = np.full(count, "pause", dtype=object)
            middles = np.array([grid.frame_center_seconds(frame) for frame in range(count)])
            for start, end, phone in spans:
                names[(middles >= start) & (middles < end)] = phone
            found += names.tolist()
        return found


def speech(clips: Sequence[Clip]) -> Speech:
    """Decode clips and read their phones."""
    spans = []
    for clip in clips:
        parts = [span.split(" ", 2) for span in str(clip.extra["phone_times"]).split("; ")]
        spans.append([(float(start), float(end), phone) for start, end, phone in parts])
    return Speech([torch.from_numpy(read_clip(clip, RATE)) for clip in clips], spans)


def purity(labels: Sequence[int], phones: Sequence[str]) -> dict[str, float]:
    """Return phone purity, cluster purity and PNMI of frames.

    Examples
    --------
    >>> purity([0, 0, 1, 1], ["a", "a", "b", "b"])
    {'phone_purity': 1.0, 'cluster_purity': 1.0, 'pnmi': 1.0}
    """
    names, phone = np.unique(np.array(phones), return_inverse=True)
    joint = np.zeros((len(names), max(labels) + 1))
    np.add.at(joint, (phone, np.array(labels)), 1)
    found = {terms.metric: score_of(joint, terms) / 100 for terms in phone_terms(joint)}
    return {name: found[name] for name in ("phone_purity", "cluster_purity", "pnmi")}


def measure(
    what: str, config: kmeans.Config, features: kmeans.ClusteredFeatures, frames: Sequence[list[Tensor]], said: Speech
) -> Row:
    """Fit with each seed, label the held-out frames and return the row of the table.

    Parameters
    ----------
    what
        Name of the row.
    config
        Of the teacher.
    features
        Of the teacher, for its grid.
    frames
        Features of the training clips and of the held-out ones, ``[frame, dim]`` each.
    said
        The held-out clips.
    """
    train, test = frames
    phones = said.phones(features.grid, [len(rows) for rows in test])
    found = []
    for seed in range(SEEDS):
        label = _fairseq(train, seed) if what == FAIRSEQ else _ours(config, features, train, seed)
        labels = torch.cat([label(rows).flatten() for rows in test]).tolist()
        found.append(purity(labels, phones))
    row: Row = {"what": what, "standardize": config.standardize, "frames": sum(map(len, train))}
    for name in found[0]:
        values = [one[name] for one in found]
        row[name], row[f"{name}_deviation"] = fmean(values), stdev(values)
    print(f"{what:<40} {'standardised' if config.standardize else 'as they are':<13}", end="")
    print(*(f"{name} {row[name]:.3f} ± {row[f'{name}_deviation']:.3f}" for name in found[0]), sep="  ", flush=True)
    return row


def _ours(config: kmeans.Config, features: kmeans.ClusteredFeatures, train: list[Tensor], seed: int) -> Label:
    state = kmeans.fit_frames(config, features, train, torch.Generator().manual_seed(seed), CPU)
    return kmeans.KMeansTeacher(config, features, state, CPU).label


def _fairseq(train: list[Tensor], seed: int) -> Label:
    """Fit as fairseq's ``learn_kmeans.py``."""
    model = fairseq_kmeans(CLUSTERS, seed).fit(torch.cat(train).numpy())
    return lambda rows: torch.from_numpy(model.predict(rows.numpy()))


def trained(manifest: Path, out: Path) -> str:
    """Train the small model, unless it is there, and return its folder."""
    if (out / "model.safetensors").is_file():
        return str(out)
    return str(pretrain("hubert_visible_tiny", [f"data.manifest={manifest}", f"steps={UPDATES}", *TRAIN], out))


def run(data: Path, clips: int) -> dict[str, Any]:
    """Measure everything; `data` is a folder for the speech and the model."""
    corpus = load_corpus("synthetic_speech")
    assert corpus.fetch is not None
    corpus.fetch(data / "speech", clips=clips)
    write_manifest(data / "all.jsonl", corpus.read(data / "speech", None))
    rows = read_manifest(data / "all.jsonl")
    train_clips = [clip for clip in rows if clip.split == "train"]
    write_manifest(data / "train.jsonl", train_clips)
    train, test = speech(train_clips), speech([clip for clip in rows if clip.split != "train"])
    model = trained(data / "train.jsonl", data / "run")
    kinds = {
        "kaldi_mfcc": kmeans.Config(features="kaldi_mfcc"),
        "mfcc": kmeans.Config(features="mfcc"),
        "logmel": kmeans.Config(features="logmel"),
        f"hidden layer {LAYER}, {UPDATES} updates": kmeans.Config(model=model, layer=LAYER),
        "the same before its last residual sum": kmeans.Config(model=model, layer=LAYER, point="feed_forward"),
        f"hidden layer {LAYER}, untrained": kmeans.Config(model=f"{UNTRAINED}{model}", layer=LAYER),
    }
    found: dict[str, Any] = {"clips": len(rows), "minutes": sum(clip.seconds for clip in rows) / 60}
    found |= {"clusters": CLUSTERS, "seeds": SEEDS, "rows": [], "fits": []}
    for name, config in kinds.items():
        features = kmeans.ClusteredFeatures(config, RATE, CPU, _open)
        frames = [[features(waveform) for waveform in part.waveforms] for part in (train, test)]
        for standardize in (False, True):
            found["rows"].append(measure(name, replace(config, standardize=standardize), features, frames, test))
        if name != "kaldi_mfcc":
            continue
        for number in (1_000, 5_000, 25_000):
            fewer = replace(config, fit_frames=number)
            found["fits"].append(measure(f"{number} frames", fewer, features, frames, test))
        most = replace(config, fit_frames=sum(map(len, frames[0])))
        found["fits"].append(measure("all frames, the best of 3 starts", most, features, frames, test))
        more = replace(most, init_tries=20)
        found["fits"].append(measure("all frames, the best of 20 starts", more, features, frames, test))
        found["fits"].append(measure(FAIRSEQ, most, features, frames, test))
    return found


def _open(name: str) -> Any:
    """Open the model, or give one of its kind fresh weights."""
    model = read_model(name.removeprefix(UNTRAINED))
    if not name.startswith(UNTRAINED):
        return model
    return build_model(model.config, torch.Generator().manual_seed(0)).eval()


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=700, help="sentences that are spoken")
    parser.add_argument("--data", type=Path, help="folder to keep the speech and the model in")
    args = parser.parse_args()
    if args.data is not None:
        result = run(args.data, args.clips)
    else:
        with TemporaryDirectory() as folder:
            result = run(Path(folder), args.clips)
    write_json(RESULT, result)
    print(json.dumps({"minutes": round(result["minutes"], 1)}), RESULT)


if __name__ == "__main__":
    main()
