"""A loaded model: files to features, batches to hidden states, and back to a folder."""

import subprocess
import sys

import pytest
import soundfile
import torch

import audio_ssl
from audio_ssl.base.errors import UserError
from audio_ssl.features.settings import Settings
from audio_ssl.models.model import SSLModel


def test_a_stream_gives_what_the_model_gives(audio, run_folder):
    model = audio_ssl.load(run_folder)
    assert (model.sample_rate, model.num_layers, model.dim) == (16000, 2, 16)
    found = list(model.stream(audio, layers="0,-1"))
    assert {clip.id for clip, _ in found} == {"a.wav", "b.flac", "sub/a.wav", "sub/c.ogg"}
    for clip, features in found:
        samples, _ = soundfile.read(clip.path, dtype="float32")
        with torch.no_grad():
            hidden = model(torch.from_numpy(samples)[None]).hidden
        torch.testing.assert_close(features, torch.stack([hidden[0][0], hidden[2][0]]), atol=1e-5, rtol=1e-4)


def test_training_says_what_is_true(audio, run_folder):
    model = audio_ssl.load(run_folder)
    assert not model.training
    waveform = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        still = model(waveform).hidden[-1]
        assert torch.equal(model(waveform).hidden[-1], still)
        features = {clip.id: found for clip, found in model.stream(audio, layers="1")}
        assert model.train() is model
        assert model.training
        assert all(module.training for module in model.modules())
        assert not torch.equal(model(waveform).hidden[-1], still)
        # Features of files are never those of a model with dropout.
        for clip, found in model.stream(audio, layers="1"):
            torch.testing.assert_close(found, features[clip.id])
        assert model.training
        assert not any(module.training for module in model.eval().modules())
        assert torch.equal(model(waveform).hidden[-1], still)
    assert audio_ssl.Model(SSLModel(model.config)).training


def test_a_stream_of_paths_and_clips_pooled(audio, run_folder):
    model = audio_ssl.load(run_folder)
    whole = {clip.path: features for clip, features in model.stream(audio, layers="1", pool="mean")}
    clip = next(clip for clip, _ in model.stream([audio / "b.flac"]))
    paths = [audio / "a.wav", clip]
    few = {clip.path: features for clip, features in model.stream(paths, layers="1", pool="mean")}
    assert set(few) == {str(audio / "a.wav"), str(audio / "b.flac")}
    for path, features in few.items():
        torch.testing.assert_close(features, whole[path], atol=1e-5, rtol=1e-4)


def test_long_files_come_whole(audio, run_folder):
    model = audio_ssl.load(run_folder)
    settings = Settings(chunk_seconds=0.4, context_seconds=9.0)
    ((_, features),) = model.stream([audio / "b.flac"], settings=settings)
    ((_, whole),) = model.stream([audio / "b.flac"])
    torch.testing.assert_close(features, whole, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_used_is_told(audio, run_folder, caplog):
    (audio / "bad.wav").write_bytes(b"")
    model = audio_ssl.load(run_folder)
    refused = []
    assert len(list(model.stream(audio, on_error=lambda clip, reason: refused.append((clip.id, reason))))) == 4
    assert refused == [("bad.wav", "the file is empty (0 bytes)")]
    list(model.stream(audio))
    assert "bad.wav: the file is empty" in caplog.text


def test_leaving_a_stream_early_ends_its_threads(audio, run_folder):
    program = (
        "import sys, audio_ssl; model = audio_ssl.load(sys.argv[1]);"
        "stream = model.stream(sys.argv[2]); next(stream); del stream; print('left')"
    )
    argv = [sys.executable, "-c", program, run_folder, str(audio)]
    assert subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout == "left\n"


def test_a_loaded_model_trains(run_folder):
    model = audio_ssl.load(run_folder).train()
    output = model(torch.randn(2, 8000), torch.tensor([8000, 5000]))
    output.hidden[-1].square().sum().backward()
    assert bool(model.model.frontend.convs[0].weight.grad.any())


def test_saved_and_loaded_again(run_folder, tmp_path):
    model = audio_ssl.load(run_folder)
    model.save_pretrained(tmp_path / "saved")
    assert audio_ssl.load(tmp_path / "saved").fingerprint == model.fingerprint


def test_normalisation_is_part_of_the_fingerprint(run_folder, tmp_path):
    plain = SSLModel.from_pretrained(run_folder)
    loaded = audio_ssl.load(run_folder)
    assert loaded.fingerprint == audio_ssl.Model(plain).fingerprint
    text = (tmp_path / "m" / "config.json", '"normalize": false', '"normalize": true')
    plain.save_pretrained(tmp_path / "m")
    text[0].write_text(text[0].read_text().replace(*text[1:]))
    assert audio_ssl.load(tmp_path / "m").fingerprint != loaded.fingerprint


def test_what_is_no_model_is_refused():
    with pytest.raises(UserError, match="there is no model `nothing`"):
        audio_ssl.load("nothing")
    with pytest.raises(AttributeError, match="no attribute 'unload'"):
        _ = audio_ssl.unload


def test_importing_the_package_imports_no_torch():
    program = "import sys, audio_ssl; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
