"""Which recipes are published ones, and settings that make any recipe small enough to train two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from audio_ssl.base import catalog
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.pretrain.recipe import load_recipe, plain

COMPARED = {file.stem for file in (Path(__file__).parents[1] / "benchmarks" / "published").glob("*.yaml")}
PUBLISHED = [name for name in catalog.names("recipes") if name in COMPARED]
"""Recipes of papers: what the paper's code does is written down beside the benchmarks."""

SMALL = {
    "layers": 1,
    "layer": 1,
    "dim": 32,
    "ffn_dim": 32,
    "heads": 2,
    "groups": 4,
    "clusters": 5,
    "codebooks": 2,
    "codebook_size": 8,
    "code_dim": 4,
    "negatives": 4,
    "fit_steps": 2,
    "filters": 2,
    "clones": 2,
}
"""Sizes by the last part of a key."""

FULL_SIZE = ("data", "optim", "checkpoint", "steps")
"""Sections whose numbers are no sizes of a model."""


def shrunk(name: str) -> list[str]:
    """Return settings for the recipe `name`, as a command line has them; what is small is told by the key alone."""
    recipe = plain(load_recipe(name))
    # What begins from a model is as large as that.
    left_out = (*FULL_SIZE, "init", *(("frontend", "encoder") if recipe.get("init") else ()))
    settings = dict(_sizes("", {key: value for key, value in recipe.items() if key not in left_out}))
    encoder = recipe.get("encoder") or {}
    if encoder.get("form") == "frames" and "n_mels" in recipe["frontend"]:
        # The first layer reads the frames, so it is as wide as these.
        settings["encoder.dim"] = recipe["frontend"]["n_mels"]
    return [f"{key}={str(value).replace(' ', '')}" for key, value in settings.items()]


def stand_ins(name: str, folder: Path) -> list[str]:
    """Return settings of the recipe `name` with small models in the place of those that a hub has.

    They have twelve layers and the sample rate of what they stand for, and lie in `folder`.
    """
    recipe = plain(load_recipe(name))
    named = {"init.model": (recipe.get("init") or {}).get("model")}
    named |= {f"teachers.{place}.model": one.get("model") for place, one in enumerate(recipe.get("teachers") or ())}
    return [f"{key}={_stand_in(model, folder)}" for key, model in named.items() if model and "/" in model]


def _stand_in(name: str, folder: Path) -> Path:
    path = folder / name.replace("/", "_")
    if not path.is_dir():
        encoder = transformer.Config(12, 16, 16, 2, position_kernel_frames=4, position_groups=2)
        config = ModelConfig(conv.Config((8,) * 7), encoder, 24_000 if "MERT" in name else 16_000)
        build_model(config, torch.Generator().manual_seed(0)).save_pretrained(path)
    return path


def _sizes(above: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            path = f"{above}{key}"
            if key == "channels" and inner:
                # The width of the last one is that of the model, for objectives that compare both.
                yield path, 4 if isinstance(inner, int) else [8] * (len(inner) - 1) + [32]
            elif key == "random_weights":
                # EnCodec's weights are its authors' to give out; random ones stand in for them.
                yield path, "true"
            elif path == "codec.steps":
                # Of a codec that is trained first.
                yield path, 1
            elif key in SMALL and isinstance(inner, int) and not isinstance(inner, bool) and inner > SMALL[key]:
                yield path, SMALL[key]
            elif key in SMALL and isinstance(inner, list | tuple) and all(isinstance(one, int) for one in inner):
                yield path, [min(one, SMALL[key]) for one in inner]
            else:
                yield from _sizes(f"{path}.", inner)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _sizes(f"{above}{place}.", inner)
