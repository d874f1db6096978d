"""What recipes do beside their papers' code, as the table of ``docs/recipes.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from _markdown import table as _table  # type: ignore[import-not-found]

table: Callable[[Sequence[str], Sequence[Sequence[str]]], str] = _table

_COLUMNS = ("ours", "reference", "verdict")


def parity(result: dict[str, Any]) -> str:
    """Return how many aspects of each recipe were compared, and all of them, recipe by recipe."""
    recipes: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        recipes.setdefault(row["recipe"], []).append(row)
    counts = []
    for name, rows in recipes.items():
        deliberate = sum(row["verdict"] != "same" for row in rows)
        link = f"[`{name}`](#{name})"
        counts.append([link, str(len(rows)), str(len(rows) - deliberate), str(deliberate)])
    parts = [table(("recipe", "aspects", "same", "deliberate"), counts)]
    for name, rows in recipes.items():
        parts.append(f"### {name}\n")
        parts.append(f"Beside {result['references'][name]}.\n")
        parts.append("".join(_deliberate(row) for row in rows if row["verdict"] != "same"))
        parts.append("<details><summary>All aspects</summary>\n")
        for section in dict.fromkeys(row["section"] for row in rows):
            lines = [_line(row) for row in rows if row["section"] == section]
            # All columns hold words, so none is set to the right as numbers are.
            parts.append(table((section, *_COLUMNS), lines).replace("---:", "---"))
        parts.append("</details>\n")
    return "\n".join(parts)


def _deliberate(row: dict[str, Any]) -> str:
    return f"- {row['aspect']}: ours *{row['ours']}*, theirs *{row['reference']}*, because {row['because']}\n"


def _line(row: dict[str, Any]) -> list[str]:
    same = row["verdict"] == "same"
    verdict = "same" if same else f"deliberate, because {row['because']}"
    return [text.replace("|", "\\|") for text in (row["aspect"], row["ours"], row["reference"], verdict)]
