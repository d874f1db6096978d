"""A wrong setting stops a run before any work, with the key's path, what was got and what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.kinds import masked_prediction
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.selection import select_clips
from tests.pretrain.conftest import MakeManifest

WRONG = [
    ("muq_style_tiny", "mask.fill=x", r"$.mask.fill: must be embedding, waveform_noise or feature_noise, but is 'x'"),
    ("muq_style_tiny", "mask.noise_std=-1", r"$.mask.noise_std: must not be negative, but is -1.0"),
    ("muq_style_tiny", "frontend.std=0", r"$.frontend: `std` must be above 0, but is 0"),
    ("muq_style_tiny", "frontend.hop_seconds=0", r"$.frontend: `hop_seconds` must last at least a sample"),
    ("muq_style_tiny", "teachers.0.std=0", r"$.teachers[0]: `std` must be above 0, but is 0"),
    ("muq_style_tiny", "teachers.0.std=3", r"$.teachers[0].std: `std` must be that of the frontend"),
    ("muq_style_tiny", "teachers.0.mean=null", r"$.teachers[0]: `mean` and `std` must be given together"),
    ("muq_style_tiny", "teachers.0.form=x", r"$.teachers[0]: `form` must be muq or stages, but is `x`"),
    (
        "muq_style_tiny",
        "encoder.positions=x",
        r"$.encoder: `positions` must be rope, transformer_xl or none, but is `x`",
    ),
    ("muq_style_tiny", "encoder.dim=64", r"$.encoder: with `form: muq` the frontend's width must be `dim` 64"),
    (
        "muq_style_tiny",
        "objectives.0.codebook_loss=x",
        r"$.objectives[0]: `codebook_loss` must be sum or mean, but is `x`",
    ),
    ("bestrq_tiny", "frontend.form=x", r"$.frontend: `form` must be plain or speechbrain, but is `x`"),
    ("bestrq_tiny", "frontend.dropout=1.5", r"$.frontend: `dropout` must be at least 0 and below 1, but is 1.5"),
    ("bestrq_tiny", "teachers.0.hop_seconds=0", r"$.teachers[0]: `hop_seconds` must last at least a sample"),
    ("data2vec_tiny", "teachers.0.point=x", r"$.teachers[0].point: must be output or feed_forward, but is 'x'"),
    (
        "data2vec_tiny",
        "encoder={kind: gru, dim: 256, layers: 8}",
        r"$.teachers[0]: `point` feed_forward needs layers that end with a feed-forward part, which a gru encoder does",
    ),
    (
        "data2vec_tiny",
        "teachers.0.average=x",
        r"$.teachers[0].average: must be layers, transformer or encoder, but is 'x'",
    ),
    (
        "data2vec_tiny",
        "optim.fall_share=0",
        r"$.optim.fall_share: `optim.fall_share` must be a share above 0, but is 0",
    ),
    ("dinosr_tiny", "teachers.0.codebook_size=0", r"$.teachers[0]: `codebook_size` must be at least 1, but is 0"),
    ("dinosr_tiny", "teachers.0.schedule=x", r"$.teachers[0].schedule: must be linear or exponential, but is 'x'"),
    (
        "dinosr_tiny",
        "freeze_frontend_after=-1",
        r"$.freeze_frontend_after: `freeze_frontend_after` must not be negative",
    ),
    (
        "spidr_style_tiny",
        "objectives=[{kind: masked_codes}, {kind: masked_codes, point: feed_forward}]",
        r"$.objectives[1]: all objectives look at one `point` of a layer, but objective 0 at output and",
    ),
    (
        "spidr_style_tiny",
        "encoder={kind: gru, layers: 3, dim: 256}",
        r"$.encoder: a gru encoder needs every frame beside its neighbours, so masked frames cannot be left out of it",
    ),
    ("data2vec2_tiny", "decoder.dropout=2", r"$.decoder: `dropout` must be at least 0 and below 1, but is 2.0"),
    ("apc_tiny", "encoder.cell=x", r"$.encoder: `cell` must be gru or lstm, but is `x`"),
    ("apc_tiny", "encoder.dim=8", r"$.encoder: `dim` must be at least the frontend's width 80 for `form: frames`"),
    ("cpc_tiny", "frontend.activation=x", r"$.frontend: `activation` must be gelu or relu, but is `x`"),
    ("cpc_tiny", "objectives.0.dropout=1.5", r"$.objectives[0]: `dropout` must be at least 0 and below 1, but is 1.5"),
    ("wav2vec2_tiny", "objectives.0.feature_dropout=2", r"$.objectives[0]: `feature_dropout` must be at least 0"),
    ("wavlm_tiny", "mixing.max_share=0", r"$.mixing.max_share: `max_share` must be a share above 0 and at most 1"),
    ("wavlm_tiny", "mixing.noise={}", r"$.mixing.noise.manifest: the key `manifest` is missing"),
    ("wavlm_tiny", "mixing.noise={manifest: none.jsonl}", r"$.mixing.noise.manifest: none.jsonl: no such manifest"),
    ("wavlm_tiny", "data.seconds_per_group=0", r"$.data.seconds_per_group: `data.seconds_per_group` must be above 0"),
    ("hubert_tiny", "data.fit_hours=0", r"$.data.fit_hours: `data.fit_hours` must be above 0"),
    ("wavlm_tiny", "data.seconds_per_group=1", r"$.data.seconds_per_group: `data.seconds_per_group` must be at least"),
    ("hubert_tiny", "iterations.0.settings=[mxing=null]", r"$.iterations[0].settings: `mxing` is the same in all"),
    ("hubert_tiny", "iterations.1.settings=[mask.prob=3]", r"$.iterations[1].settings: $.mask.prob: `prob` must be"),
    ("hubert_tiny", "iterations.1.settings=[optim.lr=0]", r"$.iterations[1].settings: $.optim.lr: `optim.lr` must be"),
    ("hubert_tiny", "iterations.1.settings=[encoder.heads=3]", r"$.iterations[1].settings: $.encoder: `dim` 256 must"),
    ("hubert_tiny", "mask.prob=3", r"$.mask.prob: `prob` must be a share above 0 and at most 1, but is 3.0"),
]


@pytest.mark.parametrize(("recipe", "setting", "message"), WRONG, ids=[f"{one[0]} {one[1]}" for one in WRONG])
def test_it_is_named(recipe: str, setting: str, message: str, make_manifest: MakeManifest) -> None:
    with pytest.raises(UserError) as raised:
        check(recipe, make_manifest(), setting)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"), [("", "the manifest has no clips"), ('{"id": 3}\n', "`id` has the wrong")]
)
def test_a_manifest_of_noise_is_read_before_any_work(
    content: str, message: str, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    (tmp_path / "noise.jsonl").write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        check("wavlm_tiny", make_manifest(), f"mixing.noise={{manifest: {tmp_path / 'noise.jsonl'}}}")
    assert str(raised.value).startswith(f"$.mixing.noise.manifest: {tmp_path / 'noise.jsonl'}")


def check(recipe: str, manifest: Path, setting: str) -> None:
    read = load_recipe(recipe, [f"data.manifest={manifest}", "data.min_seconds=0", setting])
    assert isinstance(read, masked_prediction.Config)
    masked_prediction.check(read, select_clips(read.data))
