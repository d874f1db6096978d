"""The CQT of a whole song at MERT's setting: ours, nnAudio's two and librosa's, beside a dense float64 transform."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from _teacher_parts import OURS, Goal, Part, Results, Work, music  # type: ignore[import-not-found]
from torch import Tensor

RATE, HOP, BINS, OCTAVE, FMIN = 24_000, 320, 336, 48, 32.7


def reference(samples: npt.NDArray[np.float32], frames: list[int]) -> npt.NDArray[np.float64]:
    """Return dense float64 magnitudes of some frames, ``[frame, bin]``."""
    hertz = FMIN * 2 ** (np.arange(BINS) / OCTAVE)
    lengths = np.ceil(RATE / hertz / (2 ** (1 / OCTAVE) - 1)).astype(int)
    edge = int(lengths.max())
    padded = np.pad(samples.astype(np.float64), edge)
    found = np.empty((len(frames), BINS))
    for index, (frequency, length) in enumerate(zip(hertz, lengths, strict=True)):
        moment = np.arange(length) - length // 2 - length % 2
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        kernel = window / window.sum() * np.sqrt(length) * np.exp(-2j * np.pi * frequency / RATE * moment)
        found[:, index] = np.abs(padded[edge + np.array(frames)[:, None] * HOP + moment] @ kernel)
    return found


def _ours(waveform: Tensor) -> Work:
    from audio_ssl.targets.teachers import cqt

    teacher = cqt.build(cqt.Config(BINS, OCTAVE, FMIN, HOP), RATE, torch.device("cpu"))
    return lambda: teacher(waveform)


def _nnaudio(waveform: Tensor, name: str) -> Work:
    from nnAudio.features import cqt

    transform = getattr(cqt, name)(
        sr=RATE,
        hop_length=HOP,
        fmin=FMIN,
        n_bins=BINS,
        bins_per_octave=OCTAVE,
        pad_mode="constant",
        verbose=False,
    )

    def work() -> Tensor:
        with torch.inference_mode():
            magnitudes: Tensor = transform(waveform[None])[0].T
        return magnitudes

    return work


def _librosa(waveform: Tensor) -> Work:
    import librosa

    samples = waveform.numpy()

    def work() -> Tensor:
        values = librosa.cqt(samples, sr=RATE, hop_length=HOP, fmin=FMIN, n_bins=BINS, bins_per_octave=OCTAVE)
        return torch.from_numpy(np.abs(values)).T

    return work


def parts(quick: bool) -> list[Part]:
    """Return the part; a quick run has a short clip and no librosa, which compiles for long."""
    seconds = 20 if quick else 240
    waveform = music(seconds, RATE)

    def judge(results: Results) -> dict[str, dict[str, float]]:
        last = seconds * RATE // HOP
        frames = sorted({0, 1, last - 1, last, *range(0, last, last // (12 if quick else 36))})
        exact = reference(waveform.numpy(), frames)
        return {
            name: {"relative_error": float(np.abs(values[-1][frames].numpy() - exact).max() / exact.max())}
            for name, values in results.items()
        }

    systems = {
        OURS: partial(_ours, waveform),
        "nnAudio CQT1992v2": partial(_nnaudio, waveform, "CQT1992v2"),
        "nnAudio CQT2010v2": partial(_nnaudio, waveform, "CQT2010v2"),
    }
    if not quick:
        systems["librosa.cqt"] = partial(_librosa, waveform)
    goals = (
        Goal("times_real_time", 700),
        Goal("ours_is_faster", 30, against="nnAudio CQT1992v2"),
        Goal("relative_error", 1e-5, at_most=True),
    )
    what = f"{BINS} bins, {OCTAVE} an octave, {RATE} Hz, hop {HOP}, {seconds} s"
    return [Part("cqt", what, systems, seconds, judge, goals, memory=not quick)]
