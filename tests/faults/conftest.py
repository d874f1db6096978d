"""Disks that refuse: a small one of its own where the tests may mount one, and a limit that every system has."""

import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile

from audio_ssl.data.manifest import write_manifest
from tests.probing.toys import clip


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
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    clips = []
    for number in range(10):
        for split in ("train", "valid", "test"):
            path = folder / f"{number}{split}.wav"
            soundfile.write(path, rng.normal(0, 0.1, 16000).astype(np.float32), 16000)
            person = {"speaker": f"s{number}", "gender": "FM"[number % 2], "text": "ab ba"}
            clips.append(clip(path.stem, str(path), seconds=1.0, split=split, **person))
    write_manifest(folder / "m.jsonl", clips)
    return folder / "m.jsonl"
