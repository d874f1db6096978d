"""Clips for tests that need nothing of them but a place in a split."""

from audio_ssl.data.manifest import Clip


def clip(name, path="x.wav", start=0.0, seconds=10.0, split="train", **more):
    return Clip(name, path, start, seconds, 16000, split=split, **{"label": "C major", **more})
