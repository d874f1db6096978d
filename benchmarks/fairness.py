"""What the statistics of the fairness report are worth, beside what else is done; one run, a few tables.

- ``levels``: studies of simulated readers without a gap and with one of 20 %; how often each test finds one
- ``speed``: 10,000 resamples of 20 groups of 600 speakers, beside scipy, numpy and pandas
- ``agreement``: error rates with jiwer, BLEU and chrF with sacrebleu
- ``mixed_model``: the Poisson mixed model beside simulated truth and statsmodels
- ``rows``: a table of a million rows through the whole command, in three formats
- ``readers``: Whisper tiny.en on five women and five men of LibriSpeech

Run ``python benchmarks/fairness.py`` (about a quarter of an hour on two cores; ``--quick`` under two minutes); prints
the tables and writes ``benchmarks/results/fairness.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _fairness_agreement  # type: ignore[import-not-found]
import _fairness_levels  # type: ignore[import-not-found]
import _fairness_readers  # type: ignore[import-not-found]
import _fairness_rows  # type: ignore[import-not-found]
import _fairness_speed  # type: ignore[import-not-found]
import _machine  # type: ignore[import-not-found]
import tables  # type: ignore[import-not-found]

from audio_ssl.base.files import write_json

PACKAGES = ("numpy", "scipy", "jiwer", "sacrebleu", "pandas", "statsmodels")


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few studies, under two minutes")
    parser.add_argument("--runs", type=int, help="simulated studies without a gap of each design")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fairness.json")
    return parser.parse_args()


def levels(options: argparse.Namespace) -> Any:
    """Simulate studies."""
    runs = options.runs or (40 if options.quick else 1_500)
    return _fairness_levels.run(runs, max(10, runs // 5), options.threads)


def mixed_model(options: argparse.Namespace) -> Any:
    """Compare the mixed model."""
    import _fairness_mixed_model  # type: ignore[import-not-found]

    found = _fairness_mixed_model.run(options.quick)
    return found | {"table": _fairness_mixed_model.table(found)}


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "levels": levels,
    "speed": lambda options: _fairness_speed.run(1 if options.quick else 3, options.threads),
    "agreement": lambda options: _fairness_agreement.run(100 if options.quick else 500),
    "mixed_model": mixed_model,
    "rows": lambda options: _fairness_rows.run(10_000 if options.quick else 1_000_000),
    "readers": lambda options: _fairness_readers.run(50 if options.quick else 1_000),
}


def main() -> None:
    """Run the parts asked for; the others keep what an earlier run left in the same file."""
    options = parse()
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    result = kept | {
        "machine": {"processor": _machine.processor(), "threads": options.threads},
        "versions": {name: version(name) for name in PACKAGES},
    }
    for name in options.parts:
        result[name] = PARTS[name](options)
        write_json(options.out, result)
    print(tables.fairness(result))


if __name__ == "__main__":
    main()
