"""``python -m audio_ssl.release``: makes a shipped model of a run."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

from audio_ssl.base.errors import UserError
from audio_ssl.release.make import Release, make_shipped
from audio_ssl.shipped import SHIPPED, Shelf

app = App(name="python -m audio_ssl.release", help_format="markdown", result_action="return_value")


@app.default
def release(
    run: Path,
    *,
    name: str,
    summary: str,
    licence: str = "Apache-2.0",
    weights: str = "float16",
    cores: float = 2.0,
    watts_per_core: float = 12.0,
    command: str | None = None,
    manifest: Path | None = None,
    scores: Path | None = None,
    into: Path = SHIPPED.root,
) -> None:
    """Write the folder of a shipped model: settings, weights, facts, card and hashes.

    Parameters
    ----------
    run
        A run with its model.
    name
        By which people load it.
    summary
        One line: what it is for.
    licence
        Of the weights, as SPDX names it.
    weights
        How they are stored: float16, bfloat16 or float32.
    cores
        That the run computed on.
    watts_per_core
        Assumed draw of a busy core with its share of the machine, for the estimate of the energy.
    command
        The one command that trains the model; the run's own, without folders, if not given.
    manifest
        Where the run's manifest lies now; where its recipe says if not given.
    scores
        Results of benchmarks/learning.py in which the model has its name.
    into
        Folder of the shipped models.
    """
    said = Release(name, summary, licence, weights, cores, watts_per_core, command)
    print(make_shipped(run, Shelf(into), said, manifest=manifest, scores=scores))


def main() -> None:
    """Run the command and exit with its status."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
