"""Hand-made features of music, computed by librosa: MFCC, chroma, spectral contrast, tonnetz, tempogram.

librosa: McFee et al. 2015, SciPy. ``librosa`` is all five side by side, ``librosa:mfcc+chroma`` some of them in that
order; a frame every 20 ms (50 frames/s), centred on its hop, windows of 2048 samples (128 ms):

- ``mfcc``: 20 coefficients of 128 mel bands in decibels (Davis and Mermelstein 1980).
- ``chroma``: 12 pitch classes of a constant-Q transform of 7 octaves from C1, 36 bins each, the largest 1.
- ``contrast``: peaks over valleys of 7 octave bands, 10 log10 of magnitudes (Jiang et al. 2002).
- ``tonnetz``: the 6 tonal centroids of the chroma (Harte et al. 2006).
- ``tempogram``: 192 lags, 3.84 s, of the autocorrelation of the onset strength (Grosche et al. 2010).

librosa's defaults differ from these in two ways. Its levels end 80 dB below the loudest frame of the clip, and its
tuning is estimated from the whole clip, so a part of a clip would have other frames than the whole. Here levels end
80 dB below a full-scale tone, and A4 is 440 Hz.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_ssl.base.catalog import optional_packages
from audio_ssl.data.frames import FrameGrid
from audio_ssl.features.baselines._base import HOP_SAMPLES, SAMPLE_RATE, Baseline

_DIMS = {"mfcc": 20, "chroma": 12, "contrast": 7, "tonnetz": 6, "tempogram": 192}
FEATURES: tuple[str, ...] = tuple(_DIMS)

_WINDOW_SAMPLES = 2048
_REACH_SAMPLES = {"mfcc": 2048, "chroma": 25_600, "contrast": 2048, "tonnetz": 25_600, "tempogram": 65_536}
"""Samples that a frame depends on: a window, the lowest constant-Q kernel, or all lags with the windows at the ends."""

_LEAST_SAMPLES = 32_768
"""Shorter clips are padded: the lowest octave is computed at a 64th of the rate with kernels of 512 samples."""

_MAGNITUDE_FLOOR, _POWER_FLOOR, _CONSTANT_Q_FLOOR = 5e-2, 1e-4, 1e-3
"""80 dB below a full-scale tone: in a spectrum (magnitude 512), in a mel band (power 1e4 at most), in a bin (10)."""

_Frames = npt.NDArray[np.floating[Any]]


class LibrosaSource(Baseline):
    """Some or all of the features as the only layer.

    Parameters
    ----------
    name
        As given.
    features
        Their names, in the order they have in a frame.
    """

    def __init__(self, name: str, features: tuple[str, ...]) -> None:
        with optional_packages("baseline `librosa`"):
            import librosa
        self.name, self._features, self._librosa = name, features, librosa
        self.dim = sum(_DIMS[feature] for feature in features)
        reach = max(_REACH_SAMPLES[feature] for feature in features)
        self.grid = FrameGrid(SAMPLE_RATE, HOP_SAMPLES, reach, "center")
        sizes = (SAMPLE_RATE, _WINDOW_SAMPLES, HOP_SAMPLES, "80dB")
        self.fingerprint = "-".join(map(str, ("librosa", version("librosa"), "+".join(features), *sizes)))

    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the frames as the only layer; clips are analysed one by one, so none sees another's padding."""
        clips = []
        for row, count in zip(waveform, lengths.tolist(), strict=True):
            samples = row[:count].cpu().numpy()
            analysis = _ClipAnalysis(self._librosa, samples, self.grid.num_frames(count))
            frames = np.concatenate([getattr(analysis, feature) for feature in self._features])
            clips.append(torch.from_numpy(np.ascontiguousarray(frames.T, np.float32)))
        counts = torch.tensor([len(clip) for clip in clips])
        return [torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)], counts


class _ClipAnalysis:
    """The features of one clip, each ``[dim, frame]``; shared intermediate results are computed once."""

    def __init__(self, librosa: Any, samples: npt.NDArray[np.float32], frames: int) -> None:
        self._librosa, self._features, self._frames = librosa, librosa.feature, frames
        self._samples = np.pad(samples, (0, max(0, _LEAST_SAMPLES - len(samples))))

    @cached_property
    def mfcc(self) -> _Frames:
        found: _Frames = self._features.mfcc(S=self._decibels, n_mfcc=_DIMS["mfcc"])
        return found

    @cached_property
    def chroma(self) -> _Frames:
        constant_q = np.abs(
            self._librosa.cqt(
                self._samples, sr=SAMPLE_RATE, hop_length=HOP_SAMPLES, n_bins=252, bins_per_octave=36, tuning=0.0
            )
        )[:, : self._frames]
        # Each frame is divided by its largest value: without a floor, rounding errors would look like music.
        audible = np.where(constant_q < _CONSTANT_Q_FLOOR, 0.0, constant_q)
        found: _Frames = self._features.chroma_cqt(C=audible, sr=SAMPLE_RATE, n_chroma=_DIMS["chroma"])
        return found

    @cached_property
    def contrast(self) -> _Frames:
        found: _Frames = self._features.spectral_contrast(
            S=np.maximum(self._magnitude, _MAGNITUDE_FLOOR), sr=SAMPLE_RATE, n_fft=_WINDOW_SAMPLES, n_bands=6
        )
        return found

    @cached_property
    def tonnetz(self) -> _Frames:
        found: _Frames = self._features.tonnetz(chroma=self.chroma, sr=SAMPLE_RATE)
        return found

    @cached_property
    def tempogram(self) -> _Frames:
        onsets = self._librosa.onset.onset_strength(
            S=self._decibels, sr=SAMPLE_RATE, n_fft=_WINDOW_SAMPLES, hop_length=HOP_SAMPLES
        )
        found: _Frames = self._features.tempogram(
            onset_envelope=onsets, sr=SAMPLE_RATE, hop_length=HOP_SAMPLES, win_length=_DIMS["tempogram"]
        )
        return found

    @cached_property
    def _magnitude(self) -> _Frames:
        spectrum = self._librosa.stft(self._samples, n_fft=_WINDOW_SAMPLES, hop_length=HOP_SAMPLES)
        found: _Frames = np.abs(spectrum[:, : self._frames])
        return found

    @cached_property
    def _decibels(self) -> _Frames:
        power = self._features.melspectrogram(S=self._magnitude**2, sr=SAMPLE_RATE, n_fft=_WINDOW_SAMPLES)
        found: _Frames = self._librosa.power_to_db(power, amin=_POWER_FLOOR, top_db=None)
        return found


def build(name: str, features: tuple[str, ...]) -> LibrosaSource:
    """Make the source; UserError where librosa is missing."""
    return LibrosaSource(name, features)
