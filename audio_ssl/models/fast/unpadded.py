"""A convolutional frontend and a transformer on a GPU without gradients and without padding.

Products are in one dtype, the residual path is in float32. Frames of all clips lie one after the other, so padding
costs nothing; queries, keys and values come from one product; attention is torch's flash kernel for sequences of any
lengths where there is one. The call and the values are those of `SSLModel`, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.frames import frame_mask
from audio_ssl.models.encoders.transformer import TransformerBlock, TransformerEncoder
from audio_ssl.models.fast import unpadded_frontend
from audio_ssl.models.fast.cpu import gelu_
from audio_ssl.models.fast.positions import FEWEST_FRAMES, FourierPositions
from audio_ssl.models.fast.unpadded_frontend import UnpaddedFrontend
from audio_ssl.models.frontends.conv import ConvFrontend
from audio_ssl.models.model import ClipStatistics, ModelOutput, SSLModel, clean
from audio_ssl.models.padding import spans
from audio_ssl.models.points import Point
from audio_ssl.models.positions import ConvPositions


class UnpaddedModel(nn.Module):
    """Called like an `SSLModel` whose batches it computes without padding.

    Parameters
    ----------
    model
        One that `can_run_unpadded`.
    dtype
        Of the products.
    """

    def __init__(self, model: SSLModel, dtype: torch.dtype) -> None:
        super().__init__()
        self._config = model.config
        self._frontend = UnpaddedFrontend(cast(ConvFrontend, model.frontend), dtype)
        self._encoder = UnpaddedEncoder(cast(TransformerEncoder, model.encoder), dtype)

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


def can_run_unpadded(model: SSLModel) -> bool:
    """Return whether a model can be computed in rows."""
    return unpadded_frontend.frontend_fits(model.frontend) and encoder_fits(model.encoder)


HALVES = (torch.float16, torch.bfloat16)


class Places(NamedTuple):
    """Where clips lie in the rows."""

    edges: Tensor
    """First row of each clip with frames, and the end; int32, on the device."""
    longest: int
    """Frames of the longest clip."""
    flat: Tensor
    """Of each row, its place in clips with frames side by side ``[clip * longest]``, on the device."""

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device) -> Places:
        """Return the places of clips with so many frames, at least one of them."""
        own = torch.tensor([count for count in counts if count], dtype=torch.int32)
        edges, longest = F.pad(own.cumsum(0, dtype=torch.int32), (1, 0)), int(own.max())
        return cls(edges.to(device), longest, flat_places([int(n) for n in own], longest).to(device))

    def padded(self, x: Float[Tensor, " row *axes"]) -> Float[Tensor, "clip frame *axes"]:
        """Return clips with frames side by side, zero past each."""
        clips = len(self.edges) - 1
        out = x.new_zeros(clips * self.longest, *x.shape[1:]).index_copy_(0, self.flat, x)
        return out.view(clips, self.longest, *x.shape[1:])

    def packed(self, x: Float[Tensor, "clip frame *axes"]) -> Float[Tensor, " row *axes"]:
        """Return the rows of clips side by side."""
        return x.flatten(0, 1)[self.flat]

    def keys(self) -> Tensor:
        """Return ``[clip, 1, 1, longest]``: the places that may be attended to."""
        own = self.edges.diff()
        return frame_mask(own, self.longest)[:, None, None]


def flat_places(counts: Sequence[int], longest: int) -> Tensor:
    """Return where the frames of clips lie that are one after the other, in clips side by side.

    Examples
    --------
    >>> flat_places([2, 0, 1], 3).tolist()
    [0, 1, 6]
    """
    parts = [torch.arange(clip * longest, clip * longest + count) for clip, count in enumerate(counts)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


class UnpaddedEncoder(nn.Module):
    """`TransformerEncoder` in a dtype, with weights laid out once.

    Parameters
    ----------
    encoder
        One that `encoder_fits`.
    dtype
        Of the products.
    """

    def __init__(self, encoder: TransformerEncoder, dtype: torch.dtype) -> None:
        super().__init__()
        self.dim, self.num_layers, self._dtype = encoder.dim, encoder.num_layers, dtype
        self._pre_norm = encoder._config.pre_norm
        self._feature_norm, self._norm = encoder.feature_norm, encoder.norm
        self._projection = _Product([cast(nn.Linear, encoder.projection)], dtype)
        self._embedding = nn.Parameter(encoder.mask_embedding.detach().float(), requires_grad=False)
        positions: nn.Module | None = encoder.positions
        if isinstance(positions, ConvPositions) and cast(nn.Conv1d, positions.conv).kernel_size[0] >= FEWEST_FRAMES:
            positions = FourierPositions(positions)
        self._positions = positions
        self._blocks = nn.ModuleList(_Block(cast(TransformerBlock, block), dtype) for block in encoder.blocks)

    def forward(
        self,
        features: Float[Tensor, "row feature"],
        counts: list[int],
        mask: Tensor | None = None,
        layers: int | None = None,
        point: Point = "output",
    ) -> list[Float[Tensor, "row dim"]]:
        """Return the input of the first block and the state of every block, float32.

        Parameters
        ----------
        features
            Of clips one after the other.
        counts
            Frames of each clip.
        mask
            ``[row]``: frames to replace by the mask embedding.
        layers
            Blocks to run, from the first; None: all.
        point
            Where in a block its state is taken.
        """
        wanted = (self.num_layers if layers is None else layers) + 1
        if not len(features):
            return [features.new_zeros(0, self.dim, dtype=torch.float32)] * wanted
        norm = self._feature_norm
        if isinstance(norm, nn.LayerNorm):
            features = _normed(features.float(), norm)
        x = self._projection(features.to(self._dtype)).float()
        if mask is not None:
            x = torch.where(mask[:, None], self._embedding, x)
        if self._positions is not None:
            x = x + cast(ConvPositions, self._positions).packed(x[None], spans(counts))[0]
        x = x if self._pre_norm else _normed(x, self._norm)
        places, states = Places.of(counts, x.device), [x]
        for block in list(self._blocks)[: wanted - 1]:
            x, fed = block(x, places)
            states.append(x if point == "output" else fed.float())
        if self._pre_norm and point == "output" and wanted > self.num_layers:
            states[-1] = _normed(states[-1], self._norm)
        return states


class _Block(nn.Module):
    def __init__(self, block: TransformerBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self._heads, self._dtype = block._heads, dtype
        self._pre_norm, self._residual = block._pre_norm, block._residual
        self._attention_norm, self._final_norm = block.attention_norm, block.final_norm
        self._queries = _Product([block.query, block.key, block.value], dtype)
        self._out, self._inner, self._outer = (_Product([p], dtype) for p in (block.out, block.inner, block.outer))

    def forward(self, x: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Return the block's output and that of its feed-forward part."""
        if self._pre_norm:
            x = x + self._attend(_normed(x, self._attention_norm), places)
            fed = self._feed(_normed(x, self._final_norm))
            return x + fed, fed
        x = _normed(torch.add(self._attend(x, places), x, alpha=self._residual), self._attention_norm)
        fed = self._feed(x)
        return _normed(torch.add(fed, x, alpha=self._residual), self._final_norm), fed

    def _attend(self, x: Tensor, places: Places) -> Tensor:
        wide = self._queries(x.to(self._dtype))
        query, key, value = wide.view(len(x), 3, self._heads, -1).unbind(1)
        mixed = attend(query, key, value, places)
        return cast(Tensor, self._out(mixed.flatten(1)))

    def _feed(self, x: Tensor) -> Tensor:
        return cast(Tensor, self._outer(gelu_(self._inner(x.to(self._dtype)))))


class _Product(nn.Module):
    """Linear maps side by side in one product."""

    def __init__(self, parts: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
        self._weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
        self._bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)


def attend(
    query: Float[Tensor, "row head part"],
    key: Float[Tensor, "row head part"],
    value: Float[Tensor, "row head part"],
    places: Places,
) -> Float[Tensor, "row head part"]:
    """Return what each row gathers from the rows of its clip."""
    if query.device.type == "cuda" and query.dtype in HALVES:
        edges, longest = places.edges, places.longest
        mixed = torch.ops.aten._flash_attention_forward(
            query, key, value, edges, edges, longest, longest, 0.0, False, False
        )[0]
        return cast(Tensor, mixed)
    query, key, value = (places.padded(part).transpose(1, 2) for part in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=places.keys())
    return places.packed(mixed.transpose(1, 2))


def encoder_fits(encoder: nn.Module) -> bool:
    """Return whether an encoder can be computed in rows: attention without a bias, a rotation or relaxed logits."""
    if not isinstance(encoder, TransformerEncoder) or encoder._config.positions == "rope":
        return False
    config = encoder._config
    return config.relative_positions is None and not config.alibi and config.attention_relax is None


def _normed(x: Tensor, norm: nn.Module) -> Tensor:
    layer = cast(nn.LayerNorm, norm)
    return F.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)
