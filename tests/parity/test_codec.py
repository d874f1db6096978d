"""The codec's learner beside the encodec package's networks and quantiser, its losses written out."""

from __future__ import annotations

import functools
import warnings
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("encodec")

from audio_ssl.data.loader import Batch
from audio_ssl.pretrain.kinds.codec import CodecLearner
from audio_ssl.pretrain.recipe import load_recipe
from tests.reference import GRADIENTS, LOSS, STATES, assert_gradients, difference

SMALL = [
    "codec.filters=4",
    "codec.dim=16",
    "codec.codebooks=3",
    "codec.codebook_size=16",
    "codec.codebook_dropout=0.0",
    "codec.dead_share=0.0",
]
RATE, CLIPS, DECAY = 24_000, 3, 0.99


def alone(tensor: Tensor) -> Tensor:
    return tensor


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(RATE) / RATE
    pitch = torch.tensor([[180.0], [330.0], [550.0]])
    noise = torch.randn(CLIPS, RATE, generator=generator)
    waveform = 0.4 * torch.sin(2 * torch.pi * pitch * time) * time + 0.05 * noise
    lengths = torch.full((CLIPS,), RATE)
    return Batch(waveform, lengths, (), torch.full((CLIPS,), RATE // 320), tuple(range(CLIPS)), float(CLIPS))


def networks(module: CodecLearner) -> tuple[Any, Any, Any]:
    """Return the package's encoder, decoder and quantiser with the learner's weights and codebooks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from encodec.modules import SEANetDecoder, SEANetEncoder
        from encodec.quantization.core_vq import ResidualVectorQuantization

        sizes = {"channels": 1, "dimension": 16, "n_filters": 4, "ratios": [8, 5, 4, 2], "lstm": 2, "causal": True}
        encoder, decoder = SEANetEncoder(**sizes), SEANetDecoder(**sizes)
    encoder.load_state_dict(module.codec.encoder.state_dict())
    decoder.load_state_dict(module.codec.decoder.state_dict())
    quantizer = ResidualVectorQuantization(
        num_quantizers=3, dim=16, codebook_size=16, decay=DECAY, threshold_ema_dead_code=0, kmeans_init=False
    )
    ours = module.codec.quantizer
    for book, layer in enumerate(quantizer.layers):
        layer._codebook.embed.copy_(ours.codebooks[book])
        layer._codebook.embed_avg.copy_(ours.sums[book])
        layer._codebook.cluster_size.copy_(ours.sizes[book])
    return encoder, decoder, quantizer.train()


def spectral_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean over clips and window lengths of L1 and half the square of log-mel differences."""
    from torchaudio.functional import melscale_fbanks

    total = output.new_zeros(())
    for window in (128, 256, 512, 1024, 2048):
        filters = melscale_fbanks(window // 2 + 1, 0.0, RATE / 2, min(64, window // 16), RATE)
        hann = torch.hann_window(window)
        mels = []
        for signal in (output, target):
            padded = F.pad(signal, (window // 2, window // 2))
            spectrum = torch.stft(
                padded, window, window // 4, window=hann / hann.sum(), center=False, return_complex=True
            )
            magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()
            # Frames that are centred on samples of the clip.
            mels.append((magnitude.transpose(1, 2) @ filters)[:, : -(-RATE // (window // 4))])
        logs = torch.log(mels[0] + 1e-5) - torch.log(mels[1] + 1e-5)
        total = total + (logs.abs() + 0.5 * logs.square()).mean()
    return total / 5


@functools.cache
def agreement() -> dict[str, float]:
    """Return relative differences of codes, values, losses, gradients, and of the codebooks after an update.

    Both sides in float64: fresh latents hardly differ, so that their norm multiplies float32's rounding by a thousand,
    and frames between two codes change sides.
    """
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(Tensor, "float", Tensor.double):
            return _agreement()
    finally:
        torch.set_default_dtype(torch.float32)


def _agreement() -> dict[str, float]:
    config: Any = load_recipe("codec_24khz", SMALL)
    torch.manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        module = CodecLearner(config).train()
    clips = batch()
    module(clips, torch.Generator(), 0)
    module.after_update(0, alone)
    encoder, decoder, quantizer = networks(module)
    seen: list[Any] = []
    module.codec.register_forward_hook(lambda _, __, output: seen.append(output))
    output = module(clips, torch.Generator(), 1)
    output.loss_sum.backward()

    waveform = clips.waveform
    latents = encoder(waveform[:, None])
    # Half a second is no whole number of hops of 320 samples.
    others = F.pad(module.reference[0], (0, -module.reference.shape[2] % 320))
    reference = encoder(others[:, None]).transpose(1, 2).flatten(0, 1)
    mean, variance = reference.mean(0)[:, None], reference.var(0, unbiased=False)[:, None]
    normed = (latents - mean) / (variance + 1e-5).sqrt()
    before = [layer._codebook.embed.clone() for layer in quantizer.layers]
    values, codes, _ = quantizer(normed.detach())
    straight = normed + (values - normed).detach()
    audio = decoder(straight)[:, 0]
    # The package's commitment stops at the first codebook; VQ-VAE's formula for every codebook is written out.
    commitment, left = latents.new_zeros(()), normed
    for book, index in enumerate(codes):
        vectors = F.embedding(index, before[book]).transpose(1, 2)
        commitment = commitment + (left - vectors).square().mean() / 3
        left = left - vectors
    loss = spectral_loss(audio, waveform) + 0.1 * (audio - waveform).abs().mean() + 0.25 * commitment
    (loss * output.count).backward()

    theirs = {**{f"encoder.{n}": p.grad for n, p in encoder.named_parameters()}}
    theirs |= {f"decoder.{n}": p.grad for n, p in decoder.named_parameters()}
    ours = {name: value.grad for name, value in module.codec.named_parameters()}
    module.after_update(1, alone)
    books = torch.stack([layer._codebook.embed for layer in quantizer.layers])
    return {
        "codes_that_differ": float((seen[0].codes.permute(2, 0, 1) != codes).double().mean()),
        "audio": difference(seen[0].reconstruction, audio),
        "loss": difference(output.loss_sum, loss * output.count),
        "gradients": assert_gradients(ours, theirs, tolerance=float("inf")),
        "codebooks": difference(module.codec.quantizer.codebooks, books),
    }


def test_codes_and_audio_are_those_of_the_package() -> None:
    assert agreement()["codes_that_differ"] == 0
    assert agreement()["audio"] < STATES


def test_loss_and_every_gradient_are_those_of_the_formula() -> None:
    assert agreement()["loss"] < LOSS
    assert agreement()["gradients"] < GRADIENTS


def test_codebooks_follow_their_frames_as_the_packages_do() -> None:
    # The package smooths the counts by 1e-5.
    assert agreement()["codebooks"] < STATES
