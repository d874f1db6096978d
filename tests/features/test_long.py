"""Long files: written as they are computed, the frontend as of the whole file, in bounded memory."""

import json
import subprocess
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from audio_ssl.data.store import ArrayStore
from audio_ssl.features import pieces
from audio_ssl.features.extract import extract
from audio_ssl.features.load import load
from audio_ssl.features.settings import Settings
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv, mel_res2d
from audio_ssl.models.model import ModelConfig, build_model

CHUNKS = ["chunk_seconds=2", "context_seconds=0.5", "batch_seconds=7"]


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.flac"
    rng = np.random.default_rng(0)
    # Ever louder and off centre: chunks by themselves would have other statistics.
    samples = rng.normal(0.05, 0.1, 22050 * 11) * np.linspace(0.1, 1.0, 22050 * 11)
    soundfile.write(path, samples.astype(np.float32), 22050)
    return path


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_frontend_is_that_of_the_whole_file(long_file, tmp_path, normalize, norm):
    # No attention and no positions: what is left must be equal.
    encoder = transformer.Config(layers=0, dim=16, ffn_dim=16, heads=2, positions="none")
    frontend = conv.Config(channels=(8,) * 7, norm=norm)
    config = ModelConfig(frontend, encoder, 16000, normalize=normalize)
    build_model(config, torch.Generator().manual_seed(0)).save_pretrained(tmp_path / "model")
    model = str(tmp_path / "model")
    whole = extract(long_file, model, tmp_path / "whole", format="npy")
    cut = extract(long_file, model, tmp_path / "cut", format="npy", overrides=CHUNKS)
    np.testing.assert_allclose(np.load(cut / "long.npy"), np.load(whole / "long.npy"), atol=1e-4)


def test_a_centred_frontend_is_that_of_the_whole_file(long_file, tmp_path):
    encoder = transformer.Config(layers=0, dim=16, ffn_dim=16, heads=2, positions="none")
    frontend = mel_res2d.Config(n_mels=20, window_seconds=0.025, channels=4, dim=16)
    model = build_model(ModelConfig(frontend, encoder, 16000), torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "model")
    whole = extract(long_file, str(tmp_path / "model"), tmp_path / "whole", format="npy")
    cut = extract(long_file, str(tmp_path / "model"), tmp_path / "cut", format="npy", overrides=CHUNKS)
    np.testing.assert_allclose(np.load(cut / "long.npy"), np.load(whole / "long.npy"), atol=1e-4)


def test_attention_differs_less_with_more_context(long_file, run_folder, tmp_path):
    whole = np.load(extract(long_file, run_folder, tmp_path / "w", format="npy", layers="-1") / "long.npy")

    def apart(context):
        overrides = ["chunk_seconds=2", f"context_seconds={context}"]
        out = extract(long_file, run_folder, tmp_path / context, format="npy", layers="-1", overrides=overrides)
        return float(np.abs(np.load(out / "long.npy") - whole).mean())

    errors = [apart(context) for context in ("0", "1", "4")]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("layers", ["all", "1"])
@pytest.mark.parametrize("format", ["npy", "safetensors", "parquet"])
def test_every_format_takes_a_file_in_pieces(long_file, run_folder, tmp_path, format, layers):
    # So large a chunk that the file is one piece is the reference.
    options = {"format": format, "layers": layers, "dtype": "float16", "rate": 20.0}
    whole = read(extract(long_file, run_folder, tmp_path / "w", overrides=["chunk_seconds=99"], **options), format)
    out = extract(
        long_file, run_folder, tmp_path / "cut", overrides=["chunk_seconds=2", "context_seconds=99"], **options
    )
    row = json.loads((out / "index.jsonl").read_text())
    array = read(out, format)
    assert array.shape == whole.shape == ((3,) if layers == "all" else ()) + (row["frames"], 16)
    assert row["hop_seconds"] == pytest.approx(0.05)
    np.testing.assert_allclose(array.astype(np.float32), whole.astype(np.float32), atol=2e-3)


def read(out, format):
    if format == "npy":
        return np.load(out / "long.npy")
    if format == "safetensors":
        return ArrayStore(out / "store")["long.flac"]["features"].numpy()
    rows = pq.read_table(next(out.glob("parquet/features-*.parquet"))).to_pylist()
    assert rows[0]["start_frame"] == 0
    return np.concatenate([np.array(row["features"], np.float16).reshape(row["shape"]) for row in rows], axis=-2)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_file_in_pieces_is_pooled_whole(long_file, run_folder, tmp_path, pool):
    options = {"format": "npy", "pool": pool}
    whole = extract(long_file, run_folder, tmp_path / "w", overrides=["chunk_seconds=99"], **options)
    cut = extract(long_file, run_folder, tmp_path / "c", overrides=["chunk_seconds=2", "context_seconds=99"], **options)
    assert np.load(cut / "long.npy").shape == (3, 16)
    np.testing.assert_allclose(np.load(cut / "long.npy"), np.load(whole / "long.npy"), atol=1e-5)


def test_a_long_file_cut_short_leaves_nothing_but_its_reason(long_file, run_folder, tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    data = long_file.read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) * 3 // 4])
    (folder / "whole.flac").write_bytes(data)
    out = extract(folder, run_folder, tmp_path / "f", format="npy", overrides=CHUNKS)
    assert [path.name for path in out.rglob("*.npy")] == ["whole.npy"]
    assert "truncated" in json.loads((out / "errors.jsonl").read_text())["reason"]


def test_features_that_fail_half_way_leave_nothing(long_file, run_folder, tmp_path, monkeypatch):
    folder = tmp_path / "audio"
    folder.mkdir()
    for name in ("a.flac", "b.flac"):
        (folder / name).write_bytes(long_file.read_bytes())
    spool = pieces.Spool.read

    def spoiled(self, start, stop):
        samples = spool(self, start, stop)
        return samples * float("nan") if self.clip.id == "a.flac" and start > 100_000 else samples

    monkeypatch.setattr(pieces.Spool, "read", spoiled)
    out = extract(folder, run_folder, tmp_path / "f", format="npy", overrides=CHUNKS)
    assert sorted(path.name for path in out.rglob("*.npy")) == ["b.npy"]
    assert "not finite" in json.loads((out / "errors.jsonl").read_text())["reason"]


def test_memory_does_not_grow_with_the_file(tmp_path, run_folder):
    # The frames of 20 minutes at this width are 0.7 GB.
    encoder = transformer.Config(layers=0, dim=3072, ffn_dim=8, heads=2, positions="none")
    config = ModelConfig(conv.Config(channels=(4,) * 7), encoder, 16000)
    build_model(config, torch.Generator().manual_seed(0)).save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 16000, 1) as file:
        for _ in range(20):
            file.write(rng.normal(0, 0.1, 60 * 16000).astype(np.float32))
    program = (
        "import resource, sys; from pathlib import Path; from audio_ssl.features.extract import extract;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "extract(Path(sys.argv[2]), sys.argv[1], Path(sys.argv[3] + '1'), pool='mean', overrides=['chunk_seconds=5']);"
        "before = peak();"
        "extract(Path(sys.argv[2]), sys.argv[1], Path(sys.argv[3] + '2'), format='npy', overrides=['chunk_seconds=5']);"
        "print(before, peak())"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "model"), str(tmp_path / "long.wav"), str(tmp_path / "f")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert (tmp_path / "f2" / "long.npy").stat().st_size > 0.7e9
    assert after - before < 150_000, "kilobytes"
    (tmp_path / "f2" / "long.npy").unlink()


def test_shorter_files_are_computed_while_a_long_one_is_decoded(run_folder, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, seconds in [("a.wav", 4.0), *((f"b{number}.wav", 0.5) for number in range(10))]:
        soundfile.write(tmp_path / name, rng.normal(0, 0.1, int(16_000 * seconds)).astype(np.float32), 16_000)
    computed, spool = threading.Event(), pieces._spool

    def waits(*arguments):
        # Else the long file is in the way of the others.
        assert computed.wait(60)
        return spool(*arguments)

    monkeypatch.setattr(pieces, "_spool", waits)
    settings = Settings(chunk_seconds=1.0, batch_seconds=1.0, workers=2)
    names = []
    for clip, _ in load(run_folder).stream(tmp_path, settings=settings):
        names.append(clip.id)
        computed.set()
    assert sorted(names) == sorted(path.name for path in tmp_path.glob("*.wav"))
