"""Turns a run into a shipped model: weights at half their length, facts, card and hashes, and no training state."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import torch

from audio_ssl import __version__
from audio_ssl.atomic import atomic_folder, write_json, write_text
from audio_ssl.config import kind_of, unstructure
from audio_ssl.errors import UserError
from audio_ssl.integrity import faults, read_seals, write_seals
from audio_ssl.model import CONFIG_FILE, WEIGHTS_FILE, SSLModel, fingerprint
from audio_ssl.pretrain.provenance import read_provenance
from audio_ssl.release.card import render
from audio_ssl.release.cost import cost_of
from audio_ssl.release.heard import heard_in
from audio_ssl.release.scores import scores_of
from audio_ssl.shipped import CARD_FILE, MOST_BYTES, SEALED, Shelf
from audio_ssl.shipped.facts import FACTS_FILE, ShippedFacts
from audio_ssl.shipped.fixed import fixed_clip, measure


@dataclass(frozen=True)
class Release:
    """What no file of a run says of the model that is made of it."""

    name: str
    """By which people load it; the name of its folder."""

    summary: str
    """One line: what it is for."""

    licence: str = "Apache-2.0"
    """Of the weights, as SPDX names it."""

    weights: str = "float16"
    """How they are stored."""

    cores: float = 2.0
    """That the run computed on."""

    watts_per_core: float = 12.0
    """Assumed draw of a busy core with its share of the machine."""

    command: str | None = None
    """That trains it; None: the run's, without folders of this machine."""


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
    for name, wrong in faults(run, (CONFIG_FILE, WEIGHTS_FILE, "recipe.yaml"), full=True).items():
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
    told, config, grid = read_provenance(run), read.config, read.grid
    versions = told.get("versions")
    return ShippedFacts(
        name=release.name,
        summary=release.summary,
        licence=release.licence,
        made_with=__version__,
        command=release.command or plain_command(str(told.get("command", ""))),
        recipe_hash=str(told.get("recipe_hash", "")),
        manifest_hash=str(told.get("manifest_hash", "")),
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
        versions=tuple((str(key), str(value)) for key, value in versions.items()) if isinstance(versions, dict) else (),
    )


@torch.inference_mode()
def _rounding(model: SSLModel, read: SSLModel) -> float:
    waveform = fixed_clip(model.config.sample_rate)
    exact, found = model(waveform).hidden[-1], read(waveform).hidden[-1]
    return float((found - exact).norm() / exact.norm())


def plain_command(command: str) -> str:
    """Return a run's command as others can type it: without the program's place and without folders.

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
