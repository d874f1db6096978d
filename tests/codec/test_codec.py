import json

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.codec.losses import SpectralLoss, code_statistics, si_sdr_db, waveform_loss
from audio_ssl.codec.model import Codec, CodecConfig
from audio_ssl.codec.quantizer import ResidualQuantizer
from audio_ssl.data.targets import check_targets
from audio_ssl.errors import UserError
from audio_ssl.teachers import rvq

SMALL = CodecConfig(16000, filters=4, dim=16, lstm_layers=0, codebooks=3, codebook_size=16)


def make(config=SMALL):
    torch.manual_seed(0)
    return Codec(config)


def tones(batch=4, samples=6400):
    time = torch.arange(samples) / 16000
    pitch = torch.linspace(150, 600, batch)[:, None]
    noise = torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))
    return torch.linspace(0, 1, samples) * (0.5 * torch.sin(2 * torch.pi * pitch * time) + 0.05 * noise)


def train(codec, steps, optimizer=None):
    optimizer = optimizer or torch.optim.Adam(codec.parameters(), 3e-3)
    spectral = SpectralLoss(16000, (256, 1024))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        output = codec.train()(tones())
        loss = (
            spectral(output.reconstruction, tones()) + waveform_loss(output.reconstruction, tones()) + output.commitment
        )
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, optimizer


def test_training_reconstructs_and_uses_its_codes():
    codec = make()
    losses, _ = train(codec, 40)
    assert losses[-1] < 0.6 * losses[1]
    codes = codec.eval().encode(tones())
    assert code_statistics(codes, 16)[0][0] > 2


def test_stopped_and_continued_training_is_the_same_bit_for_bit():
    whole = make()
    expected, _ = train(whole, 6)
    codec = make()
    first, optimizer = train(codec, 3)
    rng = torch.get_rng_state()
    twin = Codec(SMALL)
    twin.load_state_dict(codec.state_dict())
    twin_optimizer = torch.optim.Adam(twin.parameters(), 3e-3)
    twin_optimizer.load_state_dict(optimizer.state_dict())
    torch.set_rng_state(rng)
    rest, _ = train(twin, 3, twin_optimizer)
    assert first + rest == expected


def test_commitment_of_every_codebook_reaches_the_encoder():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(8, 3, 4, 0.99, 2)
    quantizer(torch.randn(2, 8, 50))
    quantizer.eval()
    latent = torch.randn(2, 8, 50, requires_grad=True)
    output = quantizer(latent)
    (gradient,) = torch.autograd.grad(output.commitment, latent, retain_graph=True)
    total = sum(quantizer.rvq.layers[k].decode(output.codes[:, k]) for k in range(3)).detach()
    partial = [sum(quantizer.rvq.layers[j].decode(output.codes[:, j]) for j in range(k + 1)) for k in range(3)]
    expected = sum(2 * (latent.detach() - p) / latent.numel() for p in partial) / 3
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    (straight,) = torch.autograd.grad(output.values.sum(), latent)
    assert torch.equal(straight, torch.ones_like(straight))
    torch.testing.assert_close(output.values, total, atol=1e-5, rtol=1e-4)


def test_dead_codes_are_revived_and_stay():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(4, 1, 8, 0.9, 2)
    quantizer(torch.randn(1, 4, 400))
    book = quantizer.rvq.layers[0]._codebook
    book.embed[3] = book.embed_avg[3] = 1e6
    book.cluster_size[3] = 0.0
    for _ in range(3):
        quantizer(torch.randn(1, 4, 400))
    assert book.embed[3].abs().max() < 10
    assert book.cluster_size[3] > 0


def test_codes_have_the_frames_of_the_grid_and_decode_to_audio():
    codec = make().eval()
    for samples in (1, 320, 321, 5000):
        codes = codec.encode(torch.zeros(2, samples))
        assert codes.shape == (2, 3, codec.grid.num_frames(samples))
        assert codec.decode(codes).shape == (2, codes.shape[-1] * 320)
        assert codec(torch.zeros(2, samples)).reconstruction.shape == (2, samples)


def test_saved_and_loaded_codec_gives_the_same_codes(tmp_path):
    codec = make()
    train(codec, 2)
    codec.eval().save_pretrained(tmp_path)
    teacher = rvq.build(rvq.Config(path=str(tmp_path)), 16000, torch.device("cpu"))
    codes = teacher(tones()[0])
    assert torch.equal(codes, codec.encode(tones()[:1])[0].T)
    check_targets(codes, teacher.spec, 6400)


def test_what_is_no_codec_is_refused(tmp_path):
    cpu = torch.device("cpu")
    with pytest.raises(UserError, match="the rvq teacher has no codec: `path` is null"):
        rvq.build(rvq.Config(), 16000, cpu)
    with pytest.raises(UserError, match=r"not a codec: config\.json cannot be read"):
        rvq.build(rvq.Config(path=str(tmp_path)), 16000, cpu)
    make().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"the codec is for 16000 Hz, but data\.sample_rate is 24000"):
        rvq.build(rvq.Config(path=str(tmp_path)), 24000, cpu)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dim": 32}))
    with pytest.raises(UserError, match="weights do not fit"):
        Codec.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"format_version": 1}))
    with pytest.raises(UserError, match="holds something else"):
        Codec.from_pretrained(tmp_path)


def test_si_sdr_is_scale_invariant_and_exact():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(1, 4000, generator=generator)
    target = target - target.mean()
    noise = torch.randn(1, 4000, generator=generator)
    noise = noise - noise.mean()
    noise = noise - (noise * target).sum() / target.square().sum() * target
    mixed = target + 0.1 * noise * target.norm() / noise.norm()
    assert float(si_sdr_db(3 * mixed, target)) == pytest.approx(20.0, abs=1e-3)


def test_spectral_loss_is_zero_for_equal_and_positive_for_different_audio():
    loss = SpectralLoss(16000, (256, 1024))
    assert float(loss(tones(), tones())) == 0.0
    assert float(loss(F.pad(tones(), (50, 0))[:, :-50] * 0.5, tones())) > 0.1
