"""Graphs of ONNX and of torch.export give the hidden states of the model, at any length and in any batch."""

import copy
import dataclasses
import subprocess
import sys

import pytest
import torch

from audio_ssl.__main__ import run
from audio_ssl.artifacts.graph_export import GRAPH_RECORD_FILE, GraphExport
from audio_ssl.artifacts.records import read_record
from audio_ssl.base.errors import UserError
from audio_ssl.interop.graphs.agreement import TOLERANCE, compare, compared_lengths, example_clip
from audio_ssl.interop.graphs.capture import GraphModel, capture
from audio_ssl.interop.graphs.spectra import PortableCQT, PortableMel, make_portable
from audio_ssl.interop.graphs.write import export_onnx, export_torch
from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import conformer, gru, transformer
from audio_ssl.models.frontends import concat, conv, cqt, mel, mel_res2d, nnaudio, patches
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.models.spectra import MelSpectrogram

onnxruntime = pytest.importorskip("onnxruntime")

SIZES = {"layers": 2, "dim": 32, "ffn_dim": 64, "heads": 4}
CONV = conv.Config(channels=(8,) * 7)
ROPE = transformer.Config(**SIZES, positions="rope")
FIXED = {"normalize": False, "mean": -3.0, "std": 2.0}
BANDS = cqt.Config(n_bins=24, fmin_hz=500.0, **FIXED)
WAVES = nnaudio.Config(n_bins=12, fmin_hz=500.0, **FIXED)
CONFIGS = {
    "hubert": ModelConfig(CONV, transformer.Config(**SIZES, position_groups=2), 16000),
    "wavlm": ModelConfig(
        conv.Config(channels=(8,) * 7, norm="layer", bias=True),
        transformer.Config(
            **SIZES, position_groups=2, pre_norm=True, relative_positions=Relative(), attention_relax=8.0
        ),
        16000,
        normalize=True,
    ),
    "spectra": ModelConfig(concat.Config((mel.Config(n_mels=20, stack=2), BANDS, WAVES)), ROPE, 16000),
    "patches": ModelConfig(patches.Config(n_mels=20), transformer.Config(**SIZES, positions="none", alibi=True), 16000),
    "speechbrain": ModelConfig(
        mel.Config(n_mels=20, conv_channels=(4, 2), stack=1, form="speechbrain"),
        conformer.Config(**SIZES, form="speechbrain", positions="transformer_xl"),
        16000,
    ),
    "muq": ModelConfig(
        # An odd window, which has one sample more on its right.
        mel_res2d.Config(n_mels=20, window_seconds=401 / 16000, channels=4, dim=32),
        conformer.Config(**SIZES, form="muq"),
        16000,
    ),
}


def model_of(name):
    return build_model(CONFIGS[name], torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_captured_graph_gives_the_model_s_states_at_any_length(name):
    model = model_of(name)
    before = copy.deepcopy(model.state_dict())
    graph = GraphModel(model)
    found = compare(model, capture(graph).module(), compared_lengths(graph.shortest_samples, 16000))
    assert len(found.largest_difference) == model.num_layers + 1
    assert max(found.largest_difference) < TOLERANCE / 4
    # What it was made from is as it was.
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_onnxruntime_gives_the_states_of_all_layers_and_of_one(tmp_path):
    record = export_onnx(model_of("spectra"), tmp_path, name="mine", int8=True, facts={"licence": "CC0"})
    assert record == read_record(GraphExport, tmp_path / GRAPH_RECORD_FILE)
    exact, rounded = record.files
    assert max(exact.largest_difference) < TOLERANCE / 4
    assert rounded.largest_difference[0] == exact.largest_difference[0]
    assert 1e-4 < max(rounded.relative_error) < 0.1
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [one.shape for one in session.get_inputs()] == [["batch", "sample"], ["batch"]]
    assert [one.name for one in session.get_outputs()] == ["hidden_0", "hidden_1", "hidden_2", "frames"]
    assert session.get_outputs()[2].shape == ["batch", "frame", 32]
    assert session.get_modelmeta().custom_metadata_map["sample_rate"] == "16000"
    clip = example_clip(3, 16000, 16000)
    wanted = model_of("spectra")(clip[None]).hidden[1].detach()
    (found,) = session.run(["hidden_1"], {"waveform": clip[None].numpy(), "lengths": torch.tensor([16000]).numpy()})
    assert float((wanted - torch.from_numpy(found)).abs().max()) < TOLERANCE
    card = (tmp_path / "README.md").read_text()
    assert all(words in card for words in ("hidden_2", "model.int8.onnx", "| licence | CC0 |"))


def test_torch_opens_a_graph_without_audio_ssl(tmp_path):
    model = model_of("hubert")
    export_torch(model, tmp_path, name="mine")
    clip = example_clip(0, 9000, 16000)
    torch.save(clip, tmp_path / "clip.pt")
    code = (
        "import sys, torch; sys.modules['audio_ssl'] = None; graph = torch.export.load('model.pt2').module(); "
        "*hidden, frames = graph(torch.load('clip.pt')[None], torch.tensor([9000])); torch.save(hidden, 'hidden.pt')"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    for mine, theirs in zip(model(clip[None]).hidden, torch.load(tmp_path / "hidden.pt"), strict=True):
        assert float((mine - theirs).detach().abs().max()) < TOLERANCE


def test_products_give_the_spectra_of_transforms():
    clips = torch.stack([example_clip(number, 90_000, 16000) for number in range(2)])
    lengths = torch.tensor([90_000, 50_001])
    plain = cqt.build(cqt.Config(normalize=False, mean=-3.8, std=1.85), 16000)
    # Two blocks; the rounding of float32 transforms shows in the logarithms of quiet bins.
    apart = (plain(clips, lengths)[0] - PortableCQT(plain)(clips, lengths)[0]).abs()
    assert float(apart.max()) < 1e-3
    assert float(apart.mean()) < 3e-6
    for center, fft_samples in ((False, None), (False, 512), (True, 512)):
        powers = MelSpectrogram(16000, 400, 160, 40, center=center, fft_samples=fft_samples)
        torch.testing.assert_close(PortableMel(powers)(clips), powers(clips), rtol=1e-4, atol=1e-5)


def test_an_inexact_graph_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("audio_ssl.interop.graphs.write.TOLERANCE", 1e-12)
    with pytest.raises(UserError, match="nothing was written"):
        export_torch(model_of("patches"), tmp_path / "out", name="mine")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_a_graph_is_said_in_one_line(tmp_path, capsys):
    model = model_of("patches")
    model.save_pretrained(tmp_path / "model")
    recurrent = dataclasses.replace(CONFIGS["patches"], encoder=gru.Config(layers=1, dim=32))
    build_model(recurrent).save_pretrained(tmp_path / "gru")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    cases = [
        (["model", "--to", "onnx", "--opset", "11"], "`opset` must be 18 to"),
        (["model", "--to", "torch", "--opset", "18"], "`--opset` is for graphs of ONNX"),
        (["model", "--weights", "int8"], "add `--to onnx`"),
        (["model", "--to", "onnx", "--weights", "float16"], "leave out `--weights`"),
        (["gru", "--to", "onnx"], "one frame after the other"),
    ]
    for (name, *options), words in cases:
        status = run(["export", str(tmp_path / name), *options, "--out", str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert (status, said.count("\n")) == (2, 1), said
        assert words in said
        assert not (tmp_path / "out").exists()
    assert run(["export", str(tmp_path / "model"), "--to", "torch", "--out", str(tmp_path / "full")]) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_portable_parts_stand_where_the_others_stood():
    frontend = model_of("spectra").frontend
    make_portable(frontend)
    kinds = {type(module).__name__ for module in frontend.modules()}
    assert {"PortableMel", "PortableCQT", "PortableNNAudio"} <= kinds
