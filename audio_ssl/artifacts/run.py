"""Where a run came from: hashes of recipe, manifest and teachers, versions, the command; and whether it is finished."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from audio_ssl.base.documents import read_object
from audio_ssl.base.files import write_json

_PACKAGES = ("audio-ssl", "torch", "torchaudio", "numpy", "safetensors", "encodec", "nnAudio", "scikit-learn", "soxr")
FILE = "provenance.json"
_REMEDY = "delete this file and run the same command again with --resume"


def start_provenance(recipe: Mapping[str, Any], manifest_hash: str) -> dict[str, Any]:
    """Return the provenance of a run that begins now."""
    return {
        "finished": False,
        "recipe_hash": hash_recipe(recipe),
        "manifest_hash": manifest_hash,
        "command": shlex.join(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
    }


def read_provenance(folder: Path, remedy: str | None = _REMEDY) -> dict[str, Any]:
    """Return the provenance of a run, or nothing where there is none; UserError with `remedy` where it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return {}
    return read_object(path, remedy=remedy)


def write_provenance(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the provenance of a run."""
    write_json(folder / FILE, dict(values))


def finish_provenance(folder: Path, finished: bool = True, **more: Any) -> dict[str, Any]:
    """Mark a run as finished, or as ended before its last update; the last file that a run writes."""
    values = {
        **read_provenance(folder),
        **more,
        "finished": finished,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_provenance(folder, values)
    return values


def hash_recipe(recipe: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of a recipe's plain data.

    How long a command may take and which release wrote a recipe change nothing that is computed, so a recipe has one
    hash with and without them.
    """
    kept = {key: value for key, value in recipe.items() if key not in ("max_minutes", "version")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of the packages a run depends on, those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
