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
from audio_ssl.probing.head import Head


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
