"""Miniature corpora in their true layouts, and the corpus files as modules."""

import importlib.util
import sys

import numpy as np
import pytest
import soundfile

from audio_ssl.base import catalog


@pytest.fixture
def write_audio():
    """Write a quiet tone; the folders on the way are made."""

    def write(path, seconds=0.5, rate=16000):
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * rate)) / rate
        soundfile.write(path, 0.1 * np.sin(2 * np.pi * 220 * time), rate)
        return path

    return write


@pytest.fixture
def write_text():
    """Write UTF-8 text; the folders on the way are made."""

    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def corpus_module(monkeypatch):
    """Load a corpus file as a module, to look at its tables and its helpers."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"corpus_under_test_{name}", catalog.find("corpora", name))
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load
