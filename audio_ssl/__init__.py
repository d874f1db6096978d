"""A speech and music representation suite: waveform models, teachers, pretraining, probes, fairness.

In Python, `load` opens any model, and a `Model` gives the hidden states of waveforms and of files::

    model = audio_ssl.load("facebook/hubert-base-ls960")  # or a run, a folder, torchaudio:WAVLM_BASE, a .pt file
    output = model(waveform, lengths)  # waveform [batch, sample], lengths [batch] in samples
    output.hidden[9]  # [batch, frame, dim], zero past output.lengths
    for clip, features in model.stream("my_music", layers="9", pool="mean"):
        ...

`load_result` opens what ``audio-ssl probe`` has written, and its head predicts new audio::

    audio_ssl.load_result("results/emotion").predict("talk.wav").label

`load_units` opens what ``audio-ssl units`` has written, for waveforms::

    audio_ssl.load_units("U")(waveform, merge=True)[0].unit  # [unit]

`read_manifest` and `write_manifest` read and write lists of `Clip`, `ArrayStore` opens features on the disk, and
`read_model` and `export` are `load` and ``save_pretrained`` for training programs, without the facade.
`register_with_transformers` lets transformers open saved models, which importing this package does as well.

Everything else is a command: ``audio-ssl --help`` names them, ``audio-ssl COMMAND --help`` explains one.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from audio_ssl.interop.auto_registry import await_transformers

if TYPE_CHECKING:
    from audio_ssl.base.errors import UserError
    from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
    from audio_ssl.data.store import ArrayStore
    from audio_ssl.features.load import Model, load
    from audio_ssl.features.settings import Settings
    from audio_ssl.interop.auto_registry import register_with_transformers
    from audio_ssl.interop.read import read_model
    from audio_ssl.interop.write import export
    from audio_ssl.models.model import ModelOutput
    from audio_ssl.probing.predictor import load_result
    from audio_ssl.units.encoder import load_units

__version__ = version("audio-ssl")
__all__ = [
    "ArrayStore", "Clip", "Model", "ModelOutput", "Settings", "UserError", "__version__", "export", "load",
    "load_result", "load_units", "read_manifest", "read_model", "register_with_transformers", "write_manifest",
]  # fmt: skip

_HOMES = {
    "ArrayStore": "audio_ssl.data.store",
    "Clip": "audio_ssl.data.manifest",
    "Model": "audio_ssl.features.load",
    "ModelOutput": "audio_ssl.models.model",
    "Settings": "audio_ssl.features.settings",
    "UserError": "audio_ssl.base.errors",
    "export": "audio_ssl.interop.write",
    "load": "audio_ssl.features.load",
    "load_result": "audio_ssl.probing.predictor",
    "load_units": "audio_ssl.units.encoder",
    "read_manifest": "audio_ssl.data.manifest",
    "read_model": "audio_ssl.interop.read",
    "register_with_transformers": "audio_ssl.interop.auto_registry",
    "write_manifest": "audio_ssl.data.manifest",
}

await_transformers()


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for, so that ``audio-ssl --help`` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what there is before it is imported, for ``help(audio_ssl)`` and completion."""
    return sorted({name for name in globals() if name.startswith("__")} | set(__all__))
