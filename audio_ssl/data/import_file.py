"""A corpus file as a module, loaded by its path rather than by a module name."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from audio_ssl import catalog
from audio_ssl.errors import UserError


def import_file(path: Path) -> ModuleType:
    """Run a corpus file and return it as a module.

    Raises
    ------
    UserError
        If it cannot be run, or a package that it needs is not installed.
    """
    # The path is part of the module's name, so that a user's fillets.py and ours do not collide.
    name = f"_audio_ssl_corpus_{path.stem}_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses defined in the file look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        raise UserError(
            f"the corpus file needs the package {package}", where=str(path), remedy=catalog.install_hint(package)
        ) from error
    except (SyntaxError, ImportError, AttributeError, NameError, TypeError, ValueError) as error:
        raise UserError(
            f"the corpus file cannot be run: {type(error).__name__}: {error}",
            where=str(path),
            remedy="`corpora/folder.py` is a short example",
        ) from error
    finally:
        del sys.modules[name]
    return module
