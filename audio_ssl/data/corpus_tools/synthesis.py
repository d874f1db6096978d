"""Speech synthesis through the C interfaces of espeak-ng (speak_lib.h) and Flite (flite.h, version 2.2).

espeak-ng also gives the times of phones and words. Flite synthesises differently, from units and statistics of
recordings (Black and Lenzo 2001, "Flite: a small fast run-time synthesis engine"; Black 2006, "CLUSTERGEN"). The
libraries of Flite find each other by name. Each is opened after those that it needs, so the system need not know their
folder.
"""

from __future__ import annotations

import ctypes
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError

Span = tuple[float, float, str]
"""Start and end in seconds, and a label."""

_SYNCHRONOUS = 2
_PHONEME_EVENTS, _IPA = 1, 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD, _PHONEME = 1, 7
_STRESS = str.maketrans("", "", "ˈˌ")


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


@dataclass(frozen=True)
class Utterance:
    """Synthesised speech with its phones and words."""

    samples: npt.NDArray[np.int16]
    """Mono samples."""

    phones: list[Span]
    """Phones in IPA without stress; pauses are not included."""

    words: list[Span]
    """Words as written. Words that the library joins, such as ``in the``, are one item."""


class Espeak:
    """The synthesiser espeak-ng.

    Parameters
    ----------
    library, data
        Paths of the shared library and of its data.

    Raises
    ------
    UserError
        If the library does not start.
    """

    def __init__(self, library: str, data: str) -> None:
        self._library = ctypes.CDLL(library)
        options = _PHONEME_EVENTS | _IPA
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), options)
        if self.sample_rate <= 0:
            raise UserError("espeak-ng does not start", where=data, remedy="reinstall espeakng-loader")
        self._blocks: list[bytes] = []
        self._phones: list[tuple[int, str]] = []
        self._words: list[tuple[int, int]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        # The library keeps the pointer only, so the object must stay alive.
        self._callback = kind(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(
        self, text: str, language: str, voice: str, words_per_minute: int, pitch: int = 50, pitch_range: int = 50
    ) -> Utterance:
        """Synthesise a text.

        Repeated calls differ a little, as the library adds random noise that depends on earlier calls.

        Parameters
        ----------
        text
            The text.
        language
            Name of a voice file of the library, such as ``en-us``.
        voice
            Name of a variant, such as ``f3``.
        words_per_minute
            Speaking rate; the default of the library is 175.
        pitch, pitch_range
            Pitch and range of intonation from 0 to 100. 50 is that of the voice; a range of 0 is monotone.

        Raises
        ------
        UserError
            If there is no such voice.
        """
        for heard in (self._blocks, self._phones, self._words):
            heard.clear()
        if self._library.espeak_SetVoiceByName(f"{language}+{voice}".encode()) != 0:
            raise UserError(f"espeak-ng has no voice `{language}+{voice}`", remedy="reinstall espeakng-loader")
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _UTF8, None, None)
        samples = np.frombuffer(b"".join(self._blocks), np.int16)
        ends = [*(start for start, _ in self._phones[1:]), len(samples)]
        spans = [
            (start, end, name) for (start, name), end in zip(self._phones, ends, strict=True) if name and end > start
        ]
        return Utterance(samples, [self._seconds(*span) for span in spans], self._spoken(text, spans, len(samples)))

    def _spoken(self, text: str, phones: list[tuple[int, int, str]], total: int) -> list[Span]:
        """Return the words, each from its first phone to its last."""
        words = []
        following = [*self._words[1:], (total, len(text) + 1)]
        for (start, place), (stop, next_place) in zip(self._words, following, strict=True):
            inside = [(a, b) for a, b, _ in phones if start <= a < stop]
            if inside:
                # Positions count characters from 1.
                written = " ".join(text[place - 1 : next_place - 1].split()).strip(" .,;:!?")
                words.append(self._seconds(inside[0][0], inside[-1][1], written))
        return words

    def _seconds(self, start: int, end: int, label: str) -> Span:
        return start / self.sample_rate, end / self.sample_rate, label

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._blocks.append(ctypes.string_at(samples, 2 * count))
        number = 0
        while events and events[number].type:
            event = events[number]
            if event.type == _PHONEME:
                name = bytes(event.id.string).decode("utf-8", "ignore").translate(_STRESS)
                self._phones.append((event.sample, name))
            elif event.type == _WORD:
                self._words.append((event.sample, event.text_position))
            number += 1
        return 0


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
    """The synthesiser Flite with some of its voices.

    Parameters
    ----------
    folder
        Folder of the libraries, ``libflite.so.1`` and others.
    voices
        ``awb``, ``kal16``, ``rms``, ``slt``: American English, and Scottish (awb).

    Raises
    ------
    UserError
        If a library is missing or does not load.
    """

    def __init__(self, folder: Path, voices: Sequence[str]) -> None:
        self._folder = folder
        # It needs ALSA's library to load.
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
        """Synthesise an English text.

        Parameters
        ----------
        text
            The text; accents are removed.
        voice
            One of the opened voices.
        stretch
            Factor of the durations.
        shift
            Factor of the fundamental frequency.

        Returns
        -------
        Mono samples and their sample rate in Hz.
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
