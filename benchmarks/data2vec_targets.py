"""Whether a small data2vec learns from targets before the last residual sum, as published, and from those after it.

``data2vec_tiny`` is trained for 400 updates of 12 s on synthetic speech in five languages, once with the published
targets (`point: feed_forward`), once with the layers' outputs (`point: output`). Then a linear layer is fitted to the
frames of each hidden layer of the training sentences, to tell the phone at the middle of a frame, and counted on the
other sentences; the same model without training is the floor.

Run ``python benchmarks/data2vec_targets.py``; an hour of two cores; needs espeakng-loader. ``--data DIR`` keeps the
speech and the models, and goes on where they are. Prints; writes nothing else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from label_purity import Speech, speech  # type: ignore[import-not-found]
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.data.corpus import load_corpus
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.model import SSLModel, build_model
from audio_ssl.pretrain.run import pretrain

UPDATES, CLIPS = 400, 1200
SHORT = (
    f"steps={UPDATES}",
    "data.split=train",
    "data.seconds_per_update=12",
    "data.seconds_per_batch=12",
    "data.workers=1",
    "optim.warmup_steps=40",
    "teachers.0.decay_steps=200",
    "checkpoint.every=100",
    "checkpoint.valid_every=100",
)
POINTS = ("feed_forward", "output")


def trained(manifest: Path, point: str, out: Path) -> Path:
    """Train the small model on these targets, unless it is there."""
    if (out / "model.safetensors").is_file():
        return out
    return pretrain("data2vec_tiny", [f"data.manifest={manifest}", *SHORT, f"teachers.0.point={point}"], out)


@torch.no_grad()
def frames_of(model: SSLModel, said: Speech) -> tuple[list[Tensor], list[str]]:
    """Return each layer's frames, clips one after the other, and the phone of each."""
    states = [model(waveform[None]).hidden for waveform in said.waveforms]
    counts = [hidden[0].shape[1] for hidden in states]
    layers = [torch.cat([hidden[layer][0] for hidden in states]) for layer in range(len(states[0]))]
    return layers, said.phones(model.grid, counts)


def accuracy(train: Tensor, wanted: Tensor, test: Tensor, truth: Tensor, classes: int) -> float:
    """Return the share of held-out frames that a linear layer names right."""
    mean, deviation = train.mean(0), train.std(0) + 1e-5
    train, test = (train - mean) / deviation, (test - mean) / deviation
    torch.manual_seed(0)
    head = torch.nn.Linear(train.shape[1], classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(600):
        drawn = torch.randint(len(train), (512,))
        loss = F.cross_entropy(head(train[drawn]), wanted[drawn])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float((head(test).argmax(1) == truth).double().mean())


def probe(name: str, model: SSLModel, train: Speech, test: Speech) -> None:
    """Print the accuracy of every layer."""
    layers, phones = frames_of(model.eval(), train)
    held_out, truth = frames_of(model, test)
    names = sorted({*phones, *truth})
    numbers = [torch.tensor([names.index(phone) for phone in said]) for said in (phones, truth)]
    found = [
        accuracy(one, numbers[0], other, numbers[1], len(names)) for one, other in zip(layers, held_out, strict=True)
    ]
    print(f"{name:<14}", *(f"{100 * value:5.1f}" for value in found), flush=True)


def run(data: Path) -> None:
    """Make the speech, train both models and probe them."""
    corpus = load_corpus("synthetic_speech")
    assert corpus.fetch is not None
    corpus.fetch(data / "speech", clips=CLIPS)
    write_manifest(data / "all.jsonl", corpus.read(data / "speech", None))
    clips = read_manifest(data / "all.jsonl")
    train = speech([clip for clip in clips if clip.split == "train"][::2])
    test = speech([clip for clip in clips if clip.split != "train"])
    print("frames of which the phone is named right, in percent, by hidden layer (0: the encoder's input)")
    for point in POINTS:
        folder = trained(data / "all.jsonl", point, data / f"run_{point}")
        model = SSLModel.from_pretrained(folder)
        if point == POINTS[0]:
            probe("untrained", build_model(model.config, torch.Generator().manual_seed(0)), train, test)
        probe(point, model, train, test)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        last = [row for row in rows if "valid_target_variance" in row][-1]
        print(f"{'':<14} spread of targets {last['valid_target_variance']:.2f}, of predictions", end=" ")
        print(f"{last['valid_prediction_variance']:.2f}, at the end", flush=True)


def main() -> None:
    """Train, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder to keep the speech and the models in")
    folder = parser.parse_args().data
    if folder is not None:
        run(folder)
        return
    with TemporaryDirectory() as made:
        run(Path(made))


if __name__ == "__main__":
    main()
