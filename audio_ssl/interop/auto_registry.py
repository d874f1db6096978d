"""Tells transformers' auto classes of ours where both packages are in use, whichever was imported first.

``import audio_ssl`` stays fast and works without transformers, so nothing is imported here before transformers is. A
finder on ``sys.meta_path`` waits until transformers has loaded `AutoConfig`, registers our config, and is gone. The
models, which need torch, are registered when the first such config is made: whoever opens a model does that first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

logger = logging.getLogger(__name__)

_AWAITED = "transformers.models.auto.configuration_auto"

_CLASSES = {
    "AutoModel": ("audio_ssl.interop.auto_classes", "AudioSSLModel"),
    "AutoModelForCTC": ("audio_ssl.probing.auto_heads", "AudioSSLForCTC"),
    "AutoModelForAudioClassification": ("audio_ssl.probing.auto_heads", "AudioSSLForAudioClassification"),
    # Pads, and says at which rate.
    "AutoFeatureExtractor": ("transformers", "Wav2Vec2FeatureExtractor"),
}
"""Auto class of transformers to module and name of what opens our folders."""


def register_with_transformers() -> None:
    """Let ``AutoConfig`` and ``AutoModel`` of transformers open saved models of this package.

    ``import audio_ssl`` has the same effect, once transformers is in use. This function does it at once, and says why
    where it cannot. Calling it again changes nothing.

    Raises
    ------
    UserError
        If transformers is not installed.
    """
    from audio_ssl.base.catalog import optional_packages

    with optional_packages("`register_with_transformers`"):
        import transformers  # noqa: F401
    _register_config()
    register_models()


def register_models() -> None:
    """Register the model classes; AutoConfig has been loaded."""
    from audio_ssl.interop.auto_config import AudioSSLConfig

    theirs = import_module("transformers")
    for auto, (module, name) in _CLASSES.items():
        getattr(theirs, auto).register(AudioSSLConfig, getattr(import_module(module), name), exist_ok=True)


def await_transformers() -> None:
    """Register our config once transformers has loaded AutoConfig: now, or when that happens."""
    if _AWAITED in sys.modules:
        _register_config()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register_config() -> None:
    from audio_ssl.interop.auto_config import AudioSSLConfig

    import_module(_AWAITED).AutoConfig.register(AudioSSLConfig.model_type, AudioSSLConfig, exist_ok=True)


class _Finder(MetaPathFinder):
    """Finds the awaited module where everybody does, and has ours registered once it is executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return nothing but for the awaited module."""
        if fullname != _AWAITED:
            return None
        # Gone before the others are asked, and for good.
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """The awaited module's own loader, and what follows."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module."""
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as it would be without us, then register ours."""
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        self._own.exec_module(module)
        try:
            _register_config()
        # Whatever goes wrong with us, transformers must work.
        except Exception as error:
            logger.warning("transformers will not open models of audio_ssl: %s", error)
