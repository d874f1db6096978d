from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.checkpoint import checkpoints, read_state
from audio_ssl.pretrain.guards import CollapseGuard, Guards, GuardWatch, SpikeGuard, check_guards
from audio_ssl.pretrain.loop import train
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.toy import ToyLearner, toy_job, toy_recipe

SPIKE = Guards(loss_spike=SpikeGuard(factor=5.0, updates=10, window=100))


def stopped_at(guards: Guards, losses: Iterable[float], steps: int = 10_000) -> int | None:
    watch = GuardWatch(guards, steps)
    return next((step for step, loss in enumerate(losses, 1) if watch.look(step, {"loss": loss})), None)


def test_a_loss_that_stays_high_stops_the_run_and_a_short_rise_does_not() -> None:
    level = [1.0, 1.2] * 40
    assert stopped_at(SPIKE, [*level, *[9.0] * 30]) == 90
    assert stopped_at(SPIKE, [*level, *([9.0] * 9 + [1.0]) * 5]) is None
    assert stopped_at(SPIKE, [*level, *[4.0] * 300]) is None
    assert stopped_at(dataclasses.replace(SPIKE, loss_spike=None), [*level, *[9.0] * 300]) is None
    # A falling loss, losses without a value and losses below zero are no spikes.
    assert stopped_at(SPIKE, [10.0 * 0.98**step for step in range(500)]) is None
    assert stopped_at(SPIKE, [*level, *[float("nan")] * 300]) is None
    assert stopped_at(SPIKE, [-2.0 - step / 100 for step in range(300)]) is None
    assert stopped_at(SPIKE, [*[-2.0] * 100, *[7.0] * 300]) == 110


def test_the_explanation_says_what_to_try() -> None:
    watch = GuardWatch(SPIKE, 1000)
    errors = [watch.look(step, {"loss": 1.0 if step < 60 else 8.0}) for step in range(70)]
    text = str(errors[-1])
    assert "above 5 times its running median of 1 for 10 updates in a row, and is 8 now" in text
    assert "lower optim.lr" in text
    assert "guards.loss_spike=null" in text


def collapse(metrics: dict[str, float], updates: int = 1200, steps: int = 2000, **changes: object) -> UserError | None:
    guards = Guards(collapse=dataclasses.replace(CollapseGuard(), **changes))  # type: ignore[arg-type]
    watch = GuardWatch(guards, steps)
    errors = [watch.look(step, {"loss": 1.0, **metrics}) for step in range(1, updates + 1)]
    return next((error for error in errors if error), None)


@pytest.mark.parametrize(
    ("metrics", "match"),
    [
        ({"code_perplexity_0": 1.01, "code_perplexity_1": 1.0}, "code_perplexity_0 is 1.01, code_perplexity_1 is 1"),
        ({"target_variance": 0.01, "code_perplexity_0": 99.0}, r"target_variance is 0.01 on average"),
    ],
)
def test_targets_all_alike_stop_the_run(metrics: dict[str, float], match: str) -> None:
    error = collapse(metrics)
    assert error is not None
    assert match in str(error)
    assert "guards.collapse=null" in str(error)
    # Not before the grace is over, which is the longer of the two.
    assert collapse(metrics, updates=1000) is None
    assert collapse(metrics, steps=8000) is None
    assert collapse(metrics, updates=300, steps=400, grace_updates=200) is not None


def test_predictions_all_alike_and_one_dead_codebook_do_not(caplog: pytest.LogCaptureFixture) -> None:
    assert collapse({"code_perplexity_0": 50.0, "code_perplexity_1": 1.0}) is None
    assert not caplog.records
    alike = {"predicted_perplexity_0": 1.0, "probability_perplexity": 1.1, "prediction_variance": 0.001}
    assert collapse(alike) is None
    (said,) = (record.message for record in caplog.records)
    assert said == (
        "step 100: the predictions are nearly constant: predicted_perplexity_0 is 1, probability_perplexity is 1.1, "
        "prediction_variance is 0.001 (1: a single code for all frames) over the last 100 updates; training goes on"
    )


def test_a_collapse_is_said_from_the_first_validation_on_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    watch = GuardWatch(Guards(), 10_000)
    caplog.set_level("INFO")
    training = {"loss": 1.0, "predicted_perplexity_0": 1.0, "code_perplexity_0": 80.0}
    assert watch.look(1, training) is None
    assert watch.look(2, {**training, "valid_predicted_perplexity_0": 1.0, "valid_code_perplexity_0": 80.0}) is None
    assert [record.message for record in caplog.records] == [
        "step 2: the predictions are nearly constant: valid_predicted_perplexity_0 is 1 (1: a single code for all "
        "frames); training goes on"
    ]
    for step in range(3, 200):
        assert watch.look(step, {**training, "valid_predicted_perplexity_0": 1.1}) is None
    assert len(caplog.records) == 1
    watch.validated(200, {"valid_predicted_perplexity_0": 7.0})
    assert caplog.records[-1].message == "step 200: the predictions are no longer nearly constant"
    watch.validated(201, {"valid_target_variance": 0.01})
    assert "the targets are nearly constant: valid_target_variance is 0.01;" in caplog.records[-1].message
    silent = GuardWatch(Guards(collapse=None), 10_000)
    silent.validated(1, {"valid_target_variance": 0.0})
    assert len(caplog.records) == 3


def test_a_stop_saves_the_state_and_a_null_guard_goes_on(make_manifest: MakeManifest, tmp_path: Path) -> None:
    class Collapsing(ToyLearner):
        def forward(self, *args: object) -> object:  # type: ignore[override]
            output = super().forward(*args)  # type: ignore[arg-type]
            output.metrics["target_variance"] = (0.0 * output.count, output.count)
            return output

    manifest = make_manifest((1.0, 1.0))
    guards = Guards(collapse=CollapseGuard(grace_updates=0, grace_share=0.0))
    recipe = toy_recipe(steps=110, guards=guards)
    with pytest.raises(UserError, match=r"\$\.guards\.collapse: the targets are nearly constant"):
        train(toy_job(manifest, tmp_path, recipe, Collapsing()))
    assert read_state(checkpoints(tmp_path / "state")[-1]).step == 100
    recipe = dataclasses.replace(recipe, guards=Guards(collapse=None))
    train(toy_job(manifest, tmp_path, recipe, Collapsing()))
    assert read_state(checkpoints(tmp_path / "state")[-1]).step == 110


@pytest.mark.parametrize(
    ("guards", "match"),
    [
        (Guards(loss_spike=SpikeGuard(factor=1.0)), r"\$\.guards\.loss_spike\.factor: `factor` must be above 1"),
        (Guards(loss_spike=SpikeGuard(updates=0)), r"\$\.guards\.loss_spike"),
        (Guards(collapse=CollapseGuard(grace_share=2.0)), r"\$\.guards\.collapse"),
        (Guards(non_finite=0), r"\$\.guards\.non_finite"),
    ],
)
def test_values_without_sense_are_refused(guards: Guards, match: str) -> None:
    with pytest.raises(UserError, match=match):
        check_guards(guards)
