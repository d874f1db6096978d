"""`load_units` gives units in Python: waveforms to the units that `audio-ssl units` writes of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.artifacts.unit_records import UNITS_FILE, read_units_record
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.features.source import FeatureSource
from audio_ssl.models.waveforms import checked_batch
from audio_ssl.targets.code_books import CodeBook, read_code_book
from audio_ssl.units.job import check_book, codes_of
from audio_ssl.units.sources import TeacherSource, open_units, teacher_name
from audio_ssl.units.tables import runs_of


class UnitSequence(NamedTuple):
    """The units of one waveform."""

    unit: Int[Tensor, unit * codebook]
    """The units; of several codebooks ``[unit, codebook]``."""
    start: Float[Tensor, " unit"]
    """Seconds from the waveform's start; float64."""
    end: Float[Tensor, " unit"]


def load_units(
    units: str | Path, *, model: str | None = None, layer: int | None = None, device: str = "cpu"
) -> UnitEncoder:
    """Open what turns waveforms into units.

    Parameters
    ----------
    units
        A folder that ``audio-ssl units`` wrote, which says its model and layer; or a code book, as ``--codebook`` takes
        it, with `model` and `layer`; or a teacher that gives codes, such as ``encodec?codebooks=4``, or the run folder
        of a codec.
    model
        What ``audio-ssl units`` takes; None: that of the folder.
    layer
        Hidden state that is coded; None: that of the folder or of the code book.
    device
        Where it computes.

    Raises
    ------
    UserError
        If there is nothing of this name, the code book is of another layer, or the model must be named.
    """
    path, at = Path(units), torch.device(device)
    if teacher_name(str(units)) is not None:
        return UnitEncoder(open_units(str(units), at), None, 0)
    if (path / UNITS_FILE).is_file():
        record = read_units_record(path)
        model, layer = model or record.model, record.layer if layer is None else layer
        if layer is None:
            return UnitEncoder(open_units(model, at), None, 0)
    book = read_code_book(path)
    if model is None:
        raise UserError("`model` must be given: a code book alone does not hold it", where=str(path))
    source = open_units(model, at)
    layer = book.layer if layer is None else layer
    if layer is None or not 0 <= layer < source.num_layers:
        known = f"0 to {source.num_layers - 1}"
        raise UserError(f"`layer` must be one of the layers {known} of {model}, but is {layer}")
    check_book(book, source, layer, str(path))
    return UnitEncoder(source.at(at, "float32"), book.to(at), layer)


class UnitEncoder:
    """Waveforms to units; made by `load_units`.

    Parameters
    ----------
    source
        Gives the layer, or codes, on its device.
    book
        Its code book on that device; None: the source gives codes.
    layer
        Which of its layers is coded.
    """

    def __init__(self, source: FeatureSource, book: CodeBook | None, layer: int) -> None:
        self._source, self._book, self._layer = source, book, layer
        self.sample_rate = source.sample_rate
        self.hop_seconds = source.grid.hop_samples / source.sample_rate
        self.codes = source.codes if isinstance(source, TeacherSource) else 0 if book is None else book.size

    @torch.no_grad()
    def __call__(
        self,
        waveform: Float[Tensor, "*batch sample"],
        lengths: Int[Tensor, " batch"] | Sequence[int] | None = None,
        *,
        merge: bool = False,
    ) -> list[UnitSequence]:
        """Return the units of each waveform of a padded batch; each has those that it has alone.

        Parameters
        ----------
        waveform
            ``[batch, sample]`` or ``[sample]``, mono, floating, at `sample_rate`, on any device.
        lengths
            Samples of each; None: all are whole.
        merge
            Whether frames in a row with equal codes become one unit.

        Raises
        ------
        UserError
            If a shape, a type or a length is wrong, or a waveform is too short for a frame or not finite.
        """
        shortest = max(1, self._source.grid.num_samples(1))
        if isinstance(waveform, Tensor):
            waveform = waveform.to(self._source.device)
        like = torch.zeros((), device=self._source.device)
        waveform, lengths = checked_batch(waveform, lengths, shortest_samples=shortest, like=like)
        layers, frames = self._source(waveform, lengths.cpu(), top=self._layer)
        return [self._of_clip(layers[self._layer][row, :count], merge) for row, count in enumerate(frames.tolist())]

    def _of_clip(self, frames: Tensor, merge: bool) -> UnitSequence:
        try:
            codes = codes_of(frames, self._book)
        except AudioError as error:
            raise UserError(error.reason) from error
        runs = runs_of(codes.int().cpu().numpy(), merge)
        units = torch.from_numpy(runs.units).long()
        start, end = (torch.from_numpy(edges).double() * self.hop_seconds for edges in (runs.first, runs.stop))
        return UnitSequence(units[:, 0] if units.shape[1] == 1 else units, start, end)
