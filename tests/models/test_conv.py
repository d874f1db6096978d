"""The fast path of the conv frontend gives the numbers of the plain one, and keeps far less for backward."""

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.models.fast import convolutions, convolutions_by_piece
from audio_ssl.models.frontends import conv

LENGTHS = (9000, 5333, 300, 1200)
SHAPES = [
    {"channels": (24,) * 7},
    {"channels": (8, 16, 12), "kernels": (10, 3, 2), "strides": (5, 2, 2)},
    {"channels": (8, 16, 12, 8), "kernels": (7, 5, 2, 1), "strides": (3, 2, 3, 1)},
]


def frontend(options=None, dtype=torch.float32):
    torch.manual_seed(0)
    made = conv.build(conv.Config(**(options or SHAPES[0])), 16000)
    with torch.no_grad():
        made.norms[0].weight.uniform_(0.5, 1.5)
        made.norms[0].bias.normal_(0, 0.3)
    return made.to(dtype)


def batch(dtype=torch.float32, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(1)
    waveform = 0.3 * torch.randn(len(lengths), max(lengths) + 50, generator=generator, dtype=dtype) + 0.1
    return waveform, torch.tensor(lengths)


def run(made, way, waveform, lengths):
    made.zero_grad()
    features, frames = way(waveform, lengths)
    wanted = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (features * wanted.to(features.dtype)).sum().backward()
    return features.detach(), frames, {name: parameter.grad for name, parameter in made.named_parameters()}


@pytest.mark.parametrize("chunk_frames", [64, 100_000])
@pytest.mark.parametrize("options", SHAPES)
def test_features_and_gradients_equal_those_of_the_plain_way(options, chunk_frames, monkeypatch):
    monkeypatch.setattr(convolutions, "_CHUNK_FRAMES", chunk_frames)
    made = frontend(options)
    features, frames, gradients = run(made, made, *batch())
    expected, expected_frames, expected_gradients = run(made, made.layer_by_layer, *batch())
    assert torch.equal(frames, expected_frames)
    assert (features - expected).abs().max() <= 1e-5
    for name, gradient in gradients.items():
        error = (gradient - expected_gradients[name]).norm() / expected_gradients[name].norm()
        assert error <= 1e-4, name


def test_gradients_are_those_of_finite_differences():
    made = frontend({"channels": (3, 2, 2), "kernels": (4, 3, 2), "strides": (2, 2, 1)}, torch.float64)
    waveform, lengths = batch(torch.float64, (60, 41))
    names, values = zip(*made.named_parameters(), strict=True)

    def features(*parameters):
        given = dict(zip(names, parameters, strict=True))
        norm = (given["norms.0.weight"], given["norms.0.bias"])
        weights = [given[f"convs.{layer}.weight"] for layer in range(3)]
        return convolutions.conv_stack(waveform, lengths.tolist(), made._stack, norm, weights)

    assert torch.autograd.gradcheck(features, values)


def test_the_size_of_the_published_base_model():
    made = frontend({})
    waveform, lengths = batch(lengths=(8000, 4100))
    features, _, gradients = run(made, made, waveform, lengths)
    expected, _, expected_gradients = run(made, made.layer_by_layer, waveform, lengths)
    assert (features - expected).abs().max() <= 1e-5
    for name, gradient in gradients.items():
        assert (gradient - expected_gradients[name]).norm() <= 1e-4 * expected_gradients[name].norm(), name


def test_autocast_computes_in_bfloat16_and_gives_float32_gradients():
    made = frontend()
    expected, _, expected_gradients = run(made, made, *batch())
    with torch.autocast("cpu", torch.bfloat16):
        features, _, gradients = run(made, made, *batch())
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), expected, rtol=0.05, atol=0.05)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected_gradients[name]).norm() <= 0.03 * expected_gradients[name].norm(), name


def test_what_lies_in_the_padding_has_no_influence():
    made = frontend()
    waveform, lengths = batch()
    clean = run(made, made, waveform, lengths)
    for row, samples in enumerate(lengths):
        waveform[row, samples:] = torch.nan
    soiled = run(made, made, waveform, lengths)
    assert torch.equal(clean[0], soiled[0])
    for name, gradient in clean[2].items():
        assert torch.equal(gradient, soiled[2][name])


def test_a_batch_gives_each_clip_what_it_gets_alone_to_the_last_bit():
    made = frontend()
    waveform, lengths = batch()
    with torch.no_grad():
        together, frames = made(waveform, lengths)
        for row, samples in enumerate(LENGTHS):
            alone, count = made(waveform[row : row + 1, :samples], lengths[row : row + 1])
            assert int(count) == int(frames[row])
            assert torch.equal(together[row, : int(count)], alone[0])
            assert not together[row, int(count) :].any()


def test_silence_is_finite():
    made = frontend()
    features, _, gradients = run(made, made, torch.zeros(2, 6000), torch.tensor([6000, 6000]))
    assert torch.isfinite(features).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_a_frozen_frontend_keeps_nothing():
    made = frontend().requires_grad_(False)
    features, _ = made(*batch())
    assert not features.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(features, frontend()(*batch())[0], atol=1e-5, rtol=1e-5)


def test_some_weights_may_be_frozen():
    made = frontend()
    _, _, expected = run(made, made, *batch())
    expected = {name: gradient.clone() for name, gradient in expected.items()}
    made.convs[2].requires_grad_(False)
    made.zero_grad()
    features, _ = made(*batch())
    wanted = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (features * wanted.float()).sum().backward()
    assert made.convs[2].weight.grad is None
    assert torch.equal(made.convs[0].weight.grad, expected["convs.0.weight"])


def test_gradients_of_the_waveform_are_given():
    made = frontend()
    waveform, lengths = batch()
    features, _ = made(waveform.requires_grad_(), lengths)
    features.square().sum().backward()
    assert waveform.grad.abs().sum() > 0


def test_a_quarter_of_the_memory_is_kept_for_backward():
    made = frontend()
    kept = {}
    for name, way in (("fast", made), ("plain", made.layer_by_layer)):
        storages = {}

        def note(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            features, _ = way(torch.randn(2, 40000), torch.tensor([40000, 40000]))
        weights = sum(parameter.nbytes for parameter in made.parameters())
        kept[name] = sum(storages.values()) - weights
        del features
    assert kept["fast"] < 0.25 * kept["plain"]


@pytest.mark.parametrize(
    "options", [{"norm": "layer", "bias": True}, {"bias": True}, {"kernels": (10,), "strides": (5,)}]
)
def test_other_frontends_go_layer_by_layer(options):
    channels = (8,) * len(options.get("kernels", range(7)))
    made = conv.build(conv.Config(channels=channels, **options), 16000)
    assert torch.equal(made(*batch())[0], made.layer_by_layer(*batch())[0])


@pytest.mark.parametrize("piece_frames", [1, 7, 1000])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", [*SHAPES, {"channels": (8,), "kernels": (10,), "strides": (5,)}], ids=str)
def test_inference_in_pieces_equals_the_plain_way(options, norm, bias, piece_frames, monkeypatch):
    monkeypatch.setattr(convolutions_by_piece, "_PIECE_FRAMES", piece_frames)
    made = frontend({**options, "norm": norm, "bias": bias})
    waveform, lengths = batch(lengths=(3000, 1733, 300, 900))
    expected, expected_frames = made.layer_by_layer(waveform, lengths)
    with torch.no_grad():
        features, frames = made(waveform, lengths)
    assert torch.equal(frames, expected_frames)
    torch.testing.assert_close(features, expected.detach(), atol=1e-5, rtol=1e-5)


def test_clips_too_short_for_a_frame_have_no_features():
    with torch.no_grad():
        features, frames = frontend()(torch.randn(2, 200), torch.tensor([200, 100]))
    assert features.shape == (2, 0, 24)
    assert frames.tolist() == [0, 0]


@pytest.mark.parametrize("options", [{}, {"bias": True}])
@torch.inference_mode()
def test_pairs_of_frames_equal_frames_one_by_one(options):
    made = frontend({"channels": (24,) * 7, **options})
    # Long enough for pieces, and for layers with an odd and with an even number of frames.
    waveform, lengths = batch(lengths=(90_000, 83_210, 41_000))
    features, _ = made(waveform, lengths)
    expected, _ = made.layer_by_layer(waveform, lengths)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_convolutions_start_as_fairseqs_or_as_torchs():
    sizes = {"channels": (64, 64), "kernels": (10, 8), "strides": (5, 4), "bias": True, "norm": "layer"}
    for init, first, second in (("kaiming", (2 / 10) ** 0.5, (2 / 512) ** 0.5), ("torch", 30**-0.5, 1536**-0.5)):
        torch.manual_seed(0)
        frontend = conv.build(conv.Config(**sizes, init=init), 16000)
        assert float(frontend.convs[0].weight.detach().std()) == pytest.approx(first, rel=0.1)
        assert float(frontend.convs[1].weight.detach().std()) == pytest.approx(second, rel=0.02)
    with pytest.raises(UserError, match="`init` must be kaiming or torch, but is `normal`"):
        conv.build(conv.Config(**sizes, init="normal"), 16000)
