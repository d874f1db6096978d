"""What ``benchmarks/published/RECIPE.yaml`` says, beside what the recipe does: one row an aspect, with a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _parity_measures import measure  # type: ignore[import-not-found]

from audio_ssl.base import catalog
from audio_ssl.base.documents import dump_line, read_yaml
from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.recipe import Recipe, load_recipe, plain

PUBLISHED = Path(__file__).parent / "published"
SAME, DELIBERATE = "same", "deliberate"
_KEYS = {"aspect", "key", "measure", "ours", "reference", "at_most", "tolerance", "source", "because"}
_NO_VALUE = object()


@dataclass(frozen=True)
class Row:
    """One aspect of a recipe; values are texts, as the table shows them."""

    recipe: str
    section: str
    aspect: str
    ours: str
    reference: str
    verdict: str
    because: str
    source: str
    measured: bool


_OF_NO_PAPER = ("_tiny", "_mine", "_both", "demo", "small")
"""How the recipes end that follow no paper's numbers: tiny ones, those that go on from a model with audio of one's own,
the student of two teachers, the demo, the model that ships and its student."""


def published_recipes() -> list[str]:
    """Return the recipes that stand for a paper."""
    return [name for name in catalog.names("recipes") if not name.endswith(_OF_NO_PAPER)]


def rows_of(recipe: str, folder: Path = PUBLISHED, agreement: bool = True) -> list[Row]:
    """Compare a recipe with its file; UserError for a difference without a reason, or a reason without a difference.

    Parameters
    ----------
    recipe
        Its name.
    folder
        Where its file is.
    agreement
        Also the rows that run a learner beside the reference's; the tests in ``tests/parity`` hold these.
    """
    path = folder / f"{recipe}.yaml"
    data = _mapping(read_yaml(path), str(path))
    config = load_recipe(recipe)
    values = plain(config)
    rows = []
    for section, body in _mapping(data.get("rows"), f"{path}: `rows`").items():
        for row in body["rows"]:
            if "." in row.get("measure", "") and not agreement:
                continue
            where = f"{path.name}, {section}, {row.get('aspect')}"
            source = str(row.get("source", body.get("source", "")))
            rows.append(_row(recipe, section, row, source, config, values, where))
    return rows


def reference_of(recipe: str, folder: Path = PUBLISHED) -> str:
    """Return whose code, or which paper, a recipe is held to."""
    return str(_mapping(read_yaml(folder / f"{recipe}.yaml"), recipe)["reference"])


def _row(
    recipe: str,
    section: str,
    row: Mapping[str, Any],
    source: str,
    config: Recipe,
    values: Mapping[str, Any],
    where: str,
) -> Row:
    arguments = {key: value for key, value in row.items() if key not in _KEYS}
    if arguments and "measure" not in row:
        raise UserError(f"`{min(arguments)}` is no key of a row", where=where, remedy=f"known: {sorted(_KEYS)}")
    if sum(key in row for key in ("key", "measure", "ours")) != 1 or ("reference" in row) == ("at_most" in row):
        raise UserError(
            "a row has one of `key`, `measure` and `ours`, and one of `reference` and `at_most`", where=where
        )
    if not source:
        raise UserError("`source` must name where the reference's value is from", where=where)
    if "measure" in row:
        ours: Any = measure(config, row["measure"], arguments)
    elif "key" in row:
        ours = value_at(values, row["key"], where)
    else:
        ours = row["ours"]
    if "at_most" in row:
        equal, reference = ours <= row["at_most"], f"≤ {row['at_most']:g}"
    else:
        equal, reference = same(ours, row["reference"], row.get("tolerance", 0.0)), shown(row["reference"])
    because = str(row.get("because", ""))
    if not equal and not because:
        raise UserError(
            f"ours is {shown(ours)}, the reference is {reference}, and no reason is given",
            where=where,
            remedy="change the recipe, or say `because`",
        )
    if equal and because:
        raise UserError(f"both are {shown(ours)}, yet `because` gives a reason for a difference", where=where)
    verdict = SAME if equal else DELIBERATE
    return Row(recipe, section, row["aspect"], shown(ours), reference, verdict, because, source, "measure" in row)


def same(ours: Any, reference: Any, tolerance: float = 0.0) -> bool:
    """Return whether two values are equal; numbers within `tolerance`, lists and mappings item by item.

    Examples
    --------
    >>> same([1, 2.0], [1.0, 2]), same(0.5, 0.6, 0.11), same(True, 1), same({"a": 1}, {"a": 1, "b": 2})
    (True, True, False, False)
    """
    if isinstance(ours, bool) or isinstance(reference, bool):
        return ours is reference
    if isinstance(ours, int | float) and isinstance(reference, int | float):
        return math.isclose(ours, reference, rel_tol=1e-9, abs_tol=tolerance)
    if isinstance(ours, list | tuple) and isinstance(reference, list | tuple):
        pairs = zip(ours, reference, strict=False)
        return len(ours) == len(reference) and all(same(*pair, tolerance) for pair in pairs)
    if isinstance(ours, Mapping) and isinstance(reference, Mapping):
        return ours.keys() == reference.keys() and all(same(ours[key], reference[key], tolerance) for key in ours)
    return bool(ours == reference)


def shown(value: Any) -> str:
    """Return a value as a table shows it.

    Examples
    --------
    >>> [shown(value) for value in (None, True, 0.00012345678, [5, 2], "conv")]
    ['none', 'yes', '0.000123457', '[5, 2]', 'conv']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    return dump_line(value).strip() if isinstance(value, Mapping) else str(value)


def value_at(values: Mapping[str, Any], key: str, where: str = "") -> Any:
    """Return what a dotted key of a resolved recipe holds; numbers are indices of lists.

    Examples
    --------
    >>> value_at({"teachers": [{"kind": "cqt"}]}, "teachers.0.kind")
    'cqt'
    """
    found: Any = values
    for part in key.split("."):
        if isinstance(found, list | tuple):
            found = found[int(part)] if part.isdigit() and int(part) < len(found) else _NO_VALUE
        else:
            found = found.get(part, _NO_VALUE) if isinstance(found, Mapping) else _NO_VALUE
        if found is _NO_VALUE:
            raise UserError(f"the recipe has no `{key}`", where=where, remedy="audio-ssl pretrain NAME --show")
    return found


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError("must be a mapping", where=where)
    return value
