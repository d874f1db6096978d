"""Clips and what a codec makes of them, to listen to: ``reconstructions/`` beside the codec.

``clips.json`` names for each clip the FLAC files of the original and the reconstruction, SI-SDR and mel distance.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from audio_ssl.atomic import atomic_write, write_json
from audio_ssl.codec.model import Codec
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import ClipReader
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import AudioError
from audio_ssl.metrics.audio import MelDistance, si_sdr

FOLDER = "reconstructions"
MOST_CLIPS = 4
MOST_SECONDS = 4.0


def write_reconstructions(
    codec: Codec, clips: Sequence[Clip], held_out: bool, reader: ClipReader, ledger: ErrorLedger, folder: Path
) -> None:
    """Reconstruct the beginnings of the first few clips that can be read.

    Parameters
    ----------
    codec
        On any device; left in evaluation mode.
    clips
        In order of preference; none gives no folder.
    held_out
        Whether the codec has not been trained on them.
    reader, ledger
        Where audio comes from, and where files that cannot be read are noted.
    folder
        The codec's; ``reconstructions/`` below it is written.
    """
    device = next(codec.parameters()).device
    distance = MelDistance(codec.config.sample_rate).to(device)
    codec.eval()
    rows: list[dict[str, Any]] = []
    for clip in clips:
        if len(rows) == MOST_CLIPS:
            break
        try:
            waveform = reader.crop(clip, 0, int(MOST_SECONDS * codec.config.sample_rate))
        except AudioError as error:
            ledger.record(clip.path, error.reason, id=clip.id)
            continue
        if len(waveform) < codec.grid.hop_samples:
            continue
        original = waveform.to(device)[None]
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            output = codec(original).reconstruction
        row: dict[str, Any] = {
            "id": clip.id,
            "seconds": round(len(waveform) / codec.config.sample_rate, 3),
            "si_sdr": round(float(si_sdr(output, original)), 3),
            "mel_distance": round(float(distance(output, original)), 3),
        }
        for what, audio in (("original", original), ("reconstruction", output)):
            row[what] = f"{len(rows)}_{what}.flac"
            _write(folder / FOLDER / row[what], audio[0], codec.config.sample_rate)
        rows.append(row)
    if rows:
        about = {"held_out": held_out, "sample_rate": codec.config.sample_rate, "clips": rows}
        write_json(folder / FOLDER / "clips.json", about)


def spread_out(clips: Sequence[Clip]) -> list[Clip]:
    """Order clips so that the first few come from as many speakers or tracks as there are."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(str(clip.speaker or clip.extra.get("track") or clip.id), []).append(clip)
    rounds = itertools.zip_longest(*groups.values())
    return [clip for group in rounds for clip in group if clip is not None]


def _write(path: Path, audio: Tensor, sample_rate: int) -> None:
    with atomic_write(path) as partial:
        soundfile.write(partial, audio.clamp(-1, 1).cpu().numpy(), sample_rate, subtype="PCM_16")
