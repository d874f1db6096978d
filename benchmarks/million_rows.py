"""What commands take before they do anything, given a manifest of a million rows: CPU time and memory of the process.

- ``audit``: ``audio-ssl audit M.jsonl``
- ``balance``: ``audio-ssl manifest M.jsonl --balance gender=F:0.5,M:0.5 --hours 10``
- ``pretrain``: ``audio-ssl pretrain RECIPE data.manifest=M.jsonl steps=1``, less the same with 100 rows

The rows are those of speech with transcripts: a hundred thousand speakers, four further columns; all name one short
file, as nothing here decodes more than a batch. CPU time is user and system of the command, so that other processes on
the machine matter little; memory is the largest resident set.

Run ``python benchmarks/million_rows.py`` (some minutes); prints a table and writes
``benchmarks/results/million_rows.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio_ssl.base.files import write_json

PARTS = ("audit", "balance", "pretrain")
RECIPE = "wav2vec2_tiny"
WORDS = [
    "the",
    "a",
    "sea",
    "fish",
    "swims",
    "under",
    "old",
    "stones",
    "and",
    "looks",
    "for",
    "bread",
    "near",
    "city",
    "walls",
]


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--recipe", default=RECIPE, help="what the part pretrain trains")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "million_rows.json")
    return parser.parse_args()


def write_rows(folder: Path, rows: int) -> Path:
    """Write a manifest of so many rows; all name one file of noise."""
    audio = folder / "a.wav"
    rng = np.random.default_rng(0)
    soundfile.write(audio, 0.05 * rng.standard_normal(16 * 16000), 16000)
    path = folder / f"{rows}.jsonl"
    seconds = np.round(rng.uniform(2.0, 16.0, rows), 3).tolist()
    speakers = rng.integers(0, max(1, rows // 10), rows).tolist()
    words = rng.choice(WORDS, (997, 12)).tolist()
    with path.open("w", encoding="ascii") as file:
        for number in range(rows):
            speaker = speakers[number]
            row = {
                "id": f"corpus/part-{number % 1000:04d}/clip_{number:08d}",
                "path": str(audio),
                "start": 0.0,
                "seconds": seconds[number],
                "sample_rate": 16000,
                "text": " ".join(words[number % 997]),
                "speaker": f"speaker_{speaker:07d}",
                "gender": "FM"[speaker % 2],
                "language": "en",
                "split": ("train", "train", "train", "valid", "test")[speaker % 5],
                "age": 20 + speaker % 50,
                "accent": f"accent {speaker % 17}",
                "up_votes": number % 7,
                "variant": None,
            }
            file.write(json.dumps(row) + "\n")
    return path


def command_of(part: str, manifest: Path, out: Path, recipe: str) -> list[str]:
    """Return what is measured."""
    program = [sys.executable, "-m", "audio_ssl"]
    if part == "audit":
        return [*program, "audit", str(manifest), "--out", str(out / "audit.html")]
    if part == "balance":
        drawn, hours = str(out / "drawn.jsonl"), "0.1" if manifest.stem == "100" else "10"
        return [
            *program,
            "manifest",
            str(manifest),
            "--balance",
            "gender=F:0.5,M:0.5",
            "--hours",
            hours,
            "--out",
            drawn,
        ]
    settings = [f"data.manifest={manifest}", "steps=1", "device=cpu"]
    return [*program, "pretrain", recipe, *settings, "--out", str(out / "run")]


def measure(command: Sequence[str], log: Path) -> dict[str, float]:
    """Run a command; return its CPU seconds and its largest resident set, in MB."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {status}:\n{log.read_text(errors='replace')[-3000:]}")
    return {"cpu_seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1024}


def main() -> None:
    options = parse()
    # A run's threads would add what has nothing to do with rows.
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifests = {"rows": write_rows(folder, options.rows), "few": write_rows(folder, 100)}
        for part in options.parts:
            taken = {
                name: measure(command_of(part, path, _folder(folder, part, name), options.recipe), folder / "log")
                for name, path in manifests.items()
            }
            found[part] = {**taken["rows"], "with_100_rows": taken["few"]}
            print(json.dumps({part: found[part]}), file=sys.stderr, flush=True)
    # Imported here: they bring torch, and a command would begin with the memory of what starts it.
    import _machine  # type: ignore[import-not-found]
    import tables  # type: ignore[import-not-found]

    print(tables.table(*_table(found)))
    write_json(options.out, {"rows": options.rows, "processor": _machine.processor(), "parts": found})
    print(options.out)


def _folder(folder: Path, part: str, name: str) -> Path:
    made = folder / part / name
    made.mkdir(parents=True)
    return made


def _table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["command", "CPU seconds", "MB", "CPU seconds with 100 rows", "MB with 100 rows"]
    rows = [
        [
            part,
            f"{one['cpu_seconds']:.1f}",
            f"{one['megabytes']:.0f}",
            f"{one['with_100_rows']['cpu_seconds']:.1f}",
            f"{one['with_100_rows']['megabytes']:.0f}",
        ]
        for part, one in found.items()
    ]
    return header, rows


if __name__ == "__main__":
    main()
