"""A folder through a GPU gives what a CPU gives."""

import json

import numpy as np
import pytest
import torch

import audio_ssl
from audio_ssl.__main__ import run
from audio_ssl.features.settings import Settings
from tests.features.conftest import audio, run_folder  # noqa: F401


def arrays(folder):
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    return {row["id"]: np.load(folder / row["file"]) for row in rows}


@pytest.mark.parametrize("settings", [(), ("chunk_seconds=0.4", "context_seconds=0.1")])
def test_extract(audio, run_folder, tmp_path, settings):  # noqa: F811
    for device in ("cpu", "cuda"):
        words = ["extract", str(audio), run_folder, f"device={device}", *settings, "--format", "npy"]
        assert run([*words, "--out", str(tmp_path / device)]) == 0
    ours, expected = arrays(tmp_path / "cuda"), arrays(tmp_path / "cpu")
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-4, rtol=1e-3)


def test_stream_of_a_loaded_model(audio, run_folder):  # noqa: F811
    model = audio_ssl.load(run_folder)
    expected = {clip.id: value for clip, value in model.stream(audio, settings=Settings(device="cpu"))}
    found = {clip.id: value for clip, value in model.to("cuda").stream(audio)}
    for name, value in expected.items():
        assert found[name].device.type == "cpu"
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)
