"""Many heads trained together must be what each would have been alone; and where features lie must change nothing."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import r2_score

import audio_ssl
from audio_ssl.base.config import build
from audio_ssl.base.errors import UserError
from audio_ssl.data.manifest import read_manifest, write_manifest
from audio_ssl.probing import quick
from audio_ssl.probing.heads import attentive, ctc_conv
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, measure_layers
from audio_ssl.probing.probe import HeadTraining
from audio_ssl.probing.quick import ValidationScorer
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.sweep import choose_run, layer_curve
from audio_ssl.probing.tasks import regression, tagging
from audio_ssl.probing.train import TrainedHead, factor, train_heads
from tests.probing.toys import DIM, examples, small_mlp, write_model


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def rows(folder, name="predictions"):
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def trained(runs, pooled=True, stackable=True, optim=None, head=None):
    task, train = examples(60, 0, pooled)
    _, valid = examples(30, 1, pooled)
    statistics = measure_layers(train.bank, train.clips)

    def make(run):
        made = (head or small_mlp)()
        made.stackable = stackable
        return LayerHead(made, statistics, run.layer)

    optim = optim or HeadTraining(lrs=(0.01,), steps=30, batch_clips=16, eval_every=5, patience=2)
    return train_heads(make, runs, statistics, train, valid, ValidationScorer(task, valid.clips, valid.targets), optim)


GRID = [HeadRun(layer, lr, seed) for seed in (0, 1) for lr in (0.01, 0.1) for layer in (None, 0, 1, 2)]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adadelta", "sgd"])
def test_heads_trained_together_are_what_each_is_alone(optimizer):
    optim = HeadTraining(optimizer=optimizer, steps=20, eval_every=5, patience=2, batch_clips=16, clip_norm=0.5)
    together = trained(GRID, optim=optim)
    assert [one.run for one in together] == GRID
    assert optimizer == "adadelta" or len({one.steps for one in together}) > 1
    for run, one in zip(GRID, together, strict=True):
        (alone,) = trained([run], stackable=False, optim=optim)
        assert one.steps == alone.steps
        assert one.valid == pytest.approx(alone.valid)
        assert one.state.keys() == alone.state.keys()
        for name, value in one.state.items():
            torch.testing.assert_close(value, alone.state[name], atol=2e-4, rtol=2e-4)


def test_heads_on_frames_train_together_too():
    def head():
        return attentive.build(attentive.Config(hidden_dim=4, dropout=0.0), DIM, 24, "class")

    runs = [HeadRun(layer, 0.01, 0) for layer in (None, 1, 2)]
    together = trained(runs, pooled=False, head=head)
    for run, one in zip(runs, together, strict=True):
        (alone,) = trained([run], pooled=False, stackable=False, head=head)
        assert one.valid == pytest.approx(alone.valid)
        for name, value in one.state.items():
            torch.testing.assert_close(value, alone.state[name], atol=1e-4, rtol=1e-4)


def test_a_run_that_diverges_leaves_the_others_alone():
    # A rate at which float32 overflows within a few updates.
    runs = [HeadRun(1, 0.01, 0), HeadRun(1, 1e30, 0), HeadRun(2, 0.01, 0)]
    optim = HeadTraining(optimizer="sgd", steps=20, eval_every=5, batch_clips=16, clip_norm=None)
    good, bad, other = trained(runs, optim=optim)
    assert bad.diverged
    assert not good.diverged
    assert good.valid == trained([runs[0]], optim=optim)[0].valid
    assert other.valid == trained([runs[2]], optim=optim)[0].valid
    with pytest.raises(UserError, match="the loss of every run became NaN or infinite"):
        trained([runs[1]], optim=optim)


def test_the_layer_that_holds_the_answer_is_chosen():
    optim = HeadTraining(steps=100, eval_every=20, batch_clips=16)
    found = trained([HeadRun(layer, 0.02, seed) for seed in (0, 1) for layer in range(3)], optim=optim)
    assert choose_run(found, True).run.layer == 1
    points = layer_curve(found, "accuracy", True)
    assert [point.layer for point in points] == [0, 1, 2]
    assert points[1].valid > 90 > points[0].valid + 30
    assert points[1].low <= points[1].valid <= points[1].high


def test_the_mean_over_seeds_chooses_and_not_the_luckiest_seed():
    def fitted(lr, seed, valid):
        return TrainedHead(HeadRun(0, lr, seed), valid=valid, state={"x": torch.zeros(1)})

    lucky = [fitted(0.1, 0, 10.0), fitted(0.1, 1, 90.0)]
    steady = [fitted(0.01, 0, 60.0), fitted(0.01, 1, 61.0)]
    assert choose_run([*lucky, *steady], True) is steady[1]
    assert choose_run([*lucky, *steady], False) is lucky[0]
    steady[0].valid = np.nan
    assert choose_run([*lucky, *steady], True) is lucky[1], "a rate at which a seed diverged is worse"


def test_weights_may_be_the_mean_of_the_last_evaluations():
    run = [HeadRun(1, 0.01, 0)]
    optim = HeadTraining(steps=20, eval_every=5, batch_clips=16, average_last=2, patience=9)
    (mean,) = trained(run, optim=optim)
    last = [trained(run, optim=dataclasses.replace(optim, steps=s, eval_every=s))[0].state for s in (15, 20)]
    for name, value in mean.state.items():
        torch.testing.assert_close(value, (last[0][name] + last[1][name]) / 2)


def test_numbers_of_many_runs_are_scored_as_scikit_learn_scores_one():
    random = torch.Generator().manual_seed(0)
    values, guesses = torch.randn(50, 2, generator=random), torch.randn(4, 50, 2, generator=random)
    expected = [100 * r2_score(values, run) for run in guesses]
    task = regression.build(regression.Config(("valence", "arousal")))
    scorer = quick.ValidationScorer(task, examples(50, 2, True)[1].clips, list(values))
    np.testing.assert_allclose(scorer.quick(guesses), expected, rtol=1e-5)


def test_a_quick_score_is_the_slow_one():
    random = torch.Generator().manual_seed(0)
    keys, examples_of_keys = examples(40, 2, True)
    tags = tagging.build(tagging.Config(min_count=1))
    tagged = [dataclasses.replace(c, tags=("a", "b")[: 1 + i % 2]) for i, c in enumerate(examples_of_keys.clips)]
    tags.learn([*tagged, dataclasses.replace(tagged[0], tags=("c",))])
    for task, clips in ((keys, examples_of_keys.clips), (tags, tagged)):
        scorer = ValidationScorer(task, clips, [task.target(clip) for clip in clips])
        outputs = torch.randn(3, 40, len(task.classes), generator=random)
        found = scorer.quick(scorer.condense(outputs))
        assert found == pytest.approx([scorer.slow(list(run)) for run in outputs])
        # A run whose output is NaN leaves the others what they are.
        outputs[1, 3, 0] = torch.nan
        others = scorer.quick(scorer.condense(outputs))
        assert [others[0], others[2]] == [found[0], found[2]]


def quickly(manifest, *more):
    return [f"data.manifest={manifest}", "optim.eval_every=10", "optim.steps=20", "optim.batch_clips=16", *more]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("place", ["disk", "stream"])
@pytest.mark.parametrize("probe", ["demo_asr", "demo_key"])
def test_where_features_lie_changes_no_answer(place, probe, toy_manifest, model, tmp_path, caplog):
    caplog.set_level("INFO")
    overrides = quickly(toy_manifest, "baselines=[]", "data.max_train_clips=24")
    memory = run_probe(probe, model, tmp_path / "m", [*overrides, "data.features=memory"])
    other = run_probe(probe, model, tmp_path / place, [*overrides, f"data.features={place}"])
    # Features in memory are kept in half precision; nothing else may differ.
    for name, value in load_file(memory / "head.safetensors").items():
        torch.testing.assert_close(load_file(other / "head.safetensors")[name], value, atol=0.05, rtol=0.05)
    assert scores(other)["counts"] == scores(memory)["counts"]
    assert ("on the disk, below" in caplog.text) == (place == "disk" and probe == "demo_asr")
    assert not (tmp_path / place / "features").exists(), "a finished answer needs no features"


def test_layers_rates_and_seeds_are_all_tried_and_listed(toy_manifest, model, tmp_path):
    overrides = quickly(toy_manifest, "optim.lrs=[1e-3, 1e-2]", "seeds=[0, 1]", "baselines=[logmel]")
    out = run_probe("demo_key", model, tmp_path / "r", overrides)
    found = scores(out)
    assert len(found["runs"]) == 3 * 2 * 2
    assert {(run["layer"], run["lr"], run["seed"]) for run in found["runs"]} >= {(0, 0.01, 0), (2, 0.001, 1)}
    best = max(point["valid"] for point in found["layers"])
    assert next(p for p in found["layers"] if p["valid"] == best)["layer"] == found["chosen"]["layer"]
    assert found["chosen_layer"] == found["chosen"]["layer"]
    assert len(scores(out / "baselines" / "logmel")["runs"]) == 4
    cost = found["cost"]
    assert cost["parameters"] == 16 * 256 + 256 + 256 * 24 + 24
    assert min(cost["extract_seconds"], cost["fit_seconds"], cost["peak_memory_bytes"], cost["audio_seconds"]) > 0
    assert (len(found["history"]), found["folds"]) == (2, 0)
    with pytest.raises(UserError, match=r"\$\.layers: .* has layers 0 to 2, not 3"):
        run_probe("demo_key", model, tmp_path / "s", [*overrides, "layers=[3]"])


def test_folds_test_every_clip_once(toy_manifest, model, tmp_path):
    keyed = [c for c in read_manifest(Path(toy_manifest)) if c.label is not None]
    sessions = [dataclasses.replace(c, extra={"session": i % 4}) for i, c in enumerate(keyed)]
    write_manifest(tmp_path / "m.jsonl", sessions)
    overrides = quickly(tmp_path / "m.jsonl", "data.folds=4", "data.fold_column=session", "data.max_train_clips=null")
    out = run_probe("demo_key", model, tmp_path / "r", [*overrides, "baselines=[]"])
    found = scores(out)
    assert sorted(row["id"] for row in rows(out)) == sorted(clip.id for clip in keyed)
    assert found["counts"]["test"]["clips"] == len(keyed)
    assert [len(found["chosen"]), found["folds"], len(found["runs"])] == [4, 4, 12]
    assert sorted(p.name for p in (out / "folds").iterdir()) == ["0", "1", "2", "3"]
    with pytest.raises(UserError, match="5 folds need as many values of `session`, but there are 4"):
        run_probe("demo_key", model, tmp_path / "s", [*overrides, "data.folds=5"])
    with pytest.raises(UserError, match="must be 0, or at least 3"):
        run_probe("demo_key", model, tmp_path / "s", [*overrides, "data.folds=2"])


def test_the_model_itself_is_trained(toy_manifest, model, tmp_path):
    tuning = "finetune={lr: 1e-2, optimizer: adam, freeze_steps: 5, batch_seconds: 5.0}"
    overrides = quickly(
        toy_manifest, tuning, "data.max_train_clips=24", "optim={optimizer: adadelta, lrs: [1.0], steps: 20}"
    )
    out = run_probe("demo_asr", model, tmp_path / "r", overrides)
    before, after = audio_ssl.load(model), audio_ssl.load(out / "model")
    moved = {name: not torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items()}
    assert any(moved.values())
    assert {name for name in moved if "frontend." in name} <= {name for name in moved if not moved[name]}
    assert scores(out)["chosen"]["layer"] == 2
    head_alone = sum(v.numel() for name, v in load_file(out / "head.safetensors").items() if name.startswith("head."))
    trained_too = sum(v.numel() for name, v in before.named_parameters() if "frontend." not in name)
    assert scores(out)["cost"]["parameters"] == head_alone + trained_too
    assert (out / "baselines" / "untrained" / "model").exists()
    # The tuned model under the same head says the same.
    head = load_file(out / "head.safetensors")
    clip = next(c for c in read_manifest(Path(toy_manifest)) if c.id == rows(out)[0]["id"])
    from audio_ssl.data.audio import read_clip
    from audio_ssl.probing.features import LayerBatch
    from audio_ssl.probing.layer_heads import LayerStatistics
    from audio_ssl.probing.probe import read_probe

    _, question = read_probe(str(out / "probe.yaml"))
    task = build(question.task)
    task.learn([c for c in read_manifest(Path(toy_manifest)) if c.text and c.split == "train"])
    system = LayerHead(
        build(question.head, 16, len(task.classes), "tokens"), LayerStatistics(head["mean"], head["scale"]), 2
    ).eval()
    system.load_state_dict(head)
    wave = torch.from_numpy(read_clip(clip, 16000))
    hidden = after(wave[None], torch.tensor([len(wave)]))
    layers = LayerBatch(torch.stack(hidden.hidden), hidden.lengths)
    batch = system.batch(LayerStatistics(head["mean"], head["scale"]).standardise(layers))
    assert task.hypothesis(system.head.predict(batch)[0]) == rows(out)[0]["hypothesis"]
    with pytest.raises(UserError, match=r"\$\.finetune: `logmel` has no weights to train"):
        run_probe("demo_asr", "logmel", tmp_path / "s", overrides)


def test_a_search_leaves_its_language_model(toy_manifest, tmp_path):
    overrides = quickly(toy_manifest, "decode={kind: ctc_beam, beam_size: 8, order: 2}", "baselines=[]")
    out = run_probe("demo_asr", "logmel", tmp_path / "r", [*overrides, "optim.steps=60"])
    assert "ngram 1=" in (out / "language_model.arpa").read_text()
    assert "beam" in scores(out)["decoder"]
    assert scores(out)["metrics"]["cer"]["value"] < 80
    assert [row["hypothesis"] for row in rows(out)] != [""] * 20
    with pytest.raises(UserError, match=r"\$\.decode"):
        run_probe("demo_st", "logmel", tmp_path / "s", overrides)


def test_the_rate_follows_its_schedule():
    given = HeadTraining(steps=10, warmup_steps=4, schedule="linear")
    assert [factor(step, given) for step in (1, 4, 5, 10)] == [0.25, 1.0, 1.0, pytest.approx(1 / 6)]
    given = dataclasses.replace(given, schedule="inverse_sqrt")
    assert [factor(step, given) for step in (2, 4, 16)] == [0.5, 1.0, 0.5]
    assert factor(9, dataclasses.replace(given, schedule="constant")) == 1.0


def test_a_large_update_is_made_of_portions(toy_manifest, tmp_path):
    still = dict.fromkeys(("dropout", "attention_dropout", "input_dropout", "layer_drop"), 0.0)
    model = write_model(tmp_path / "model", **still)
    small, whole = (
        run_probe(
            "demo_key",
            model,
            tmp_path / str(seconds),
            quickly(
                toy_manifest,
                f"finetune={{lr: 1e-3, freeze_steps: 0, batch_seconds: {seconds}}}",
                "head.dropout=0",
                "data.max_train_clips=24",
                "baselines=[]",
            ),
        )
        for seconds in (1.5, 100.0)
    )
    for name, value in load_file(small / "head.safetensors").items():
        torch.testing.assert_close(load_file(whole / "head.safetensors")[name], value, atol=1e-3, rtol=1e-3)


def test_features_that_are_no_numbers_stop_the_probe(toy_manifest, model, tmp_path, monkeypatch):
    from audio_ssl.features.source import ModelSource

    call = ModelSource.__call__

    def broken(self, *args, **options):
        layers, counts = call(self, *args, **options)
        layers = [layer.clone() for layer in layers]
        layers[1][0, 0, 0] = torch.nan
        return layers, counts

    monkeypatch.setattr(ModelSource, "__call__", broken)
    with pytest.raises(UserError, match=r"features of `.*` are not finite"):
        run_probe("demo_key", model, tmp_path / "r", quickly(toy_manifest))
    assert not (tmp_path / "r" / "scores.json").exists()


def test_ctc_copies_share_one_loss():
    random = torch.Generator().manual_seed(0)
    heads = [ctc_conv.build(ctc_conv.Config(dim=8, layers=1, kernel_frames=3), DIM, 4, "tokens") for _ in range(3)]
    x, frames = torch.randn(2, 12, DIM, generator=random), torch.tensor([12, 9])
    targets = [torch.tensor([0, 1, 1]), torch.tensor([3])]
    stacked = torch.stack([head.eval()(x, frames) for head in heads])
    together = heads[0].losses(stacked, frames, targets)
    for head, output, loss in zip(heads, stacked, together, strict=True):
        torch.testing.assert_close(loss, head.losses(output[None], frames, targets)[0])
