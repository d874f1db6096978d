import json

import pytest
import torch

pytest.importorskip("encodec")

from audio_ssl.base.errors import UserError
from audio_ssl.targets.codec.reconstruction import SpectralLoss, code_statistics, waveform_loss
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig
from audio_ssl.targets.spec import check_targets
from audio_ssl.targets.teachers import rvq

SMALL = CodecConfig(16000, filters=4, dim=16, lstm_layers=0, codebooks=3, codebook_size=16, decay=0.8)


def alone(tensor):
    return tensor


def make(config=SMALL):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Codec(config)


def tones(batch=4, samples=6400):
    time = torch.arange(samples) / 16000
    pitch = torch.linspace(150, 600, batch)[:, None]
    noise = torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))
    return torch.linspace(0, 1, samples) * (0.5 * torch.sin(2 * torch.pi * pitch * time) + 0.05 * noise)


def train(codec, steps, optimizer=None, first=0):
    optimizer = optimizer or torch.optim.Adam(codec.parameters(), 3e-3)
    spectral = SpectralLoss(16000, (256, 1024))
    losses = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        output = codec.train()(tones(), keys=range(4 * step, 4 * step + 4), reference=tones() if step else None)
        audio = output.reconstruction
        loss = (spectral(audio, tones()) + waveform_loss(audio, tones())).mean() + output.commitment.mean()
        loss.backward()
        optimizer.step()
        codec.after_update(step, alone)
        losses.append(float(loss.detach()))
    codec.normalise_by(tones())
    return losses, optimizer


def test_training_reconstructs_and_uses_its_codes():
    codec = make()
    losses, _ = train(codec, 40)
    assert losses[-1] < 0.6 * losses[1]
    codes = codec.eval().encode(tones())
    counts = torch.stack([torch.bincount(codes[:, book].flatten(), minlength=16) for book in range(3)]).float()
    perplexities, usage = code_statistics(counts)
    assert min(perplexities) > 2
    assert min(usage) > 0.25


def test_stopped_and_continued_training_is_the_same_bit_for_bit():
    whole = make()
    expected, _ = train(whole, 6)
    codec = make()
    first, optimizer = train(codec, 3)
    twin = make()
    twin.load_state_dict(codec.state_dict())
    twin_optimizer = torch.optim.Adam(twin.parameters(), 3e-3)
    twin_optimizer.load_state_dict(optimizer.state_dict())
    rest, _ = train(twin, 3, twin_optimizer, first=3)
    assert first + rest == expected


def test_a_clip_gives_the_same_in_any_batch():
    codec = make()
    train(codec, 2)
    codec.eval()
    waveform, lengths = tones(3), torch.tensor([6400, 4321, 3200])
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0
    with torch.no_grad():
        together = codec(waveform, lengths)
        for row, length in enumerate(lengths):
            single = codec(waveform[row : row + 1, :length])
            frames = codec.grid.num_frames(int(length))
            assert torch.equal(together.codes[row, :frames], single.codes[0])
            assert not together.codes[row, frames:].any()
            torch.testing.assert_close(
                together.reconstruction[row, :length], single.reconstruction[0], atol=1e-5, rtol=0
            )
            assert not together.reconstruction[row, length:].any()
            # The norm divides by the latents' small spread, and multiplies float32's rounding by as much.
            torch.testing.assert_close(together.commitment[row, :frames], single.commitment[0], atol=1e-4, rtol=1e-3)
            assert torch.equal(codec.encode(waveform[row : row + 1, :length])[0].T, single.codes[0])


def test_codebook_dropout_is_drawn_from_the_clips_keys():
    config = CodecConfig(16000, filters=4, dim=16, lstm_layers=0, codebooks=3, codebook_size=16, codebook_dropout=1.0)
    codec = make(config)
    train(codec, 2)
    codec.train()
    first = codec(tones(), keys=(1, 2, 3, 4)).reconstruction
    torch.testing.assert_close(first[1:2], codec(tones()[1:2], keys=(2,)).reconstruction, atol=1e-5, rtol=0)
    others = [codec(tones()[1:2], keys=(key,)).reconstruction for key in range(10)]
    assert 2 <= len({round(float(other.detach().square().sum()), 4) for other in others}) <= 3
    codec.eval()
    assert torch.equal(codec(tones(), keys=(1, 2, 3, 4)).codes, codec(tones(), keys=(5, 6, 7, 8)).codes)


def test_codes_have_the_frames_of_the_grid_and_decode_to_audio():
    codec = make().eval()
    for samples in (1, 320, 321, 5000):
        codes = codec.encode(torch.zeros(2, samples))
        assert codes.shape == (2, 3, codec.grid.num_frames(samples))
        assert codec.decode(codes).shape == (2, codes.shape[-1] * 320)
        assert codec(torch.zeros(2, samples)).reconstruction.shape == (2, samples)
    assert codec.encode(torch.zeros(2, 0)).shape == (2, 3, 0)


def test_decoded_codes_are_the_reconstruction():
    codec = make()
    train(codec, 2)
    codec.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            codec.decode(codec.encode(tones())), codec(tones()).reconstruction, atol=1e-5, rtol=1e-4
        )


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
    with pytest.raises(UserError, match=r"not a codec: config\.json is missing"):
        rvq.build(rvq.Config(path=str(tmp_path)), 16000, cpu)
    make().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"the codec is for 16000 Hz, but data\.sample_rate is 24000"):
        rvq.build(rvq.Config(path=str(tmp_path)), 24000, cpu)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dim": 32}))
    with pytest.raises(UserError, match="must have the shape"):
        Codec.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"format_version": 1}))
    with pytest.raises(UserError, match="holds something else"):
        Codec.from_pretrained(tmp_path)


def test_losses_are_zero_for_equal_audio_and_count_each_clip_to_its_end():
    spectral = SpectralLoss(16000, (256, 1024))
    target, output = tones(2), 0.5 * tones(2).roll(50, 1)
    assert spectral(target, target).tolist() == [0.0, 0.0]
    assert (spectral(output, target) > 0.1).all()
    lengths = torch.tensor([6400, 3000])
    target[1, 3000:] = output[1, 3000:] = 0
    for loss in (spectral, waveform_loss):
        single = loss(output[1:, :3000], target[1:, :3000])
        torch.testing.assert_close(loss(output, target, lengths)[1:], single, atol=1e-5, rtol=1e-4)
