"""Rates that follow the validation clips are those of torch and SpeechBrain; classes are drawn as s3prl draws them."""

import dataclasses
import random

import pytest
import torch
from torch.utils.data import WeightedRandomSampler

from audio_ssl.artifacts.result import HistoryPoint
from audio_ssl.base.catalog import quiet_import
from audio_ssl.base.errors import UserError
from audio_ssl.probing.anneal import Annealer, Annealing
from audio_ssl.probing.clips import balance_weights
from audio_ssl.probing.final import falls_at
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, form_teams, measure_layers
from audio_ssl.probing.probe import HeadTraining, load_probe
from audio_ssl.probing.quick import ValidationScorer
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.train import HeadCourse, TrainedHead, draw_rows, train_heads
from tests.probing.toys import clip, examples, small_mlp

SETTINGS = [(0.5, None, None), (0.5, 0, 0.0), (0.8, 1, 0.0025), (0.1, 3, 0.05)]


def losses(seed, count=60):
    """Return losses that fall, stall, and rise now and then."""
    drawn, value = random.Random(seed), 5.0
    for _ in range(count):
        value *= drawn.choice((0.9, 0.98, 0.999, 1.0, 1.02))
        yield value
    yield from [value] * 12


def falls(schedule, settings, values, higher=False):
    annealer = Annealer(schedule, settings, higher)
    return [annealer.falls_after(value) for value in values]


@pytest.mark.parametrize(("factor", "patience", "threshold"), SETTINGS)
@pytest.mark.parametrize("higher", [False, True])
def test_a_plateau_is_that_of_torch(factor, patience, threshold, higher):
    given = {"patience": patience, "threshold": threshold}
    for seed in range(5):
        values = [100 - value if higher else value for value in losses(seed)]
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode="max" if higher else "min",
            factor=factor,
            eps=0,
            **{name: value for name, value in given.items() if value is not None},
        )
        rates = []
        for value in values:
            theirs.step(value)
            rates.append(optimizer.param_groups[0]["lr"])
        found = falls("plateau", Annealing(factor, patience, threshold), values, higher)
        assert [factor**fall for fall in found] == pytest.approx(rates, rel=1e-12)
        assert len(set(found)) > 1


@pytest.mark.parametrize(("factor", "patience", "threshold"), SETTINGS)
def test_newbob_is_that_of_speechbrain(factor, patience, threshold):
    with quiet_import():
        from speechbrain.nnet.schedulers import NewBobScheduler

    for seed in range(5):
        theirs = NewBobScheduler(
            1.0, factor, 0.0025 if threshold is None else threshold, 0 if patience is None else patience
        )
        values = [*losses(seed), 0.0, 0.0, 1.0]
        rates = [theirs(value)[1] for value in values]
        found = falls("newbob", Annealing(factor, patience, threshold), values)
        assert [factor**fall for fall in found] == pytest.approx(rates, rel=1e-12)
        assert len(set(found)) > 1


def test_newbob_of_a_score_that_shall_rise():
    assert falls("newbob", Annealing(), [50.0, 60.0, 60.1, 60.1, 80.0], higher=True) == [0, 0, 1, 2, 2]
    # R2 may be below zero.
    assert falls("newbob", Annealing(), [-1.0, -0.5, -0.6], higher=True) == [0, 0, 1]


def course_of(runs, optim):
    task, train = examples(60, 0, True)
    _, valid = examples(30, 1, True)
    statistics = measure_layers(train.bank, train.clips)
    scorer = ValidationScorer(task, valid.clips, valid.targets)
    return train_heads(
        lambda run: LayerHead(small_mlp(), statistics, run.layer), runs, statistics, train, valid, scorer, optim
    )


def test_each_run_of_a_stack_has_its_own_rate():
    optim = HeadTraining(
        steps=60, batch_clips=8, eval_every=5, patience=12, schedule="plateau", anneal=Annealing(0.3, 0, 0.02)
    )
    runs = [HeadRun(layer, 3e-3, 0) for layer in (0, 1, 2)]
    together = course_of(runs, optim)
    assert len({tuple(point.falls for point in one.history) for one in together}) == 3, "they fall at different times"
    for one in together:
        (alone,) = course_of([one.run], optim)
        assert [point.falls for point in one.history] == [point.falls for point in alone.history]
        for name, value in alone.state.items():
            torch.testing.assert_close(one.state[name], value, atol=1e-5, rtol=1e-4)


def test_the_rate_of_an_update_is_that_of_the_falls_before_it(monkeypatch):
    _, train = examples(60, 0, True)
    statistics = measure_layers(train.bank, train.clips)
    teams = form_teams([HeadRun(1, 0.5, 0)], lambda run: LayerHead(small_mlp(), statistics, run.layer))
    optim = HeadTraining(optimizer="sgd", batch_clips=8, warmup_steps=2, schedule="newbob", anneal=Annealing(0.5))
    course = HeadCourse(teams, statistics, train, train, None, optim, None)
    rates = []
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: rates.append(self.param_groups[0]["lr"]))
    for step, fallen in ((1, 0), (2, 0), (3, 1), (4, 1.5)):
        course.lower(fallen)
        course.update(step)
    assert rates == pytest.approx([0.25, 0.5, 0.25, 0.5 * 0.5**1.5])


def test_the_final_head_falls_as_the_folds_did_on_average():
    run = HeadRun(0, 1.0, 0)
    folds = [
        TrainedHead(run, history=[HistoryPoint(step, 0.0, 0.0, fallen) for step, fallen in points])
        for points in ([(10, 0), (20, 1), (30, 2)], [(10, 0), (20, 0)])
    ]
    assert [falls_at(folds, step) for step in (1, 10, 11, 20, 21, 99)] == [0, 0, 0.5, 0.5, 1, 1]


def test_classes_are_drawn_equally_often_and_as_torch_draws_them():
    clips = [clip(str(n), label="rare" if n < 3 else "common") for n in range(60)]
    weights = balance_weights(clips, "label")
    _, train = examples(60, 0, True)
    drawn = draw_rows(dataclasses.replace(train, clips=clips, weights=weights), 7, seed=5)
    epochs = [[row for _ in range(9) for row in next(drawn)] for _ in range(20)]
    sampler = WeightedRandomSampler(weights, 60, generator=torch.Generator().manual_seed(5))
    assert epochs == [list(sampler) for _ in range(20)]
    share = sum(row < 3 for epoch in epochs for row in epoch) / 1200
    assert 0.45 < share < 0.55


def test_without_a_value_to_balance_nothing_is_begun(toy_manifest, tmp_path):
    with pytest.raises(UserError, match=r"\$\.data\.balance: 24 of 24 training clips have no value in the column `x`"):
        run_probe(
            "demo_key",
            "logmel",
            tmp_path / "r",
            [f"data.manifest={toy_manifest}", "data.balance=x", "data.max_train_clips=24"],
        )
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("optim={schedule: plateau, anneal: {factor: 1}}", r"\$\.optim\.anneal\.factor: must be above 0 and below 1"),
        ("optim={schedule: newbob, anneal: {patience: -1}}", r"\$\.optim\.anneal\.patience: must be at least 0"),
        ("optim={schedule: newbob, anneal: {threshold: -1}}", r"\$\.optim\.anneal\.threshold: must be at least 0"),
        ("optim={anneal: {factor: 0.5}}", r"\$\.optim\.anneal: has no effect with the schedule constant"),
        ("finetune={anneal_factor: 0.9, freeze_steps: 1}", r"\$\.finetune\.anneal_factor: has no effect with the"),
        ("finetune={anneal_factor: 0, freeze_steps: 1}", r"\$\.finetune\.anneal_factor: must be above 0 and below 1"),
    ],
)
def test_what_cannot_fall_is_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        load_probe("demo_key", [wrong])
