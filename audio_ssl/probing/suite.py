"""Many questions about one model: a suite names probes and, for each, the manifest it is asked on.

Manifests lie in one folder, as ``NAME.jsonl``. A probe whose manifest is not there is named before the work begins and
left out; one that fails is noted in ``suite.json``, and the others go on. Features that several probes need are
extracted once.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from audio_ssl import catalog
from audio_ssl.atomic import write_json
from audio_ssl.config import read_yaml, structure
from audio_ssl.disk import DiskError
from audio_ssl.errors import AudioError, UserError
from audio_ssl.lock import locked_folder
from audio_ssl.probing.features import BankCache
from audio_ssl.probing.run import run_probe

logger = logging.getLogger(__name__)

PREFIX = "suite_"
_MANIFESTS = "manifests"


@dataclass(frozen=True)
class Entry:
    """Of one probe."""

    manifest: str
    """Name of its manifest."""

    settings: tuple[str, ...] = ()
    """``key=value`` settings of the probe, such as the names of the corpus's splits."""


@dataclass(frozen=True)
class Suite:
    """Which questions, on which clips."""

    probes: dict[str, Entry]
    """By probe."""


@dataclass(frozen=True)
class SuiteResult:
    """What was answered and what was not."""

    results: list[Path]
    """Folders of the answers."""

    missing: dict[str, str]
    """Probe to the manifest that is not there."""

    failed: dict[str, str]
    """Probe to the reason."""


def is_suite(name: str) -> bool:
    """Tell whether a name or path means a suite."""
    return Path(name).stem.startswith(PREFIX)


def run_suite(name: str, model: str, out: Path, overrides: Sequence[str] = ()) -> SuiteResult:
    """Ask all questions of a suite; those that are answered already stay.

    Parameters
    ----------
    name
        Name or path of a suite.
    model
        What `open_source` takes.
    out
        Folder of the results, one below it for each probe, and ``suite.json``.
    overrides
        ``manifests=FOLDER``, which must be given; ``PROBE.key=value`` for one probe; ``key=value`` for all.

    Raises
    ------
    UserError
        For a wrong suite, no folder of manifests, or a suite of which no probe can be asked.
    """
    suite = structure(Suite, read_yaml(catalog.find("probes/suites", name)))
    for probe in suite.probes:
        catalog.find("probes", probe)
    folder, common, own = _sort(overrides, suite)
    stems = {probe: entry.manifest for probe, entry in suite.probes.items()}
    missing = {probe: stem for probe, stem in stems.items() if not (folder / f"{stem}.jsonl").is_file()}
    if len(missing) == len(suite.probes):
        wanted = ", ".join(sorted({f"{stem}.jsonl" for stem in missing.values()}))
        raise UserError(
            f"none of the suite's manifests is here: {wanted}",
            where=str(folder),
            remedy=f"`audio-ssl manifest CORPUS --root ROOT --out {shlex.quote(str(folder))}/NAME.jsonl` makes one",
        )
    for probe, stem in missing.items():
        logger.warning("left out: %s, as there is no %s", probe, folder / f"{stem}.jsonl")
    cache, results, failed = BankCache(), [], {}
    with locked_folder(out, deep=False):
        for probe in (probe for probe in suite.probes if probe not in missing):
            manifest = f"data.manifest={folder / stems[probe]}.jsonl"
            settings = [manifest, *suite.probes[probe].settings, *common, *own.get(probe, ())]
            try:
                results.append(run_probe(probe, model, out / probe, settings, cache))
            except DiskError:
                # The next probe would meet the same disk.
                raise
            except (UserError, AudioError, torch.OutOfMemoryError) as error:
                logger.error("%s: %s", probe, error)
                failed[probe] = str(error)
            write_json(
                out / "suite.json",
                {
                    "suite": Path(name).stem,
                    "model": model,
                    "results": [result.name for result in results],
                    "missing": missing,
                    "failed": failed,
                },
            )
    return SuiteResult(results, missing, failed)


def _sort(overrides: Sequence[str], suite: Suite) -> tuple[Path, list[str], dict[str, list[str]]]:
    """Return the folder of manifests, the settings for all probes, and those for single ones."""
    folder: Path | None = None
    common: list[str] = []
    own: dict[str, list[str]] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        first, _, rest = key.partition(".")
        if key == _MANIFESTS:
            folder = Path(value).expanduser()
        elif first in suite.probes and rest:
            own.setdefault(first, []).append(f"{rest}={value}")
        else:
            common.append(override)
    if folder is None:
        raise UserError("must be given", where=f"$.{_MANIFESTS}", remedy="add manifests=FOLDER, which holds NAME.jsonl")
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder))
    return folder, common, own
