"""Every published recipe is held to its paper's code, row by row, and the documentation shows these rows."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).parents[2]
sys.path.insert(0, str(HOME / "benchmarks"))

import _parity_rows  # noqa: E402

from audio_ssl.base.errors import UserError  # noqa: E402

HELD = sorted(path.stem for path in _parity_rows.PUBLISHED.glob("*.yaml"))


@functools.cache
def rows_of(recipe: str) -> list[Any]:
    """Return a recipe's rows but those that run a learner: tests/parity holds these."""
    rows: list[Any] = _parity_rows.rows_of(recipe, agreement=False)
    return rows


def rows_of_one(folder: Path, row: str) -> list[Any]:
    head = "reference: a paper\nrows:\n  network:\n    source: its code\n    rows:\n      - "
    (folder / "mert_95m.yaml").write_text(head + row + "\n", encoding="utf-8")
    return _parity_rows.rows_of("mert_95m", folder)


def test_every_published_recipe_is_held() -> None:
    assert _parity_rows.published_recipes() == HELD


@pytest.mark.parametrize("recipe", HELD)
def test_every_row_is_the_same_or_has_a_reason(recipe: str) -> None:
    assert rows_of(recipe)


def test_equal_values_are_the_same(tmp_path: Path) -> None:
    (row,) = rows_of_one(tmp_path, "{aspect: layers, key: encoder.layers, reference: 12}")
    assert (row.ours, row.reference, row.verdict, row.because) == ("12", "12", "same", "")


def test_another_value_with_a_reason_is_deliberate(tmp_path: Path) -> None:
    (row,) = rows_of_one(tmp_path, "{aspect: layers, key: encoder.layers, reference: 13, because: twelve are faster}")
    assert (row.ours, row.reference, row.verdict, row.because) == ("12", "13", "deliberate", "twelve are faster")


def test_a_measurement_is_held_to_its_tolerance(tmp_path: Path) -> None:
    row = "{aspect: rate, measure: rate, update: 16000, reference: 2.5e-4, tolerance: 1.0e-6}"
    assert rows_of_one(tmp_path, row)[0].verdict == "same"
    with pytest.raises(UserError, match="no reason is given"):
        rows_of_one(tmp_path, row.replace("2.5e-4", "2.6e-4"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{aspect: layers, key: encoder.layers, reference: 13}", "no reason is given"),
        ("{aspect: layers, key: encoder.layers, reference: 12, because: of nothing}", "yet `because` gives a reason"),
        ("{aspect: layers, key: encoder.levels, reference: 12}", "the recipe has no `encoder.levels`"),
        ("{aspect: layers, key: encoder.layers, references: 12}", "`references` is no key of a row"),
        ("{aspect: layers, reference: 12}", "one of `key`, `measure` and `ours`"),
        ("{aspect: layers, measure: weight, reference: 12}", "`measure` must be one of"),
    ],
)
def test_a_bad_row_is_refused(row: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        rows_of_one(tmp_path, row)


def test_the_result_is_of_these_recipes_and_files() -> None:
    result = json.loads((HOME / "benchmarks" / "results" / "parity.json").read_text(encoding="utf-8"))
    written = [row for row in result["rows"] if not row["measured"]]
    rows = [row for recipe in HELD for row in rows_of(recipe)]
    now = [vars(row) for row in rows if not row.measured]
    order = lambda row: (row["recipe"], row["section"], row["aspect"])
    assert sorted(written, key=order) == sorted(now, key=order), "run benchmarks/parity.py, then benchmarks/tables.py"
