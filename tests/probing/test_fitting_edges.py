"""What training does at its edges: company, averages, overflow, rates that diverge, models that wait."""

import dataclasses
import math

import pytest
import torch

from audio_ssl.artifacts.result import LayerPoint
from audio_ssl.base.errors import UserError
from audio_ssl.features.baselines.logmel import LogMelSource
from audio_ssl.features.source import open_source
from audio_ssl.probing import features
from audio_ssl.probing.features import MemoryBank
from audio_ssl.probing.heads import frames as frames_head
from audio_ssl.probing.heads import mlp
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, measure_layers
from audio_ssl.probing.live import LiveBank, TunedBank
from audio_ssl.probing.probe import FineTuning, HeadTraining, Probe
from audio_ssl.probing.quick import ValidationScorer
from audio_ssl.probing.sweep import _drop_beaten, layer_curve
from audio_ssl.probing.tasks import chords, key, regression, tagging
from audio_ssl.probing.train import Examples, TrainedHead, name_diverged, train_heads
from tests.probing.test_sweep import DIM, examples, small_mlp, trained, write_model
from tests.probing.toys import clip


def test_dropout_does_not_depend_on_what_is_trained_beside():
    def head():
        return mlp.build(mlp.Config(8, dropout=0.5), DIM, 24, "class")

    optim = HeadTraining(steps=20, eval_every=5, patience=2, batch_clips=16)
    beside = [HeadRun(layer, lr, seed) for seed in (3, 1) for lr in (0.1, 0.01) for layer in (0, 2, 1)]
    together = trained(beside, head=head, optim=optim)
    for run, one in zip(beside, together, strict=True):
        for stackable in (True, False):
            (alone,) = trained([run], head=head, optim=optim, stackable=stackable)
            assert (alone.steps, alone.valid) == (one.steps, pytest.approx(one.valid))
            for name, value in one.state.items():
                torch.testing.assert_close(value, alone.state[name], atol=1e-4, rtol=1e-4)


def test_the_score_of_averaged_weights_is_theirs():
    wild = HeadTraining(
        steps=40, eval_every=2, batch_clips=16, average_last=10, patience=30, optimizer="sgd", clip_norm=None
    )
    (one,) = trained([HeadRun(1, 3.0, 0)], optim=wild)
    task, valid = examples(30, 1, True)
    _, train = examples(60, 0, True)
    system = LayerHead(small_mlp(), measure_layers(train.bank, train.clips), 1)
    system.load_state_dict(one.state)
    scorer = ValidationScorer(task, valid.clips, valid.targets)
    assert one.valid == pytest.approx(scorer.slow(system.predict(valid.bank, valid.clips)))
    assert one.valid < max(point.valid for point in one.history)


def test_weights_that_the_last_update_spoilt_are_not_kept():
    # The one update before the evaluation has a finite loss; of its weights comes nothing that is a number.
    optim = HeadTraining(optimizer="sgd", steps=2, eval_every=1, batch_clips=64, clip_norm=None)
    good, bad = trained([HeadRun(1, 0.01, 0), HeadRun(1, 1e38, 0)], optim=optim)
    assert bad.diverged
    assert math.isnan(bad.valid)
    assert not bad.state
    assert not good.diverged


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adadelta", "sgd"])
def test_what_has_stopped_is_not_held(optimizer, monkeypatch):
    from audio_ssl.probing import train as module

    made, make = [], module._optimizer
    monkeypatch.setattr(module, "_optimizer", lambda *given: made.append(make(*given)) or made[-1])
    optim = HeadTraining(optimizer=optimizer, steps=400, eval_every=1, patience=2, batch_clips=64)
    found = trained([HeadRun(layer, lr, 0) for layer in (0, 1) for lr in (1e-9, 0.3)], optim=optim)
    assert all(one.steps < 400 for one in found)
    assert not any(group["params"] for group in made[0].param_groups)
    assert not made[0].state


def test_the_layer_curve_shows_the_rate_that_would_be_chosen():
    def fitted(lr, seed, valid):
        return TrainedHead(HeadRun(0, lr, seed), valid=valid, state={"x": torch.zeros(1)})

    runs = [fitted(1.0, 0, math.nan), fitted(1.0, 1, 90.0), fitted(0.1, 0, 80.0), fitted(0.1, 1, 82.0)]
    assert layer_curve(runs, "accuracy", True) == [LayerPoint(0, "accuracy", 81.0, 80.0, 82.0, 0.1)]


def test_of_tuned_models_one_a_layer_and_rate_is_held():
    runs = [
        TrainedHead(HeadRun(2, lr, s), valid=10.0 * s + lr, state={"x": torch.zeros(1)})
        for s in (0, 1)
        for lr in (0.1, 1)
    ]
    _drop_beaten(runs, True)
    assert [bool(one.state) for one in runs] == [False, False, True, True]
    _drop_beaten(runs, True)
    assert [bool(one.state) for one in runs] == [False, False, True, True]


def test_valid_clips_that_choose_nothing_are_refused():
    _, made = examples(20, 0, True)
    tags = tagging.build(tagging.Config(min_count=1))
    clips = [dataclasses.replace(c, tags=("a", "b")[: 1 + i % 2]) for i, c in enumerate(made.clips)]
    tags.learn([*clips, dataclasses.replace(clips[0], tags=("c",))])
    with pytest.raises(UserError, match="cannot rank the heads: every tag"):
        ValidationScorer(tags, clips[::2], [tags.target(c) for c in clips[::2]])
    numbers = regression.build(regression.Config(("v",)))
    numbered = [dataclasses.replace(c, extra={"v": float(i > 9)}) for i, c in enumerate(made.clips)]
    numbers.learn(numbered)
    with pytest.raises(UserError, match="cannot rank the heads: one target"):
        ValidationScorer(numbers, numbered[:5], [numbers.target(c) for c in numbered[:5]])
    assert ValidationScorer(numbers, numbered, [numbers.target(c) for c in numbered]).task is numbers


def test_scores_of_frames_are_summed_batch_by_batch_as_all_at_once(monkeypatch):
    monkeypatch.setattr(features, "MOST_FRAMES", 12)
    source, task, bank = LogMelSource(), chords.build(chords.Config()), MemoryBank(False)
    task.start(source.grid)
    random, clips, targets = torch.Generator().manual_seed(0), [], []
    for number in range(9):
        one = clip(
            f"{number}", f"{number}.wav", seconds=0.2, extra={"chords": f"0 0.1 {'CDE'[number % 3]}:maj; 0.1 1 N"}
        )
        bank.add(one, [torch.randn(4 + number % 4, DIM, generator=random)])
        clips.append(one)
        targets.append(task.frame_target(one, bank.frames(one), source.grid))
    part = Examples(clips, targets, bank)
    statistics = measure_layers(bank, clips)

    def make(run):
        head = frames_head.build(frames_head.Config(8), DIM, len(task.classes), "frames")
        return LayerHead(head, statistics, run.layer)

    scorer = ValidationScorer(task, clips, [])
    found = train_heads(
        make,
        [HeadRun(0, 0.01, s) for s in (0, 1)],
        statistics,
        part,
        part,
        scorer,
        HeadTraining(steps=30, eval_every=30),
    )
    for one in found:
        system = make(one.run)
        system.load_state_dict(one.state)
        assert one.valid == pytest.approx(scorer.slow(system.predict(bank, clips)))
    assert found[0].valid != found[1].valid


def test_a_rate_at_which_the_tuned_model_diverges_leaves_the_other_rates(sounds, tmp_path):
    from audio_ssl.probing.sweep import SystemTraining

    task = key.build(key.Config())
    labelled = [dataclasses.replace(one, label=task.classes[i % 2]) for i, one in enumerate(sounds)]
    source = open_source(write_model(tmp_path / "model")).at(torch.device("cpu"), "float32")
    bank = LiveBank(source, True)
    bank.open(labelled, lambda *_: None)
    part = Examples(labelled, [task.target(one) for one in labelled], bank)
    optim = HeadTraining(optimizer="sgd", steps=4, eval_every=2, clip_norm=None)
    question = Probe(task=None, head=mlp.Config(8), optim=optim, finetune=FineTuning(freeze_steps=1))
    training = SystemTraining(question, task, source, bank)
    training._make = lambda run: LayerHead(
        mlp.build(mlp.Config(8), 16, 24, "class"), training._statistics[run.whiten], run.layer
    )
    bad, good = training.fit([HeadRun(2, 1e30, 0), HeadRun(2, 0.01, 0)], part, part)
    assert (bad.diverged, good.diverged) == (True, False)
    assert good.state
    with pytest.raises(UserError, match="the loss of every run"):
        training.fit([HeadRun(2, 1e30, 0)], part, part)
    with pytest.raises(UserError, match="the loss of every run"):
        name_diverged([bad])


def test_no_run_stops_before_its_model_has_begun_to_learn(sounds, tmp_path):
    task = key.build(key.Config())
    source = open_source(write_model(tmp_path / "model")).at(torch.device("cpu"), "float32")
    bank = LiveBank(source, True)
    bank.open(sounds, lambda *_: None)
    tuned = TunedBank(source, True, FineTuning(freeze_steps=6), bank)
    part = Examples(sounds, [task.target(one) for one in sounds], tuned)
    statistics = measure_layers(bank, sounds)

    def make(run):
        return LayerHead(mlp.build(mlp.Config(8), 16, 24, "class"), statistics, run.layer)

    scorer = ValidationScorer(task, sounds, part.targets)
    # Nothing improves after the first evaluation.
    scorer.better = lambda value, than: False
    optim = HeadTraining(steps=20, eval_every=1, patience=2)
    (one,) = train_heads(make, [HeadRun(2, 1e-3, 0)], statistics, part, part, scorer, optim, tuned=tuned)
    assert one.steps == 8


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_the_unit_of_a_layer_does_not_matter(unit):
    random, bank, clips = torch.Generator().manual_seed(0), MemoryBank(True), []
    for number in range(40):
        layers = torch.randn(2, 1, 5, generator=random) * torch.tensor([1.0, 2.0, 0.1, 1.0, 1.0])
        layers[..., 4] = 3.0
        clips.append(clip(str(number), f"{number}.wav"))
        bank.add(clips[-1], list(layers * unit))
    statistics = measure_layers(bank, clips)
    values = statistics.standardise(bank.batch(clips)).values
    torch.testing.assert_close(values[..., :4].std(1, correction=0), torch.ones(2, 1, 4), atol=1e-3, rtol=1e-3)
    # A dimension that never varied does not explode where it does.
    other = clip("o", "o.wav")
    bank.add(other, [torch.full((1, 5), 4.0 * unit)] * 2)
    assert not statistics.standardise(bank.batch([other])).values[..., 4].any()
