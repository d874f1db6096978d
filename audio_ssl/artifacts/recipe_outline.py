"""What can be read of a run's recipe without the parts that it names, and so without torch.

A recipe is read whole by `audio_ssl.pretrain.recipe`. Reports and readers of checkpoints need less of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from audio_ssl.artifacts.records import from_json
from audio_ssl.base.config import apply_overrides, read_yaml
from audio_ssl.base.documents import JsonObject

RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class IterationOutline:
    """What a recipe says of one of its iterations."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of this iteration alone."""


@dataclass(frozen=True)
class DataOutline:
    """What a recipe says of its audio."""

    sample_rate: int | None = None
    """In Hz."""


@dataclass(frozen=True)
class CodecOutline:
    """What a codec's recipe says of the codec."""

    codebook_size: int | None = None


@dataclass(frozen=True)
class GuardsOutline:
    """What a recipe says of its guards."""

    collapse: JsonObject | None = None
    """Settings of the guard against collapse; None: it is off."""


@dataclass(frozen=True)
class RecipeOutline:
    """The keys of a recipe that reports and readers of checkpoints decide by."""

    kind: str | None = None
    steps: int | None = None
    """Updates of the whole run."""
    data: DataOutline = DataOutline()
    frontend: JsonObject | None = None
    encoder: JsonObject | None = None
    normalize: bool = False
    """Whether each clip's waveform gets zero mean and unit variance."""
    normalize_epsilon: float = 1e-7
    """Added to that variance."""
    iterations: tuple[IterationOutline, ...] = ()
    codec: CodecOutline | None = None
    guards: GuardsOutline | None = None
    as_written: JsonObject = field(default_factory=dict)
    """Every key of the file, for the page that prints it."""

    def of_iteration(self, number: int, where: str) -> RecipeOutline:
        """Return the recipe with the settings that an iteration, counted from 1, has of its own."""
        if not 1 <= number <= len(self.iterations):
            return self
        return outline(apply_overrides(self.as_written, self.iterations[number - 1].settings), where)


def outline(recipe: JsonObject, where: str) -> RecipeOutline:
    """Return the outline of a recipe's plain data; `where` names the file in errors."""
    return replace(from_json(RecipeOutline, {**recipe, "as_written": {}}, where), as_written=recipe)


def read_outline(run: Path) -> RecipeOutline:
    """Return the outline of a run's recipe, an empty one where there is no ``recipe.yaml``.

    Raises
    ------
    UserError
        If the file cannot be read or a value has the wrong type.
    """
    path = run / RECIPE_FILE
    return outline(read_yaml(path), str(path)) if path.is_file() else RecipeOutline()
