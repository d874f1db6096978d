"""fairseq2's trainer as the engine: what comes out is what our own loop makes, bit for bit."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.data.loader import Batch
from audio_ssl.models.model import SSLModel
from audio_ssl.pretrain.distributed import Team
from audio_ssl.pretrain.engines import fairseq2
from audio_ssl.pretrain.engines import torch as own
from audio_ssl.pretrain.guards import Guards
from audio_ssl.pretrain.jobs import TrainingJob
from audio_ssl.pretrain.optim import OptimConfig
from audio_ssl.pretrain.recipe import CheckpointConfig
from audio_ssl.pretrain.run import pretrain
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.processes import block_job, by_fairseq2, run_job, start
from tests.pretrain.test_init import Place, begun
from tests.pretrain.test_loop import DyingLearner, KilledError, results
from tests.pretrain.test_run import SMALL, rows
from tests.pretrain.toy import ToyLearner, toy_job, toy_recipe


@pytest.fixture(autouse=True)
def _needs_fairseq2() -> None:
    pytest.importorskip("fairseq2n", exc_type=ImportError)


def weights(job: TrainingJob) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in job.training.learner.state_dict().items()}


def assert_equal(one: TrainingJob, other: TrainingJob) -> None:
    assert results(one.log_folder) == results(other.log_folder)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def saved(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "state").glob("step_*"))


def test_rows_and_weights_are_those_of_our_own_loop(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    ours, theirs = (toy_job(manifest, tmp_path / name) for name in ("torch", "fairseq2"))
    own.train(ours)
    fairseq2.train(theirs)
    assert_equal(ours, theirs)
    assert [row["step"] for row in rows(theirs.log_folder) if "valid_loss" in row] == [6, 12]
    assert saved(theirs.log_folder) == ["step_12", "step_8"]


def test_the_best_checkpoint_is_kept(make_manifest: MakeManifest, tmp_path: Path) -> None:
    checkpoint = CheckpointConfig(every=4, valid_every=4, keep_last=1)
    optim = OptimConfig(lr=0.5, warmup_steps=0, schedule="constant", clip_norm=None)
    fairseq2.train(toy_job(make_manifest(), tmp_path, toy_recipe(steps=24, checkpoint=checkpoint, optim=optim)))
    scored = [row for row in rows(tmp_path) if "valid_loss" in row]
    best = min(scored, key=lambda row: row["valid_loss"])["step"]
    assert set(saved(tmp_path)) == {f"step_{best}", "step_24"}


def test_resumed_run_repeats_the_uninterrupted_one(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    whole = toy_job(manifest, tmp_path / "whole")
    fairseq2.train(whole)
    for at_call in (13, 7):
        with pytest.raises(KilledError):
            fairseq2.train(toy_job(manifest, tmp_path / "cut", learner=DyingLearner(at_call)))
    cut = toy_job(manifest, tmp_path / "cut")
    fairseq2.train(cut)
    assert_equal(whole, cut)
    # A stage that is done is loaded and left alone.
    again = toy_job(manifest, tmp_path / "cut")
    fairseq2.train(again)
    assert_equal(whole, again)


def test_a_signal_finishes_the_step_and_saves(make_manifest: MakeManifest, tmp_path: Path) -> None:
    class Signalled(ToyLearner):
        def forward(self, batch: Batch, generator: torch.Generator, step: int) -> Any:
            if self.training and self.calls == 10:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().forward(batch, generator, step)

    manifest = make_manifest()
    whole, cut = toy_job(manifest, tmp_path / "whole"), toy_job(manifest, tmp_path / "cut")
    with pytest.raises(StoppedBySignal, match=r"SIGTERM.*step 6 of 12.*--resume"):
        fairseq2.train(toy_job(manifest, tmp_path / "cut", learner=Signalled()))
    assert "step_6" in saved(tmp_path / "cut")
    fairseq2.train(cut)
    own.train(whole)
    assert_equal(whole, cut)


def test_what_is_not_finite_is_skipped_and_too_much_of_it_ends_the_run(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest()
    jobs = []
    for train, name in ((own.train, "torch"), (fairseq2.train, "fairseq2")):
        learner = ToyLearner()
        learner.break_at = {0, 5, 7}
        jobs.append(toy_job(manifest, tmp_path / name, learner=learner))
        train(jobs[-1])
    assert_equal(*jobs)
    assert rows(tmp_path / "fairseq2")[-1]["skipped_steps"] == 3

    learner = ToyLearner()
    learner.break_at = set(range(6, 99))
    job = toy_job(manifest, tmp_path / "guarded", toy_recipe(guards=Guards(non_finite=3)), learner)
    with pytest.raises(UserError, match="3 updates in a row had no finite loss"):
        fairseq2.train(job)
    assert saved(tmp_path / "guarded")[-1] == f"step_{rows(tmp_path / 'guarded')[-1]['step']}"


def test_checkpoints_that_do_not_fit_are_refused(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    fairseq2.train(toy_job(manifest, tmp_path, toy_recipe(steps=4)))
    reader = tmp_path / "state" / "step_4" / "data_reader"
    shutil.copy(reader / "dp_00.pt", reader / "dp_01.pt")
    with pytest.raises(UserError, match="as many processes as the checkpoint was saved by: 2, but there are 1"):
        fairseq2.train(toy_job(manifest, tmp_path))
    (reader / "dp_01.pt").unlink()

    class Runs:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run by a checkpoint"),)

    (tmp_path / "state" / "step_4" / "trainer" / "rank_00.pt").write_bytes(pickle.dumps(Runs(), protocol=2))
    with pytest.raises(UserError, match=r"step_4: the checkpoint cannot be used"):
        fairseq2.train(toy_job(manifest, tmp_path))
    assert not (tmp_path / "run by a checkpoint").exists()
    shutil.rmtree(reader)
    with pytest.raises(UserError, match="none of fairseq2's trainer"):
        fairseq2.train(toy_job(manifest, tmp_path))


def test_a_run_of_iterations_is_the_same_artifact(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "never-to-be-written")
    monkeypatch.setenv("SLURM_PROCID", "0")  # a cluster that fairseq2 would ask for more
    data = yaml.safe_load(SMALL)
    del data["teachers"]
    data["objectives"] = [{"kind": "masked_codes"}]
    data["iterations"] = [
        {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 4}]},
        {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 6, "model": "previous", "layer": 1}]},
    ]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(data))
    settings = [f"data.manifest={make_manifest()}", "precision=bfloat16"]
    ours = pretrain(str(tmp_path / "small.yaml"), settings, tmp_path / "torch")
    settings.append("engine=fairseq2")
    theirs = pretrain(str(tmp_path / "small.yaml"), settings, tmp_path / "fairseq2")
    assert results(ours) == results(theirs)
    assert [row["iteration"] for row in rows(theirs)] == [1, 1, 1, 2, 2, 2]
    names = [{path.name for path in out.iterdir()} for out in (ours, theirs)]
    assert names[0] == names[1]
    model, other = SSLModel.from_pretrained(ours), SSLModel.from_pretrained(theirs)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert yaml.safe_load((theirs / "recipe.yaml").read_text())["engine"] == "fairseq2"
    for file in theirs.rglob("*"):
        assert not file.is_file() or b"never-to-be-written" not in file.read_bytes()
    with pytest.raises(UserError, match=r"engine \(fairseq2 then, torch now\)"):
        pretrain(str(tmp_path / "small.yaml"), settings[:-1], theirs, resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["engine=fairseq3"], r"\$\.engine: unknown engine `fairseq3`; known: fairseq2, torch"),
        (["engine=fairseq2", "parallel=fsdp2"], r"\$\.parallel: engine `fairseq2` shares out no weights"),
        (["engine=fairseq2", "weights_ema=0.99"], r"\$\.weights_ema: engine `fairseq2` keeps no average"),
    ],
)
def test_what_the_engine_has_not_is_refused_before_any_work(
    make_manifest: MakeManifest, tmp_path: Path, settings: list[str], message: str
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    with pytest.raises(UserError, match=message):
        pretrain(str(tmp_path / "small.yaml"), [f"data.manifest={make_manifest()}", *settings], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_or_unfit_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairseq2, "_IN_THIS_ORDER", ("audio_ssl.no_such_module",))
    with pytest.raises(UserError, match=r"cannot be used: No module.*audio-ssl\[fairseq2\]' brings the torch"):
        fairseq2.check(toy_recipe())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package fairseq2 \(pip install 'audio-ssl\[fairseq2\]'\)"):
        fairseq2.check(toy_recipe())


def test_two_processes_are_as_one(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    start(by_fairseq2, 2, manifest, tmp_path)
    run_job(block_job(manifest, tmp_path / "one", steps=8, weights_ema=None), Team(), tmp_path / "one")
    for one, two in zip(results(tmp_path / "one"), results(tmp_path / "two"), strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    assert (tmp_path / "stopped.0").read_text().startswith("False SIGUSR1 received")
    assert (tmp_path / "stopped.1").read_text().startswith("True SIGUSR1 received")
    with pytest.raises(UserError, match="saved by: 2, but there are 1"):
        fairseq2.train(block_job(manifest, tmp_path / "two", steps=8, weights_ema=None))


def test_a_run_begins_from_a_model_is_lengthened_and_is_begun_from(tmp_path: Path) -> None:
    place = Place(tmp_path)
    settings = ["init.freeze_updates=1", "optim.layer_decay=0.5"]
    out = place.begin(tmp_path / "fairseq2", *settings, "steps=2", "engine=fairseq2")
    pretrain(str(out / "recipe.yaml"), ["steps=4"], out, resume=True)
    whole = place.begin(tmp_path / "torch", *settings, "steps=4")
    # Our own loop validates before the first update, too.
    assert [row["loss"] for row in rows(out)] == [row["loss"] for row in rows(whole) if row["step"]]
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    found = begun(place.begin(tmp_path / "next", f"init={out}", "steps=1"))
    assert found.checkpoint == str(out / "state" / "step_4")
    assert found.fresh == ()
