"""Whitened frames: every direction of a layer counts alike; mixes are what heads saw; old results are found again."""

import json
from types import SimpleNamespace

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.features.pooling import LearnedMix
from audio_ssl.probing import layer_heads as system_module
from audio_ssl.probing.features import MemoryBank
from audio_ssl.probing.heads import frames as frames_head
from audio_ssl.probing.heads import mlp
from audio_ssl.probing.layer_heads import HeadRun, LayerHead, measure_layers
from audio_ssl.probing.probe import HeadTraining, Probe
from audio_ssl.probing.quick import ValidationScorer
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.sweep import SystemTraining, choose_run, layer_curve, runs_by_setting, runs_of
from audio_ssl.probing.tasks import chords, classification
from audio_ssl.probing.train import Examples, train_heads
from tests.probing.test_run import quick
from tests.probing.toys import clip

DIM = 6


def narrow_frames(clips=24, frames=40):
    """Frames whose chord is told by a direction with a hundredth of the others' deviation, hidden in all dimensions."""
    random, bank, examples = torch.Generator().manual_seed(0), MemoryBank(False), []
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=random, dtype=torch.float64))
    for number in range(clips):
        chord = number % 2
        sources = torch.randn(2, frames, DIM, generator=random, dtype=torch.float64)
        sources[..., 0] = 0.02 * (chord - 0.5) + 0.003 * sources[..., 0]
        # Nothing at all comes along the last one.
        sources[..., -1] = 0.0
        one = clip(str(number), f"{number}.wav", seconds=1.0, extra={"chords": f"0 1 {'CD'[chord]}:maj"})
        layers = ((sources @ rotation) + 0.5).float()
        bank.add(one, list(layers))
        examples.append(one)
    return bank, examples


def test_every_direction_that_varies_has_variance_one():
    bank, clips = narrow_frames()
    statistics = measure_layers(bank, clips, whiten=True)
    frames = statistics.standardise(bank.batch(clips)).values.flatten(1, 2).double()
    for layer in frames:
        values = torch.linalg.eigvalsh(torch.cov(layer.T, correction=0))
        assert layer.mean(0).abs().max() < 1e-3
        # Features are kept in 16 bits, so the constant direction has the noise of rounding, and is left out.
        assert values[0] < 1e-3
        torch.testing.assert_close(values[1:], torch.ones(DIM - 1, dtype=torch.float64), atol=0.02, rtol=0)


def test_whitening_turns_frames_as_little_as_can_be():
    bank, clips = narrow_frames()
    matrix = measure_layers(bank, clips, whiten=True).scale
    torch.testing.assert_close(matrix, matrix.mT)
    assert bool((torch.linalg.eigvalsh(matrix.double()) > -1e-6).all())


@pytest.mark.parametrize("whiten", [True, False])
def test_a_linear_head_sees_weak_directions_of_whitened_frames_only(whiten):
    bank, clips = narrow_frames()
    task, grid = chords.build(chords.Config()), FrameGrid(16000, 400, 400)
    task.start(grid)
    targets = [task.frame_target(one, bank.frames(one), grid) for one in clips]
    part = Examples(clips, targets, bank)
    statistics = measure_layers(bank, clips, whiten)

    def make(run):
        return LayerHead(
            frames_head.build(frames_head.Config(0), DIM, len(task.classes), "frames"), statistics, run.layer
        )

    optim = HeadTraining(lrs=(0.03,), steps=60, eval_every=60)
    (one,) = train_heads(make, [HeadRun(0, 0.03, 0)], statistics, part, part, ValidationScorer(task, clips, []), optim)
    assert one.valid > 95 if whiten else one.valid < 75


@pytest.mark.parametrize("whiten", [True, False])
def test_extraction_mixes_layers_as_the_head_saw_them(whiten):
    bank, clips = narrow_frames(4)
    statistics = measure_layers(bank, clips, whiten)
    system = LayerHead(frames_head.build(frames_head.Config(0), DIM, 3, "frames"), statistics, None)
    with torch.no_grad():
        system.mix.copy_(torch.tensor([0.3, -1.0]))
    seen = system.batch(statistics.standardise(bank.batch(clips[:1]))).features[0]
    weights = system.mix.detach().softmax(0)
    learned = LearnedMix((0, 1), statistics.mean, statistics.scale * weights[:, None, None], None)
    torch.testing.assert_close(learned.mix(list(bank.one(clips[0]))), seen.detach(), atol=1e-4, rtol=1e-4)


def test_a_result_from_before_the_key_is_found_again(toy_manifest, tmp_path, caplog):
    overrides = [*quick(toy_manifest, "optim.steps=2"), "baselines=[]"]
    out = run_probe("demo_asr", "logmel", tmp_path / "r", overrides)
    text = (out / "probe.yaml").read_text()
    assert "whiten: false\n" in text
    (out / "probe.yaml").write_text(text.replace("whiten: false\n", ""))
    before = (out / "predictions.parquet").stat().st_mtime_ns
    run_probe("demo_asr", "logmel", out, overrides)
    assert (out / "predictions.parquet").stat().st_mtime_ns == before


def clips_told_by_a_weak_direction(count, seed):
    """Mean frames whose class lies in the direction that varies least, hidden in all dimensions."""
    random, bank = torch.Generator().manual_seed(seed), MemoryBank(True)
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(7)))
    sources = torch.randn(count, DIM, generator=random)
    clips = [clip(f"{seed} {number}", f"{seed} {number}.wav", label="ab"[number % 2]) for number in range(count)]
    sources[:, 0] = 0.02 * (torch.arange(count) % 2 - 0.5) + 0.003 * sources[:, 0]
    for one, frame in zip(clips, sources @ rotation, strict=True):
        bank.add(one, [frame[None]])
    return bank, clips


def test_where_both_are_tried_the_validation_clips_choose(tmp_path):
    task = classification.build(classification.Config())
    bank, clips = clips_told_by_a_weak_direction(120, 0)
    held, others = clips_told_by_a_weak_direction(60, 1)
    task.learn(clips)
    for one in others:
        bank.add(one, list(held.one(one)))
    question = Probe(
        task=task,
        head=mlp.Config(0),
        optim=HeadTraining(lrs=(0.03,), steps=40, eval_every=40),
        layers=(0,),
        whiten="both",
    )
    source = SimpleNamespace(name="x", dim=DIM, num_layers=1, device=torch.device("cpu"))
    train, valid = (Examples(part, [task.target(one) for one in part], bank) for part in (clips, others))
    training = SystemTraining(question, task, source, bank)
    runs = runs_of(question, source, mlp.build(mlp.Config(0), DIM, 2, "class"))
    assert [run.whiten for run in runs] == [False, True]
    plain, whitened = training.fit(runs, train, valid)
    assert whitened.valid > 95 > 75 > plain.valid
    chosen = choose_run([plain, whitened], True)
    assert chosen is whitened
    # Neither is taken for another seed of the other, and the curve over layers is of the better one.
    assert runs_by_setting([plain, whitened]) == [[plain], [whitened]]
    (point,) = layer_curve([plain, whitened], "accuracy", True)
    assert (point.valid, point.low, point.high) == (whitened.valid,) * 3
    # The head comes back with what it was trained behind.
    system, _ = training.restore(chosen)
    answers = torch.stack(system.predict(bank, others)).argmax(1)
    right = (answers == torch.stack([task.target(one) for one in others])).float().mean()
    assert 100 * float(right) == pytest.approx(whitened.valid)


def test_each_system_chooses_for_itself_and_the_result_says_so(toy_manifest, tmp_path):
    overrides = [*quick(toy_manifest, "optim.steps=4", "optim.eval_every=2"), "whiten=both", "baselines=[cqt]"]
    out = run_probe("demo_key", "logmel", tmp_path / "r", overrides)
    for folder in (out, out / "baselines" / "cqt"):
        if folder.exists():
            found = json.loads((folder / "scores.json").read_text())
            assert {run["whiten"] for run in found["runs"]} == {False, True}
            assert found["chosen"]["whiten"] in (False, True)
    with pytest.raises(UserError, match="whiten"):
        run_probe("demo_key", "logmel", tmp_path / "s", [*overrides, "whiten=sometimes"])


def test_means_of_many_clips_are_measured_as_those_of_one_after_another(monkeypatch):
    bank, clips = clips_told_by_a_weak_direction(50, 0)
    whole = measure_layers(bank, clips, whiten=True)
    monkeypatch.setattr(system_module, "_BLOCK_CLIPS", 7)
    parts = measure_layers(bank, clips, whiten=True)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.scale, whole.scale, rtol=1e-4, atol=1e-4)
    values = torch.stack([bank.one(one)[0, 0] for one in clips]).double()
    torch.testing.assert_close(whole.mean[0, 0].double(), values.mean(0), rtol=1e-4, atol=1e-5)
