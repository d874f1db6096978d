"""What must not happen in the edges of a probe: silent losses, scores of other weights, memory without bounds."""

import dataclasses
import math

import pyarrow.parquet as pq
import pytest
import torch

from audio_ssl.data.manifest import Clip
from audio_ssl.errors import UserError
from audio_ssl.features.source import LogMelSource, open_source
from audio_ssl.probing import features, live
from audio_ssl.probing.choose import curve
from audio_ssl.probing.features import BankCache, MemoryBank, fill, portions
from audio_ssl.probing.fit import Examples, Fitted, fit, name_diverged
from audio_ssl.probing.heads import frames as frames_head
from audio_ssl.probing.heads import mlp
from audio_ssl.probing.live import LiveBank, TunedBank
from audio_ssl.probing.predictions import write_predictions, write_table
from audio_ssl.probing.probe import Data, FineTune, Optim, Probe
from audio_ssl.probing.quick import Scorer
from audio_ssl.probing.splits import choose_clips, leave_out, overlap_warnings, thin
from audio_ssl.probing.sweep import _drop_beaten
from audio_ssl.probing.system import Run, System, measure
from audio_ssl.probing.tasks import chords, classification, key, regression, tagging
from tests.probing.test_sweep import DIM, examples, small_mlp, trained, write_model


def clip(name, path="x.wav", start=0.0, seconds=10.0, split="train", **more):
    return Clip(name, path, start, seconds, 16000, split=split, **{"label": "C major", **more})


def test_dropout_does_not_depend_on_what_is_trained_beside():
    def head():
        return mlp.build(mlp.Config(8, dropout=0.5), DIM, 24, "class")

    optim = Optim(steps=20, eval_every=5, patience=2, batch_clips=16)
    beside = [Run(layer, lr, seed) for seed in (3, 1) for lr in (0.1, 0.01) for layer in (0, 2, 1)]
    together = trained(beside, head=head, optim=optim)
    for run, one in zip(beside, together, strict=True):
        for stackable in (True, False):
            (alone,) = trained([run], head=head, optim=optim, stackable=stackable)
            assert (alone.steps, alone.valid) == (one.steps, pytest.approx(one.valid))
            for name, value in one.state.items():
                torch.testing.assert_close(value, alone.state[name], atol=1e-4, rtol=1e-4)


def test_the_score_of_averaged_weights_is_theirs():
    wild = Optim(steps=40, eval_every=2, batch_clips=16, average_last=10, patience=30, optimizer="sgd", clip_norm=None)
    (one,) = trained([Run(1, 3.0, 0)], optim=wild)
    task, valid = examples(30, 1, True)
    _, train = examples(60, 0, True)
    system = System(small_mlp(), measure(train.bank, train.clips), 1)
    system.load_state_dict(one.state)
    scorer = Scorer(task, valid.clips, valid.targets)
    assert one.valid == pytest.approx(scorer.slow(system.predict(valid.bank, valid.clips)))
    assert one.valid < max(point["valid"] for point in one.history)


def test_weights_that_the_last_update_spoilt_are_not_kept():
    # The one update before the evaluation has a finite loss; of its weights comes nothing that is a number.
    optim = Optim(optimizer="sgd", steps=2, eval_every=1, batch_clips=64, clip_norm=None)
    good, bad = trained([Run(1, 0.01, 0), Run(1, 1e38, 0)], optim=optim)
    assert bad.diverged
    assert math.isnan(bad.valid)
    assert not bad.state
    assert not good.diverged


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adadelta", "sgd"])
def test_what_has_stopped_is_not_held(optimizer, monkeypatch):
    from audio_ssl.probing import fit as module

    made, make = [], module._optimizer
    monkeypatch.setattr(module, "_optimizer", lambda *given: made.append(make(*given)) or made[-1])
    optim = Optim(optimizer=optimizer, steps=400, eval_every=1, patience=2, batch_clips=64)
    found = trained([Run(layer, lr, 0) for layer in (0, 1) for lr in (1e-9, 0.3)], optim=optim)
    assert all(one.steps < 400 for one in found)
    assert not any(group["params"] for group in made[0].param_groups)
    assert not made[0].state


def test_the_layer_curve_shows_the_rate_that_would_be_chosen():
    def fitted(lr, seed, valid):
        return Fitted(Run(0, lr, seed), valid=valid, state={"x": torch.zeros(1)})

    runs = [fitted(1.0, 0, math.nan), fitted(1.0, 1, 90.0), fitted(0.1, 0, 80.0), fitted(0.1, 1, 82.0)]
    assert curve(runs, "accuracy", True) == [
        {"layer": 0, "metric": "accuracy", "valid": 81.0, "low": 80.0, "high": 82.0, "lr": 0.1}
    ]


def test_of_tuned_models_one_a_layer_and_rate_is_held():
    runs = [Fitted(Run(2, lr, s), valid=10.0 * s + lr, state={"x": torch.zeros(1)}) for s in (0, 1) for lr in (0.1, 1)]
    _drop_beaten(runs, True)
    assert [bool(one.state) for one in runs] == [False, False, True, True]
    _drop_beaten(runs, True)
    assert [bool(one.state) for one in runs] == [False, False, True, True]


def test_valid_clips_that_choose_nothing_are_refused():
    _, made = examples(20, 0, True)
    tags = tagging.build(tagging.Config(min_count=1))
    clips = [dataclasses.replace(c, tags=("a", "b")[: 1 + i % 2]) for i, c in enumerate(made.clips)]
    tags.learn([*clips, dataclasses.replace(clips[0], tags=("c",))])
    with pytest.raises(UserError, match="valid clips choose nothing: none of the tags"):
        Scorer(tags, clips[::2], [tags.target(c) for c in clips[::2]])
    numbers = regression.build(regression.Config(("v",)))
    numbered = [dataclasses.replace(c, extra={"v": float(i > 9)}) for i, c in enumerate(made.clips)]
    numbers.learn(numbered)
    with pytest.raises(UserError, match="valid clips choose nothing: one of the numbers"):
        Scorer(numbers, numbered[:5], [numbers.target(c) for c in numbered[:5]])
    assert Scorer(numbers, numbered, [numbers.target(c) for c in numbered]).task is numbers


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
    statistics = measure(bank, clips)

    def make(run):
        head = frames_head.build(frames_head.Config(8), DIM, len(task.classes), "frames")
        return System(head, statistics, run.layer)

    scorer = Scorer(task, clips, [])
    found = fit(make, [Run(0, 0.01, s) for s in (0, 1)], statistics, part, part, scorer, Optim(steps=30, eval_every=30))
    for one in found:
        system = make(one.run)
        system.load_state_dict(one.state)
        assert one.valid == pytest.approx(scorer.slow(system.predict(bank, clips)))
    assert found[0].valid != found[1].valid


def test_long_clips_come_in_small_batches(monkeypatch):
    monkeypatch.setattr(features, "MOST_FRAMES", 20)
    bank, clips = MemoryBank(False), [clip(str(n), f"{n}.wav") for n in range(6)]
    for one, count in zip(clips, (3, 4, 9, 30, 2, 2), strict=True):
        bank.add(one, [torch.zeros(count, DIM)])
    assert [len(part) for part in portions(clips, bank, 64)] == [2, 1, 1, 2]
    assert [len(part) for part in portions(clips, bank, 1)] == [1] * 6
    assert list(portions([], bank, 4)) == []


def test_features_of_all_probes_and_sources_stay_within_the_limit():
    class Source(LogMelSource):
        pass

    first, second = Source(), Source()
    second.fingerprint = "another"
    clips = [clip(str(n), f"{n}.wav", seconds=1.0) for n in range(8)]
    size = features.bytes_of(clips[:4], first)
    cache = BankCache()

    def use(source, wanted):
        bank = cache.memory(source, False, wanted, 1.5 * size)
        for one in wanted:
            if one not in bank:
                bank.add(one, [torch.zeros(50, 80)])
        return bank

    bank = use(first, clips[:4])
    assert use(first, clips[:3]) is bank
    assert use(first, clips[2:5]) is bank, "five clips are within it"
    assert [one in use(first, clips[4:8]) for one in clips] == [False] * 4 + [True] * 4
    use(second, clips[:4])
    assert [one in cache.memory(first, False, [], 1.5 * size) for one in clips] == [False] * 8


@pytest.fixture
def sounds(tmp_path):
    import numpy as np
    import soundfile

    made = []
    for number in range(4):
        wave = np.random.default_rng(number).normal(0, 0.1, 16000 + 1000 * number)
        soundfile.write(tmp_path / f"{number}.wav", wave, 16000)
        made.append(clip(f"{number}", str(tmp_path / f"{number}.wav"), seconds=len(wave) / 16000))
    return made


def test_room_is_asked_for_what_is_missing_only(sounds, tmp_path, monkeypatch):
    source, data = LogMelSource(), Data(features="disk")
    fill(sounds[:3], source, False, data, tmp_path / "f", BankCache(), lambda *_: None)
    asked = []
    monkeypatch.setattr(features, "_check_room", lambda folder, size: asked.append(size))
    fill(sounds, source, False, data, tmp_path / "f", BankCache(), lambda *_: None)
    fill(sounds, source, False, data, tmp_path / "f", BankCache(), lambda *_: None)
    assert asked == [features.bytes_of(sounds[3:], source), 0]


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_clips_of_the_same_unreadable_audio_are_all_named(place, sounds, tmp_path):
    gone = [clip(name, str(tmp_path / "gone.wav"), seconds=1.0) for name in ("a", "b")]
    refused = []
    fill(
        [*sounds, *gone],
        LogMelSource(),
        False,
        Data(features=place),
        tmp_path / "f",
        BankCache(),
        lambda one, reason: refused.append((one.id, reason)),
    )
    assert [name for name, _ in refused] == ["a", "b"]
    assert refused[0][1] == refused[1][1]


def test_audio_goes_through_a_model_in_portions(sounds, tmp_path, monkeypatch):
    source = open_source(write_model(tmp_path / "model")).at(torch.device("cpu"), "float32")
    bank = LiveBank(source, False)
    bank.open(sounds, lambda *_: pytest.fail("all can be read"))
    whole, counts = bank.batch(sounds), []
    run = source._run
    monkeypatch.setattr(
        source, "_run", lambda wave, *rest, **more: counts.append(len(wave)) or run(wave, *rest, **more)
    )
    bank._batch_seconds = 2.5
    torch.testing.assert_close(bank.batch(sounds).values, whole.values, atol=1e-4, rtol=1e-4)
    assert counts == [2, 2]
    tuned = TunedBank(source, False, FineTune(batch_seconds=1.0), bank)
    torch.testing.assert_close(tuned.batch(sounds).values, whole.values, atol=1e-4, rtol=1e-4)
    assert list(tuned.portions(sounds, range(4))) == [[0], [1], [2], [3]]


def test_streamed_features_that_are_no_numbers_stop_the_probe(sounds, tmp_path, monkeypatch):
    source = open_source(write_model(tmp_path / "model"))
    bank = LiveBank(source, False)
    bank.open(sounds, lambda *_: None)
    hidden = live.LiveBank._hidden

    def broken(self, waves):
        layers, frames = hidden(self, waves)
        layers = [layer.clone() for layer in layers]
        layers[1][-1, 0, 0] = torch.nan
        return layers, frames

    monkeypatch.setattr(live.LiveBank, "_hidden", broken)
    with pytest.raises(UserError, match="the features of `3` are not finite"):
        bank.batch(sounds)


def test_a_rate_at_which_the_tuned_model_diverges_leaves_the_other_rates(sounds, tmp_path):
    from audio_ssl.probing.sweep import _Training

    task = key.build(key.Config())
    labelled = [dataclasses.replace(one, label=task.classes[i % 2]) for i, one in enumerate(sounds)]
    source = open_source(write_model(tmp_path / "model")).at(torch.device("cpu"), "float32")
    bank = LiveBank(source, True)
    bank.open(labelled, lambda *_: None)
    part = Examples(labelled, [task.target(one) for one in labelled], bank)
    optim = Optim(optimizer="sgd", steps=4, eval_every=2, clip_norm=None)
    question = Probe(task=None, head=mlp.Config(8), optim=optim, finetune=FineTune(freeze_steps=1))
    training = _Training(question, task, source, bank)
    training._make = lambda run: System(mlp.build(mlp.Config(8), 16, 24, "class"), training._statistics, run.layer)
    bad, good = training.fit([Run(2, 1e30, 0), Run(2, 0.01, 0)], part, part)
    assert (bad.diverged, good.diverged) == (True, False)
    assert good.state
    with pytest.raises(UserError, match="the loss of every run"):
        training.fit([Run(2, 1e30, 0)], part, part)
    with pytest.raises(UserError, match="the loss of every run"):
        name_diverged([bad])


def test_no_run_stops_before_its_model_has_begun_to_learn(sounds, tmp_path):
    task = key.build(key.Config())
    source = open_source(write_model(tmp_path / "model")).at(torch.device("cpu"), "float32")
    bank = LiveBank(source, True)
    bank.open(sounds, lambda *_: None)
    tuned = TunedBank(source, True, FineTune(freeze_steps=6), bank)
    part = Examples(sounds, [task.target(one) for one in sounds], tuned)
    statistics = measure(bank, sounds)

    def make(run):
        return System(mlp.build(mlp.Config(8), 16, 24, "class"), statistics, run.layer)

    scorer = Scorer(task, sounds, part.targets)
    # Nothing improves after the first evaluation.
    scorer.better = lambda value, than: False
    optim = Optim(steps=20, eval_every=1, patience=2)
    (one,) = fit(make, [Run(2, 1e-3, 0)], statistics, part, part, scorer, optim, tuned=tuned)
    assert one.steps == 8


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_the_unit_of_a_layer_does_not_matter(unit):
    random, bank, clips = torch.Generator().manual_seed(0), MemoryBank(True), []
    for number in range(40):
        layers = torch.randn(2, 1, 5, generator=random) * torch.tensor([1.0, 2.0, 0.1, 1.0, 1.0])
        layers[..., 4] = 3.0
        clips.append(clip(str(number), f"{number}.wav"))
        bank.add(clips[-1], list(layers * unit))
    statistics = measure(bank, clips)
    values = statistics.standardise(bank.batch(clips)).values
    torch.testing.assert_close(values[..., :4].std(1, correction=0), torch.ones(2, 1, 4), atol=1e-3, rtol=1e-3)
    # A dimension that never varied does not explode where it does.
    other = clip("o", "o.wav")
    bank.add(other, [torch.full((1, 5), 4.0 * unit)] * 2)
    assert not statistics.standardise(bank.batch([other])).values[..., 4].any()


@pytest.mark.parametrize(
    ("train", "test", "refused"),
    [
        ((0.0, 10.0), (0.0, 10.0), True),
        ((0.0, 10.0), (5.0, 10.0), True),
        ((0.0, 30.0), (10.0, 5.0), True),
        ((10.0, 5.0), (0.0, 30.0), True),
        ((0.0, 0.03), (0.0, 0.03), True),
        ((0.0, 10.0), (10.0, 10.0), False),
        ((0.0, 10.02), (10.0, 10.0), False),
        ((20.0, 5.0), (0.0, 10.0), False),
    ],
)
def test_overlapping_spans_in_two_splits_are_refused(train, test, refused):
    task = key.build(key.Config())
    clips = [
        clip("a", "d/x.wav", *train),
        clip("between", "d/x.wav", train[0], train[1] / 2),
        clip("v", "v.wav", split="valid"),
        clip("b", "d/../d/x.wav", *test, split="test"),
        clip("c", "z.wav", split="test"),
    ]
    if refused:
        with pytest.raises(UserError, match=r"the audio of `\w+` is both in (train|test) \(there in `\w+`\) and in"):
            choose_clips(clips, Data(), task)
    else:
        (parts,), _ = choose_clips(clips, Data(), task)
        assert len(parts["train"]) == 2


def test_pieces_of_a_file_or_track_on_both_sides_are_said():
    task = key.build(key.Config())
    parts = {
        "train": [clip("a", "x.wav"), clip("b", "y.wav", extra={"track": "t"})],
        "valid": [],
        "test": [clip("c", "x.wav", 20.0), clip("d", "w.wav", extra={"track": "t"})],
    }
    assert overlap_warnings(parts, task) == [
        "tracks of the test clips are in the training clips too: t",
        "files of the test clips are in the training clips too: x.wav",
    ]


def test_a_class_that_a_fold_never_trains_is_left_out_by_name():
    task = classification.build(classification.Config(min_count=1))
    data = Data(folds=3)
    clips = [clip(f"{n}", f"{n}.wav", label="ab"[n % 2], speaker=f"s{n % 3}") for n in range(12)]
    clips.append(clip("lone", "lone.wav", label="c", speaker="s0"))
    parts, _ = choose_clips(clips, data, task)
    task.learn([one for part in parts[0].values() for one in part])
    kept = [leave_out(part, task) for part in parts]
    assert [[(one.clip_id, one.reason) for one in excluded] for _, excluded in kept if excluded] == [
        [("lone", "`c` is not in training")]
    ] * 2
    of_speakers = classification.build(classification.Config(column="speaker"))
    of_speakers.learn(clips)
    with pytest.raises(UserError, match=r"no clip of the \w+ split can be used: `s\d` is not in training"):
        leave_out(parts[0], of_speakers)


def test_columns_of_the_manifest_are_not_lost_to_those_of_the_answer(tmp_path):
    task = key.build(key.Config())
    one = clip("a", extra={"scores": 3, "reference": "theirs"})
    write_predictions(tmp_path / "p.parquet", task, [one], [torch.zeros(24)])
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert (row["manifest_scores"], row["manifest_reference"], row["reference"]) == (3, "theirs", "C major")
    assert len(row["scores"]) == 24


def test_an_empty_split_says_why_its_clips_were_left_out():
    clips = [clip("a", "a.wav"), clip("v", "v.wav", split="valid"), clip("b", "b.wav", split="test", seconds=99.0)]
    with pytest.raises(
        UserError, match=r"no usable clip in the split `test` .*\(1 left out: longer than `max_seconds` 30\)"
    ):
        choose_clips(clips, Data(), key.build(key.Config()))


def test_columns_of_several_types_do_not_lose_the_predictions(tmp_path):
    rows = [{"age": 20, "n": 1, "x": 2**70, "t": "a\udc80"}, {"age": "old", "n": 2.5, "x": None, "t": None}]
    write_table(tmp_path / "t.parquet", rows)
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"age": "20", "n": 1.0, "x": str(2**70), "t": "a\\x80"},
        {"age": "old", "n": 2.5, "x": None, "t": None},
    ]


@pytest.mark.parametrize(
    "override",
    [
        "data.max_train_clips=0",
        "data.max_seconds=0",
        "optim.clip_norm=-1",
        "finetune={lr: 0}",
        "finetune={batch_seconds: 0}",
        "finetune={freeze_steps: 20000}",
    ],
)
def test_numbers_that_cannot_be_are_refused(override, tmp_path):
    from audio_ssl.probing.probe import read_probe

    (tmp_path / "m.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"\$\.(data|optim|finetune)\.\w+: (the model would never learn: )?must be"):
        read_probe("demo_key", [f"data.manifest={tmp_path / 'm.jsonl'}", override])
    assert thin(list(range(10)), 3) == [0, 3, 6]


def test_questions_without_training_have_no_folds(toy_manifest, tmp_path):
    from audio_ssl.probing.run import run_probe

    with pytest.raises(UserError, match=r"\$\.data\.folds: the task abx trains nothing"):
        run_probe("abx", "logmel", tmp_path / "r", [f"data.manifest={toy_manifest}", "data.folds=3", "task.times=null"])
