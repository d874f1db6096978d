"""Every small recipe trains on a GPU, in float32 and bfloat16; a run that stops and goes on is the run that did not."""

import json
import math
import signal
import subprocess

import pytest

from audio_ssl.base.catalog import names
from audio_ssl.pretrain.run import pretrain
from tests.pretrain.conftest import make_manifest  # noqa: F401
from tests.pretrain.test_run import SMALL, command, wait_for_step

SHORT = ("device=cuda", "data.seconds_per_update=10", "data.seconds_per_batch=10", "data.min_seconds=0.5")


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def clips(make):
    return make(tuple(2.0 + 0.1 * number for number in range(24)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in names("recipes") if name.endswith("_tiny")])
def test_small_recipes(name, precision, make_manifest, tmp_path):  # noqa: F811
    manifest = clips(make_manifest)
    words = [f"data.manifest={manifest}", *SHORT, "steps=4", f"precision={precision}", "checkpoint.valid_every=2"]
    if name.startswith("codec"):
        words = [word for word in words if "min_seconds" not in word]
    assert all(map(math.isfinite, losses(pretrain(name, words, tmp_path / "run"))))


# What compiles, imports what is deprecated and looks at what warns.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("compiled", ["false", "true"])
def test_a_gpu_learns_what_a_cpu_learns(compiled, make_manifest, tmp_path):  # noqa: F811
    path, manifest = tmp_path / "small.yaml", make_manifest()
    path.write_text(SMALL)
    dropouts = [f"encoder.{name}=0" for name in ("dropout", "attention_dropout", "input_dropout", "layer_drop")]
    words = [f"data.manifest={manifest}", *dropouts]
    expected = losses(pretrain(str(path), words, tmp_path / "cpu"))
    found = losses(pretrain(str(path), [*words, "device=cuda", f"compile={compiled}"], tmp_path / "gpu"))
    assert found == pytest.approx(expected, rel=2e-3)


def test_stopped_and_resumed_is_uninterrupted(make_manifest, tmp_path):  # noqa: F811
    path, manifest, out = tmp_path / "small.yaml", make_manifest(), tmp_path / "run"
    path.write_text(SMALL.replace("device: cpu", "device: cuda") + "deterministic: true\n")
    process = subprocess.Popen(command(str(path), manifest, out), stderr=subprocess.PIPE)
    wait_for_step(process, out, 12)
    process.send_signal(signal.SIGTERM)
    assert b"--resume" in process.communicate()[1]
    words = [f"data.manifest={manifest}", "steps=60", "checkpoint.every=5"]
    pretrain(str(path), words, out, resume=True)
    pretrain(str(path), words, tmp_path / "whole")
    assert losses(out) == losses(tmp_path / "whole")
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
