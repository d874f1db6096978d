"""Complaints about sizes that several encoders share."""

from __future__ import annotations

from dataclasses import dataclass

from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Relative:
    """Gated relative positions (WavLM, Chen et al. 2021, arXiv 2110.13900)."""

    buckets: int = 320
    """Buckets of distances, both directions together (WavLM: 320)."""

    max_distance: int = 1280
    """Frames from which on distances share a bucket (WavLM's code: 1280; its checkpoints: 800)."""


def check_attention(dim: int, heads: int, relax: float | None, relative: Relative | None, rotary: bool) -> None:
    """Raise UserError where heads, relaxation or positions cannot be."""
    if heads < 1 or dim % heads:
        raise UserError(f"`dim` {dim} must be a multiple of `heads` {heads}")
    if rotary and (dim // heads) % 2:
        raise UserError(
            f"`dim` / `heads` must be even for `positions: rope`, but is {dim // heads}", remedy="give other `heads`"
        )
    if relax is not None and not relax >= 1:
        raise UserError(f"`attention_relax` must be at least 1, but is {relax:g}", remedy="32 is usual; null is off")
    if relative is not None and (relative.buckets < 4 or relative.buckets % 4):
        raise UserError(f"`relative_positions.buckets` must be a multiple of 4, but is {relative.buckets}")
    if relative is not None and relative.max_distance <= relative.buckets // 4:
        raise UserError(
            f"`relative_positions.max_distance` must be above a quarter of `buckets`, {relative.buckets // 4}, but is "
            f"{relative.max_distance}"
        )
