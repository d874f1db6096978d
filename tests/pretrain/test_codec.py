from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

pytest.importorskip("encodec")

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import generator
from audio_ssl.data.loader import Batch
from audio_ssl.pretrain.kinds import codec, masked_prediction
from audio_ssl.pretrain.recipe import DataConfig, load_recipe
from audio_ssl.pretrain.run import pretrain
from audio_ssl.pretrain.teachers import CodecRun, codec_recipe
from audio_ssl.pretrain.update import UpdateSums
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig
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
    names = "waveform_loss commitment si_sdr code_perplexity_7 code_usage_7 valid_loss valid_si_sdr valid_mel_distance"
    assert set(names.split()) <= last.keys()
    assert all(last[f"code_perplexity_{k}"] > 3 for k in range(8))
    assert all(0 < last[f"valid_code_usage_{k}"] <= 1 for k in range(8))
    assert all(1 <= last[f"valid_code_perplexity_{k}"] <= 32 for k in range(8))
    saved = Codec.from_pretrained(out)
    assert saved.encode(torch.zeros(1, 16000)).shape == (1, 8, 50)
    assert not (out / "teachers").exists()


def make_learner() -> codec.CodecLearner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return codec.CodecLearner(codec.Config(codec=SIZES, data=DataConfig(sample_rate=16000, crop_seconds=1.0)))


def make_batch(keys: Sequence[int], lengths: Sequence[int]) -> Batch:
    """Return a batch whose clips follow from their keys alone."""
    waveform = torch.zeros(len(keys), max(lengths))
    for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
        waveform[row, :length] = 0.1 * torch.randn(length, generator=generator("clip", key))
    frames = torch.tensor([-(-length // 320) for length in lengths])
    return Batch(waveform, torch.tensor(lengths), (), frames, tuple(keys), sum(lengths) / 16000)


def alone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


LENGTHS = (9600, 9600, 8000, 9600, 6400, 6400, 5000, 6400)


def updates(split: int, number: int) -> tuple[codec.CodecLearner, list[float]]:
    """Make updates of the same 8 clips each, in micro-batches of `split`."""
    learner = make_learner().train()
    optimizer = torch.optim.SGD(learner.parameters(), 1e-3)
    losses = []
    for step in range(number):
        optimizer.zero_grad()
        outputs = []
        for start in range(0, 8, split):
            rows = slice(start, start + split)
            output = learner(make_batch(range(8 * step, 8 * step + 8)[rows], LENGTHS[rows]), generator(1), step)
            output.loss_sum.backward()
            outputs.append(output)
        sums = UpdateSums.of(outputs, 0.0, set())
        metrics = sums.means
        for parameter in learner.parameters():
            assert parameter.grad is not None
            parameter.grad /= sums.count
        optimizer.step()
        learner.after_update(step, alone)
        losses += [sums.loss, *(metrics[name] for name in ("spectral_loss", "commitment", "si_sdr"))]
        losses += [metrics.get("code_perplexity_1", 0.0)]
    return learner, losses


def test_an_update_is_the_same_however_it_is_split() -> None:
    whole, expected = updates(8, 4)
    parts, losses = updates(4, 4)
    assert losses == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert torch.equal(whole.reference, parts.reference)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, parts.state_dict()[name], atol=2e-3, rtol=2e-3, msg=name)
    assert whole.codec.quantizer.codebooks.abs().max() > 0.1


def test_padding_counts_for_nothing() -> None:
    learner, _ = updates(8, 2)
    learner.eval()
    with torch.no_grad():
        together = learner(make_batch((1, 2), (9600, 6400)), generator(1), 0)
        singles = [learner(make_batch((key,), (length,)), generator(1), 0) for key, length in ((1, 9600), (2, 6400))]
    assert float(together.count) == 30 + 20
    assert float(together.loss_sum) == pytest.approx(float(sum(single.loss_sum for single in singles)), rel=1e-4)


def test_usage_and_perplexity_are_those_of_the_whole_validation() -> None:
    learner, _ = updates(8, 2)
    batches = [make_batch((key, key + 50), (9600, 6400)) for key in range(3)]
    for _ in range(2):
        learner.eval()
        with torch.no_grad():
            metrics = UpdateSums.of([learner(batch, generator(1), 0) for batch in batches], 0.0, set()).means
        learner.train()
    learner.codec.eval()
    clips = [batch.waveform[row : row + 1, :n] for batch in batches for row, n in enumerate((9600, 6400))]
    codes = torch.cat([learner.codec.encode(clip)[0] for clip in clips], dim=1)
    for book in range(2):
        counts = torch.bincount(codes[book], minlength=16).double()
        share = counts[counts > 0] / counts.sum()
        assert metrics[f"code_usage_{book}"] == pytest.approx(float((counts > 0).double().mean()))
        expected = float(torch.exp(-(share * share.log()).sum()))
        assert metrics[f"code_perplexity_{book}"] == pytest.approx(expected, rel=1e-4)


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
    out = pretrain("mert_tiny", [*overrides, "data.crop_seconds=1.0", "device=cpu"], tmp_path / "run")
    inner = out / "teachers" / "codec"
    assert [row["step"] for row in rows(inner)] == [1, 2]
    assert Codec.from_pretrained(inner).config.codebooks == 8
    with_path = [*overrides, f"teachers.0.path={inner}", "data.crop_seconds=1.0", "device=cpu"]
    again = pretrain("mert_tiny", with_path, tmp_path / "again")
    assert [row["loss"] for row in rows(again)] == [row["loss"] for row in rows(out)]
    assert not (again / "teachers").exists()


def test_a_codec_at_another_rate_than_the_frontend_is_refused(make_manifest: MakeManifest, tmp_path: Path) -> None:
    overrides = [f"data.manifest={make_manifest()}", "frontend.strides=[5,2,2,2,2,2,1]"]
    with pytest.raises(UserError, match=r"\$\.teachers\[0\]: the frontend gives 150 frames/s .* 75 frames/s"):
        pretrain("mert_tiny", overrides, tmp_path / "run")
