"""When a result with status 0 is right: nothing is lost without a word, and nothing damaged passes for whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from audio_ssl.data.store import ArrayStore
from tests.fuzz.harness import Case, Ended

Arrays = dict[str, Any]
SECONDS = 3.0
"""Of the audio file that is damaged."""
LOST = 0.05
"""Share of its seconds that may go without a word: less than a frame of any codec."""


def anything(case: Case, ended: Ended) -> str | None:
    """Take any result: what was damaged means something else now, or nothing."""
    return None


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def audio(case: Case, ended: Ended) -> str | None:
    """Expect the whole file, and of the damaged one all seconds or a word."""
    if (features := case.out / "f").exists():
        index, ledger = features / "index.jsonl", features / "errors.jsonl"
    else:
        index, ledger = case.out / "m.jsonl", case.out / "m.errors.jsonl"
    seconds = {row["id"]: row["seconds"] for row in rows(index)}
    notes = ledger.with_name(ledger.name.replace("errors", "notes"))
    said = case.file in "".join((ended.text, *(path.read_text() for path in (ledger, notes) if path.exists())))
    if "whole.wav" not in seconds:
        return "the whole file beside it is lost"
    if case.file not in seconds:
        return None if said else "the damaged file is left out without a word"
    found = seconds[case.file]
    if found > 1.5 * SECONDS:
        return f"{found} s of a file of {SECONDS} s"
    if found < (1 - LOST) * SECONDS and not said and not _is_stream(case):
        return f"{found} s of a file of {SECONDS} s without a word"
    return None


def _is_stream(case: Case) -> bool:
    """Tell whether nothing in the file says how long it was, so that a part of it is a whole file."""
    start = case.after[:2000]
    return case.file.endswith(".mp3") and b"Xing" not in start and b"Info" not in start


def manifest(case: Case, ended: Ended) -> str | None:
    """Expect a clip, or a word, for each line."""
    lines = sum(1 for line in case.after.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip())
    if (page := case.out / "a.json").exists():
        clips = json.loads(page.read_text())["manifests"][0]["total"]["clips"]
        return None if clips == lines else f"{clips} clips of {lines} lines"
    if (features := case.out / "f").exists():
        clips, left = len(rows(features / "index.jsonl")), len(rows(features / "errors.jsonl"))
        return None if clips + left >= lines else f"{clips} clips and {left} left out of {lines} lines"
    return None


def predictions(case: Case, ended: Ended) -> str | None:
    """Expect every row to be counted or left out by name."""
    found = json.loads((case.out / "p.json").read_text())
    (result,) = found["results"]
    counted = result["clips"] + sum(row["count"] for row in found["excluded"])
    if case.file.endswith(".parquet"):
        expected = pq.read_metadata(case.folder / case.file).num_rows
    else:
        encoding = "utf-16" if case.after[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        text = case.after.decode(encoding, "replace").lstrip("\ufeff")
        expected = sum(1 for line in re.split("[\r\n]", text) if line.strip()) - (not case.file.endswith(".jsonl"))
    if counted < expected and "line" not in "".join(found.get("notes", [])) + ended.text:
        return f"{counted} clips counted or left out by name, of {expected} rows"
    return None


def resumed(case: Case, ended: Ended) -> str | None:
    """Expect the model of the run that was not stopped, bit for bit."""
    whole = case.clean / ("whole" if (case.clean / "whole").exists() else "run") / "model.safetensors"
    same = (case.folder / "run" / "model.safetensors").read_bytes() == whole.read_bytes()
    return None if same else "the resumed run's model is not the uninterrupted one's"


def checked(case: Case, ended: Ended) -> str | None:
    """Expect `audio-ssl check` to find what is damaged."""
    if case.after == case.before or Path(case.file).name in ended.text:
        return None
    return "damaged, and said to be whole"


_CLEAN: dict[Path, Arrays] = {}


def model(case: Case, ended: Ended) -> str | None:
    """Expect the features of the whole model, or a word."""
    if not (case.out / "f").exists() or _same_size(case):
        return None
    if case.clean not in _CLEAN:
        from audio_ssl.features.extract import extract

        whole = case.clean.parent / "clean_features"
        extract(case.clean / "audio", str(case.clean / "run"), whole, layers="1", pool="mean", format="npy")
        _CLEAN[case.clean] = _npy(whole)
    if not _equal(_npy(case.out / "f"), _CLEAN[case.clean]) and Path(case.file).name not in ended.text:
        return "other features than the whole model's, without a word"
    return None


def features(case: Case, ended: Ended) -> str | None:
    """Expect an extraction that is run again to hold what the whole one holds."""
    layout = ended.argv[-1]
    if not case.file.startswith(layout) or _same_size(case):
        return None
    found, whole = _stored(case.folder / layout), _stored(case.clean / layout)
    if not _equal(found, whole):
        return f"{len(found)} clips, other than the {len(whole)} of the whole extraction"
    return None


def every_clip(case: Case, ended: Ended) -> str | None:
    """Expect a row, or an error, for each clip."""
    (name,) = (one for one in ("units.jsonl", "predictions.jsonl") if (case.out / "o" / one).exists())
    clips, left = len(rows(case.out / "o" / name)), len(rows(case.out / "o" / "errors.jsonl"))
    expected = len(rows(case.clean / "m.jsonl"))
    return None if clips + left == expected else f"{clips} clips and {left} left out, of {expected}"


def again(case: Case, ended: Ended) -> str | None:
    """Expect units or predictions that are made again to be those of the whole command."""
    if _same_size(case):
        return None
    kind = "u/units" if (case.clean / "u").exists() else "said/predictions"
    found, whole = (rows(folder / f"{kind}.jsonl") for folder in (case.folder, case.clean))
    if found != whole:
        return f"{len(found)} rows, other than the {len(whole)} of the whole command"
    tables = [pq.read_table(folder / f"{kind}.parquet").to_pylist() for folder in (case.folder, case.clean)]
    return None if tables[0] == tables[1] else "another table than that of the whole command"


def _same_size(case: Case) -> bool:
    """Tell whether only a look at all bytes finds the damage, which is what `audio-ssl check` is for."""
    return len(case.after) == len(case.before) and not case.file.endswith((".json", ".jsonl", ".yaml"))


def _npy(folder: Path) -> Arrays:
    return {str(path.relative_to(folder)): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def _equal(ours: Arrays, theirs: Arrays) -> bool:
    return ours.keys() == theirs.keys() and all(np.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def _stored(folder: Path) -> Arrays:
    """Return the arrays that the index leads to, by clip."""
    index = {row["id"]: folder / row["file"] for row in rows(folder / "index.jsonl")}
    if folder.name == "npy":
        return {name: np.load(path) for name, path in index.items()}
    if folder.name == "safetensors":
        store = ArrayStore(folder / "store")
        return {name: np.concatenate([value.numpy().ravel() for value in store[name].values()]) for name in index}
    tables = [pq.read_table(path).to_pylist() for path in sorted(set(index.values()))]
    lines = {
        line["id"]: [np.ravel(v) for v in line.values() if isinstance(v, list)] for table in tables for line in table
    }
    return {name: np.concatenate(lines[name]) for name in index}
