"""Make docs/fairness.png: the top of the report of a simulated recogniser, so that the docs judge no real one.

Errors are drawn word by word; women are misheard more often than men, the ages are alike. Needs Chromium on PATH.

    python benchmarks/fairness_picture.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from page_top import keep_top  # type: ignore[import-not-found]

from audio_ssl.artifacts.fairness import GapOutcome
from audio_ssl.fairness.about import About
from audio_ssl.fairness.audit import audit
from audio_ssl.report.build import build_fairness_report

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "fairness.png"
HEIGHT = 1075
WORDS = ("sea", "calm", "every", "boat", "still", "until", "morning", "came", "with", "wind", "from", "far")
SPEAKERS, CLIPS = 72, 12
RATES = {"F": 0.22, "M": 0.14}


def write_table(path: Path) -> None:
    """Write predictions: 72 speakers of two genders and three decades, each with errors at a rate of their own."""
    rng = np.random.default_rng(7)
    with path.open("w", encoding="utf-8") as table:
        for speaker in range(SPEAKERS):
            gender, age = "FM"[speaker % 2], 25 + 10 * (speaker // 2 % 3)
            rate = RATES[gender] * np.exp(rng.normal(0, 0.25))
            for clip in range(CLIPS):
                words = [str(word) for word in rng.choice(WORDS, 12)]
                heard = [word for word in words if rng.random() > rate]
                row = {
                    "id": f"{speaker}-{clip}",
                    "speaker": f"s{speaker}",
                    "gender": gender,
                    "age": str(age),
                    "reference": " ".join(words),
                    "hypothesis": " ".join(heard),
                    "seconds": 4.0,
                }
                table.write(json.dumps(row) + "\n")


def main() -> None:
    """Audit the table, draw the page, and keep its top in few colours."""
    with tempfile.TemporaryDirectory() as folder:
        table, page = Path(folder) / "simulated.jsonl", Path(folder) / "fairness.html"
        write_table(table)
        about = About(("Example recogniser",), ("1.2",), "Simulated test set 1")
        report = audit([table], ["gender", "age"], about=about)
        build_fairness_report(report, page)
        keep_top(page, PICTURE, HEIGHT)
    found = sum(row.outcome == GapOutcome.FOUND for row in report.comparisons)
    print(f"{PICTURE}: {found} of {len(report.comparisons)} comparisons are statistically significant")


if __name__ == "__main__":
    main()
