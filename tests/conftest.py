"""A toy language of tones: each letter is a pitch, a translation is the letters' names, a key is a chord."""

import dataclasses
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
from hypothesis import settings

from audio_ssl.base.catalog import EXTRA_OF_PACKAGE
from audio_ssl.data.manifest import Clip, write_manifest
from audio_ssl.metrics.families.music import KEYS

# The same examples in every run, and a busy machine is no failure: what hangs is ended by pytest's own limit.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def pytest_runtest_setup(item):
    # Hypothesis looks at every module. SpeechBrain's stand-ins for modules that it moved import these when they are
    # looked at, and fail without packages such as k2.
    if isinstance(item, pytest.Function) and getattr(item.obj, "is_hypothesis_test", False):
        for name in [name for name, one in sys.modules.items() if type(one).__name__ == "DeprecatedModuleRedirect"]:
            del sys.modules[name]


RATE = 16000
LETTERS = "abcd"
NAMES = {"a": "one", "b": "two", "c": "three", "d": "four"}


def tone(pitch_hz, seconds, rng):
    time = np.arange(int(seconds * RATE)) / RATE
    fade = np.minimum(1, np.minimum(time, time[::-1]) * 100)
    return fade * 0.3 * np.sin(2 * np.pi * pitch_hz * time) + rng.normal(0, 0.01, len(time))


def speech(text, rng):
    parts = [tone(300 * 2 ** LETTERS.index(letter), 0.12, rng) for letter in text]
    return np.concatenate([np.concatenate([p, rng.normal(0, 0.01, 800)]) for p in parts]).astype(np.float32)


def chord(key, rng):
    root = 220 * 2 ** (KEYS.index(key) % 12 / 12)
    return sum(tone(root * 2 ** (s / 12), 0.6, rng) for s in (0, 4, 7)).astype(np.float32)


@pytest.fixture(scope="session")
def toy_manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    clips = []
    for index in range(120):
        split = "train" if index < 80 else ("valid" if index < 100 else "test")
        text = "".join(rng.choice(list(LETTERS), rng.integers(2, 6)))
        path = folder / f"{index}.wav"
        soundfile.write(path, speech(text, rng), RATE)
        seconds = soundfile.info(path).duration
        translation = " ".join(NAMES[letter] for letter in text)
        speaker = f"s{index % 6}"
        clip = Clip(str(index), str(path), 0.0, seconds, RATE, text=text, translation=translation, split=split)
        clips.append(
            dataclasses.replace(clip, speaker=speaker, gender="FM"[index % 2], language="toy", extra={"n": index})
        )
    for index in range(90):
        split = ("train", "train", "valid", "test")[index % 4]
        key = KEYS[int(rng.integers(0, 4))]
        path = folder / f"key{index}.wav"
        soundfile.write(path, chord(key, rng), RATE)
        clip = Clip(f"key{index}", str(path), 0.0, 0.6, RATE, label=key, split=split)
        tags = ("all", "low" if KEYS.index(key) < 2 else "high", *(("rare",) if index == 0 else ()))
        clips.append(dataclasses.replace(clip, tags=tags))
    write_manifest(folder / "toy.jsonl", clips)
    return str(folder / "toy.jsonl")


def absent_package(error):
    """Return the optional package that is not installed and led to an error, if one did."""
    todo = [error]
    while todo:
        one = todo.pop()
        package = (one.name or "").split(".")[0] if isinstance(one, ModuleNotFoundError) else ""
        if package in EXTRA_OF_PACKAGE and find_spec(package) is None:
            return package
        others = (one.__cause__, one.__context__, *getattr(one, "exceptions", ()))
        todo += [other for other in others if other is not None]
    return None


def skipping():
    """Skip a test of a part whose optional package is not installed."""
    try:
        return (yield)
    except Exception as error:
        package = absent_package(error)
        if package is None:
            raise
        pytest.skip(f"{package} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call():
    return (yield from skipping())


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup():
    return (yield from skipping())
