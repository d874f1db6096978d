"""The demo's corpora: which, how they come, and the manifests that pretraining and probes see.

Two plans share everything after this: with Debian's packages pretraining hears recorded voices of five languages, too;
with pip alone all sound is made on the machine. Probes ask the same of both.

What the demo asks about, as manifests: sentences with what they mean, words cut out of them, excerpts of music.

A third of the sentences and of the tunes is heard in pretraining, the others are asked about, so that each of them may
be tested: the tenth that a corpus itself holds out would leave differences of several points open. Whatever the
language and the voice, a sentence and its translations stay together.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus import apt_available, load_corpus
from audio_ssl.data.manifest import Clip, read_manifest, write_manifest

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
"""Length and number of the excerpts that the probe of instruments takes of a clip; whole clips are too easy."""


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


HEARD_SHARE = 1 / 3
"""Of the sentences, and of the tunes."""

VALID_SHARE, TEST_SHARE = 0.1, 0.3
"""Of those that are asked about; the others train."""

MEANINGS = (
    *("garden", "house", "kitchen", "forest", "city", "school", "car", "theatre"),
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    *("apples", "books", "flowers", "chairs", "bottles", "eggs", "pictures", "letters"),
    *("room number", "phone number", "house number"),
)
"""English words of which each sentence has exactly one, in whatever language it is spoken."""

WORDS = 100
"""Classes of the probe of words: the most frequent words of the training sentences."""

SHORTEST_WORD_SECONDS = 0.15
"""Shorter ones are articles and prepositions, of a sound or two."""

WORDS_OF_SPLIT = {"train": 12, "valid": 3, "test": 8}
"""How often a word is taken at most."""


def apart(clips: Sequence[Clip], column: str) -> tuple[list[Clip], list[Clip]]:
    """Return what pretraining may hear, and what is asked about, split anew; values of `column` are not torn apart."""
    heard: list[Clip] = []
    asked: list[Clip] = []
    for clip in clips:
        value = str(clip.row()[column])
        if _share(f"heard {value}") < HEARD_SHARE:
            heard.append(clip)
        else:
            asked.append(replace(clip, split=_split(value)))
    return heard, asked


def _split(value: str) -> str:
    # With a word before it: corpora draw their clips by hashes of plain names.
    share = _share(f"split {value}")
    if share < TEST_SHARE:
        return "test"
    return "valid" if share < TEST_SHARE + VALID_SHARE else "train"


def sentences(clips: Sequence[Clip]) -> Iterator[Clip]:
    """Yield the clips with the columns `sentence`, what belongs together, and `meaning`, one of `MEANINGS`."""
    for clip in clips:
        # Of "house number" and "house" the longer one is meant.
        found = [word for word in MEANINGS if re.search(rf"\b{word}\b", str(clip.translation))]
        meaning = {"meaning": max(found, key=len)} if found else {}
        yield replace(clip, extra={**clip.extra, "sentence": clip.translation, **meaning})


def isolated_words(clips: Sequence[Clip]) -> Iterator[Clip]:
    """Yield words cut out of sentences at their `word_times`, with the columns `word` and `sentence`.

    Which of a word's places are taken is decided by their names, so that voices and sentences are mixed.
    """
    spans = [(clip, place, *span) for clip in clips for place, span in enumerate(_spans(clip))]
    spans.sort(key=lambda one: _share(f"{one[0].id} {one[1]}"))
    often = Counter(word for clip, *_, word in spans if clip.split == "train").most_common(WORDS)
    left = {split: dict.fromkeys((word for word, _ in often), most) for split, most in WORDS_OF_SPLIT.items()}
    for clip, place, start, stop, word in spans:
        of_split = left.get(str(clip.split), {})
        if not of_split.get(word):
            continue
        of_split[word] -= 1
        yield replace(
            clip,
            id=f"{clip.id} {place}",
            start=clip.start + start,
            seconds=stop - start,
            text=None,
            translation=None,
            extra={"word": word, "sentence": clip.translation},
        )


def _spans(clip: Clip) -> Iterator[tuple[float, float, str]]:
    for span in str(clip.extra.get("word_times") or "").split("; "):
        start, _, rest = span.partition(" ")
        stop, _, word = rest.partition(" ")
        if word and float(stop) - float(start) >= SHORTEST_WORD_SECONDS:
            yield float(start), min(float(stop), clip.seconds), word.lower()


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


_OF_WHOLE_CLIPS = ("notes", "chords", "beats")


def _share(name: str) -> float:
    """Return a number from 0 to 1, the same for the same name."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
