"""Units in Python are those of the command, alone and in batches."""

import json

import numpy as np
import pytest
import soundfile
import torch

import audio_ssl
from audio_ssl.base.errors import UserError
from audio_ssl.units.run import make_units


@pytest.fixture
def units(audio, model, tmp_path):
    return make_units(audio, model, tmp_path / "u", layer=1, clusters=4, merge=True)


def waves(audio):
    found = [torch.from_numpy(soundfile.read(audio / f"{n}.wav", dtype="float32")[0]) for n in (0, 2, 6)]
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True), [len(wave) for wave in found]


def test_units_of_waveforms_are_those_of_files(audio, model, units):
    rows = {row["id"]: row for row in map(json.loads, (units / "units.jsonl").read_text().splitlines())}
    encoder = audio_ssl.load_units(units)
    assert (encoder.sample_rate, encoder.hop_seconds, encoder.codes) == (16000, 0.02, 4)
    batch, lengths = waves(audio)
    for found, name in zip(encoder(batch, lengths, merge=True), ("0.wav", "2.wav", "6.wav"), strict=True):
        assert found.unit.tolist() == rows[name]["unit"]
        assert found.start.tolist() == pytest.approx(rows[name]["start"])
        assert found.end.tolist() == pytest.approx(rows[name]["end"])
    plain = encoder(batch[0, : lengths[0]])[0]
    assert len(plain.unit) == 27
    assert torch.unique_consecutive(plain.unit).tolist() == rows["0.wav"]["unit"]
    # The code book alone, with its model; it knows its layer.
    other = audio_ssl.load_units(units / "codebook.safetensors", model=model)
    assert other(batch, lengths, merge=True)[2].unit.tolist() == rows["6.wav"]["unit"]


def test_a_teacher_gives_several_codebooks(audio, tmp_path):
    encoder = audio_ssl.load_units("random_projection?codebooks=2&codebook_size=8&stack=2")
    batch, lengths = waves(audio)
    together = encoder(batch, lengths)
    assert together[0].unit.shape[1] == 2
    assert together[0].unit.max() < encoder.codes == 8
    alone = encoder(batch[0, : lengths[0]])[0]
    assert torch.equal(alone.unit, together[0].unit)


def test_what_is_wrong_is_said(model, units, tmp_path):
    encoder = audio_ssl.load_units(units)
    with pytest.raises(UserError, match="100 samples, and a frame needs 400"):
        encoder(torch.zeros(100))
    with pytest.raises(UserError, match="`model` must be given"):
        audio_ssl.load_units(units / "codebook.safetensors")
    with pytest.raises(UserError, match=r"fitted to layer 1, not to layer 2 of"):
        audio_ssl.load_units(units, layer=2)
    np.save(tmp_path / "a.npy", np.ones((2, 16), np.float32))
    with pytest.raises(UserError, match=r"`layer` must be one of the layers 0 to 2 of .*, but is None"):
        audio_ssl.load_units(tmp_path / "a.npy", model=model)
    with pytest.raises(UserError, match="no such code book"):
        audio_ssl.load_units(tmp_path / "nothing", model=model, layer=1)
