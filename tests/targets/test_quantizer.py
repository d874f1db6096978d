import pytest
import torch
from torch import nn

pytest.importorskip("encodec")

from encodec.quantization.core_vq import ResidualVectorQuantization

from audio_ssl.targets.codec.quantizer import ResidualQuantizer, kmeans


def alone(tensor):
    return tensor


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def started(dim=8, codebooks=3, size=16, decay=0.9, dead_share=0.1, frames=400):
    quantizer = ResidualQuantizer(dim, codebooks, size, decay, dead_share)
    quantizer.start(drawn(frames, dim), seed=3)
    return quantizer


@pytest.mark.parametrize(("dim", "codebooks", "size"), [(8, 1, 4), (16, 4, 32), (128, 8, 1024)])
def test_codes_and_values_are_those_of_encodec(dim, codebooks, size):
    quantizer = started(dim, codebooks, size, frames=2 * size).eval()
    theirs = ResidualVectorQuantization(num_quantizers=codebooks, dim=dim, codebook_size=size).eval()
    for book, layer in enumerate(theirs.layers):
        layer._codebook.embed.copy_(quantizer.codebooks[book])
    frames = drawn(500, dim, seed=1)
    latent = frames.T[None]
    codes = theirs.encode(latent)[:, 0].T
    assert torch.equal(quantizer.encode(frames), codes)
    assert torch.equal(quantizer(frames).codes, codes)
    values = theirs.decode(codes.T[:, None])[0].T
    torch.testing.assert_close(quantizer.decode(codes), values, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(quantizer(frames).values, values, atol=1e-5, rtol=1e-5)


def test_commitment_of_every_codebook_reaches_the_encoder():
    """The package passes each residual's gradient on, so that only the first codebook's does (encodec issue 25)."""
    quantizer = started().eval()
    frames = drawn(50, 8, seed=2).requires_grad_()
    output = quantizer(frames)
    (gradient,) = torch.autograd.grad(output.commitment.sum(), frames, retain_graph=True)
    partial = [quantizer.decode(output.codes[:, : book + 1]) for book in range(3)]
    expected = sum(2 * (frames.detach() - value) / 8 for value in partial) / 3
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)
    distances = [(frames.detach() - value).square().mean(1) for value in partial]
    torch.testing.assert_close(output.commitment.detach(), sum(distances) / 3, atol=1e-6, rtol=1e-5)
    (straight,) = torch.autograd.grad(output.values.sum(), frames)
    assert torch.equal(straight, torch.ones_like(straight))


def test_an_update_is_the_same_however_it_is_split():
    whole, parts = started(), started()
    frames = drawn(80, 8, seed=4)
    whole(frames)
    for part in frames.split([30, 50]):
        parts(part)
    whole.follow(alone)
    parts.follow(alone)
    for name in ("codebooks", "sizes", "sums"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), atol=1e-5, rtol=1e-5)


def test_sums_over_processes_are_what_counts():
    frames = drawn(80, 8, seed=4)
    whole, first, second = started(), started(), started()
    whole(frames)
    whole.follow(alone)
    first(frames[:30])
    second(frames[30:])
    others = iter([second._counts.clone(), second._totals.clone()])
    first.follow(lambda tensor: tensor + next(others))
    torch.testing.assert_close(whole.codebooks, first.codebooks, atol=1e-5, rtol=1e-5)


def test_codes_are_moving_averages_of_their_frames():
    quantizer = ResidualQuantizer(1, 1, 2, decay=0.75, dead_share=0.0)
    quantizer.start(torch.tensor([[-1.0], [-1.0], [1.0], [1.0]]), seed=0)
    assert sorted(quantizer.codebooks.flatten().tolist()) == [-1.0, 1.0]
    quantizer(torch.tensor([[3.0], [3.0], [3.0], [3.0]]))
    quantizer.follow(alone)
    # The upper code: sums 0.75 * 2 + 0.25 * 12 over sizes 0.75 * 2 + 0.25 * 4; the lower fades without moving.
    values = sorted(quantizer.codebooks.flatten().tolist())
    assert values == pytest.approx([-1.0, 4.5 / 2.5])


def test_codes_do_not_move_before_the_update_ends_nor_in_evaluation():
    quantizer = started()
    before = quantizer.codebooks.clone()
    quantizer(drawn(40, 8, seed=5))
    assert torch.equal(quantizer.codebooks, before)
    quantizer.follow(alone)
    assert not torch.equal(quantizer.codebooks, before)
    after = quantizer.codebooks.clone()
    quantizer.eval()(drawn(40, 8, seed=6))
    quantizer.follow(alone)
    assert torch.equal(quantizer.codebooks, after)


def test_dead_codes_become_frames_stay_and_are_used():
    quantizer = started(4, 1, 8)
    quantizer.codebooks[0, 3] = 1e3
    quantizer.sums[0, 3] = quantizer.sizes[0, 3] = 0.0
    assert quantizer.dead.tolist() == [[index == 3 for index in range(8)]]
    frames = drawn(300, 4, seed=7)
    quantizer.revive(frames, seed=1)
    assert (frames == quantizer.codebooks[0, 3]).all(1).any()
    assert not quantizer.dead.any()
    for seed in range(5):
        quantizer(drawn(300, 4, seed=seed))
        quantizer.follow(alone)
    assert not quantizer.dead.any()
    assert (quantizer.eval()(frames).codes == 3).any()
    twin = started(4, 1, 8)
    twin.sizes[0, 3] = 0.0
    again = [twin.revive(frames, seed=1), twin.codebooks.clone()][1]
    twin.sizes[0, 3] = 0.0
    twin.revive(frames, seed=1)
    assert torch.equal(twin.codebooks, again)


def test_fewer_frames_than_dead_codes_revive_as_many():
    quantizer = started(4, 1, 8)
    quantizer.sizes[0, :6] = 0.0
    quantizer.revive(drawn(2, 4), seed=0)
    assert int(quantizer.dead.sum()) == 4


def test_dropped_codebooks_leave_their_part_out():
    quantizer = started().eval()
    frames = drawn(6, 8, seed=8)
    output = quantizer(frames, used=torch.tensor([1, 2, 3, 1, 2, 3]))
    whole = quantizer(frames)
    assert torch.equal(output.codes, whole.codes)
    for row, number in enumerate([1, 2, 3, 1, 2, 3]):
        value = quantizer.decode(output.codes[row : row + 1, :number])[0]
        torch.testing.assert_close(output.values[row], value, atol=1e-6, rtol=1e-6)
    assert (output.commitment[:2] < whole.commitment[:2]).all()
    assert output.commitment[2] == whole.commitment[2]


def test_before_the_start_training_passes_frames_through():
    quantizer = ResidualQuantizer(4, 2, 8, 0.9, 0.1)
    frames = drawn(5, 4).requires_grad_()
    output = quantizer(frames)
    assert torch.equal(output.values, frames)
    assert output.commitment.tolist() == [0.0] * 5
    assert not isinstance(output.codes, nn.Parameter)
    assert not output.codes.any()


def test_kmeans_finds_clusters_and_bears_too_few_frames():
    centres = 10 * drawn(4, 3, seed=9)
    frames = (centres[:, None] + 0.01 * drawn(4, 50, 3)).flatten(0, 1)
    best = min(
        (frames[:, None] - kmeans(frames, 4, torch.Generator().manual_seed(seed))[0]).square().sum(2).amin(1).mean()
        for seed in range(8)
    )
    assert best < 0.01
    found, counts = kmeans(frames[:3], 8, torch.Generator().manual_seed(0))
    assert counts.sum() == 3
    assert (found[:3].sort(0).values == frames[:3].sort(0).values).all()
