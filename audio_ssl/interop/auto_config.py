"""`AudioSSLConfig`: the ``config.json`` of a saved model of ours, as transformers' `AutoConfig` holds it.

It is imported while transformers is, so it must need neither torch nor a model class of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.configuration_utils import PretrainedConfig

from audio_ssl.artifacts.run import MODEL_TYPE
from audio_ssl.interop.auto_registry import register_models


class AudioSSLConfig(PretrainedConfig):  # type: ignore[misc]
    """A saved model's ``config.json``, as transformers holds it.

    Parameters
    ----------
    frontend, encoder
        Kind and options, as `ModelConfig` has them. transformers also makes a config without any.
    sample_rate, normalize, normalize_epsilon
        As of `ModelConfig`.
    format_version
        Of the file.
    probe
        Head of a trained probe and the layers that it sees (`audio_ssl.probing.auto_heads.HeadConfig`), where the
        folder holds one.
    others
        Keys of transformers.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        frontend: Mapping[str, Any] | None = None,
        encoder: Mapping[str, Any] | None = None,
        sample_rate: int = 24000,
        normalize: bool = False,
        normalize_epsilon: float = 1e-7,
        format_version: int = 1,
        probe: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        self.frontend, self.encoder = frontend, encoder
        self.sample_rate, self.normalize, self.normalize_epsilon = sample_rate, normalize, normalize_epsilon
        self.format_version, self.probe = format_version, probe
        super().__init__(**others)
        # Whoever opens a model makes its config first, and by then nothing of transformers is half imported.
        register_models()
