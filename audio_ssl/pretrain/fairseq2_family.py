"""Our models as a family of fairseq2's: ``model_family: audio_ssl`` in an asset card, an architecture per recipe.

fairseq2 finds `register` through the entry point ``fairseq2.extension``. Its initialisation on the meta device, which
leaves tables that are no weights (windows, filters) empty, is switched off. Left out: fairseq2's own ways to shard,
recompute and compile a model, which our engine has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_ssl.base import catalog
from audio_ssl.base.config import read_yaml, structure, unstructure
from audio_ssl.models.model import ModelConfig, SSLModel, read_model_config

FAMILY = "audio_ssl"

_KIND = "masked_prediction"
"""The kind of recipes that train this family, by its name: to import it brings soundfile in after fairseq2."""


@dataclass(kw_only=True)
class FamilyConfig:
    """A model's config in a form that fairseq2 can merge with what a card says."""

    model: dict[str, object] = field(default_factory=dict)
    """What ``config.json`` of a saved model holds: frontend, encoder, sample_rate, normalize. A card gives all of it,
    or changes an architecture."""


def register(container: Any) -> None:
    """Register the family and its architectures; fairseq2 calls it with its container of parts."""
    from fairseq2.composition import register_model_family
    from fairseq2.runtime.config_registry import ConfigRegistrar

    register_model_family(
        container, FAMILY, kls=SSLModel, config_kls=FamilyConfig, factory=create_model, supports_meta=False
    )
    architecture = ConfigRegistrar(container, FamilyConfig)
    for name in architectures():
        architecture(name)(lambda name=name: config_of_recipe(name))


def architectures() -> list[str]:
    """Return the names of the recipes that train a model of this family.

    Examples
    --------
    >>> "hubert_tiny" in architectures(), "codec_tiny" in architectures()
    (True, False)
    """
    recipes = {name: read_yaml(catalog.find("recipes", name)) for name in catalog.names("recipes")}
    return [name for name, data in recipes.items() if data.get("kind") == _KIND]


def config_of_recipe(name: str) -> FamilyConfig:
    """Return the config of the model that a recipe trains."""
    from audio_ssl.pretrain.kinds.masked_prediction import Config, model_config
    from audio_ssl.pretrain.recipe import load_recipe

    recipe = load_recipe(name)
    assert isinstance(recipe, Config), "of `architectures`"
    return FamilyConfig(model=dict(unstructure(model_config(recipe))))


def config_of_run(folder: str | Path) -> FamilyConfig:
    """Return the config of a saved model, for ``load_custom_model(folder / "model.safetensors", config)``.

    Raises
    ------
    UserError
        If the folder holds no saved model.
    """
    return FamilyConfig(model=dict(unstructure(read_model_config(Path(folder)))))


def create_model(config: FamilyConfig) -> SSLModel:
    """Make a model with fresh weights.

    Raises
    ------
    UserError
        If the config makes no sense.
    """
    return SSLModel(structure(ModelConfig, config.model))
