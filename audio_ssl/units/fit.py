"""Fits a code book to a layer: k-means over frames drawn from clips that are drawn from all audio.

Clips are drawn by a hash of their name, and frames by a generator of their clip, so what is drawn depends on neither
the order in which clips are computed nor the number of processes. One process fits, and the others wait for it: ten
hours of audio are a minute of a GPU.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path

import torch

from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.artifacts.unit_records import FitRecord
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.progress import Progress
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.features.clips import ClipToExtract, walk
from audio_ssl.features.pieces import pieces
from audio_ssl.features.source import FeatureSource
from audio_ssl.targets.clustering import Reservoir, cluster
from audio_ssl.targets.code_books import CodeBook
from audio_ssl.units.settings import UnitSettings

_MOST_CLIPS = 200_000
"""Clips that may be drawn where hours are limited: what is held of them grows with their number."""


def fit_code_book(
    audio: Path, source: FeatureSource, layer: int, clusters: int, settings: UnitSettings, out: Path
) -> tuple[CodeBook, FitRecord]:
    """Fit a code book to one layer.

    Parameters
    ----------
    audio
        Folder, file or manifest.
    source
        On the device on which it computes and the frames are clustered.
    layer
        Whose frames are clustered.
    clusters
        Codes of the book.
    settings
        What is drawn, and how long is searched.
    out
        Folder for notes on files. Files that cannot be used are left out here and recorded when clips are coded.

    Returns
    -------
    The code book, and what it was fitted to.

    Raises
    ------
    UserError
        If there are fewer frames than codes.
    """
    fit = settings.fit
    generator = torch.Generator().manual_seed(fit.seed)
    reservoir, of_clip = Reservoir(fit.frames, generator), torch.Generator()
    clips, seconds = 0, 0.0
    with Progress("fit") as progress:
        for piece in pieces(_drawn(audio, settings, out), source, _leave_out, [layer], settings):
            if piece.first == 0:
                of_clip.manual_seed(_hash(fit.seed, "frames", piece.clip.id) >> 1)
            rows = piece.layers[0].float()
            if not bool(torch.isfinite(rows).all()):
                continue
            reservoir.add(rows.cpu(), of_clip)
            if piece.last:
                clips, seconds = clips + 1, seconds + piece.clip.seconds
                progress.advance(1, hours=seconds / 3600)
    if reservoir.count < clusters:
        raise UserError(
            f"`--clusters` is {clusters}, but the audio has {reservoir.count} frames that can be used",
            where=str(audio),
            remedy="give more audio or fewer clusters",
        )
    rows = reservoir.rows(by_key=True).to(source.device)
    centroids = cluster(rows, clusters, generator, fit.batch_frames, fit.init_tries).cpu()
    dim = centroids.shape[1]
    book = CodeBook(centroids, torch.zeros(dim), torch.ones(dim), model=source.fingerprint, layer=layer)
    return book, FitRecord(clips, round(seconds, 3), reservoir.count, len(rows), fit.seed)


def _drawn(audio: Path, settings: UnitSettings, out: Path) -> Iterator[ClipToExtract]:
    """Yield the clips that are heard: those whose hashes are the smallest, up to the hours."""
    found = walk(audio, ErrorLedger(out / ERRORS_FILE, keep="notes"))
    fit = settings.fit
    if not fit.hours:
        yield from found
        return
    left = fit.hours * 3600
    for item in heapq.nsmallest(_MOST_CLIPS, found, key=lambda one: (_hash(fit.seed, "clips", one.id), one.id)):
        try:
            clip = item.open()
        except AudioError:
            continue
        yield item._replace(clip=clip)
        left -= clip.seconds
        if left <= 0:
            return


def _leave_out(clip: Clip, reason: str) -> None:
    """Do nothing: the clip is recorded when clips are coded."""


def _hash(seed: int, what: str, clip_id: str) -> int:
    text = f"{seed} {what} {clip_id}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
