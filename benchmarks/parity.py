"""What every published recipe does beside what its paper's code does: recipe × aspect × ours × reference × verdict.

Run ``python benchmarks/parity.py``; it prints the table and writes ``benchmarks/results/parity.json``, of which
``python benchmarks/tables.py`` makes the table in docs/recipes.md. ``python benchmarks/parity.py NAME...`` prints the
rows of these recipes and writes nothing.

What the reference does is data, ``benchmarks/published/RECIPE.yaml``::

    reference: fairseq at 3d262bb2, HuBERT base
    rows:
      network:
        source: fairseq/models/hubert/hubert.py, HubertConfig
        rows:
          - {aspect: layers, key: encoder.layers, reference: 12}
          - {aspect: trained weights (millions), measure: parameters, reference: 94.4, tolerance: 0.05}
          - {aspect: classes, ours: the clusters, reference: the clusters and 4 symbols, because: …}
      agreement:
        source: tests/golden/README.md
        rows:
          - {aspect: loss, measure: hubert.loss, at_most: 1.0e-5}

A row has an `aspect`, ours and theirs. Ours is a `key` of the resolved recipe (lists by index), or a `measure` of
``_parity_measures.py``, or, only where it differs and no key says so, `ours` in words. Theirs is a `reference`, equal
within `tolerance` (absolute), or `at_most`, a bound. `source` says where theirs is from, the section's unless the row
has its own. The verdict is *same*, or *deliberate, because …*: a difference without `because` is an error, and so is a
`because` without a difference.

Agreement of the whole learner is measured by ``agreement()`` of ``tests/parity/test_FAMILY.py``, which returns the
largest relative differences by name (``hidden``, ``loss``, ``gradients``, …) and which that file's tests hold to their
tolerances; ``measure: FAMILY.NAME`` shows it.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from pathlib import Path

from _parity_rows import (  # type: ignore[import-not-found]
    DELIBERATE,
    PUBLISHED,
    Row,
    published_recipes,
    reference_of,
    rows_of,
)

from audio_ssl.base.errors import UserError
from audio_ssl.base.files import write_json

RESULT = Path(__file__).parent / "results" / "parity.json"


def text(row: Row) -> str:
    """Return a row as a line of the terminal."""
    verdict = f"{row.verdict}, because {row.because}" if row.verdict == DELIBERATE else row.verdict
    return f"{row.recipe:16} {row.aspect:34} {row.ours:>22} {row.reference:>22}  {verdict}"


def main() -> None:
    """Print the rows of the recipes named, or of all and write them."""
    parser = argparse.ArgumentParser(description="Published recipes beside their papers' code.")
    parser.add_argument("recipes", nargs="*", help="only these; nothing is written")
    chosen = parser.parse_args().recipes
    # Libraries that read the references warn about their own future.
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    problems: list[str] = []
    for name in chosen or published_recipes():
        if not (PUBLISHED / f"{name}.yaml").is_file():
            print(f"{name}: nothing in {PUBLISHED.name}/{name}.yaml")
            continue
        try:
            found = rows_of(name)
        except UserError as error:
            problems.append(str(error))
            continue
        print("\n".join(text(row) for row in found), flush=True)
        rows += found
    if problems:
        raise SystemExit("\n".join(problems))
    if not chosen:
        references = {name: reference_of(name) for name in dict.fromkeys(row.recipe for row in rows)}
        write_json(RESULT, {"references": references, "rows": [dataclasses.asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
