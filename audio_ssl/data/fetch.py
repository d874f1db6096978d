"""Fetching corpora through Debian's package client, without root and without touching the system's own state.

``apt-get download`` and ``dpkg-deb -x`` need no root; with private ``Dir::State::lists`` and ``Dir::Cache`` neither
does ``apt-get update``. The system's sources are used as they are, and apt checks every archive's signature and hash.

Each package lands in a folder of its own, ``into/<package>``. That folder appears by a rename once everything is
unpacked, so its presence says the package is finished and an interrupted fetch goes on where it stopped.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.progress import track

logger = logging.getLogger(__name__)

_TOOLS = ("apt-get", "dpkg-deb")
_WORK_FOLDER = ".apt"


def apt_available() -> bool:
    """Return whether `apt-get` and `dpkg-deb` are on the PATH."""
    return all(shutil.which(tool) for tool in _TOOLS)


def fetch_apt(packages: Sequence[str], into: Path) -> None:
    """Download Debian packages and unpack each into ``into/<package>``; finished ones are left alone.

    Parameters
    ----------
    packages
        Names of binary packages.
    into
        Folder that receives one folder a package; made if missing.

    Raises
    ------
    UserError
        If apt is not here, a package is unknown to the system's sources, or the download or the unpacking fails.
    """
    wanted = [p for p in packages if not (into / p).is_dir()]
    if not wanted:
        logger.info("already in %s: %s", into, ", ".join(packages))
        return
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"fetching {', '.join(wanted)} needs {' and '.join(missing)}, which this system does not have",
            where=str(into),
            remedy="run on Debian or Ubuntu, or copy the unpacked packages there",
        )
    work = (into / _WORK_FOLDER).absolute()
    options = _private_options(work)
    _run(["apt-get", "-q", *options, "update"], work, "the package lists cannot be updated")
    for package in track(wanted, "fetch packages"):
        _fetch_one(package, into, work, options)
    shutil.rmtree(work)


def _private_options(work: Path) -> list[str]:
    lists, cache = work / "lists", work / "cache"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]


def _fetch_one(package: str, into: Path, work: Path, options: Sequence[str]) -> None:
    logger.info("fetching %s", package)
    folder = work / "archives" / package
    folder.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "-q", *options, "download", package], folder, f"the package `{package}` cannot be downloaded")
    archives = sorted(folder.glob("*.deb"))
    if not archives:
        raise UserError(f"apt-get gave no archive for the package `{package}`", where=str(folder))
    unpacked = work / "unpacked" / package
    # A half-unpacked folder of an interrupted fetch is worth nothing.
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    _run(["dpkg-deb", "-x", str(archives[-1]), str(unpacked)], folder, f"the package `{package}` cannot be unpacked")
    unpacked.rename(into / package)
    shutil.rmtree(folder)


def _run(command: Sequence[str], cwd: Path, what: str) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise UserError(f"{what}: {' '.join(lines[:3]) or 'no reason given'}", where=" ".join(command[:1]))
