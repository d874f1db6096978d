"""Which recipes are published ones, and settings that make any recipe small enough to train two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_ssl.base import catalog
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
    settings = dict(_sizes("", {key: value for key, value in recipe.items() if key not in FULL_SIZE}))
    encoder = recipe.get("encoder") or {}
    if encoder.get("form") == "frames" and "n_mels" in recipe["frontend"]:
        # The first layer reads the frames, so it is as wide as these.
        settings["encoder.dim"] = recipe["frontend"]["n_mels"]
    return [f"{key}={str(value).replace(' ', '')}" for key, value in settings.items()]


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
