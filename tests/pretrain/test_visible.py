"""Several masks a clip, and masked frames left out of the encoder: sums over clips, one frontend, whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import generator, seeded
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.models.padding import visible_frames
from audio_ssl.pretrain.decoder import DecoderSizes, build_decoder
from audio_ssl.pretrain.distributed import Team
from audio_ssl.pretrain.learner import MaskedLearner, ObjectiveHead
from audio_ssl.pretrain.masking import Mask, clone_keys, draw_masks
from audio_ssl.pretrain.objectives import contrastive, distillation, masked_codes, reconstruction
from audio_ssl.pretrain.recipe import load_recipe
from audio_ssl.pretrain.run import pretrain, run_recipe
from audio_ssl.pretrain.view import ModelShape, Objective
from audio_ssl.targets.spec import TargetSpec
from audio_ssl.targets.teachers import ema
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.processes import start
from tests.pretrain.test_masked import GRID, Spy, gradients, make_batch, rows
from tests.pretrain.test_objectives import SHARED

SHAPE = ModelShape(32, 16, layers=2)
SMALL = DecoderSizes(layers=2, dim=32, kernel_frames=3, groups=4, dropout=0.0)


def make_learner(
    kind: str, mask: Mask, decoder: DecoderSizes | None = SMALL, head: Objective | None = None
) -> MaskedLearner:
    encoder = transformer.Config(
        layers=2, dim=32, ffn_dim=64, heads=2, dropout=0, attention_dropout=0, input_dropout=0, layer_drop=0, alibi=True
    )
    model = build_model(ModelConfig(conv.Config(channels=(16,) * 7), encoder, 16000), generator(1))
    online = {0: ema.build_online(ema.Config(layers=2), model)} if kind == "distillation" else {}
    with seeded(torch.device("cpu"), 1):
        heads = {
            "codes": lambda: masked_codes.build(
                masked_codes.Config(unmasked_weight=0.5), SHAPE, TargetSpec("codes", 2, 5, GRID)
            ),
            "values": lambda: reconstruction.build(reconstruction.Config(), SHAPE, TargetSpec("values", 4, None, GRID)),
            "distillation": lambda: distillation.build(
                distillation.Config(), SHAPE, TargetSpec("values", 32, None, GRID)
            ),
            "contrastive": lambda: contrastive.build(
                contrastive.Config(
                    codebook_size=8, code_dim=16, final_dim=16, negatives=10, diversity_weight=0.0, feature_dropout=0.0
                ),
                SHAPE,
                None,
            ),
        }
        module = head or heads[kind]()
        index = {"values": 1, "contrastive": None}.get(kind, 0)
        part = None if decoder is None else build_decoder(decoder, 32)
    return MaskedLearner(model, [ObjectiveHead(module, index, 1.0, kind)], mask, None, 10.0, 0.1, online, part)


SPANS, EXACT = Mask(length_frames=3, clones=3), Mask(prob=0.6, length_frames=3, adjust=0.1, clones=2)


@pytest.mark.parametrize(
    ("kind", "mask", "decoder"),
    [
        ("codes", SPANS, SMALL),
        ("values", EXACT, DecoderSizes(layers=1, dim=16, groups=4, dropout=0.0, noise_std=None)),
        ("distillation", SPANS, SMALL),
        ("contrastive", SPANS, SMALL),
        ("codes", SPANS, None),
    ],
)
def test_gradients_do_not_depend_on_the_split(kind: str, mask: Mask, decoder: DecoderSizes | None) -> None:
    learner, batch = make_learner(kind, mask, decoder), make_batch()
    if kind == "distillation":
        batch = batch._replace(targets=())
    (whole,), expected = gradients(learner, batch)
    parts, found = gradients(learner, rows(batch, 2, 4), rows(batch, 0, 1), rows(batch, 1, 2))
    assert sum(int(part.count) for part in parts) == int(whole.count)
    torch.testing.assert_close(sum(part.loss_sum for part in parts), whole.loss_sum, rtol=1e-4, atol=1e-3)
    # All that is trained takes part, so processes need not look for what does not.
    trained = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert trained == expected.keys() == found.keys()
    assert ("model.encoder.mask_embedding" in trained) == (decoder is None)
    for key, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-3 * scale + 1e-5, msg=key)


@pytest.mark.parametrize("mask", [SPANS, EXACT])
def test_all_masked_frames_of_all_clones_count_and_each_clone_has_its_own_mask(mask: Mask) -> None:
    batch, spy = make_batch(), Spy()
    learner = make_learner("codes", mask, head=spy)
    output = learner(batch, generator(3), 0)
    keys = clone_keys(batch.keys, mask.clones)
    many = batch.frames.repeat_interleave(mask.clones)
    drawn = draw_masks(many, int(batch.frames.max()), mask, keys)
    assert spy.view.mask is not None
    assert torch.equal(spy.view.mask, drawn)
    assert int(output.count) == int(drawn.sum())
    assert len({tuple(row) for row in drawn[: mask.clones].tolist()}) == mask.clones
    first = draw_masks(batch.frames, int(batch.frames.max()), mask, batch.keys)
    assert torch.equal(drawn[:: mask.clones], first)
    assert spy.view.keys == keys
    assert spy.view.targets is not None
    assert spy.view.hidden[-1].shape[:2] == spy.view.features.shape[:2] == spy.view.targets.shape[:2] == drawn.shape
    # The penalty of features is that of each clip, once for each masked frame of each clone.
    penalty, count = output.metrics["feature_penalty"]
    features = spy.view.features[:: mask.clones]
    shares = (drawn.unflatten(0, (-1, mask.clones)).sum((1, 2)) / drawn.sum())[:, None]
    inside = torch.arange(features.shape[1]) < batch.frames[:, None]
    mean = (features.square().mean(-1) * inside).sum(1, keepdim=True) / batch.frames[:, None]
    torch.testing.assert_close(penalty / count, (shares * mean).sum())


def test_frontend_and_teacher_hear_each_clip_once_and_the_encoder_what_is_visible() -> None:
    batch = make_batch()._replace(targets=())
    learner = make_learner("distillation", EXACT)
    seen: dict[str, list[tuple[int, ...]]] = {"frontend": [], "block": [], "teacher": []}
    teacher = learner.online["0"].model
    for name, module in (
        ("frontend", learner.model.frontend),
        ("teacher", teacher.encoder.blocks[0]),
        ("block", learner.model.encoder.blocks[0]),
    ):
        module.register_forward_hook(lambda _m, args, _o, name=name: seen[name].append(tuple(args[0].shape[:2])))  # type: ignore[misc]
    teacher.frontend.register_forward_hook(lambda *_: pytest.fail("the teacher shares the frontend"))
    learner(batch, generator(3), 0)
    longest = int(batch.frames.max())
    assert seen == {
        "frontend": [(4, 16000)],
        # Without gradients a CPU computes the clips' own frames in one row.
        "teacher": [(1, int(batch.frames.sum()))],
        "block": [(8, longest - int(0.6 * longest))],
    }


def test_noise_and_masks_are_the_same_in_validation() -> None:
    batch, learner = make_batch(), make_learner("codes", SPANS)
    learner.eval()
    first, again = (learner(batch, generator(seed), step) for seed, step in ((1, 0), (2, 5)))
    assert torch.equal(first.loss_sum, again.loss_sum)


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (Mask(clones=0), "at least 1, but is 0"),
        (Mask(prob=1.0, adjust=0.1), "`prob` must be below 1"),
        (Mask(prob=0.5, adjust=-0.6), "`prob` is 0.5 and `adjust` -0.6"),
    ],
)
def test_senseless_masks_are_refused(mask: Mask, match: str) -> None:
    with pytest.raises(UserError, match=match):
        mask.check("$.mask")


CODES = """
teachers: [{kind: random_projection, n_mels: 20, stack: 2, codebook_size: 16}]
objectives: [{kind: masked_codes, final_dim: 8}]
feature_penalty: 0.0
mask: {prob: 0.6, length_frames: 4, clones: 2}
decoder: {layers: 1, dim: 16, groups: 4}
"""


def write(folder: Path, **changes: Any) -> str:
    path = folder / "visible.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(SHARED), **yaml.safe_load(CODES), **changes}))
    return str(path)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def two_processes(team: Team, manifest: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    for mode in ("ddp", "fsdp2"):
        recipe = load_recipe(str(folder / "visible.yaml"), [f"data.manifest={manifest}", f"parallel={mode}"])
        run_recipe(recipe, folder / mode, False, team)


def test_two_processes_train_as_one_and_the_decoder_is_thrown_away(make_manifest: MakeManifest, tmp_path: Path) -> None:
    encoder = {**yaml.safe_load(SHARED)["encoder"], "dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0}
    decoder = {**yaml.safe_load(CODES)["decoder"], "dropout": 0.0}
    recipe = write(tmp_path, encoder={**encoder, "layer_drop": 0.0}, decoder=decoder, steps=2)
    manifest = make_manifest()
    alone = pretrain(recipe, [f"data.manifest={manifest}"], tmp_path / "alone")
    start(two_processes, 2, manifest, tmp_path)
    weights: dict[str, Tensor] = load_file(alone / "model.safetensors")
    for mode in ("ddp", "fsdp2"):
        assert losses(tmp_path / mode) == pytest.approx(losses(alone), rel=1e-4)
        theirs = load_file(tmp_path / mode / "model.safetensors")
        for name, value in weights.items():
            torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5, msg=name)
    kept = load_file(alone / "state" / "step_2" / "model.safetensors")
    assert any(name.startswith("decoder.") for name in kept)
    model = SSLModel.from_pretrained(alone)
    assert weights.keys() == model.state_dict().keys()
    assert "which the encoder did not see" in (alone / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"encoder": {"kind": "conformer", "layers": 1, "dim": 32, "heads": 2}},
            r"\$\.encoder: a conformer encoder needs",
        ),
        ({"encoder": {"kind": "gru", "layers": 1, "dim": 32}}, r"\$\.encoder: a gru encoder needs every frame"),
        ({"mask": None}, r"\$\.decoder: the decoder fills in masked frames, but `mask` is null"),
        (
            {"objectives": [{"kind": "masked_codes", "layers": [1]}]},
            r"\$\.objectives\[0\]\.layers: .* the encoder never sees",
        ),
        ({"decoder": {"groups": 5}}, r"\$\.decoder: `groups` must divide the encoder's width 32"),
        ({"mask": {"clones": 0}}, r"\$\.mask\.clones: must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    changes: dict[str, Any], match: str, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    recipe = write(tmp_path, **changes)
    with pytest.raises(UserError, match=match):
        pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_masks_need_no_decoder(make_manifest: MakeManifest, tmp_path: Path) -> None:
    recipe = write(tmp_path, decoder=None, steps=1, encoder={"kind": "conformer", "layers": 1, "dim": 32, "heads": 2})
    out = pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
    assert losses(out)[0] > 0


def test_it_trains_in_bfloat16_with_a_teacher_that_follows(make_manifest: MakeManifest, tmp_path: Path) -> None:
    encoder = {**yaml.safe_load(SHARED)["encoder"], "alibi": True, "checkpoint_activations": True}
    objectives, teachers = [{"kind": "distillation"}], [{"kind": "ema", "layers": 2}]
    recipe = write(tmp_path, precision="bfloat16", steps=2, encoder=encoder, teachers=teachers, objectives=objectives)
    out = pretrain(recipe, [f"data.manifest={make_manifest()}"], tmp_path / "run")
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["skipped_steps"] for row in found] == [0, 0]
    assert found[-1]["prediction_variance"] > 0
    model = SSLModel.from_pretrained(out)
    assert model.encoder.alibi.scale.shape == (2, 1, 1)  # type: ignore[union-attr]
    assert not torch.equal(model.encoder.alibi.scale, torch.ones(2, 1, 1))  # type: ignore[union-attr]


@pytest.mark.parametrize("decoder", [SMALL, None])
@torch.no_grad()
def test_clips_are_summed_up_by_the_states_of_the_frames_that_the_encoder_saw(decoder: DecoderSizes | None) -> None:
    spy, batch = Spy(), make_batch()._replace(targets=())
    learner = make_learner("contrastive", SPANS, decoder, spy).eval()
    learner(batch, generator(3), 0)
    view = spy.view
    assert view.clones == 3
    assert view.seen is not None
    assert view.mask is not None
    means, first = view.seen.mean(), view.seen.mean(view.seen.places < 10)
    features, frames = learner.model.features_of(batch.waveform, batch.lengths)
    for row in range(len(means)):
        clip, mask = row // 3, view.mask[row]
        count = int(frames[clip])
        one, own = features[clip : clip + 1, :count], mask[None, :count]
        if decoder is None:
            state = learner.model.encoder(one, frames[clip : clip + 1], own)[-1][0][~own[0]]
        else:
            visible = visible_frames(own, frames[clip : clip + 1])
            state = learner.model.encoder(one, frames[clip : clip + 1], own, visible)[-1][0]
            assert len(state) == int((~own).sum())
        torch.testing.assert_close(means[row], state.mean(0), rtol=1e-4, atol=1e-5)
        early = state[: int((~own[0, :10]).sum())]
        expected = early.mean(0) if len(early) else torch.zeros(learner.model.dim)
        torch.testing.assert_close(first[row], expected, rtol=1e-4, atol=1e-5)


def test_a_run_contrasts_clips_and_then_regresses_layers_of_its_first_model(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    recipe = yaml.safe_load(SHARED)
    for key in ("teachers", "objectives"):
        recipe.pop(key, None)
    recipe |= {
        "steps": 4,
        "mask": {"length_frames": 3, "clones": 2},
        "decoder": {"layers": 1, "dim": 16, "groups": 4, "kernel_frames": 3},
        "objectives": [{"kind": "masked_codes", "final_dim": 8}, {"kind": "clip_contrast", "weight": 0.5}],
        "iterations": [
            {"share": 1.0, "teachers": [{"kind": "kmeans", "clusters": 4}]},
            {
                "share": 1.0,
                "teachers": [{"kind": "hidden", "model": "previous", "layers": [1, 2]}],
                "settings": ["objectives=[{kind: reconstruction, name: first}, {kind: clip_contrast}]"],
            },
        ],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    out = pretrain(str(path), [f"data.manifest={make_manifest()}"], tmp_path / "run")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    assert {"loss_clip_contrast", "clip_accuracy", "loss_kmeans"} <= rows[0].keys()
    assert {"loss_clip_contrast", "first_mse", "loss_hidden"} <= rows[-1].keys()
    assert rows[0]["loss_clip_contrast"] > 0
    state = load_file(out / "iteration_2" / "teachers" / "0" / "hidden.safetensors")
    assert state["mean"].shape[0] == 2
    assert not any("clip" in name or "heads" in name for name in load_file(out / "model.safetensors"))
