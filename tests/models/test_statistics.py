"""Parts of a clip with the statistics of the whole equal the whole; a model runs no more blocks than asked for."""

import pytest
import torch

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.models.model import ModelConfig, build_model

SAMPLES, CHUNK_FRAMES = 40_000, 30
ENCODERS = {
    "transformer": {"dim": 32, "ffn_dim": 48, "heads": 4, "positions": "none"},
    "conformer": {"dim": 32, "ffn_dim": 48, "heads": 4, "kernel_frames": 3},
    "gru": {"dim": 32},
}
LOOK_AT_THE_CLIP = [
    ("conv", {"channels": (16,) * 7}),
    ("conv", {"channels": (16,) * 7, "bias": True}),
    ("mel", {"n_mels": 20, "stack": 4}),
    ("mel", {"n_mels": 20, "stack": 1, "conv_channels": (8, 4)}),
    ("patches", {"n_mels": 20, "window_seconds": 0.025}),
]
PARTS = {
    "mel": catalog.load_part("frontends", "mel").Config(n_mels=20, stack=2),
    "conv": catalog.load_part("frontends", "conv").Config(channels=(16,) * 7),
    "cqt": catalog.load_part("frontends", "cqt").Config(n_bins=12, bins_per_octave=12, fmin_hz=2000.0, normalize=False),
}


def make(frontend, options, normalize=False, encoder="gru", **more):
    config = ModelConfig(
        catalog.load_part("frontends", frontend).Config(**options),
        catalog.load_part("encoders", encoder).Config(layers=2, **ENCODERS[encoder], **more),
        16000,
        normalize,
    )
    return build_model(config, torch.Generator().manual_seed(0)).eval()


def clip():
    generator = torch.Generator().manual_seed(1)
    # Loud at the end, and off the middle: parts alone have other statistics.
    return (torch.randn(SAMPLES, generator=generator) * torch.linspace(0.1, 2.0, SAMPLES) + 0.2).float()


def pieces(waveform, *sizes):
    return iter(waveform.split([*sizes, len(waveform) - sum(sizes)]))


# Where the waveform is normalised too, those of mel frames are not known.
@pytest.mark.parametrize(
    ("frontend", "options", "normalize"),
    [(*given, False) for given in LOOK_AT_THE_CLIP]
    + [(*given, True) for given in LOOK_AT_THE_CLIP[:2]]
    + [("concat", {"parts": (PARTS["mel"], PARTS["conv"]), "norm": norm}, False) for norm in (True, False)],
    ids=str,
)
@torch.inference_mode()
def test_parts_with_statistics_equal_the_whole(frontend, options, normalize):
    model, waveform = make(frontend, options, normalize), clip()
    if frontend == "conv":
        model.frontend.norms[0].weight.uniform_(0.5, 1.5)
    whole = model(waveform[None]).features[0]
    statistics = model.statistics(pieces(waveform, 3, 1, 1237, 20_000, 0, 399))
    hop, window = model.grid.hop_samples, model.grid.window_samples
    starts = range(0, len(whole), CHUNK_FRAMES)
    ends = [min(start + CHUNK_FRAMES, len(whole)) for start in starts]
    parts = [waveform[start * hop : (end - 1) * hop + window] for start, end in zip(starts, ends, strict=True)]
    lengths = torch.tensor([len(part) for part in parts])
    batch = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=7.0)
    output = model(batch, lengths, statistics=statistics)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        torch.testing.assert_close(output.features[row, : end - start], whole[start:end], atol=2e-5, rtol=1e-4)
        assert not output.features[row, end - start :].any()
    alone = model(parts[0][None]).features[0]
    assert (alone - whole[:CHUNK_FRAMES]).abs().max() > 0.05


@torch.inference_mode()
def test_layer_by_layer_takes_the_same_statistics():
    model, waveform = make("conv", {"channels": (16,) * 7}), clip()
    whole = model(waveform[None]).features
    statistics = model.statistics([waveform])
    features, _ = model.frontend.layer_by_layer(waveform[None], torch.tensor([SAMPLES]), statistics.frontend)
    torch.testing.assert_close(features, whole, atol=1e-5, rtol=1e-4)


def test_no_statistics_where_nothing_looks_at_the_clip():
    def none():
        raise AssertionError("read")
        yield

    assert make("conv", {"channels": (8,) * 7, "norm": "layer"}).statistics(none()) is None
    assert make("mel", {"normalize": False}).statistics(none()) is None
    assert make("concat", {"parts": (PARTS["cqt"], PARTS["cqt"])}).statistics(none()) is None
    assert make("conv", {"channels": (8,) * 7, "norm": "layer"}, True).statistics([clip()]).frontend is None


def test_a_clip_shorter_than_a_window_has_no_statistics_of_the_frontend():
    assert make("conv", {"channels": (8,) * 7}).statistics([torch.zeros(4)]).frontend is None


def test_a_part_whose_statistics_are_not_known_does_without():
    model = make("concat", {"parts": (PARTS["cqt"], PARTS["mel"], PARTS["conv"])}, normalize=True)
    # Mel frames of a waveform that is normalised later are not known; those of a convolution follow.
    cqt, mel, conv = model.statistics([clip()]).frontend
    assert cqt is None
    assert mel is None
    assert conv.mean.shape == (10,)
    assert make("concat", {"parts": (PARTS["mel"], PARTS["cqt"])}, normalize=True).statistics([clip()]).frontend is None


@pytest.mark.parametrize(
    ("encoder", "options"), [(name, {}) for name in ENCODERS] + [("transformer", {"pre_norm": True})]
)
@torch.inference_mode()
def test_fewer_blocks_give_the_first_hidden_states(encoder, options):
    model = make("mel", {"n_mels": 20}, encoder=encoder, **options)
    waveform = clip()[None]
    whole = model(waveform).hidden
    for layers in (0, 1, 2):
        some = model(waveform, layers=layers).hidden
        assert len(some) == layers + 1
        for ours, expected in zip(some, whole, strict=False):
            assert torch.equal(ours, expected)
    with pytest.raises(UserError, match="`layers` must be 0 to 2, but is 3"):
        model(waveform, layers=3)
