"""Says which versions the tests see; leaves the examples of modules out whose optional packages are not installed."""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from audio_ssl.base.catalog import EXTRA_OF_PACKAGE
from audio_ssl.shipped import SHIPPED

_ROOT = Path(__file__).parent
_PACKAGES = ("torch", "transformers", "torchaudio", "fairseq2", "speechbrain", "numpy")


def pytest_report_header() -> str:
    """Name the versions of the packages that the tests compare with, and those that are missing."""
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    shipped = ", ".join(SHIPPED.names()) or "none"
    return f"versions: Python {platform.python_version()}, {', '.join(found)}; models that ship: {shipped}"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Say that a module is not to be collected; None leaves it to pytest."""
    # pytest's own import leaves half a module behind where it fails; this one does not. The modules left to pytest
    # import fairseq2, which works in one order only.
    inside = collection_path.is_relative_to(_ROOT / "audio_ssl") and not collection_path.name.startswith("_fairseq2_")
    if not inside or collection_path.suffix != ".py" or collection_path.name == "__init__.py":
        return None
    try:
        importlib.import_module(".".join(collection_path.relative_to(_ROOT).with_suffix("").parts))
    except ModuleNotFoundError as error:
        return (error.name or "").split(".")[0] in EXTRA_OF_PACKAGE or None
    return None
