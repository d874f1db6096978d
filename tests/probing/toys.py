"""Clips for tests that need nothing of them but a place in a split."""

import inspect

import numpy as np
import soundfile
import torch

from audio_ssl.base.catalog import load_part
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.probing.features import MemoryBank
from audio_ssl.probing.head import Head
from audio_ssl.probing.heads import mlp
from audio_ssl.probing.tasks import key
from audio_ssl.probing.train import Examples

LAYERS, DIM = 3, 6
"""Of the examples in memory."""


def clip(name, path="x.wav", start=0.0, seconds=10.0, split="train", **more):
    return Clip(name, path, start, seconds, 16000, split=split, **{"label": "C major", **more})


def ten_people(folder, name):
    """Write a clip of noise in each split for each of ten speakers; return their manifest."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(10):
        for split in ("train", "valid", "test"):
            path = folder / f"{number}{split}.wav"
            soundfile.write(path, rng.normal(0, 0.1, 16000).astype(np.float32), 16000)
            person = {"speaker": f"s{number}", "gender": "FM"[number % 2], "text": "ab ba"}
            clips.append(clip(path.stem, str(path), seconds=1.0, split=split, **person))
    write_manifest(folder / name, clips)
    return folder / name


def outputs_of(kind):
    """Return what kinds of task a head can answer, without making one."""
    module = load_part("probing/heads", kind)
    classes = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    (head,) = (one for one in classes if issubclass(one, Head))
    return head.outputs


def write_model(folder, **more):
    """Write a model of two small blocks with fresh weights; return its folder."""

    sizes = {"layers": 2, "dim": 16, "ffn_dim": 16, "heads": 2, "position_kernel_frames": 4, "position_groups": 2}
    encoder = transformer.Config(**sizes, **more)
    built = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    built.save_pretrained(folder)
    return str(folder)


def examples(count, seed, pooled):
    """Return clips whose key is written into one dimension of layer 1."""
    random = torch.Generator().manual_seed(seed)
    task, bank, clips = key.build(key.Config()), MemoryBank(pooled), []
    for number in range(count):
        klass = int(torch.randint(0, 4, (), generator=random))
        clip = Clip(f"{seed}-{number}", f"{seed}-{number}.wav", 0.0, 1.0, 16000, label=task.classes[klass])
        frames = 1 if pooled else int(torch.randint(3, 8, (), generator=random))
        layers = [torch.randn(frames, DIM, generator=random) for _ in range(LAYERS)]
        layers[1][:, klass] += 3.0
        bank.add(clip, layers)
        clips.append(clip)
    return task, Examples(clips, [task.target(clip) for clip in clips], bank)


def small_mlp():
    return mlp.build(mlp.Config(hidden_dim=8, dropout=0.0), DIM, 24, "class")
