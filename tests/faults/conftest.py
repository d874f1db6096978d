"""Disks that refuse: a small one of its own where the tests may mount one, and a limit that every system has."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest
import torch

from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.pretrain.run import pretrain
from tests.probing.toys import ten_people


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB; a function fills it up but for some bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root may mount a disk")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("no disk can be mounted here")

    def fill(leave_bytes):
        filling = folder / ".filling"
        filling.unlink(missing_ok=True)
        left = shutil.disk_usage(folder).free - leave_bytes
        if left > 0:
            filling.write_bytes(b"\0" * left)

    try:
        yield folder, fill
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def largest_file():
    """Let the system refuse every write beyond so many bytes of a file, whichever library writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def limit(size_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A manifest of ten speakers with a clip in each split, and its folder of audio."""
    return ten_people(tmp_path_factory.mktemp("speech"), "m.jsonl")


SMALL = [
    *("steps=2", "data.valid_share=0", "data.crop_seconds=1.0", "data.min_seconds=0.5", "data.seconds_per_update=4.0"),
    *("data.seconds_per_batch=4.0", "encoder.layers=1", "encoder.dim=16", "encoder.ffn_dim=16", "encoder.heads=2"),
    *("encoder.position_kernel_frames=4", "teachers.0.clusters=4", "checkpoint.every=1", "device=cpu"),
]
"""Settings of hubert_mel_tiny that train in seconds."""


@pytest.fixture(scope="session")
def trained(speech, tmp_path_factory):
    """A finished run; to be copied before it is damaged."""
    return pretrain("hubert_mel_tiny", [f"data.manifest={speech}", *SMALL], tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A tiny saved model."""
    encoder = transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    model = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def audio(speech, tmp_path_factory):
    """A folder of four short files."""
    folder = tmp_path_factory.mktemp("audio")
    for name in ("0train.wav", "1train.wav", "2train.wav", "3train.wav"):
        shutil.copy(speech.parent / name, folder)
    return folder
