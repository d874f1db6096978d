"""The table of ``extract_small.py``."""

from __future__ import annotations

from typing import Any

from _markdown import table  # type: ignore[import-not-found]


def extract_small(result: dict[str, Any]) -> str:
    """Return multiples of real time, beside librosa, and the time to load."""
    found = result["settings"]
    plain = next(row for row in result["rows"] if row["system"] == "librosa log-mel")
    rows = []
    for row in result["rows"]:
        if row["system"].endswith(", int8"):
            # A precision that was removed; see docs/benchmarks.md.
            continue
        ratio = row["times_real_time"] / plain["times_real_time"]
        loads = row.get("load_seconds")
        spread = max(row["seconds"]) / min(row["seconds"])
        rows.append(
            [
                row["system"],
                f"{row['times_real_time']:.0f}",
                f"{ratio:.2f}",
                f"{spread:.2f}",
                "" if loads is None else f"{loads:.2f}",
            ]
        )
    clock = {"wall": "of the clock", "cpu": "of the processor, as the machine was busy"}[found["clock"]]
    threads = found["threads"]
    clock += "" if found["clock"] == "wall" else f", over {threads} thread{'s' * (threads != 1)}"
    sizes = f"{found['clips']} clips, {found['audio_seconds']:.0f} s of audio"
    said = f"{sizes}; {threads} thread{'s' * (threads != 1)}; {found['rounds']} rounds; seconds {clock}.\n"
    head = ("system", "x real time", "x librosa", "slowest / fastest round", "loads in s")
    machine = result["machine"]
    goal = f"goal: {found['goal']:.0f} x real time on two cores, loading below 0.5 s"
    where = f"{machine['processor']}, torch {machine['torch']}; {goal}.\n"
    return "\n".join((where, said, str(table(head, rows))))
