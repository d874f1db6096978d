"""Fetches corpora through Debian's package client, and records corpora that are made rather than downloaded.

``apt-get download`` and ``dpkg-deb -x`` need no root. ``apt-get update`` needs none with private ``Dir::State::lists``
and ``Dir::Cache``, and the state of the system is not changed. The sources of the system are used, and apt checks the
signature and the hash of every archive.

Each package is unpacked into a folder of its own, ``into/<package>``. The folder gets its name when everything is
unpacked, so an existing folder is complete, and an interrupted fetch continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.base import catalog
from audio_ssl.base.documents import advised, as_object, find, read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import write_json
from audio_ssl.base.progress import track
from audio_ssl.data.corpus_tools.layout import Corpus, check_split, require_folder, usable_file
from audio_ssl.data.ledger import LeftOut
from audio_ssl.data.manifest import Clip

logger = logging.getLogger(__name__)

_TOOLS = ("apt-get", "dpkg-deb")
_WORK_FOLDER = ".apt"


def apt_available() -> bool:
    """Return whether `apt-get` and `dpkg-deb` are on the PATH."""
    return all(shutil.which(tool) for tool in _TOOLS)


def fetch_apt(packages: Sequence[str], into: Path) -> None:
    """Download Debian packages and unpack each into ``into/<package>``. Existing ones are kept.

    Parameters
    ----------
    packages
        Names of binary packages.
    into
        Folder of the folders; created if missing.

    Raises
    ------
    UserError
        If apt is not installed, a package is unknown, or downloading or unpacking fails.
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
        raise UserError(f"apt-get downloaded no archive of the package `{package}`", where=str(folder))
    unpacked = work / "unpacked" / package
    # A partly unpacked folder of an interrupted fetch is of no use.
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


def announce(card: Corpus, root: Path) -> None:
    """Log what is going to be fetched or made, its size and its licence."""
    logger.info("%s: %s", card.title, card.size)
    logger.info("licence: %s", card.licence)
    logger.info("into: %s", root)


def is_made(root: Path, wanted: int) -> bool:
    """Return whether a corpus that is made, rather than downloaded, is complete below `root` with `wanted` clips."""
    path = root / _MADE
    try:
        before = find(read_object(path, _MAX_MADE_BYTES), "wanted", int, str(path)) if path.is_file() else -1
    except UserError as error:
        logger.warning("%s; the corpus is made again", error)
        return False
    if before > wanted:
        logger.warning(
            "%s: %d clips were requested before, now %d; the audio of the others is kept", path, before, wanted
        )
    return before == wanted


def write_made(root: Path, wanted: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the labels of a corpus that was made. They mark it as complete.

    Parameters
    ----------
    root
        Folder of the corpus.
    wanted
        Number of clips that were requested.
    rows
        Rows that `read_made` returns.
    """
    write_json(root / _MADE, {"wanted": wanted, "clips": rows})


def read_made(root: Path, card: Corpus) -> list[dict[str, Any]]:
    """Return the rows that `write_made` wrote.

    Raises
    ------
    UserError
        If `root` is missing or the corpus is not complete.
    """
    path = require_folder(root, card) / _MADE
    if not path.is_file():
        raise UserError(
            f"{card.title} was not finished here: `{_MADE}` is missing",
            where=str(root),
            remedy=f"`audio-ssl manifest {card.name} --fetch --out {card.name}.jsonl` completes it",
        )
    again = f"delete it and make the corpus again: audio-ssl manifest {card.name} --fetch --out {card.name}.jsonl"
    with advised(again):
        rows = find(read_object(path, _MAX_MADE_BYTES), "clips", list, str(path))
        return [as_object(row, str(path)) for row in rows]


def made_clips(root: Path, card: Corpus, split: str | None, left_out: LeftOut) -> Iterator[tuple[Clip, dict[str, Any]]]:
    """Yield the clips of `read_made` (``audio/NAME.flac``) with their rows. Damaged ones are left out."""
    check_split(card, split)
    for row in read_made(root, card):
        if split not in (None, row["split"]):
            continue
        path = root / "audio" / f"{row['name']}.flac"
        if (clip := usable_file(path, row["name"], left_out)) is not None:
            yield dataclasses.replace(clip, split=row["split"]), row


def optional_package(package: str, card: Corpus, pip: str | None = None) -> Any:
    """Import a third-party package that only some corpora need.

    Raises
    ------
    UserError
        If it is not installed. The message has the pip command, which is `pip` where it is unusual.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the corpus `{card.name}` needs the package {package}", remedy=pip or catalog.install_hint(package)
        ) from error


_MADE = "labels.json"
LEFT_OUT = "left_out"
"""Argument of `read` for reporting what is left out."""
_MAX_MADE_BYTES = 1 << 30
