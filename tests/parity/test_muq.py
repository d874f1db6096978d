"""The whole learner of `muq_style` and its teacher against MuQ's own code (``tests/golden/muq*``)."""

from __future__ import annotations

import functools
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import generator
from audio_ssl.data.loader import Batch
from audio_ssl.interop.muq import muq_name
from audio_ssl.models.frontends import mel, mel_res2d
from audio_ssl.models.padding import HiddenNoise
from audio_ssl.pretrain import learner as masked
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.optim import learning_rate
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.targets.acoustic import StackedLogMel
from audio_ssl.targets.spec import TargetSpec
from audio_ssl.targets.teachers import mel_rvq
from audio_ssl.targets.teachers._learnt_rvq import LearntRVQ
from tests.parity.learner import NO_DROPOUT, learner
from tests.reference import GRADIENTS, LOSS, STATES, Golden, assert_gradients, difference, golden

SMALL = [
    *NO_DROPOUT,
    "frontend.channels=8",
    "frontend.dim=32",
    "encoder.layers=2",
    "encoder.dim=32",
    "encoder.ffn_dim=64",
    "encoder.heads=4",
    "encoder.kernel_frames=7",
]
"""The golden file's sizes; all else is the recipe's."""


def their_name(ours: str) -> str:
    """Return the reference's name of a weight of the learner."""
    head = ours.startswith("heads.")
    return f"linear.{ours.rsplit('.', 1)[-1]}" if head else muq_name(ours.removeprefix("model."))


def small() -> MaskedLearner:
    """Return the recipe's learner in small, with the reference's weights."""
    grid = mel_res2d.build(mel_res2d.Config(), 24000).grid
    made = learner("muq_style", SMALL, [TargetSpec("codes", 8, 1024, grid)])
    weights = golden("muq").weights
    ours = {
        name: weights.pop(their_name(name)).reshape(value.shape)
        for name, value in made.state_dict().items()
        if not name.endswith("mask_embedding")
    }
    # What is left has no part in the reference's loss either.
    unused = ("cls_token", "num_batches_tracked", "pos_conv_embed")
    assert all(any(word in name for word in unused) for name in weights), sorted(weights)
    made.load_state_dict(ours, strict=False)
    return made


def compared(mode: str) -> dict[str, float]:
    """Return the largest differences from MuQ's code in training (``train``) or with stored statistics (``eval``)."""
    theirs = golden("muq")
    mask, frames = theirs["input/mask"].bool(), torch.tensor([30, 30])
    noise = HiddenNoise(mask, theirs["input/waveform_masked"].view(2, 30, 960) * mask[..., None])
    assert torch.equal(noise.put(theirs["input/waveform"]), theirs["input/waveform_masked"])
    module = small().train(mode == "train")
    with torch.no_grad():
        output = module.model(theirs["input/waveform_masked"])
        mel = module.model.frontend._mel(theirs["input/waveform"], torch.tensor([28800, 28800]))
    targets = (theirs["input/codes"].long(),)
    batch = Batch(theirs["input/waveform"], torch.tensor([28800, 28800]), targets, frames, (1, 2), 2.4)
    with (
        mock.patch.object(masked, "draw_masks", return_value=mask),
        mock.patch.object(masked, "hidden_noise", return_value=noise),
    ):
        found = module(batch, generator(3), 0)
    loss = found.loss_sum / found.count
    loss.backward()
    # Their pointwise convolutions are our linear layers.
    gradients = {their_name(n): p.grad for n, p in module.named_parameters() if p.grad is not None}
    gradients = {n: g[..., None] if "pointwise" in n else g for n, g in gradients.items()}
    return {
        "spectrum": difference(mel, theirs["mel/standardised"].transpose(1, 2)),
        "features": difference(output.features, theirs[f"{mode}/conv_output"]),
        "hidden": max(difference(a, b) for a, b in zip(output.hidden, theirs[f"{mode}/hidden"], strict=True)),
        "loss": difference(loss, theirs[f"{mode}/loss"]),
        "gradients": assert_gradients(gradients, theirs.under(f"{mode}/grad"), tolerance=float("inf")),
        "count": abs(float(found.count) - 30),
    }


OF_CONFORMER = 2 * GRADIENTS
"""Rounding depends on the processor: 1.1e-5 with AVX-512 and AMX, below 1e-5 with AVX2."""


@functools.cache
def agreement() -> dict[str, float]:
    """Return the largest relative differences from MuQ's code, by name."""
    found = {f"{mode}_{name}": value for mode in ("train", "eval") for name, value in compared(mode).items()}
    theirs = golden("muq_rvq")
    patches = theirs["input/patches"].flatten(0, 1)
    quantised = loaded(theirs)(patches)
    return found | {
        "quantised": difference(quantised.values, theirs["quantised"].permute(0, 2, 1).flatten(0, 1)),
        "quantiser_loss": difference(quantised.loss(patches), theirs["rvq_training_loss"]),
        "codebook_loss": difference(quantised.codebook, theirs["codebook_loss"]),
        "commitment_loss": difference(quantised.commitment, theirs["commitment_loss"]),
    }


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("spectrum", STATES), ("features", STATES), ("hidden", STATES), ("loss", LOSS), ("gradients", OF_CONFORMER)],
)
def test_the_learner_is_muqs(mode: str, name: str, tolerance: float) -> None:
    assert agreement()[f"{mode}_{name}"] < tolerance
    assert agreement()[f"{mode}_count"] == 0


@pytest.fixture(scope="module")
def theirs() -> Golden:
    return golden("muq")


@pytest.fixture(scope="module")
def quantiser() -> Golden:
    return golden("muq_rvq")


def loaded(theirs: Golden) -> LearntRVQ:
    """Our quantiser with the reference's weights, under weight norm as they are."""
    model = LearntRVQ(512, 8, 1024, 16)
    names = {"inward": "in_proj", "outward": "out_proj"}
    state = model.state_dict()
    for name, value in state.items():
        _, number, part = name.split(".", 2)
        if part == "codes":
            found = theirs[f"weight/quantizers.{number}.codebook.weight"]
        elif part == "idle":
            continue
        else:
            ours, tail = part.split(".", 1)
            tail = {"bias": "bias", "original0": "weight_g", "original1": "weight_v"}[tail.rsplit(".", 1)[-1]]
            found = theirs[f"weight/quantizers.{number}.{names[ours]}.{tail}"]
        state[name] = found.reshape(value.shape)
    model.load_state_dict(state)
    return model


def assert_codes(found: Tensor, theirs: Tensor, margin: Tensor) -> None:
    """Compare ``[frame, codebook]``; after a code that two are near to, a frame's later codes may be others."""
    unsure = (margin < 1e-4).cumsum(1) > 0
    assert bool(((found == theirs) | unsure).all())
    assert float((found == theirs).double().mean()) > 0.999


def test_the_quantiser_is_muqs_and_so_is_its_training_loss(quantiser: Golden) -> None:
    patches = quantiser["input/patches"].flatten(0, 1)
    found = loaded(quantiser)(patches)
    codes = quantiser["codes"].long().permute(0, 2, 1).flatten(0, 1)
    assert_codes(found.codes, codes, quantiser["cosine_margin_to_second_code"].permute(0, 2, 1).flatten(0, 1))
    assert agreement()["quantised"] < STATES
    assert max(agreement()[name] for name in ("quantiser_loss", "codebook_loss", "commitment_loss")) < LOSS


def test_the_teacher_gives_muqs_targets(theirs: Golden, quantiser: Golden, tmp_path: Path) -> None:
    save_file(loaded(quantiser).state(), tmp_path / mel_rvq.STATE_FILE)
    (config,) = load_recipe("muq_style", [f"teachers.0.path={tmp_path}"]).teachers  # type: ignore[attr-defined]
    teacher = mel_rvq.build(config, 24000, torch.device("cpu"))
    margin = quantiser["cosine_margin_to_second_code"].permute(0, 2, 1)
    for row, waveform in enumerate(theirs["input/waveform"]):
        assert difference(teacher.patches(waveform), quantiser["input/patches"][row, :30]) < STATES
        assert_codes(teacher(waveform), theirs["input/codes"][row].long(), margin[row, :30])


def share_explained(inputs: Tensor, targets: Tensor) -> float:
    """Return the share of the targets' variance that the best linear map of the inputs gives."""
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    targets = targets.double()
    left = targets - inputs @ torch.linalg.lstsq(inputs, targets, driver="gelsd").solution
    return 1 - float(left.square().sum() / (targets - targets.mean(0)).square().sum())


def test_all_of_the_targets_is_in_the_input() -> None:
    """Clips of many levels: what a clip's own mean and deviation take away cannot be predicted from it."""
    random = generator(5)
    clips = []
    for number in range(12):
        colour = torch.randn(1, 1, 33, generator=random) * torch.hann_window(33)
        noise = torch.nn.functional.conv1d(torch.randn(1, 1, 24000 + 32, generator=random), colour)[0, 0]
        clips.append(noise * torch.linspace(1, 3, 24000) * 10 ** (-number / 6))
    small = ["frontend.n_mels=16", "teachers.0.n_mels=16"]
    recipe = load_recipe("muq_style", small)
    assert isinstance(recipe, masked_prediction.Config)
    frontend = mel_res2d.build(recipe.frontend, 24000)  # type: ignore[arg-type]
    (teacher,) = recipe.teachers
    patches = mel_rvq._patches(teacher, 24000)  # type: ignore[arg-type]
    targets = torch.cat([patches(clip) for clip in clips])
    heard = torch.cat([frontend._mel(clip[None], torch.tensor([24000])).reshape(-1, 64) for clip in clips])
    assert torch.equal(heard, targets)
    assert share_explained(heard, targets) > 1 - 1e-6
    # As it was: input by the clip's own mean and deviation, targets by the corpus's.
    earlier = mel.build(mel.Config(n_mels=16, window_seconds=0.0853333), 24000)
    logs = StackedLogMel(24000, 240, 2048, 16, 4, normalize=False)
    inputs = torch.cat([earlier(clip[None], torch.tensor([24000]))[0][0] for clip in clips])
    assert share_explained(inputs, torch.cat([logs(clip) for clip in clips])) < 0.6


def test_frontend_and_teacher_hear_the_same_spectrum_or_the_recipe_is_refused() -> None:
    for name, value in (("mean", "0.0"), ("std", "1.0"), ("n_mels", "64"), ("window_seconds", "0.05")):
        recipe = load_recipe("muq_style", [f"frontend.{name}={value}"])
        with pytest.raises(UserError, match=f"`{name}` must be that of the frontend"):
            mel_rvq.check_frontend(recipe.teachers[0], recipe.frontend, "$.teachers[0]")  # type: ignore[attr-defined]


def test_levels_that_the_frontend_takes_away_are_said(caplog: pytest.LogCaptureFixture) -> None:
    teacher = mel_rvq.Config()
    mel_rvq.check_frontend(teacher, mel.Config(normalize=False), "$.teachers[0]")
    mel_rvq.check_frontend(teacher, mel_res2d.Config(), "$.teachers[0]")
    assert not caplog.messages
    mel_rvq.check_frontend(teacher, mel.Config(), "$.teachers[0]")
    assert "predicts levels that the mel frontend normalises away" in caplog.text


def test_the_rate_is_muqs() -> None:
    """5e-4 after 32,000 updates, then down in a straight line to 0 at 400,000."""
    recipe = load_recipe("muq_style")
    optim = recipe.optim
    rates = [learning_rate(optim, step, recipe.steps) for step in (16_000, 32_000, 216_000, 400_000)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 2.5e-4, 0.0], abs=1e-6 * 5e-4)
    assert (optim.clip_norm, optim.eps, recipe.steps) == (10.0, 1e-6, 400_000)
    assert recipe.data.seconds_per_update == 192 * recipe.data.crop_seconds == 192 * 30.0
