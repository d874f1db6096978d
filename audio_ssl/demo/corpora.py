"""The demo's corpora: which, how they come, and the manifests that pretraining and probes see.

Two plans share everything after this: with Debian's packages pretraining hears recorded voices of five languages, too;
with pip alone all sound is made on the machine. Probes ask the same of both.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_ssl.data.corpus import apt_available, load_corpus
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest
from audio_ssl.errors import UserError

logger = logging.getLogger(__name__)

SPEECH, MUSIC = "synthetic_speech", "rendered_scores"
"""What is probed: five languages that every voice speaks, and scores whose notes are known."""

AMOUNT: dict[str, dict[str, Any]] = {SPEECH: {"clips": 2000}, MUSIC: {"clips": 600}}
"""How much of the corpora is made that are made."""

PROBED = {"speech": SPEECH, "seconds_of_speech": SPEECH, "music": MUSIC, "half_seconds_of_music": MUSIC}
"""Manifest of a question -> its corpus."""

LONGEST_SECONDS = 4.0
"""Of long clips only the beginnings are used: teachers see whole clips, and a crop needs four seconds."""

SPEECH_SECONDS, SPEECH_EXCERPTS = 1.0, 1
MUSIC_SECONDS, MUSIC_EXCERPTS = 0.5, 4
"""Language and instrument are asked of excerpts, so many a clip, so short that not every system knows the answer."""


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
    mix: list[Clip] = []
    for name in plan.names:
        path = manifest_path(out, name)
        if not path.exists():
            write_manifest(path, load_corpus(name).read(data / name, None))
        clips = read_manifest(path)
        mix += [clip for clip in shorten(clips) if clip.split in ("train", "valid")]
    write_manifest(manifest_path(out, "pretrain"), mix)
    speech, music = (read_manifest(manifest_path(out, name)) for name in (SPEECH, MUSIC))
    write_manifest(manifest_path(out, "speech"), speech)
    write_manifest(manifest_path(out, "music"), shorten(music))
    write_manifest(manifest_path(out, "seconds_of_speech"), excerpts(speech, SPEECH_SECONDS, SPEECH_EXCERPTS))
    write_manifest(manifest_path(out, "half_seconds_of_music"), excerpts(music, MUSIC_SECONDS, MUSIC_EXCERPTS))


def shorten(clips: Sequence[Clip]) -> list[Clip]:
    """Return the beginnings of long clips."""
    return [replace(clip, seconds=min(clip.seconds, LONGEST_SECONDS)) for clip in clips]


def excerpts(clips: Sequence[Clip], seconds: float, number: int) -> Iterator[Clip]:
    """Yield stretches of each clip at places that its name decides; `track` says which belong together.

    They lie in the first four fifths of a clip, as what comes last fades out. Clips that are too short are left out.
    """
    for clip in clips:
        room = 0.8 * clip.seconds - seconds
        if room < 0:
            continue
        for part in range(number):
            # One in each of as many equal parts of the clip, so that they differ.
            share = (part + _share(f"{clip.id} {part}")) / number
            track = {"track": clip.id} if number > 1 else {}
            extra = {key: value for key, value in clip.extra.items() if key not in _OF_WHOLE_CLIPS}
            yield replace(
                clip, id=f"{clip.id} {part}", start=clip.start + share * room, seconds=seconds, extra={**extra, **track}
            )


_OF_WHOLE_CLIPS = ("notes", "chords", "beats", "phone_times", "word_times")


def _share(name: str) -> float:
    """Return a number from 0 to 1, the same for the same name."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def manifest_path(out: Path, name: str) -> Path:
    """Return where a manifest lies."""
    return out / "manifests" / f"{name}.jsonl"
