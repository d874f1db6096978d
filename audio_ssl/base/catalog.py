"""Finds recipes, probes and corpora by name or path, and parts by kind: the folder is the registry.

The name of a card is that of its file (``recipes/mert_95m.yaml`` is ``mert_95m``). The kind of a part is the name of
its module (``targets/teachers/kmeans.py`` is ``kmeans``). The cards are in the wheel as ``audio_ssl/_catalog``, and at
the root of a checkout. A path given by the user takes precedence over both.

This module also imports optional packages: torchaudio's users where torchaudio is missing, and speechbrain without its
side effects.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

from audio_ssl.base.errors import UserError, unknown_name

Folder = Literal["recipes", "recipes/studies", "recipes/mixes", "probes", "probes/suites", "corpora"]

_SUFFIX: dict[str, str] = {
    "recipes": ".yaml",
    "recipes/studies": ".yaml",
    "recipes/mixes": ".yaml",
    "probes": ".yaml",
    "probes/suites": ".yaml",
    "corpora": ".py",
}
_SINGULAR = {
    "recipes": "recipe",
    "recipes/studies": "study",
    "recipes/mixes": "mix",
    "probes": "probe",
    "probes/suites": "suite",
    "corpora": "corpus",
}
_PACKAGE = Path(__file__).parents[1]

_PLACES = {
    "frontends": "models/frontends",
    "encoders": "models/encoders",
    "teachers": "targets/teachers",
    "objectives": "pretrain/objectives",
}
"""Short names of folders of parts, and their place in the package."""

EXTRA_OF_PACKAGE = {
    "nnAudio": "teachers",
    "encodec": "teachers",
    "speechbrain": "probing",
    "sacrebleu": "probing",
    "rapidfuzz": "probing",
    "mir_eval": "probing",
    "librosa": "probing",
    "sentencepiece": "probing",
    "transformers": "transformers",
    "torchaudio": "torchaudio",
    "huggingface_hub": "hub",
    "peft": "adapt",
    "fairseq2": "fairseq2",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "av": "decode",
    "ray": "ray",
    "music21": "corpora",
    "pretty_midi": "corpora",
    "espeakng_loader": "corpora",
    "babel": "corpora",
}
"""The extra of this package that installs an optional package, for error messages."""


def folder_path(folder: Folder) -> Path:
    """Return the folder of the built-in cards: within the wheel, else at the root of the checkout."""
    packaged = _PACKAGE / "_catalog" / folder
    return packaged if packaged.is_dir() else _PACKAGE.parent / folder


def names(folder: Folder) -> list[str]:
    """Return the names of all built-in cards of `folder`, sorted."""
    root = folder_path(folder)
    suffix = _SUFFIX[folder]
    return sorted(p.stem for p in root.glob(f"*{suffix}") if not p.name.startswith(("_", ".")))


def find(folder: Folder, name_or_path: str) -> Path:
    """Return the file of a card by its name or path.

    Raises
    ------
    UserError
        If there is no such card or file. The message lists the known names.
    """
    suffix = _SUFFIX[folder]
    given = Path(name_or_path).expanduser()
    if given.suffix == suffix or len(given.parts) > 1:
        if given.is_file():
            return given
        raise UserError(f"no {_SINGULAR[folder]} file `{name_or_path}`", remedy=f"built in: {', '.join(names(folder))}")
    if name_or_path in names(folder):
        return folder_path(folder) / f"{name_or_path}{suffix}"
    raise unknown_name(_SINGULAR[folder], name_or_path, names(folder))


def parts(folder: str) -> list[str]:
    """Return the kinds of parts in a folder of the package (``teachers``, ``probing/heads``); nothing is imported."""
    return [file.stem for file in part_files(folder)]


def part_files(folder: str) -> list[Path]:
    """Return the files of the parts in a folder of the package, by kind.

    Folders that a program has appended to the package's ``__path__`` are searched as well.
    """
    package = sys.modules.get(_module_of(folder))
    roots = [_PACKAGE / _PLACES.get(folder, folder)] if package is None else [Path(one) for one in package.__path__]
    files = (file for root in roots for file in root.glob("*.py") if not file.name.startswith("_"))
    return sorted(files, key=lambda file: file.stem)


def load_part(folder: str, kind: str, where: str = "$") -> ModuleType:
    """Import the module of one part.

    Raises
    ------
    UserError
        If there is no such kind, or it needs an optional package that is not installed.
    """
    thing = folder.rsplit("/", 1)[-1].removesuffix("s")
    if kind not in parts(folder):
        raise unknown_name(thing, kind, parts(folder), where)
    with optional_packages(f"{thing} `{kind}`", where):
        return importlib.import_module(f"{_module_of(folder)}.{kind}")


def _module_of(folder: str) -> str:
    return f"audio_ssl.{_PLACES.get(folder, folder).replace('/', '.')}"


@contextmanager
def optional_packages(thing: str, where: str | None = None) -> Iterator[None]:
    """Turn the import error of a missing package into one that names what needs it and how to install it.

    Raises
    ------
    UserError
        If an import in the block fails because a package is not installed.

    Examples
    --------
    >>> with optional_packages("teacher `own`"):
    ...     import no_such_package
    Traceback (most recent call last):
    audio_ssl.base.errors.UserError: teacher `own` needs the package no_such_package (pip install no_such_package)
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if not package or package == "audio_ssl":
            raise
        raise UserError(f"{thing} needs the package {package}", where=where, remedy=install_hint(package)) from error


@contextmanager
def torchaudio_or_nothing() -> Iterator[None]:
    """Make packages importable that import torchaudio but do not need it here (speechbrain, encodec).

    If torchaudio is missing or does not load, as it was built for another torch, an empty module replaces it within the
    block.
    """
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    try:
        importlib.import_module("torchaudio")
    # Libraries built for another torch fail with OSError, AttributeError or RuntimeError.
    except Exception:
        before = {name: modules.pop(name) for name in list(modules) if name.partition(".")[0] == "torchaudio"}
        modules["torchaudio"] = ModuleType("torchaudio")
        try:
            yield
        finally:
            del modules["torchaudio"]
            modules.update(before)
        return
    yield


def install_hint(package: str) -> str:
    """Return the command that installs an optional package.

    Examples
    --------
    >>> install_hint("encodec")
    "pip install 'audio-ssl[teachers]'"
    """
    extra = EXTRA_OF_PACKAGE.get(package)
    return f"pip install 'audio-ssl[{extra}]'" if extra else f"pip install {package}"


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence speechbrain's messages at import, and remove the lazy modules that it leaves in ``sys.modules``.

    Lazy modules import optional packages, or warn, at any access, and `inspect` accesses every module. speechbrain
    imports torchaudio, but its searches do not need it.
    """
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    with torchaudio_or_nothing():
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):
                if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
                    del sys.modules[name]
