import urllib.error
import warnings

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("encodec")

from encodec import EncodecModel

from audio_ssl.base.errors import UserError
from audio_ssl.targets.spec import check_targets
from audio_ssl.targets.teachers import encodec
from audio_ssl.targets.teachers.encodec import CodeStream

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def original():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        model = EncodecModel.encodec_model_24khz(pretrained=False).eval()
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.02)
    return model


@pytest.mark.parametrize(("suffix", "codebooks"), [(".th", 8), (".safetensors", 2)])
def test_codes_are_those_of_the_package(tmp_path, original, suffix, codebooks):
    path = tmp_path / f"encodec_24khz{suffix}"
    if suffix == ".th":
        torch.save(original.state_dict(), path)
    else:
        save_file({k: v.contiguous() for k, v in original.state_dict().items()}, path)
    teacher = encodec.build(encodec.Config(path=str(path), codebooks=codebooks), 24000, CPU)
    waveform = torch.randn(24111, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 1, 24111)
    original.set_target_bandwidth(0.75 * codebooks)
    with torch.no_grad():
        expected = original.encode(waveform[None, None])[0][0][0].T
    codes = teacher(waveform)
    assert torch.equal(codes, expected)
    assert len(codes.unique()) > 3
    check_targets(codes, teacher.spec, len(waveform))


def package_codes(original, waveform, codebooks=8):
    original.set_target_bandwidth(0.75 * codebooks)
    with torch.no_grad():
        return original.encode(waveform[None, None])[0][0][0].T


def noise(samples, clips=1):
    moving = torch.linspace(0.1, 1, samples) if samples else torch.ones(0)
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples)) * moving * 0.3


@pytest.mark.parametrize("samples", [1, 6, 321, 2241, 5121, 9601, 30_113])
@pytest.mark.parametrize("chunk_frames", [16, 75, 2250])
def test_chunks_give_the_codes_of_the_whole_file(original, samples, chunk_frames, monkeypatch):
    monkeypatch.setattr(encodec, "_CHUNK_FRAMES", chunk_frames)
    waveform = noise(samples)[0]
    codes = CodeStream(original, 8)(waveform[None])[0]
    assert torch.equal(codes, package_codes(original, waveform))


@pytest.mark.parametrize("tail", [1, 2, 7, 160, 319])
def test_a_last_chunk_of_few_samples(original, tail, monkeypatch):
    monkeypatch.setattr(encodec, "_CHUNK_FRAMES", 16)
    waveform = noise(16 * 320 + tail)[0]
    assert torch.equal(CodeStream(original, 8)(waveform[None])[0], package_codes(original, waveform))


def test_a_batch_has_the_codes_of_each_clip(original, monkeypatch):
    monkeypatch.setattr(encodec, "_CHUNK_FRAMES", 40)
    clips = noise(30_011, clips=3)
    codes = CodeStream(original, 4)(clips)
    for clip, mine in zip(clips, codes, strict=True):
        assert torch.equal(mine, package_codes(original, clip, codebooks=4))


def test_memory_does_not_grow_with_the_file(original, monkeypatch):
    monkeypatch.setattr(encodec, "_CHUNK_FRAMES", 16)
    stream, largest = CodeStream(original, 2), []
    for chunks in (3, 9):
        clip = noise(16 * 320 * chunks)
        with torch.profiler.profile(profile_memory=True) as profile:
            stream(clip)
        held, peak = 0, 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                peak = max(peak, held)
        largest.append(peak)
    assert largest[1] <= 1.02 * largest[0]


def test_autocast_does_not_change_codes(original):
    teacher = encodec.build(encodec.Config(random_weights=True), 24000, CPU)
    waveform = noise(12_345)[0]
    with torch.autocast("cpu", torch.bfloat16):
        within = teacher(waveform)
    assert torch.equal(within, teacher(waveform))
    assert torch.equal(teacher.batch(waveform[None])[0], within)


def test_no_audio_has_no_codes(original):
    assert CodeStream(original, 2)(torch.zeros(2, 0)).shape == (2, 0, 2)


def test_random_weights_only_where_asked_for(monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(encodec.EncodecModel, "encodec_model_24khz", offline)
    with pytest.raises(UserError, match=r"could not be fetched.*random_weights=true"):
        encodec.build(encodec.Config(), 24000, CPU)


def test_random_weights_are_the_seed_s(original):
    waveform = torch.randn(6400, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    codes = [encodec.build(encodec.Config(random_weights=True, seed=s), 24000, CPU)(waveform) for s in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "rate", "message"),
    [
        ({}, 16000, "is for 24000 Hz, but data.sample_rate is 16000"),
        ({"codebooks": 3}, 24000, "`codebooks` must be 2, 4, 8, 16 or 32"),
        ({"path": "missing.th"}, 24000, "not EnCodec 24 kHz weights"),
    ],
)
def test_what_does_not_fit_is_refused(options, rate, message):
    with pytest.raises(UserError, match=message):
        encodec.build(encodec.Config(**options), rate, CPU)


def test_a_pickle_of_objects_is_not_loaded(tmp_path):
    path = tmp_path / "evil.th"
    torch.save({"x": pytest.raises}, path)
    with pytest.raises(UserError, match="not EnCodec 24 kHz weights"):
        encodec.build(encodec.Config(path=str(path)), 24000, CPU)
