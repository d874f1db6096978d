"""Batched equals single for every frontend with every encoder, whatever lies in the padding; saving and loading."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_ssl.base import catalog
from audio_ssl.base.config import build
from audio_ssl.base.errors import UserError
from audio_ssl.models.model import ModelConfig, SSLModel, build_model, fingerprint


def part(kind, **options):
    return catalog.load_part("frontends", kind).Config(**options)


FIRST = "frontend.convs.0.weight"
SMALL_FRONTENDS = {
    "conv": [
        {"channels": (16,) * 7, "norm": "group"},
        {"channels": (16,) * 7, "norm": "layer", "bias": True},
        {"channels": (16,) * 7, "norm": "layer", "bias": True, "activation": "relu"},
    ],
    "mel": [
        {"n_mels": 20, "stack": 4},
        {"n_mels": 20, "stack": 1, "normalize": False, "mean": -6.0, "std": 4.0},
        {"n_mels": 20, "stack": 1, "conv_channels": (8, 4)},
        {"n_mels": 20, "stack": 1, "conv_channels": (8, 4), "form": "speechbrain"},
    ],
    "mel_res2d": [{"n_mels": 20, "window_seconds": 0.025, "channels": 4, "dim": 32}],
    "cqt": [{"n_bins": 30, "bins_per_octave": 12, "fmin_hz": 200.0}],
    "nnaudio": [
        {"n_bins": 18, "bins_per_octave": 6, "fmin_hz": 400.0},
        {"transform": "mel", "n_bins": 20, "window_samples": 320, "normalize": False, "mean": -6.0, "std": 4.0},
    ],
    "patches": [{"n_mels": 20, "window_seconds": 0.025}],
    "concat": [{"parts": (part("mel", n_mels=20, stack=2), part("cqt", n_bins=30, bins_per_octave=12, fmin_hz=200.0))}],
}
SMALL_ENCODERS = {
    "transformer": [
        {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "position_kernel_frames": 9, "position_groups": 4},
        {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "position_kernel_frames": 8, "pre_norm": True},
    ],
    "conformer": [
        {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "kernel_frames": 7},
        {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "form": "speechbrain", "positions": "transformer_xl"},
        {"layers": 2, "dim": 32, "ffn_dim": 48, "heads": 4, "kernel_frames": 7, "form": "muq"},
    ],
    "gru": [{"layers": 2, "dim": 32}, {"layers": 2, "dim": 80, "form": "frames", "cell": "lstm"}],
}


def small_configs():
    """Yield every frontend with every encoder: in the forms above, or as it is by default."""
    # `conv` first, whose weights some tests below name.
    for kind in sorted(catalog.parts("frontends"), key=lambda kind: kind != "conv"):
        for front in SMALL_FRONTENDS.get(kind, [{}]):
            for encoder_kind in sorted(catalog.parts("encoders"), key=lambda kind: kind != "transformer"):
                for encoder in SMALL_ENCODERS.get(encoder_kind, [{}]):
                    if encoder.get("form") == "muq" and front.get("dim") != encoder.get("dim"):
                        # It does not project what the frontend gives.
                        continue
                    yield ModelConfig(
                        frontend=catalog.load_part("frontends", kind).Config(**front),
                        encoder=catalog.load_part("encoders", encoder_kind).Config(**encoder),
                        sample_rate=16000,
                    )


CONFIGS = list(small_configs())


def make(config, seed=0):
    return build_model(config, torch.Generator().manual_seed(seed)).eval()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
@settings(max_examples=5, deadline=None)
@given(lengths=st.lists(st.integers(1400, 9000), min_size=1, max_size=4), garbage=st.sampled_from([0.0, 3.0, 1e30]))
def test_batched_equals_single(config, normalize, lengths, garbage):
    model = make(ModelConfig(config.frontend, config.encoder, config.sample_rate, normalize))
    generator = torch.Generator().manual_seed(sum(lengths))
    batch = torch.full((len(lengths), max(lengths) + 777), garbage)
    clips = [torch.randn(n, generator=generator) for n in lengths]
    for row, clip in enumerate(clips):
        batch[row, : len(clip)] = clip
    with torch.no_grad():
        together = model(batch, torch.tensor(lengths))
        for row, clip in enumerate(clips):
            alone = model(clip[None])
            frames = int(alone.lengths[0])
            assert int(together.lengths[row]) == frames == model.grid.num_frames(len(clip))
            for ours, single in zip(
                [*together.hidden, together.features], [*alone.hidden, alone.features], strict=True
            ):
                torch.testing.assert_close(ours[row, :frames], single[0], atol=1e-5, rtol=1e-4)
                assert not ours[row, frames:].any()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_weight_learns(config):
    model = make(config).train()
    generator = torch.Generator().manual_seed(0)
    waveform, lengths = torch.randn(2, 8000, generator=generator), torch.tensor([8000, 5000])
    frames = model.grid.num_frames(8000)
    mask = torch.arange(frames).expand(2, -1) % 5 == 0
    direction = torch.randn(model.dim, generator=generator)
    torch.manual_seed(0)  # of the dropout, and such that no layer is dropped
    model(waveform, lengths, mask).hidden[-1].matmul(direction).square().sum().backward()
    for name, parameter in model.named_parameters():
        # A key's bias adds the same to all logits, and cancels.
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any() or name.endswith("key.bias"), name


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_bf16_autocast_is_finite_and_near(config):
    model = make(config)
    waveform = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([8000, 5000])
    with torch.no_grad():
        exact = model(waveform, lengths).hidden[-1]
        with torch.autocast("cpu", torch.bfloat16):
            low = model(waveform, lengths).hidden[-1].float()
    assert torch.isfinite(low).all()
    assert (low - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_saved_and_loaded_models_are_equal(config, tmp_path):
    model = make(config)
    model.save_pretrained(tmp_path)
    loaded = SSLModel.from_pretrained(tmp_path)
    assert loaded.config == config
    assert fingerprint(loaded) == fingerprint(model)
    waveform = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(waveform).hidden[-1], model(waveform).hidden[-1])


def test_construction_depends_on_the_generator_only():
    before = torch.get_rng_state()
    one, same, other = make(CONFIGS[0], 1), make(CONFIGS[0], 1), make(CONFIGS[0], 2)
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert torch.equal(torch.get_rng_state(), before)


def test_masked_frames_hide_the_audio_behind_them():
    config = ModelConfig(CONFIGS[0].frontend, CONFIGS[0].encoder, 16000)
    model = make(config)
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    frames = model.grid.num_frames(8000)
    with torch.no_grad():
        plain, masked = model(waveform), model(waveform, mask=torch.ones(1, frames, dtype=torch.bool))
        other = model(-2 * waveform, mask=torch.ones(1, frames, dtype=torch.bool))
    assert not torch.equal(plain.hidden[-1], masked.hidden[-1])
    assert torch.equal(masked.hidden[-1], other.hidden[-1])


def test_layer_drop_keeps_the_number_of_hidden_states():
    encoder = catalog.load_part("encoders", "transformer").Config(
        layers=3, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2, layer_drop=1.0
    )
    model = make(ModelConfig(CONFIGS[0].frontend, encoder, 16000)).train()
    assert len(model(torch.randn(1, 4000)).hidden) == 4


def test_a_clip_too_short_for_one_frame_gives_none():
    with torch.no_grad():
        output = make(CONFIGS[0])(torch.zeros(2, 900), torch.tensor([900, 100]))
    assert output.lengths.tolist() == [2, 0]
    assert torch.isfinite(output.hidden[-1]).all()


def test_broken_folders_are_explained(tmp_path):
    with pytest.raises(UserError, match=r"not a saved model: config\.json is missing"):
        SSLModel.from_pretrained(tmp_path)
    make(CONFIGS[0]).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="weights cannot be read"):
        SSLModel.from_pretrained(tmp_path)
    other = next(c for c in CONFIGS if c.frontend != CONFIGS[0].frontend and c.encoder == CONFIGS[0].encoder)
    make(other).save_pretrained(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"unexpected weights: .*frontend\.norms\.1"):
        SSLModel.from_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**data, "format_version": 99}))
    with pytest.raises(UserError, match="`format_version` must be 1, but is 99"):
        SSLModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("folder", "kind", "options", "message"),
    [
        ("frontends", "conv", {"channels": (8,)}, "must have the same length"),
        ("frontends", "conv", {"norm": "batch"}, "`norm` must be group or layer"),
        ("frontends", "mel", {"stack": 0}, "`stack` must be at least 1"),
        ("encoders", "transformer", {"dim": 50}, "must be a multiple of `heads`"),
        ("encoders", "transformer", {"dim": 60, "heads": 4}, "multiple of `position_groups`"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(folder, kind, options, message):
    with pytest.raises(UserError, match=message):
        build(catalog.load_part(folder, kind).Config(**options), 16000)


def test_reading_draws_no_weights(tmp_path):
    """The weights that reading replaces are not drawn first: torch's own state of chance stays as it was."""
    config = next(iter(small_configs()))
    build_model(config, torch.Generator().manual_seed(0)).save_pretrained(tmp_path)
    before = torch.random.get_rng_state()
    read = SSLModel.from_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(bool(torch.isfinite(value).all()) for value in read.state_dict().values())
    # Elsewhere weights are drawn as before.
    assert not torch.equal(SSLModel(config).state_dict()[FIRST], SSLModel(config).state_dict()[FIRST])
