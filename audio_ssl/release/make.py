"""Turns a run into a shipped model: weights in 16 bits, facts, card and hashes, without training state.

Features of one fixed clip are stored with it, so that an installation can check that it computes the same.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl import __version__
from audio_ssl.artifacts.recipe_outline import RECIPE_FILE
from audio_ssl.artifacts.run import RunRecord, read_run_record
from audio_ssl.base.checksums import faults, read_seals, write_seals
from audio_ssl.base.config import kind_of, unstructure
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_folder, write_json, write_text
from audio_ssl.models.model import SSLModel, fingerprint
from audio_ssl.models.weights import CONFIG_FILE, WEIGHTS_FILE
from audio_ssl.release.card import render
from audio_ssl.release.facts import cost_of, heard_in, scores_of
from audio_ssl.shipped import CARD_FILE, MOST_BYTES, SEALED, Shelf
from audio_ssl.shipped.facts import FACTS_FILE, FixedClip, ShippedFacts


@dataclass(frozen=True)
class Release:
    """What is given by hand, since no file of a run has it."""

    name: str
    """Name under which people load it, and of its folder."""

    summary: str
    """One line: what it is for."""

    licence: str = "Apache-2.0"
    """Of the weights, as SPDX names it."""

    weights: str = "float16"
    """Number format in which they are stored."""

    cores: float = 2.0
    """Cores that the run computed on."""

    watts_per_core: float = 12.0
    """Assumed power of a busy core with its share of the machine."""

    command: str | None = None
    """Command that trains it; None: the run's, without folders of this machine."""


def make_shipped(
    run: Path,
    shelf: Shelf,
    release: Release,
    *,
    manifest: Path | None = None,
    scores: Path | None = None,
    most_bytes: int = MOST_BYTES,
) -> Path:
    """Write the folder of a shipped model.

    Parameters
    ----------
    run
        A run with its model; that of a run whose time was over counts, too.
    shelf
        Where shipped models lie.
    release
        What the run's files do not say.
    manifest
        Where the run's manifest lies now; None: where its recipe says.
    scores
        Results of ``benchmarks/learning.py`` in which the model has its name; None: the card has no scores.
    most_bytes
        Of all models on the shelf together.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the run has no whole model, the name is taken, the folder would be too large for the wheel, or a weight
        cannot be stored so.
    """
    if PurePath(release.name).name != release.name or release.name[:1] in ("", ".", "_"):
        raise UserError(f"`name` must be the name of a folder, but is `{release.name}`")
    folder = shelf.root / release.name
    if folder.exists():
        raise UserError(
            f"there is a shipped model `{release.name}` already", where=str(folder), remedy="remove it first"
        )
    for name, wrong in faults(run, (CONFIG_FILE, WEIGHTS_FILE, RECIPE_FILE), full=True).items():
        raise UserError(f"{name} {wrong}: the run has no whole model", where=str(run), remedy="finish the run first")
    model = SSLModel.from_pretrained(run)
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial, release.weights)
        read = SSLModel.from_pretrained(partial)
        facts = _facts(run, release, model, read, manifest)
        if scores is not None:
            rows, gaps = scores_of(scores, release.name)
            facts = replace(facts, scores=rows, gaps=gaps)
        write_json(partial / FACTS_FILE, unstructure(facts))
        write_seals(partial, SEALED)
        write_text(partial / CARD_FILE, render(facts, read_seals(partial)))
        others = [file for name in shelf.names() for file in (shelf.root / name).iterdir()]
        size = sum(file.stat().st_size for file in (*others, *partial.iterdir()))
        if size > most_bytes:
            raise UserError(
                f"with this model the shelf takes {size / 1e6:.1f} MB, and may take {most_bytes / 1e6:.0f} MB",
                where=str(run),
                remedy="store its weights in float16, or train a smaller one",
            )
    return folder


def _facts(run: Path, release: Release, model: SSLModel, read: SSLModel, manifest: Path | None) -> ShippedFacts:
    told, config, grid = read_run_record(run) or RunRecord(), read.config, read.grid
    return ShippedFacts(
        name=release.name,
        summary=release.summary,
        licence=release.licence,
        made_with=__version__,
        command=release.command or plain_command(told.command),
        recipe_hash=told.recipe_hash,
        manifest_hash=told.manifest_hash,
        fingerprint=fingerprint(read),
        run_fingerprint=fingerprint(model),
        rounding=_rounding(model, read),
        weights=release.weights,
        parameters=sum(parameter.numel() for parameter in read.parameters()),
        layers=read.num_layers,
        dim=read.dim,
        sample_rate=config.sample_rate,
        frames_per_second=config.sample_rate / grid.hop_samples,
        frontend=kind_of(config.frontend),
        encoder=kind_of(config.encoder),
        corpora=heard_in(run, manifest),
        cost=cost_of(run, release.cores, release.watts_per_core),
        fixed=measure(read),
        versions=tuple(told.versions.items()),
    )


@torch.inference_mode()
def _rounding(model: SSLModel, read: SSLModel) -> float:
    waveform = fixed_clip(model.config.sample_rate)
    exact, found = model(waveform).hidden[-1], read(waveform).hidden[-1]
    return float((found - exact).norm() / exact.norm())


def plain_command(command: str) -> str:
    """Return a run's command as others can type it, without paths of this machine.

    Examples
    --------
    >>> plain_command("/home/me/audio_ssl/__main__.py pretrain small data.manifest=/data/m.jsonl --out /runs/a b=1")
    'audio-ssl pretrain small data.manifest=m.jsonl --out a b=1'
    """
    words = shlex.split(command)
    return shlex.join(["audio-ssl", *(_without_folder(word) for word in words[1:])]) if words else ""


def _without_folder(word: str) -> str:
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{PurePath(value).name}" if value.startswith(("/", "~", "..")) else word


SECONDS = 2.0
_VALUES = 4


def fixed_clip(sample_rate: int) -> Float[Tensor, "1 sample"]:
    """Return two seconds of a rising tone over a chord, with a silence; the same on every machine."""
    time = torch.arange(int(SECONDS * sample_rate), dtype=torch.float64) / sample_rate
    rising = 0.3 * torch.sin(2 * math.pi * (150 * time + 400 * time.square()))
    chord = sum(torch.sin(2 * math.pi * pitch * time) for pitch in (220.0, 277.18, 329.63))
    sounds = (time % 0.5) < 0.4
    return ((rising + 0.05 * chord) * sounds).float()[None]


@torch.inference_mode()
def measure(model: SSLModel) -> FixedClip:
    """Return a few numbers of a model's features of the fixed clip."""
    hidden = model(fixed_clip(model.config.sample_rate)).hidden
    frames = hidden[0].shape[1]
    norms = tuple(float(state.square().mean().sqrt()) for state in hidden)
    values = tuple(tuple(state[0, frames // 2, :_VALUES].tolist()) for state in hidden)
    return FixedClip(SECONDS, frames, norms, values)
