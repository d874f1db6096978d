"""Several frontends side by side: their frames of the same instant, one after the other in one wider frame.

Timbre comes through mel bands, harmony through constant-Q bins; a model that hears both need not find either in the
other. Frame i of each part belongs to the samples from ``i * hop`` on, as everywhere in this package
(`audio_ssl.data.frames`): a mel frame's window begins there, a constant-Q frame's kernels have their middle there. All
parts have the same hop, and a clip has the frames of the part that gives fewest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.config import PartOf, kind_of
from audio_ssl.base.config import build as build_part
from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.interfaces import Frontend, FrontendTraits
from audio_ssl.models.normalisation import Collector, Collectors, Moments
from audio_ssl.models.padding import HiddenNoise, frames_inside

TRAITS = FrontendTraits(inner=lambda config: {f".parts[{n}]": part for n, part in enumerate(config.parts)})

_EPSILON = 1e-5
"""Of the parts' layer norms (that of torch)."""


@dataclass(frozen=True)
class Config:
    """The parts."""

    parts: tuple[Annotated[object, PartOf("frontends")], ...]
    """Two or more frontends of the same frames per second, each with a kind and its keys."""

    norm: bool = True
    """Layer norm without weights of each part's frame, so that no part outweighs another by its scale."""


class ConcatFrontend(Frontend):
    """Frames of several frontends, side by side."""

    def __init__(self, parts: list[Frontend], norm: bool) -> None:
        self._noise_widths = [part.noise_width for part in parts if part.noise_width is not None]
        # Where one part cannot be filled, the frame as a whole cannot.
        noise_width = sum(self._noise_widths) if len(self._noise_widths) == len(parts) else None
        super().__init__(_shortest([part.grid for part in parts]), sum(part.dim for part in parts), noise_width)
        self.parts = nn.ModuleList(parts)
        self._norm = norm

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        statistics: tuple[Moments | None, ...] | None = None,
        noise: HiddenNoise | None = None,
    ) -> tuple[Float[Tensor, "batch frame dim"], Int[Tensor, " batch"]]:
        """Return frames, zero past each clip's, and the frames of each clip; see `Frontend.forward`."""
        frames, total = self.grid.num_frames(lengths), self.grid.num_frames(waveform.shape[1])
        found = []
        for number, part in enumerate(self.parts):
            own = None if statistics is None else statistics[number]
            hidden = None if noise is None else self._noise_of(noise, number)
            features = part(waveform, lengths, own, hidden)[0][:, :total]
            found.append(F.layer_norm(features, features.shape[2:], eps=_EPSILON) if self._norm else features)
        return torch.where(frames_inside(frames, total), torch.cat(found, 2), 0.0), frames

    def collector(self) -> Collectors | None:
        """Return what gathers the parts' statistics of a waveform in pieces; None where no part looks at the clip."""
        made = [cast("Collector | None", cast(Frontend, part).collector()) for part in self.parts]
        return Collectors(made) if any(collector is not None for collector in made) else None

    def _noise_of(self, noise: HiddenNoise, number: int) -> HiddenNoise:
        first = sum(self._noise_widths[:number])
        return HiddenNoise(noise.mask, noise.values[..., first : first + self._noise_widths[number]])


def _shortest(grids: list[FrameGrid]) -> FrameGrid:
    """Return the grid that gives fewest frames for any length of a clip."""
    # How many samples a clip must have before its first frame: it orders the counts at every length.
    needed = {"ceil": 1, "center": 0}
    found = grids[0]
    for grid in grids[1:]:
        windows = [needed.get(one.edge, one.num_samples(1)) for one in (found, grid)]
        found = grid if windows[1] > windows[0] else found
    return found


def _named(config: Config, frontends: list[Frontend]) -> Iterator[tuple[str, FrameGrid]]:
    for number, (part, frontend) in enumerate(zip(config.parts, frontends, strict=True)):
        yield f"parts[{number}] ({kind_of(part)})", frontend.grid


def build(config: Config, sample_rate: int) -> ConcatFrontend:
    """Make the frontend; UserError where parts are too few or differ in their hop."""
    if len(config.parts) < 2:
        raise UserError(f"`parts` must be at least 2 frontends, but has {len(config.parts)}", remedy="add another part")
    made: list[Frontend] = []
    for number, part in enumerate(config.parts):
        if isinstance(part, Config):
            raise UserError(f"`parts[{number}]` must not be `concat` itself", remedy="list its parts here")
        try:
            made.append(build_part(part, sample_rate))
        except UserError as error:
            raise UserError(f"parts[{number}]: {error.what}", where=error.where, remedy=error.remedy) from error
    (name, grid), *others = _named(config, made)
    for other, theirs in others:
        if theirs.hop_samples != grid.hop_samples:
            raise UserError(
                f"all `parts` must have the same hop, but {name} has {grid.hop_samples} samples and {other} "
                f"{theirs.hop_samples}",
                remedy="change `hop_samples` of a cqt or nnaudio part, or `stack` or `hop_seconds` of a mel part",
            )
    return ConcatFrontend(made, config.norm)
