"""Prepared models: float32 is the model itself; others are near it; none depends on the batch."""

import pytest
import torch

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.models.attention import Relative
from audio_ssl.models.fast import prepared
from audio_ssl.models.fast.positions import FourierPositions
from audio_ssl.models.fast.prepared import prepare
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.models.positions import ConvPositions

CPU = torch.device("cpu")
TRANSFORMER = {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "position_groups": 4}
MODELS = {
    "base": ("conv", {"channels": (16,) * 7}, "transformer", {**TRANSFORMER, "position_kernel_frames": 64}),
    "odd kernel": ("conv", {"channels": (16,) * 7}, "transformer", {**TRANSFORMER, "position_kernel_frames": 49}),
    "large": (
        "conv",
        {"channels": (16,) * 7, "norm": "layer", "bias": True},
        "transformer",
        {**TRANSFORMER, "position_kernel_frames": 64, "pre_norm": True},
    ),
    "no feature norm": ("conv", {"channels": (16,) * 7}, "transformer", {**TRANSFORMER, "feature_norm": False}),
    "wavlm": (
        "conv",
        {"channels": (16,) * 7},
        "transformer",
        {**TRANSFORMER, "position_kernel_frames": 64, "relative_positions": Relative(32, 40)},
    ),
    "conformer": ("mel", {"n_mels": 20}, "conformer", {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4}),
    "gru": ("mel", {"n_mels": 20}, "gru", {"layers": 2, "dim": 32}),
}
LENGTHS = (30_000, 6_000, 90_000, 250)


def make(name, normalize=False):
    frontend, front, encoder, options = MODELS[name]
    config = ModelConfig(
        catalog.load_part("frontends", frontend).Config(**front),
        catalog.load_part("encoders", encoder).Config(**options),
        16000,
        normalize,
    )
    return build_model(config, torch.Generator().manual_seed(0)).eval()


def batch():
    generator = torch.Generator().manual_seed(1)
    clips = [0.3 * torch.randn(samples, generator=generator) for samples in LENGTHS]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=9.0), torch.tensor(LENGTHS)


def relative_error(ours, expected):
    return ((ours - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_float32_is_the_model_itself(name):
    model = make(name, normalize=name == "large")
    expected, ours = model(*batch()), prepare(model, "float32", CPU)(*batch())
    for one, other in zip([*ours.hidden, ours.features], [*expected.hidden, expected.features], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert torch.equal(ours.lengths, expected.lengths)


@pytest.mark.parametrize("bfloat16_products", [False, True])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "gru"])
@torch.no_grad()
def test_bfloat16_is_near_and_does_not_depend_on_the_batch(name, bfloat16_products, monkeypatch):
    monkeypatch.setattr(prepared, "has_bfloat16", lambda: bfloat16_products)
    model = make(name)
    ready = prepare(model, "bfloat16", CPU)
    waveform, lengths = batch()
    expected, together = model(waveform, lengths), ready(waveform, lengths)
    for ours, exact in zip(together.hidden, expected.hidden, strict=True):
        assert ours.dtype == torch.float32
        assert relative_error(ours, exact) < 0.02
    for row, samples in enumerate(LENGTHS):
        frames = int(together.lengths[row])
        if not frames:
            assert not any(state[row].any() for state in together.hidden)
            continue
        alone = ready(waveform[row : row + 1, :samples])
        for ours, single in zip(together.hidden, alone.hidden, strict=True):
            # Products of bfloat16 numbers may add up in another order, which shows in the last bit.
            near = 0.02 if bfloat16_products else 1e-5
            torch.testing.assert_close(ours[row, :frames], single[0], atol=near, rtol=1e-4)
            assert not ours[row, frames:].any()


@torch.no_grad()
def test_the_model_stays_as_it_is_and_shares_what_is_not_converted():
    model = make("base")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = {precision: prepare(model, precision, CPU) for precision in ("float32", "bfloat16")}
    assert isinstance(model.encoder.positions, ConvPositions)
    assert model.frontend.prepared is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    ours = made["float32"]._model.encoder.blocks[0].query.weight
    assert ours.data_ptr() == model.encoder.blocks[0].query.weight.data_ptr()


@torch.no_grad()
def test_layers_statistics_and_masks_are_passed_on():
    model = make("base")
    waveform, lengths = batch()
    for precision in ("float32", "bfloat16"):
        ready = prepare(model, precision, CPU)
        assert len(ready(waveform, lengths, layers=1).hidden) == 2
        statistics = ready.statistics([waveform[0]])
        given, plain = (ready(waveform[:2], lengths[:2], statistics=which) for which in (statistics, None))
        assert not torch.allclose(given.features[1], plain.features[1], atol=1e-3)
        mask = torch.ones(2, plain.hidden[0].shape[1], dtype=torch.bool)
        assert not torch.allclose(ready(waveform[:2], lengths[:2], mask).hidden[0], plain.hidden[0])
    assert (ready.grid, ready.num_layers, ready.dim, ready.config) == (model.grid, 2, 32, model.config)


@pytest.mark.parametrize(("kernel", "groups"), [(128, 4), (64, 2), (49, 1), (50, 8)])
@torch.no_grad()
def test_fourier_positions_equal_the_convolution(kernel, groups):
    torch.manual_seed(0)
    plain = ConvPositions(16, kernel, groups)
    plain.conv.bias.normal_()
    x = torch.randn(1, 700, 16)
    spans = [slice(0, 1), slice(1, 130), slice(130, 131), slice(131, 700)]
    torch.testing.assert_close(FourierPositions(plain).packed(x, spans), plain.packed(x, spans), atol=2e-6, rtol=1e-5)


def test_what_cannot_be_is_refused():
    model = make("base")
    with pytest.raises(UserError, match="float16 needs a GPU"):
        prepare(model, "float16", CPU)
    with pytest.raises(UserError, match=r"int8, which was removed: .*give precision=bfloat16"):
        prepare(model, "int8", CPU)
    with pytest.raises(UserError, match="unknown precision `fp8`"):
        prepare(model, "fp8", CPU)
