"""Runs a Python file of the user's (a corpus, an encoder) as a module, with its faults as errors that name it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from audio_ssl.base.catalog import install_hint
from audio_ssl.base.errors import UserError


def run_file(path: Path, thing: str, remedy: str | None = None) -> ModuleType:
    """Run a file and return it as a module.

    Parameters
    ----------
    path
        The file, which a person has named: nothing read from a document or a checkpoint is ever run.
    thing
        What it is, for errors: ``corpus file``.
    remedy
        What helps where it cannot be run.

    Raises
    ------
    UserError
        If the file fails, with the line, or a package that it needs is not installed.
    """
    # The path is part of the module name, so that a user's fillets.py and ours do not collide.
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    name = f"_audio_ssl_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up the module that they are defined in.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise UserError(
            f"the {thing} needs the package {package}", where=str(path), remedy=install_hint(package)
        ) from error
    # Whatever a user's program raises.
    except Exception as error:
        at = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) else place_of(error, str(path))
        raise UserError(
            f"the {thing} cannot be run: {type(error).__name__}: {error}", where=at, remedy=remedy
        ) from error
    finally:
        del sys.modules[name]
    return module


def place_of(error: BaseException, file: str) -> str:
    """Return the file and line of the innermost step of an error that lies in a file."""
    steps = [step for step in traceback.extract_tb(error.__traceback__) if step.filename == file]
    return f"{file}:{steps[-1].lineno}" if steps else file
