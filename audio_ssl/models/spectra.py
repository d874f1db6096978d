"""Mel spectrograms, MFCCs and their differences over time, by ``torch.stft``.

Values are torchaudio's to 1e-5 (``MelSpectrogram``, ``MFCC`` with ``log_mels=True`` and ``compute_deltas``, with their
defaults: powers, HTK's mel scale, triangles of peak 1, a periodic Hann window; ``AmplitudeToDB`` for decibels), and
torchaudio is not needed. A spectrogram may have SpeechBrain's window and triangles instead (``Fbank``). Left out on
purpose: Slaney's scale, floors that depend on a clip's loudest band, and Kaldi's windows, dither and energy.
"""

from __future__ import annotations

import functools
import logging
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError

logger = logging.getLogger(__name__)

FORMS = ("plain", "speechbrain")
"""Of `MelSpectrogram`."""

DECIBEL_FLOOR = 1e-10
"""Least power before it is turned into decibels (torchaudio's ``AmplitudeToDB``: -100 dB)."""

LOG_FLOOR = 1e-6
"""Added to a power before its logarithm (torchaudio's MFCC; about -60 dB of a full-scale sine's band)."""


class MelSpectrogram(nn.Module):
    """Powers in triangular mel bands, and their logarithms. Constants only: nothing of it is saved with a model.

    Bands so narrow that no spectral line falls into them are zero for every waveform; the log says how many there are,
    and how long a transform has a line in each.

    Parameters
    ----------
    sample_rate
        In Hz; the bands reach from 0 Hz to half of it.
    window_samples
        Of the Hann window.
    hop_samples
        From one frame to the next.
    bands
        Number of mel bands.
    center
        Frames are centred on their hops, and beyond its ends the waveform counts as silent. False: frames lie inside
        the waveform.
    form
        ``plain``: torchaudio's; ``speechbrain``: a Hamming window, and triangles as wide above their middle as below.
    fft_samples
        Of the Fourier transform, in whose middle the window lies among zeros: the same frames, with more spectral
        lines. None: those of the window.

    Raises
    ------
    UserError
        If the transform is shorter than the window.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int,
        window_samples: int,
        hop_samples: int,
        bands: int,
        center: bool = False,
        form: str = "plain",
        fft_samples: int | None = None,
    ) -> None:
        super().__init__()
        self._hop_samples, self._center = hop_samples, center
        theirs = form == "speechbrain"
        lines = fft_or_window(fft_samples, window_samples)
        filters = mel_filters(sample_rate, lines, bands, symmetric=theirs)
        if empty := empty_bands(filters):
            _warn_of_empty_bands(empty, bands, lines, sample_rate, theirs)
        window = torch.hamming_window(window_samples) if theirs else torch.hann_window(window_samples)
        # Where the transform is centred, so is the window.
        before = lines // 2 - window_samples // 2
        self._zeros = (before, lines - window_samples - before)
        self.register_buffer("window", F.pad(window, self._zeros), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch frame band"]:
        """Return the powers; a clip in a batch has those it has alone.

        Parameters
        ----------
        waveform
            Where frames are not centred, at least a window long.
        """
        window, filters = (constant.to(waveform) for constant in (self.window, self.filters))
        if not self._center and any(self._zeros):
            waveform = F.pad(waveform, self._zeros)
        return power_spectrum(waveform, window, self._hop_samples, self._center).transpose(-1, -2) @ filters.T

    def log(self, waveform: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch frame band"]:
        """Return the natural logarithms of the powers, ``LOG_FLOOR`` added."""
        return torch.log(self(waveform) + LOG_FLOOR)


class DecibelMel(nn.Module):
    """Mel bands in decibels, by one mean and one deviation of a whole corpus (MusicFM, Won et al. 2023, MuQ).

    Frames are centred on their hops and a clip is mirrored at its ends, so a frame never sees a neighbour's samples or
    padding. Clips are cut to whole output frames of `stack` hops, and the last centred frame is left out, so a clip has
    `stack` spectrogram frames for each output frame. Input and targets of a model are the same numbers.

    Parameters
    ----------
    sample_rate
        In Hz.
    window_samples
        Of the Hann window.
    hop_samples
        From one frame to the next.
    bands
        Number of mel bands.
    stack
        Spectrogram frames of one output frame.
    mean, std
        Of all values of the corpus, in dB.
    fft_samples
        Of the Fourier transform, see `MelSpectrogram`.
    """

    def __init__(
        self,
        sample_rate: int,
        window_samples: int,
        hop_samples: int,
        bands: int,
        stack: int,
        mean: float,
        std: float,
        fft_samples: int | None = None,
    ) -> None:
        super().__init__()
        self._mel = MelSpectrogram(sample_rate, window_samples, hop_samples, bands, fft_samples=fft_samples)
        self._window_samples, self._frame_samples = window_samples, hop_samples * stack
        self._mean, self._std = mean, std

    def forward(
        self, waveform: Float[Tensor, "batch sample"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame band"]:
        """Return standardised decibels, float32 also under autocast; what is past a clip's frames means nothing."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            whole = waveform.shape[1] // self._frame_samples * self._frame_samples
            if whole == 0:
                return waveform.new_zeros(len(waveform), 0, self._mel.filters.shape[0])
            last = lengths // self._frame_samples * self._frame_samples - 1
            # An odd window has one sample more on its right.
            odd = self._window_samples % 2
            wide = mirrored(waveform[:, :whole], last, self._window_samples // 2 + odd)[:, odd:]
            power = self._mel(wide)[:, :-1]
            decibels = 10.0 * torch.log10(power.clamp(min=DECIBEL_FLOOR))
            return (decibels - self._mean) / self._std


def mirrored(
    waveform: Float[Tensor, "batch sample"], last: Int[Tensor, " batch"], reach: int
) -> Float[Tensor, "batch wide"]:
    """Return waveforms with more samples on both sides, mirrored at the first sample and at the clip's last.

    Parameters
    ----------
    waveform
        A padded batch; what lies past a clip's last sample is not looked at.
    last
        Number of each clip's last sample, from 0.
    reach
        Samples to add on each side.

    Examples
    --------
    >>> mirrored(torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([2]), 2)[0, :7].tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    last = last.clamp(min=0)[:, None]
    place = torch.arange(-reach, waveform.shape[1] + reach, device=waveform.device).abs()
    # A clip shorter than the reach is mirrored more than once.
    place = place % (2 * last).clamp(min=1)
    return waveform.gather(1, torch.where(place > last, 2 * last - place, place))


def hop_and_window(sample_rate: int, hop_seconds: float, window_seconds: float) -> tuple[int, int]:
    """Return the samples of a hop and of a window.

    Parameters
    ----------
    sample_rate
        In Hz.
    hop_seconds, window_seconds
        As a config has them.

    Raises
    ------
    UserError
        If one does not last a sample, by its name.

    Examples
    --------
    >>> hop_and_window(16000, 0.01, 0.025)
    (160, 400)
    """
    hop, window = round(hop_seconds * sample_rate), round(window_seconds * sample_rate)
    for name, samples, seconds in (("hop_seconds", hop, hop_seconds), ("window_seconds", window, window_seconds)):
        if samples < 1:
            raise UserError(f"`{name}` must last at least a sample, 1/{sample_rate} s, but is {seconds:g}")
    return hop, window


@functools.cache
def _warn_of_empty_bands(empty: int, bands: int, fft_samples: int, sample_rate: int, symmetric: bool) -> None:
    # Once: a run builds its spectrogram many times.
    logger.warning(
        "%d of %d mel bands are empty with a Fourier transform of %d samples at %d Hz: they are the same for every "
        "sound; a model trained with %s has none",
        *(empty, bands, fft_samples, sample_rate, _mending(sample_rate, fft_samples, bands, symmetric)),
    )


def _mending(sample_rate: int, fft_samples: int, bands: int, symmetric: bool) -> str:
    longer = fft_for_bands(sample_rate, fft_samples, bands, symmetric)
    return "fewer bands" if longer is None else f"`fft_samples: {longer}`"


def fft_or_window(fft_samples: int | None, window_samples: int) -> int:
    """Return the samples of a Fourier transform that a config may leave to the window.

    Raises
    ------
    UserError
        If it is shorter than the window.
    """
    if fft_samples is None:
        return window_samples
    if fft_samples < window_samples:
        raise UserError(
            f"`fft_samples` must be at least the {window_samples} samples of the window, but is {fft_samples}",
            remedy="null takes those of the window",
        )
    return fft_samples


def fft_for_bands(sample_rate: int, window_samples: int, bands: int, symmetric: bool = False) -> int | None:
    """Return the smallest power of two that holds a window and leaves no band empty; None where none below 2^18 does.

    Examples
    --------
    >>> fft_for_bands(16000, 400, 80), fft_for_bands(16000, 400, 128)
    (512, 1024)
    """
    lengths = (1 << exponent for exponent in range((window_samples - 1).bit_length(), 18))
    return next((n for n in lengths if not empty_bands(mel_filters(sample_rate, n, bands, symmetric=symmetric))), None)


def check_bands(
    bands: int, window_samples: int, sample_rate: int, fft_samples: int | None = None, symmetric: bool = False
) -> None:
    """Raise UserError if a band is so narrow that it holds no spectral line: it would be constant.

    Parameters
    ----------
    bands
        Number of mel bands.
    window_samples, sample_rate
        Of the spectrogram.
    fft_samples
        Of the Fourier transform; None: those of the window.
    symmetric
        Of `mel_filters`.
    """
    lines = fft_or_window(fft_samples, window_samples)
    if empty := empty_bands(mel_filters(sample_rate, lines, bands, symmetric=symmetric)):
        raise UserError(
            f"{empty} of `n_mels` {bands} bands are empty with a window of {window_samples / sample_rate:g} s and a "
            f"Fourier transform of {lines} samples at {sample_rate} Hz: they would be the same for every sound",
            remedy=f"give {_mending(sample_rate, lines, bands, symmetric)}, or fewer bands; `fft_samples: {lines}` "
            "keeps the empty ones where a part may have them",
        )


def check_constant_q(n_bins: int, bins_per_octave: int, fmin_hz: float, sample_rate: int) -> None:
    """Raise UserError unless all bins of a config lie above 0 Hz and at most at half of ``sample_rate`` (Hz)."""
    if not fmin_hz > 0:
        raise UserError(f"`fmin_hz` must be above 0, but is {fmin_hz:g}")
    top = fmin_hz * 2 ** ((n_bins - 1) / bins_per_octave)
    if top > sample_rate / 2:
        raise UserError(
            f"the top bin of `n_bins` {n_bins} lies at {top:.0f} Hz, above half of {sample_rate} Hz",
            remedy="give fewer bins or a higher data.sample_rate",
        )


def power_spectrum(
    waveform: Float[Tensor, "*batch sample"], window: Float[Tensor, " window"], hop_samples: int, center: bool
) -> Float[Tensor, "*batch line frame"]:
    """Return the squared magnitudes of the short-time Fourier transform; its length is that of the window.

    Parameters
    ----------
    waveform
        Signals.
    window
        Multiplies every frame.
    hop_samples
        From one frame to the next.
    center
        Frames are centred on their hops, with zeros beyond the ends; else they lie inside.
    """
    rows = waveform.reshape(-1, waveform.shape[-1])
    spectrum = torch.stft(
        rows, len(window), hop_samples, window=window, center=center, pad_mode="constant", return_complex=True
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return power.reshape(*waveform.shape[:-1], *power.shape[-2:])


def mel_filters(
    sample_rate: int, window_samples: int, bands: int, dtype: torch.dtype = torch.float32, symmetric: bool = False
) -> Float[Tensor, "band line"]:
    """Return triangular filters, evenly spaced in mel (HTK), each of peak 1 before it is sampled at the spectral lines.

    Parameters
    ----------
    sample_rate
        In Hz.
    window_samples
        Of the Fourier transform; it has ``window_samples // 2 + 1`` lines.
    bands
        Number of filters.
    dtype
        In which corners and slopes are computed. float32, as in torchaudio, gives the same bits.
    symmetric
        Each filter falls as fast as it rises (SpeechBrain), and does not reach the middle of the next one.
    """
    # torchaudio cuts half a hertz off odd rates.
    top = float(sample_rate // 2)
    # On the CPU, also where a model is laid out on the meta device: their values are looked at.
    mels = torch.linspace(0.0, 2595.0 * math.log10(1.0 + top / 700.0), bands + 2, dtype=dtype, device="cpu")
    corners = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    lines = torch.linspace(0, top, window_samples // 2 + 1, dtype=dtype, device="cpu")
    widths, away = corners.diff(), corners[:, None] - lines
    rising, falling = -away[:-2] / widths[:-1, None], away[2:] / widths[1:, None]
    if symmetric:
        falling = 2.0 - rising
    return torch.minimum(rising, falling).clamp(min=0)


def empty_bands(filters: Float[Tensor, "band line"]) -> int:
    """Return how many filters let nothing through.

    Examples
    --------
    >>> empty_bands(mel_filters(16000, 400, 80)), empty_bands(mel_filters(16000, 400, 128))
    (0, 4)
    """
    return int((filters.amax(1) == 0).sum())


def cepstra(log_mel: Float[Tensor, "*batch frame band"], count: int) -> Float[Tensor, "*batch frame coefficient"]:
    """Return the first `count` coefficients of the orthonormal cosine transform (DCT-II) of log-mel frames: MFCCs.

    Examples
    --------
    >>> cepstra(torch.ones(2, 4), 2).round(decimals=4).abs().tolist()
    [[2.0, 0.0], [2.0, 0.0]]
    """
    bands = log_mel.shape[-1]
    places, orders = torch.arange(float(bands)) + 0.5, torch.arange(float(count))
    cosines = torch.cos(math.pi / bands * places[:, None] * orders) * math.sqrt(2.0 / bands)
    cosines[:, 0] *= math.sqrt(0.5)
    return log_mel @ cosines.to(log_mel)


def deltas(frames: Float[Tensor, "*batch frame dim"]) -> Float[Tensor, "*batch frame dim"]:
    """Return the slope at each frame of the line through five frames; edge frames are repeated beyond the edges.

    Examples
    --------
    >>> deltas(torch.arange(5.0)[:, None]).flatten().tolist()
    [0.5, 0.800000011920929, 1.0, 0.800000011920929, 0.5]
    """
    first, last = frames[..., :1, :], frames[..., -1:, :]
    wide = torch.cat([first, first, frames, last, last], dim=-2)
    count = frames.shape[-2]
    near, far = (wide.narrow(-2, 2 + step, count) - wide.narrow(-2, 2 - step, count) for step in (1, 2))
    return (near + 2 * far) / 10
