"""Seconds and peak memory of `audio-ssl fairness` on a large table, as parquet, CSV and JSON Lines."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SPEAKERS, WORDS = 5_000, 5_000
_BATCH = 20_000
SUFFIXES = ("parquet", "csv", "jsonl")


def run(rows: int) -> dict[str, Any]:
    """Return a row a format: the whole command, from the table to the page."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            table = Path(folder) / f"predictions.{suffix}"
            _write(table, rows)
            found.append({"format": suffix, "megabytes": table.stat().st_size / 1e6, **_measure(table)})
            table.unlink()
    return {"rows_of_the_table": rows, "speakers": SPEAKERS, "rows": found}


def _measure(table: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "audio_ssl", "fairness", str(table), "--out", str(table.with_suffix(".html"))]
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, command
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_megabytes": usage.ru_maxrss / 1024,
    }


def _rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield clips of 5 to 25 words of which a tenth are heard wrong."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), rng.integers(2, 10))) for _ in range(WORDS)]
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        lengths, speakers = rng.integers(5, 26, size), rng.integers(0, SPEAKERS, size)
        said = rng.integers(0, WORDS, (size, 25))
        heard = np.where(rng.random((size, 25)) < 0.1, rng.integers(0, WORDS, (size, 25)), said)
        for place in range(size):
            length, speaker = int(lengths[place]), int(speakers[place])
            yield {
                "id": f"speaker{speaker:05d}-{start + place:08d}",
                "reference": " ".join(words[i] for i in said[place, :length]),
                "hypothesis": " ".join(words[i] for i in heard[place, :length]),
                "speaker": f"speaker{speaker:05d}",
                "gender": "FM"[speaker % 2],
                "seconds": length / 2.5,
            }


def _write(path: Path, count: int) -> None:
    if path.suffix == ".parquet":
        batch: list[dict[str, Any]] = []
        names = next(_rows(1))
        with pq.ParquetWriter(path, pa.Table.from_pylist([names]).schema) as writer:
            for row in _rows(count):
                batch.append(row)
                if len(batch) == _BATCH:
                    writer.write_table(pa.Table.from_pylist(batch))
                    batch = []
            if batch:
                writer.write_table(pa.Table.from_pylist(batch))
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            table = csv.DictWriter(file, list(next(_rows(1))))
            table.writeheader()
            table.writerows(_rows(count))
        else:
            file.writelines(json.dumps(row) + "\n" for row in _rows(count))
