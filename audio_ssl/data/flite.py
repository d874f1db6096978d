"""Flite's C interface (flite.h, version 2.2), as much of it as gives the samples of a text.

Another kind of synthesis than espeak-ng's: units and statistics of recordings (Black and Lenzo 2001, "Flite: a small
fast run-time synthesis engine"; Black 2006, "CLUSTERGEN"). Its libraries find each other by name, so each is opened
after those that it needs, and the folder they lie in need not be known to the system.
"""

from __future__ import annotations

import ctypes
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError

_SIGNS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _Voice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """The synthesiser with some of its voices.

    Parameters
    ----------
    folder
        Where the libraries lie, ``libflite.so.1`` and others.
    voices
        ``awb``, ``kal16``, ``rms``, ``slt``: American English, and Scottish (awb).

    Raises
    ------
    UserError
        If a library is not there or does not load.
    """

    def __init__(self, folder: Path, voices: Sequence[str]) -> None:
        self._folder = folder
        # It plays sound through ALSA's library, without which it does not load.
        self._open("libasound.so.2", system=True)
        core = self._open("libflite.so.1")
        core.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        core.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        core.feat_set_float.restype = None
        core.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        core.delete_wave.argtypes = [ctypes.POINTER(_Wave)]
        core.flite_init()
        self._core = core
        for name in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
            self._open(name)
        self._voices = {voice: self._voice(voice) for voice in voices}

    def speak(
        self, text: str, voice: str, stretch: float = 1.0, shift: float = 1.0
    ) -> tuple[npt.NDArray[np.int16], int]:
        """Say an English text.

        Parameters
        ----------
        text
            What is said; accents are dropped.
        voice
            One of those that were opened.
        stretch
            Factor on durations.
        shift
            Factor on the fundamental frequency.

        Returns
        -------
        Samples, mono, and their rate in Hz.
        """
        plain = unicodedata.normalize("NFKD", text.translate(_SIGNS)).encode("ascii", "ignore")
        chosen = self._voices[voice]
        for feature, value in ((b"duration_stretch", stretch), (b"f0_shift", shift)):
            self._core.feat_set_float(chosen.contents.features, feature, value)
        wave = self._core.flite_text_to_wave(plain, chosen)
        try:
            said = wave.contents
            samples = np.frombuffer(ctypes.string_at(said.samples, 2 * said.num_samples), np.int16)
            return samples, int(said.sample_rate)
        finally:
            self._core.delete_wave(wave)

    def _voice(self, voice: str) -> Any:
        register = getattr(self._open(f"libflite_cmu_us_{voice}.so.1"), f"register_cmu_us_{voice}")
        register.restype = ctypes.POINTER(_Voice)
        register.argtypes = [ctypes.c_char_p]
        return register(None)

    def _open(self, name: str, system: bool = False) -> ctypes.CDLL:
        path = name if system else str(self._folder / name)
        try:
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise UserError(
                f"flite's library `{name}` does not load: {error}",
                where=str(self._folder),
                remedy="flite needs Debian's packages libflite1 and libasound2" if system else None,
            ) from error
