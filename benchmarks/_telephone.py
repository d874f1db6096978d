"""Speech as a telephone gives it: another domain for models that heard it as it was recorded.

Pink noise at 5 to 20 dB below the speech, the band from 300 to 3400 Hz, 8 kHz, 8 bits by the mu-law of ITU-T G.711. The
noise and its level belong to the clip, so a corpus is the same whenever it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from scipy.signal import butter, sosfiltfilt

from audio_ssl.base.errors import AudioError
from audio_ssl.base.files import atomic_write
from audio_ssl.base.progress import Progress
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip

Array = npt.NDArray[np.float64]
RATE, LINE_RATE = 16_000, 8_000
_MU = 255.0


def telephone(wave: Array, seed: int) -> Array:
    """Return a waveform of 16 kHz, as long as before, after a telephone line.

    Parameters
    ----------
    wave
        Samples of 16 kHz.
    seed
        Of the noise and its level.
    """
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(len(wave)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(wave))
    band = butter(4, (300, 3400), "bandpass", fs=RATE, output="sos")
    speech, noise = (sosfiltfilt(band, one, padlen=min(200, len(wave) - 1)) for one in (wave, noise))
    below = 10 ** (-rng.uniform(5.0, 20.0) / 20)
    noisy = speech + noise * (below * np.std(speech) / max(float(np.std(noise)), 1e-12))
    line = soxr.resample(0.5 * noisy / max(float(np.abs(noisy).max()), 1e-9), RATE, LINE_RATE)
    pressed = np.sign(line) * np.log1p(_MU * np.abs(line)) / np.log1p(_MU)
    pressed = np.round(pressed * 127) / 127
    heard = np.sign(pressed) * np.expm1(np.abs(pressed) * np.log1p(_MU)) / _MU
    wide = soxr.resample(heard, LINE_RATE, RATE)
    return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]


def by_telephone(clips: Iterable[Clip], folder: Path) -> list[Clip]:
    """Return clips as a telephone gives them, in files of a folder; those that are there are kept."""
    found, clips = [], list(clips)
    with Progress("by telephone", total=len(clips)) as progress:
        for clip in clips:
            key = hashlib.sha256(f"{clip.path} {clip.start} {clip.seconds}".encode()).hexdigest()[:16]
            path = folder / key[:2] / f"{key}.flac"
            try:
                if not path.is_file():
                    wave = telephone(read_clip(clip, RATE).astype(np.float64), int(key, 16) % 2**32)
                    with atomic_write(path) as partial:
                        soundfile.write(partial, wave, RATE)
                found.append(replace(clip, id=f"telephone/{clip.id}", path=str(path), start=0.0))
            except AudioError as error:
                print(f"left out: {clip.id}: {error.reason}")
            progress.advance()
    return found
