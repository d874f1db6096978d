"""Whitened frames: every direction of a layer counts alike; mixes are what heads saw; old results are found again."""

import pytest
import torch

from audio_ssl.data.frames import FrameGrid
from audio_ssl.features.learned import Learned
from audio_ssl.probing.features import MemoryBank
from audio_ssl.probing.fit import Examples, fit
from audio_ssl.probing.heads import frames as frames_head
from audio_ssl.probing.probe import Optim
from audio_ssl.probing.quick import Scorer
from audio_ssl.probing.run import run_probe
from audio_ssl.probing.system import Run, System, measure
from audio_ssl.probing.tasks import chords
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
    statistics = measure(bank, clips, whiten=True)
    frames = statistics.standardise(bank.batch(clips)).values.flatten(1, 2).double()
    for layer in frames:
        values = torch.linalg.eigvalsh(torch.cov(layer.T, correction=0))
        assert layer.mean(0).abs().max() < 1e-3
        # Features are kept in 16 bits, so the constant direction has the noise of rounding, and is left out.
        assert values[0] < 1e-3
        torch.testing.assert_close(values[1:], torch.ones(DIM - 1, dtype=torch.float64), atol=0.02, rtol=0)


def test_whitening_turns_frames_as_little_as_can_be():
    bank, clips = narrow_frames()
    matrix = measure(bank, clips, whiten=True).scale
    torch.testing.assert_close(matrix, matrix.mT)
    assert bool((torch.linalg.eigvalsh(matrix.double()) > -1e-6).all())


@pytest.mark.parametrize("whiten", [True, False])
def test_a_linear_head_sees_weak_directions_of_whitened_frames_only(whiten):
    bank, clips = narrow_frames()
    task, grid = chords.build(chords.Config()), FrameGrid(16000, 400, 400)
    task.start(grid)
    targets = [task.frame_target(one, bank.frames(one), grid) for one in clips]
    part = Examples(clips, targets, bank)
    statistics = measure(bank, clips, whiten)

    def make(run):
        return System(frames_head.build(frames_head.Config(0), DIM, len(task.classes), "frames"), statistics, run.layer)

    optim = Optim(lrs=(0.03,), steps=60, eval_every=60)
    (one,) = fit(make, [Run(0, 0.03, 0)], statistics, part, part, Scorer(task, clips, []), optim)
    assert one.valid > 95 if whiten else one.valid < 75


@pytest.mark.parametrize("whiten", [True, False])
def test_extraction_mixes_layers_as_the_head_saw_them(whiten):
    bank, clips = narrow_frames(4)
    statistics = measure(bank, clips, whiten)
    system = System(frames_head.build(frames_head.Config(0), DIM, 3, "frames"), statistics, None)
    with torch.no_grad():
        system.mix.copy_(torch.tensor([0.3, -1.0]))
    seen = system.batch(statistics.standardise(bank.batch(clips[:1]))).features[0]
    weights = system.mix.detach().softmax(0)
    learned = Learned((0, 1), statistics.mean, statistics.scale * weights[:, None, None], None)
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
