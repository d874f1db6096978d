"""SpidR's and DinoSR's checkpoints: states, losses, codebooks and averages of the package's own models (golden)."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.base.errors import UserError
from audio_ssl.interop.heads import Pretrained
from audio_ssl.interop.pretrained import read_pretrained
from audio_ssl.interop.read import read_model
from tests.parity.learner import learner, run
from tests.parity.test_dinosr import SMALL, teacher
from tests.reference import LOSS, STATES, Golden, difference, golden

RECIPES = {"spidr": "spidr_style", "dinosr": "dinosr_base"}


def package_state(theirs: Golden) -> dict[str, Tensor]:
    """Return golden weights, average and codebooks as the package's `state_dict`."""
    books = {f"codebooks.{book}.codebook": theirs[f"codebook/{book}"] for book in range(2)}
    counts = {f"codebooks.{book}.counts": theirs[f"count/{book}"] for book in range(2)}
    teachers = {f"teacher.{name}": value for name, value in theirs.under("teacher").items()}
    return {**theirs.weights, **teachers, **books, **counts, "current_step": torch.tensor([7])}


def saved(folder: Path, name: str, **changes: Any) -> str:
    """Write a checkpoint of the package's training with its ``config.json``; return the model's name."""
    theirs = golden(name)
    state = {f"module.{key}": value for key, value in package_state(theirs).items()}
    content = {"model": state, "optimizer": {"param_groups": []}, "step": torch.zeros(1, dtype=torch.long)}
    torch.save(content, folder / "step_7.pt")
    sizes = {key: value for key, value in theirs.about["settings"].items() if key != "seed"}
    config = {"run": {"model_type": name}, "data": {"normalize": False}, "model": sizes} | changes
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder / "step_7.pt")


def put(found: Pretrained, recipe: str) -> Any:
    """Return the recipe's learner with model, heads, average and codebooks of a file."""
    module, average = learner(recipe, SMALL), found.average
    assert average is not None
    module.model.load_state_dict(found.model.state_dict())
    head: Any = module.heads[0]
    if len({one.layer for one in found.codes}) > 1:
        for layer, one in zip(head.projections, found.codes, strict=True):
            layer.weight.data, layer.bias.data = one.projection.weight, one.projection.bias
    else:
        head.projection.weight.data = torch.cat([one.projection.weight for one in found.codes])
        head.projection.bias.data = torch.cat([one.projection.bias for one in found.codes])
    one = teacher(module)
    one.model.load_state_dict({**found.model.state_dict(), **average.weights})
    assert average.sums is not None
    assert average.sizes is not None
    one.codebooks.sums.copy_(average.sums)
    one.codebooks.sizes.copy_(average.sizes)
    return module


def assert_is_the_reference(found: Pretrained, name: str) -> None:
    theirs, waveform = golden(name), golden(name)["input/waveform"]
    with torch.no_grad():
        for point in ("output", "feed_forward"):
            states = torch.stack(found.model(waveform, point=point).hidden[1:])
            wanted, mask = theirs[f"states/{point}"], theirs["input/mask"].bool()
            # Golden states are of the masked input.
            assert states.shape == wanted.shape
            features, frames = found.model.frontend(waveform, torch.full((2,), waveform.shape[1]))
            masked = torch.stack(found.model.encoder(features, frames, mask, point=point)[1:])
            assert difference(masked, wanted) < STATES
    ours = run(put(found, RECIPES[name]), waveform, mask, ())
    assert difference(ours.output.loss_sum, theirs["loss_sum"]) < LOSS


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_of_the_package_has_its_states_and_loss(tmp_path: Path, name: str) -> None:
    found = read_pretrained(saved(tmp_path, name))
    config = found.model.config
    assert (config.sample_rate, config.normalize, config.normalize_epsilon) == (16000, False, 1e-5)
    assert found.left_out == ()
    places = {(head.layer, head.point) for head in found.codes}
    assert places == ({(-2, "feed_forward"), (-1, "feed_forward")} if name == "spidr" else {(-1, "output")})
    assert_is_the_reference(found, name)


def fairseq_state(theirs: Golden) -> dict[str, Any]:
    """Return the golden DinoSR as its own code saves it, on fairseq: by other names, the average a table within."""
    rules = (
        (r"^mask_embedding", "mask_emb"),
        (r"^feature_projection\.layer_norm", "layer_norm"),
        (r"^feature_projection\.projection", "post_extract_proj"),
        (r"(conv_layers\.\d+)\.conv", r"\1.0"),
        (r"(conv_layers\.\d+)\.layer_norm", r"\1.2.1"),
        (r"^heads\.(\d+)\.0\.", r"heads.\1."),
        (r"pos_conv_embed\.convs\.(\d+)", r"pos_conv.\1.0"),
        (r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
        (r"attention\.proj", "self_attn.out_proj"),
        (r"feed_forward\.intermediate_dense", "fc1"),
        (r"feed_forward\.output_dense", "fc2"),
        (r"^student\.", "encoder."),
    )

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, value in state.items():
            for old, new in rules:
                name = re.sub(old, new, name)
            if "attention.qkv" in name:
                for part, share in zip("qkv", value.chunk(3), strict=True):
                    found[name.replace("attention.qkv", f"self_attn.{part}_proj")] = share.clone()
            else:
                found[name] = value
        return found

    books = {f"_codebook{book}": theirs[f"codebook/{book}"] for book in range(2)}
    counts = {f"_codebook_cnts{book}": theirs[f"count/{book}"] for book in range(2)}
    cnn = {"_pre_encoder_cnn": {"conv_layers.0.0.weight": torch.zeros(1)}}
    return {**renamed(theirs.weights), **books, **counts, **cnn, "_ema": renamed(theirs.under("teacher"))}


def test_dinosrs_own_checkpoint_has_the_same(tmp_path: Path) -> None:
    settings = {
        "_name": "dinosr",
        "layer_norm_first": False,
        "encoder_attention_heads": 4,
        "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
    }
    cfg = {"task": {"normalize": False, "sample_rate": 16000}, "model": settings}
    torch.save({"model": fairseq_state(golden("dinosr")), "cfg": cfg}, tmp_path / "dinosr.ckpt")
    found = read_pretrained(tmp_path / "dinosr.ckpt")
    assert found.left_out == ()
    assert_is_the_reference(found, "dinosr")


def test_without_its_settings_the_package_s_defaults_hold_and_the_last_norm_tells_the_two_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = package_state(golden("spidr"))
    name = f"{tmp_path / 'a.safetensors'}?heads=4"
    save_file(state, tmp_path / "a.safetensors")
    with caplog.at_level(logging.INFO):
        found = read_pretrained(name)
    assert "there is no config.json beside it; using the defaults of spidr" in caplog.text
    assert found.model.config.normalize
    assert {head.point for head in found.codes} == {"output"}
    # SpidR's loss never reaches the last norm of its student.
    state["student.layers.2.final_layer_norm.weight"] = torch.ones(32)
    state["student.layers.2.final_layer_norm.bias"] = torch.zeros(32)
    save_file(state, tmp_path / "a.safetensors")
    found = read_pretrained(name)
    assert {head.point for head in found.codes} == {"feed_forward"}
    assert found.model.config.encoder.layer_drop == 0.0  # type: ignore[attr-defined]


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    name, state = saved(tmp_path, "spidr"), package_state(golden("spidr"))
    (tmp_path / "config.json").write_text(json.dumps({"model": {"encoder_num_heads": 5}}))
    with pytest.raises(UserError, match="`heads` must divide the width 32, but is 5"):
        read_model(name)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="`heads` is unknown: the weights of a model of width 32"):
        read_model(name)
    torch.save({key: value for key, value in state.items() if "convs.1" not in key and "convs.2" not in key}, name)
    with pytest.raises(UserError, match="`encoder_pos_conv_depth` must be above 1"):
        read_model(f"{name}?heads=4")
    torch.save(state | {"student.other": torch.zeros(1)}, name)
    with pytest.raises(UserError, match=r"unexpected weights: student\.other"):
        read_model(f"{name}?heads=4")
    torch.save(state | {"heads.1.0.weight": torch.zeros(8, 31)}, name)
    read_model(f"{name}?heads=4")
    with pytest.raises(UserError, match=r"`heads\.1\.0\.weight` must have the shape \[any, 32\]"):
        read_pretrained(f"{name}?heads=4")
