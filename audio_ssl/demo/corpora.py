"""The demo's corpora: which, how they come, and the manifests that pretraining and probes see.

Two plans share everything after this: with Debian's packages pretraining hears recorded voices of five languages, too;
with pip alone all sound is made on the machine. Probes ask the same of both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_ssl.data.corpus import apt_available, load_corpus
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.demo.questions import apart, excerpts, isolated_words, sentences
from audio_ssl.errors import UserError

logger = logging.getLogger(__name__)

SPEECH, MUSIC = "synthetic_speech", "rendered_scores"
"""What is probed: five languages that every voice speaks, and scores whose notes are known."""

AMOUNT: dict[str, dict[str, Any]] = {SPEECH: {"clips": 2000}, MUSIC: {"clips": 600}}
"""How much of the corpora is made that are made."""

LONGEST_SECONDS = 6.0
"""Of a piece of music only the beginning is used: teachers see whole clips, and a crop needs four seconds."""

MUSIC_SHARE = 0.2
"""Of the seconds that pretraining hears. Speech gains from every second of it, and music loses nothing measurable."""

MUSIC_SECONDS, MUSIC_EXCERPTS = 0.25, 4
"""Instrument is asked of excerpts, so many a clip, so short that not every system knows the answer."""


@dataclass(frozen=True)
class Plan:
    """Which corpora a demo uses."""

    recorded: tuple[str, ...]
    """Heard in pretraining beside what is probed; from Debian's packages."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (SPEECH, MUSIC, *self.recorded)


WITH_APT = Plan(("asterisk",))
PIP_ONLY = Plan(())


def choose(pip_only: bool) -> Plan:
    """Return the plan for this machine."""
    if pip_only:
        return PIP_ONLY
    if not apt_available():
        logger.info("no apt-get here: all sound is made by packages of pip, without recorded voices")
        return PIP_ONLY
    return WITH_APT


def fetch(plan: Plan, data: Path) -> Plan:
    """Fetch or make the plan's corpora; where Debian's packages turn out not to be reachable, those of pip alone."""
    for name in (SPEECH, MUSIC):
        _fetch(name, data)
    try:
        for name in plan.recorded:
            _fetch(name, data)
    except UserError as error:
        logger.info("%s\nGoing on without recorded voices: all sound is made by packages of pip.", error)
        return PIP_ONLY
    return plan


def _fetch(name: str, data: Path) -> None:
    corpus = load_corpus(name)
    if corpus.fetch is not None:
        corpus.fetch(data / name, **AMOUNT.get(name, {}))


def prepare(plan: Plan, data: Path, out: Path) -> None:
    """Write a manifest of each corpus, of each question, and the mix that pretraining hears: no test clip is in it."""
    clips: dict[str, list[Clip]] = {}
    for name in plan.names:
        path = manifest_path(out, name)
        if not path.exists():
            write_manifest(path, load_corpus(name).read(data / name, None))
        clips[name] = read_manifest(path)
    heard, asked = apart(clips[SPEECH], "translation")
    heard_music, asked_music = apart(shorten(clips[MUSIC]), "id")
    recorded = [clip for name in plan.recorded for clip in clips[name]]
    write_manifest(manifest_path(out, "pretrain"), mixed(_heard(heard), _heard(recorded), _heard(heard_music)))
    write_manifest(manifest_path(out, "sentences"), sentences(asked))
    write_manifest(manifest_path(out, "words"), isolated_words(asked))
    write_manifest(manifest_path(out, "music"), asked_music)
    write_manifest(manifest_path(out, "moments_of_music"), excerpts(asked_music, MUSIC_SECONDS, MUSIC_EXCERPTS))


def mixed(made: Sequence[Clip], recorded: Sequence[Clip], music: Sequence[Clip]) -> list[Clip]:
    """Return speech that is made, as much that is recorded, and music, `MUSIC_SHARE` of all, each evenly spread."""
    voices = [*made, *_thinned(recorded, _seconds(made))]
    return [*voices, *_thinned(music, MUSIC_SHARE / (1 - MUSIC_SHARE) * _seconds(voices))]


def _thinned(clips: Sequence[Clip], seconds: float) -> list[Clip]:
    kept = min(1.0, seconds / _seconds(clips)) if clips else 0.0
    return [clip for place, clip in enumerate(clips) if int((place + 1) * kept) > int(place * kept)]


def _seconds(clips: Sequence[Clip]) -> float:
    return sum(clip.seconds for clip in clips)


def _heard(clips: Sequence[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.split in ("train", "valid")]


def shorten(clips: Sequence[Clip]) -> list[Clip]:
    """Return the beginnings of long clips."""
    return [replace(clip, seconds=min(clip.seconds, LONGEST_SECONDS)) for clip in clips]


def manifest_path(out: Path, name: str) -> Path:
    """Return where a manifest lies."""
    return out / "manifests" / f"{name}.jsonl"
