"""``data.cluster``: clips that belong together are drawn together, and old answers are known again."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.probing.run import run_probe

PROBE = """task: {kind: key}
head: {kind: mlp, hidden_dim: 0}
optim: {steps: 10, batch_clips: 16, eval_every: 10}
baselines: []
"""


@pytest.fixture
def ask(toy_manifest, tmp_path):
    (tmp_path / "which_key.yaml").write_text(PROBE, encoding="utf-8")
    keyed = [clip for clip in read_manifest(Path(toy_manifest)) if clip.label is not None]
    clips = [dataclasses.replace(clip, extra={"tune_book": f"b{n % 7}"}) for n, clip in enumerate(keyed)]
    write_manifest(tmp_path / "m.jsonl", clips)

    def run(out, *settings):
        settings = [f"data.manifest={tmp_path / 'm.jsonl'}", *settings]
        return run_probe(str(tmp_path / "which_key.yaml"), "logmel", tmp_path / out, settings)

    return run


def width(folder):
    metric = json.loads((folder / "scores.json").read_text())
    return metric["interval_unit"], metric["interval_column"]


def test_intervals_are_over_what_the_probe_names(ask):
    assert width(ask("a", "data.cluster=tune_book")) == ("tune books", "tune_book")
    assert width(ask("b"))[1] is None


def test_a_column_that_test_clips_lack_stops_before_any_work(ask, tmp_path):
    with pytest.raises(UserError, match=r"\$\.data\.cluster: .* have no `sentence`") as caught:
        ask("a", "data.cluster=sentence")
    assert not (tmp_path / "a").exists()
    assert "data.cluster=null" in str(caught.value.remedy)
    ask("a", "data.cluster=null")


def test_an_answer_from_before_the_key_existed_is_known_again(ask, tmp_path):
    folder = ask("a")
    path = folder / "probe.yaml"
    path.write_text(re.sub(r" *cluster: null\n", "", path.read_text()), encoding="utf-8")
    assert "cluster" not in path.read_text()
    written = (folder / "scores.json").stat().st_mtime_ns
    assert (ask("a") / "scores.json").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="another question"):
        ask("a", "data.cluster=tune_book")
