from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from audio_ssl.codec.model import Codec, CodecConfig
from audio_ssl.data.loader import Batch
from audio_ssl.errors import UserError
from audio_ssl.pretrain.kinds import codec, masked_prediction
from audio_ssl.pretrain.recipe import DataConfig, load_recipe
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.seeds import generator
from audio_ssl.pretrain.teachers import CodecRun, codec_recipe
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.test_run import rows

SIZES = CodecConfig(
    sample_rate=16000, ratios=(2, 4, 5, 8), filters=2, dim=8, lstm_layers=0, codebooks=2, codebook_size=16
)
SMALL = ["codec.filters=4", "codec.dim=16", "codec.codebook_size=32", "data.seconds_per_update=4.0", "device=cpu"]


def test_a_codec_learns_keeps_its_codes_alive_and_is_saved(make_manifest: MakeManifest, tmp_path: Path) -> None:
    overrides = [f"data.manifest={make_manifest()}", *SMALL, "steps=30", "data.seconds_per_batch=4.0"]
    out = pretrain("codec_tiny", overrides, tmp_path / "run")
    first, last = rows(out)[0], rows(out)[-1]
    assert last["spectral_loss"] < 0.7 * first["spectral_loss"]
    names = "waveform_loss commitment si_sdr_db code_perplexity_7 codes_used_7 valid_loss"
    assert set(names.split()) <= last.keys()
    assert all(last[f"code_perplexity_{k}"] > 3 for k in range(8))
    saved = Codec.from_pretrained(out)
    assert saved.encode(torch.zeros(1, 16000)).shape == (1, 8, 50)
    assert not (out / "teachers").exists()


def test_padding_is_never_coded() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learner = codec.CodecLearner(codec.Config(codec=SIZES, data=DataConfig(sample_rate=16000, crop_seconds=1.0)))
    learner.eval()
    waveform = torch.randn(2, 9600, generator=generator(1))
    waveform[1, 6400:] = 0
    lengths, frames = torch.tensor([9600, 6400]), torch.tensor([30, 20])
    padded = Batch(waveform, lengths, (), frames, (1, 2), 1.0)
    cut = Batch(waveform[:, :6400], torch.tensor([6400, 6400]), (), torch.tensor([20, 20]), (1, 2), 0.8)
    with torch.no_grad():
        left, right = learner(padded, generator(1), 0), learner(cut, generator(1), 0)
    assert torch.equal(left.loss_sum, right.loss_sum)
    assert float(left.count) == 2


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["data.sample_rate=24000"], r"\$\.codec\.sample_rate: .*`data.sample_rate` = 24000, but is 16000"),
        (["data.targets=store"], r"\$\.data\.targets: a codec has no targets"),
        (["data.crop_seconds=0.001", "data.min_seconds=0"], r"\$\.data\.crop_seconds: .*one frame"),
    ],
)
def test_wrong_recipes_are_refused(
    make_manifest: MakeManifest, tmp_path: Path, overrides: list[str], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        pretrain("codec_tiny", [f"data.manifest={make_manifest()}", *overrides], tmp_path / "run")


def test_a_run_trains_its_codec_on_its_own_audio_in_a_share_of_its_steps() -> None:
    recipe = load_recipe("mert_tiny", ["steps=40", "seed=9", "data.manifest=M.jsonl", "data.split=a"])
    assert isinstance(recipe, masked_prediction.Config)
    assert recipe.codec is not None
    made = codec_recipe(recipe, recipe.codec)
    assert made.steps == 4
    assert (made.seed, made.data.manifest, made.data.split) == (9, "M.jsonl", "a")
    assert made.data.sample_rate == made.codec.sample_rate == 24000
    assert codec_recipe(recipe, CodecRun("codec_tiny", steps=3)).steps == 3
    with pytest.raises(UserError, match=r"`demo` is no recipe of a codec"):
        codec_recipe(recipe, dataclasses.replace(recipe.codec, recipe="demo"))


def test_the_codec_of_a_run_is_trained_once_and_kept(make_manifest: MakeManifest, tmp_path: Path) -> None:
    small = ["encoder.layers=1", "encoder.dim=32", "encoder.ffn_dim=32", "frontend.channels=[8,8,8,8,8,8,16]"]
    overrides = [f"data.manifest={make_manifest()}", "steps=2", "codec.steps=2", "data.seconds_per_update=4", *small]
    out = pretrain("demo", [*overrides, "data.crop_seconds=1.0", "device=cpu"], tmp_path / "run")
    inner = out / "teachers" / "codec"
    assert [row["step"] for row in rows(inner)] == [1, 2]
    assert Codec.from_pretrained(inner).config.codebooks == 8
    with_path = [*overrides, f"teachers.0.path={inner}", "data.crop_seconds=1.0", "device=cpu"]
    again = pretrain("demo", with_path, tmp_path / "again")
    assert [row["loss"] for row in rows(again)] == [row["loss"] for row in rows(out)]
    assert not (again / "teachers").exists()


def test_a_codec_at_another_rate_than_the_frontend_is_refused(make_manifest: MakeManifest, tmp_path: Path) -> None:
    overrides = [f"data.manifest={make_manifest()}", "frontend.strides=[5,2,2,2,2,2,1]"]
    with pytest.raises(UserError, match=r"\$\.teachers\[0\]: the frontend gives 100 frames/s .* 50 frames/s"):
        pretrain("demo", overrides, tmp_path / "run")
