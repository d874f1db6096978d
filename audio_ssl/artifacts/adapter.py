"""Where an adapter comes from: ``base.json`` beside the files that peft writes.

peft's own ``adapter_config.json`` has the name of the adapted model; only this record has the hash of its weights, by
which another model of the same name is found out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.base.documents import JsonObject

ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_ORIGIN = "adapter_config.json", "adapter_model.safetensors", "base.json"


@dataclass(frozen=True)
class AdapterOrigin:
    """The model that an adapter was trained on."""

    model: str = ""
    """As it was named on the command line."""

    fingerprint: str | None = None
    """Hash of its configuration and weights."""

    path: str | None = absent(None)
    """Where it was, as an absolute path; None: it has a name alone."""

    more: JsonObject = field(default_factory=dict)


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter of peft."""
    return (folder / ADAPTER_CONFIG).is_file()


def read_adapter_origin(folder: Path) -> AdapterOrigin:
    """Read ``base.json``; an empty record where there is none; UserError if it is damaged."""
    path = folder / ADAPTER_ORIGIN
    return read_record(AdapterOrigin, path, "run the probe again") if path.is_file() else AdapterOrigin()


def write_adapter_origin(folder: Path, origin: AdapterOrigin) -> None:
    """Write ``base.json``."""
    write_record(folder / ADAPTER_ORIGIN, origin)
