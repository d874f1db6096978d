"""A convolutional frontend and a transformer on a GPU without gradients: as `SSLModel`, in rows and in one dtype."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.encoders._points import Point
from audio_ssl.encoders.transformer import TransformerEncoder
from audio_ssl.frontends.conv import ConvFrontend
from audio_ssl.inference import _rows_encoder, _rows_frontend
from audio_ssl.inference._rows_encoder import RowsEncoder, flat_places
from audio_ssl.inference._rows_frontend import RowsFrontend
from audio_ssl.model import ClipStatistics, ModelOutput, SSLModel, clean


class RowsModel(nn.Module):
    """Called like an `SSLModel` whose batches it computes without padding.

    Parameters
    ----------
    model
        One that `fits`.
    dtype
        Of the products.
    """

    def __init__(self, model: SSLModel, dtype: torch.dtype) -> None:
        super().__init__()
        self._config = model.config
        self._frontend = RowsFrontend(cast(ConvFrontend, model.frontend), dtype)
        self._encoder = RowsEncoder(cast(TransformerEncoder, model.encoder), dtype)

    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch frame"] | None = None,
        layers: int | None = None,
        statistics: ClipStatistics | None = None,
        point: Point = "output",
    ) -> ModelOutput:
        """Encode a padded batch; hidden states are float32."""
        samples, found = (None, None) if statistics is None else statistics
        waveform = clean(waveform, lengths.to(waveform.device), self._config, samples)
        features, counts = self._frontend(waveform, lengths.tolist(), found)
        total = int(self._frontend.grid.num_frames(waveform.shape[1]))
        flat = flat_places(counts, total).to(waveform.device)
        rows_mask = None if mask is None else mask.flatten()[flat]
        states = self._encoder(features, counts, rows_mask, layers, point)

        whole = len(features) == len(counts) * total

        def padded(rows: Tensor) -> Tensor:
            if whole:
                return rows.view(len(counts), total, rows.shape[1])
            out = rows.new_zeros(len(counts) * total, rows.shape[1])
            return out.index_copy_(0, flat, rows).view(len(counts), total, rows.shape[1])

        frames = torch.tensor(counts, device=waveform.device)
        return ModelOutput([padded(state) for state in states], frames, padded(features.float()))


def fits(model: SSLModel) -> bool:
    """Return whether a model can be computed in rows."""
    return _rows_frontend.fits(model.frontend) and _rows_encoder.fits(model.encoder)
