"""What a frontend and an encoder are to the rest of the suite: how they are called, and what their files say of them.

A file of `frontends/` or `encoders/` has ``TRAITS``, which the checks of a recipe read through `traits_of`. What
depends on the settings is given to the constructors below. Neither class has weights or buffers, or draws a number, so
names of saved weights and the order of random draws are those of the parts alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.base.config import kind_of, traits_of
from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.normalisation import Collector, Collectors
from audio_ssl.models.padding import HiddenNoise, Visible
from audio_ssl.models.points import Point


@dataclass(frozen=True)
class MelSettings:
    """A mel spectrogram, as a part's config asks for it."""

    n_mels: int
    hop_seconds: float
    window_seconds: float
    fft_samples: int | None
    """Length of the Fourier transform; None: the window's."""

    form: str = "plain"
    """Window and triangles, see `MelSpectrogram`."""

    normalize: bool = False
    """Each band has zero mean and unit variance over the clip, so a frame does not say how loud the clip is."""

    mean: float | None = None
    std: float | None = None
    """Of all values of the data, with `mean`; None: not used."""

    decibels: bool = False
    """Values are in decibels; else they are natural logarithms."""


@dataclass(frozen=True)
class FrontendTraits:
    """What the file of a frontend says of it."""

    mel: Callable[[Any], MelSettings] | None = None
    """Returns the mel spectrogram of a config; None: the frontend has none."""

    inner: Callable[[Any], dict[str, object]] | None = None
    """Returns the configs of the frontends that a config is made of, by their key paths; None: of none."""

    training: tuple[str, ...] = ()
    """Keys that matter while a model is trained and change nothing of a trained one."""


@dataclass(frozen=True)
class EncoderTraits:
    """What the file of an encoder says of it."""

    leaves_out: bool = False
    """Takes `visible`: masked frames can be left out."""

    points: tuple[Point, ...] = ("output",)
    """Where in a layer a hidden state can be taken."""

    heads: Callable[[Any], int] | None = None
    """Returns the attention heads of a config; None: it does not attend."""

    training: tuple[str, ...] = ()
    """Keys that matter while a model is trained and change nothing of a trained one."""


class Frontend(nn.Module, ABC):
    """Waveforms to frames.

    Parameters
    ----------
    grid
        How samples become frames.
    dim
        Width of the frames.
    noise_width
        Numbers of the spectrogram that belong to one frame, where noise can take their place; None: it cannot.
    """

    def __init__(self, grid: FrameGrid, dim: int, noise_width: int | None = None) -> None:
        super().__init__()
        self.grid, self.dim, self.noise_width = grid, dim, noise_width

    @abstractmethod
    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: Any = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return frames, zero past each clip's, and the frames of each clip.

        Parameters
        ----------
        waveform, lengths
            A padded batch, and the samples of each clip.
        statistics
            What this frontend's `collector` gathered of a longer waveform of which each row is a part; None: rows are
            whole clips.
        noise
            Replaces the normalised spectrogram of hidden frames; None: nothing is hidden. Only for a frontend with a
            `noise_width`.
        """

    def collector(self) -> Collector | Collectors | None:
        """Return what gathers the statistics of a waveform in pieces; None: no frame looks at the whole clip."""
        return None


class Encoder(nn.Module, ABC):
    """Frames to hidden states.

    Parameters
    ----------
    dim
        Width of the hidden states.
    num_layers
        Layers; there is one hidden state more.
    layer_drop
        Chance that a layer is skipped in training.
    """

    feature_norm: nn.Module
    """Norm of the frontend's frames; an identity where there is none."""

    projection: nn.Module
    """From the frontend's width to the encoder's; an identity where there is none."""

    mask_embedding: nn.Parameter
    """``[dim]``, takes the place of masked frames."""

    def __init__(self, dim: int, num_layers: int, layer_drop: float = 0.0) -> None:
        super().__init__()
        self.dim, self.num_layers, self.layer_drop = dim, num_layers, layer_drop

    @abstractmethod
    def forward(
        self,
        features: Float[Tensor, "batch frame feature"],
        frames: Int[Tensor, " batch"],
        mask: Bool[Tensor, "row frame"] | None = None,
        visible: Visible | None = None,
        *,
        layers: int | None = None,
        point: Point = "output",
    ) -> list[Float[Tensor, "row kept dim"]]:
        """Return the input of the first layer and the state of every layer, zero past each clip's frames.

        Parameters
        ----------
        features, frames
            Of the frontend, and the frames of each clip.
        mask
            Frames to replace by the mask embedding; one row for each clip.
        visible
            What `mask` leaves, for an encoder that `leaves_out`: masked frames are then zero for convolutional
            positions, left out of the layers and missing in what is returned. A clip may have several rows of `mask`,
            one after the other. None: every frame is in the layers.
        layers
            Layers to run, from the first; None: all.
        point
            Where in a layer its state is taken.
        """

    def alike(self) -> Sequence[nn.Module]:
        """Return the layers that have one form, so that one compilation serves all; empty: there are none."""
        return ()

    def closing(self) -> Sequence[nn.Module]:
        """Return the modules that see what the last layer gives, such as a last norm; empty: there are none."""
        return ()


def frontends_in(config: object) -> dict[str, object]:
    """Return the configs of the frontends that a frontend is made of, by their key paths; its own, where of none."""
    inner = traits_of(config, FrontendTraits).inner
    return {"": config} if inner is None else inner(config)


def check_point(point: str, encoder: object) -> None:
    """Raise UserError where an encoder, given by its config, has no such point in its layers."""
    given = traits_of(encoder, EncoderTraits).points
    if point in given:
        return
    if point in get_args(Point):
        raise UserError(
            f"`point` {point} needs layers that end with a feed-forward part, which a {kind_of(encoder)} encoder does "
            "not have",
            remedy="give `point: output`, or take a transformer or a conformer",
        )
    check_choice("point", point, given)
