"""Single clips of a result: the best and the worst beside their references, confusions of classes, audio to play.

Audio is MP3 at 16 kHz inside the page: every browser plays it, four seconds are about 16 kB, and the same samples give
the same bytes (an Ogg stream would carry a random number).
"""

from __future__ import annotations

import base64
import difflib
import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import soundfile

from audio_ssl.artifacts.records import absent
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.metrics.metric import AdditiveMetric
from audio_ssl.report.numbers import is_number, number
from audio_ssl.report.paired import additive

MAX_CLASSES = 30
_PER_END = 4
_MOST_PAIRS = 15
_TEXTS = ("asr", "st", "tagging")
_TONICS = ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")
_FLATS = {"db": "c#", "eb": "d#", "gb": "f#", "ab": "g#", "bb": "a#", "cb": "b", "fb": "e"}
_KEY = re.compile(r"([a-g][#b♯♭-]?)[ _:]*(maj(?:or)?|min(?:or)?|m)?", re.IGNORECASE)


@dataclass(frozen=True)
class RankedClip:
    """One of the best or worst clips: what was right, what was answered, and the clip's own score."""

    which: Literal["best", "worst"]
    id: str
    reference: str
    hypothesis: str
    score: float | None
    """In `unit`; None where the clip was ranked by agreement or distance."""
    unit: str
    speaker: str | None = absent(None)
    gender: str | None = absent(None)
    language: str | None = absent(None)
    track: str | None = absent(None)
    artist: str | None = absent(None)

    @property
    def about(self) -> str:
        """What is known of the clip, in one line."""
        known = (self.speaker, self.gender, self.language, self.track, self.artist)
        return ", ".join(str(one) for one in known if one)


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered for each reference; musical keys run in semitones, major before minor."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """``[reference, answer]``, in clips."""


@dataclass(frozen=True)
class ConfusedPair:
    """A confusion of two classes: `clips` of the `of` clips of the reference got the answer `hypothesis`."""

    reference: str
    hypothesis: str
    clips: int
    of: int


def examples(
    rows: Sequence[JsonObject], metric_name: str, task: str | None, classes: Sequence[str] = ()
) -> tuple[RankedClip, ...]:
    """Choose the clips with the best and the worst scores, at most four of each.

    Parameters
    ----------
    rows
        Predictions: ``id, reference, hypothesis``; lists of tags are written as one line.
    metric_name
        The metric that ranks single clips where it is a sum over clips; translations are ranked by chrF, because the
        BLEU of one sentence is mostly zero. Other metrics rank tags by how many agree, numbers by their distance.
    task
        The probe's task.
    classes
        Names of the classes. Among wrong classes, those that were chosen most surely are the worst, and only wrong
        ones are shown.
    """
    metric = additive("chrf" if task == "st" else metric_name, classes)
    of_classes = is_class_task(rows, task, classes)
    ranked = []
    for row in rows:
        if "hypothesis" not in row:
            continue
        quality, shown = _quality(row, None if of_classes else metric)
        if quality is None:  # The reference is empty, so the clip has no score of its own.
            continue
        clip = _clip(row, shown, metric.unit if metric else "")
        sure = _margin(row, classes) if of_classes else 0.0
        ranked.append((quality, sure, 0 if of_classes else len(clip.reference), clip))
    # Among equals the longer reference goes first: it shows more. The id settles the rest, for a stable page.
    ranked.sort(key=lambda one: (-one[0], one[1], -one[2], one[3].id))
    if of_classes:
        wrong = [clip for *_, clip in ranked if clip.reference != clip.hypothesis]
        return tuple(wrong[::-1][:_PER_END])
    best = ranked[:_PER_END]
    worst = sorted(ranked[max(len(best), len(ranked) - _PER_END) :], key=lambda one: (one[0], -one[2], one[3].id))
    return (*(replace(clip, which="best") for *_, clip in best), *(clip for *_, clip in worst))


def _quality(row: JsonObject, metric: AdditiveMetric | None) -> tuple[float | None, float | None]:
    """Return how good an answer is (higher is better; None where undefined), and its score as people read it."""
    reference, hypothesis = row.get("reference"), row.get("hypothesis")
    if (metric is None or metric.name == "r2") and _are_numbers(reference) and _are_numbers(hypothesis):
        return -sum(abs(x - y) for x, y in zip(reference or (), hypothesis or (), strict=False)), None
    if metric is None or reference is None or hypothesis is None or metric.of_classes is not None:
        return _agreement(reference, hypothesis), None
    try:
        shown = float(metric.score(np.asarray(metric.per_clip(reference, hypothesis), dtype=np.float64)))
    except (UserError, TypeError, ValueError):
        return _agreement(reference, hypothesis), None
    if math.isnan(shown):
        return None, None
    return (shown if metric.higher_is_better else -shown), shown


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_number, value))


def _margin(row: JsonObject, classes: Sequence[str]) -> float:
    """Return by how much the answer's class was scored above the right one; 0 where that is not known."""
    scores = row.get("scores")
    if not isinstance(scores, list) or len(scores) != len(classes) or row.get("reference") not in classes:
        return 0.0
    margin = max(scores) - scores[list(classes).index(str(row["reference"]))]
    return float(margin) if math.isfinite(margin) else 0.0


def _clip(row: JsonObject, shown: float | None, unit: str) -> RankedClip:
    about = {key: row[key] for key in ("speaker", "gender", "language", "track", "artist") if row.get(key)}
    reference, hypothesis = as_line(row.get("reference")), as_line(row.get("hypothesis"))
    return RankedClip("worst", str(row.get("id")), reference, hypothesis, shown, unit, **about)


def as_line(value: object) -> str:
    """Write an answer as one line.

    Examples
    --------
    >>> as_line(["rock", "fast"]), as_line([0.51234, 1.0]), as_line(None)
    ('rock, fast', '0.512, 1', '')
    """
    if isinstance(value, list | tuple):
        return ", ".join(number(one) if is_number(one) else str(one) for one in value)
    return str(value if value is not None else "")


def _agreement(reference: object, hypothesis: object) -> float:
    wanted, got = (set(value) if isinstance(value, list | tuple) else {value} for value in (reference, hypothesis))
    return len(wanted & got) / len(wanted | got) if wanted | got else 1.0


def word_changes(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Align two texts word by word, as pairs of kind (``same``, ``missing``, ``added``) and words.

    Examples
    --------
    >>> word_changes("the small fish", "the fish swims")
    [('same', 'the'), ('missing', 'small'), ('same', 'fish'), ('added', 'swims')]
    """
    wanted, got = reference.split(), hypothesis.split()
    out = []
    for tag, start, stop, other_start, other_stop in difflib.SequenceMatcher(
        a=wanted, b=got, autojunk=False
    ).get_opcodes():
        if tag == "equal":
            out.append(("same", " ".join(wanted[start:stop])))
            continue
        if stop > start:
            out.append(("missing", " ".join(wanted[start:stop])))
        if other_stop > other_start:
            out.append(("added", " ".join(got[other_start:other_stop])))
    return out


def is_class_task(rows: Sequence[JsonObject], task: str | None, classes: Sequence[str] = ()) -> bool:
    """Say whether each clip has one class for an answer, and not a text, a list or numbers."""
    if task in _TEXTS or not rows or not all(_is_class(row) for row in rows):
        return False
    # The classes of a task with texts are its characters; a text is none of them.
    return not classes or {str(row["hypothesis"]) for row in rows} <= set(classes)


def confusion(rows: Sequence[JsonObject], task: str | None, classes: Sequence[str] = ()) -> Confusion | None:
    """Count the answers for each reference class, for tasks with one class a clip.

    None for tasks whose answers are texts or lists, and where there are more than `MAX_CLASSES` classes (see
    `confused_pairs`).
    """
    if not is_class_task(rows, task, classes):
        return None
    found = {str(row[side]) for row in rows for side in ("reference", "hypothesis")}
    if not 2 <= len(found) <= MAX_CLASSES:
        return None
    labels = sorted(found, key=_class_order)
    place = {label: index for index, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for row in rows:
        counts[place[str(row["reference"])]][place[str(row["hypothesis"])]] += 1
    return Confusion(tuple(labels), tuple(map(tuple, counts)))


def confused_pairs(
    rows: Sequence[JsonObject], task: str | None, classes: Sequence[str] = ()
) -> tuple[ConfusedPair, ...]:
    """Return the most frequent confusions, at most fifteen; nothing if a matrix of all classes can be drawn."""
    if not is_class_task(rows, task, classes):
        return ()
    if len({str(row[side]) for row in rows for side in ("reference", "hypothesis")}) <= MAX_CLASSES:
        return ()
    totals = Counter(str(row["reference"]) for row in rows)
    pairs = Counter((str(row["reference"]), str(row["hypothesis"])) for row in rows)
    wrong = [(pair, count) for pair, count in pairs.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda one: (-one[1], -one[1] / totals[one[0][0]], one[0]))
    return tuple(ConfusedPair(*pair, count, totals[pair[0]]) for pair, count in wrong[:_MOST_PAIRS])


def _is_class(row: JsonObject) -> bool:
    return all(isinstance(row.get(side), str | int) for side in ("reference", "hypothesis"))


def _class_order(label: str) -> tuple[int, int, str]:
    match = _KEY.fullmatch(label.strip())
    if not match:
        return (2, 0, label)
    tonic = match[1].lower().replace("♯", "#").replace("♭", "b").replace("-", "b")
    tonic = _FLATS.get(tonic, tonic)
    mode = (match[2] or "maj").lower()
    return (int(mode.startswith("mi") or mode == "m"), _TONICS.index(tonic) if tonic in _TONICS else 12, label)


SAMPLE_RATE = 16_000
MOST_SECONDS = 4.0

Sounds = Mapping[str, str]
"""By id of the clip: a ``data:`` address, or in words why there is none."""


def excerpts(rows: Sequence[JsonObject], ids: Sequence[str]) -> dict[str, str]:
    """Read the first seconds of some clips.

    Parameters
    ----------
    rows
        Predictions with the manifest's columns.
    ids
        Of the clips that are wanted.

    Returns
    -------
    dict
        By id: a ``data:audio/mpeg`` address, or why the clip cannot be heard. Clips without a path are left out.
    """
    wanted = set(ids)
    found = {}
    for row in rows:
        clip_id = str(row.get("id"))
        if clip_id in wanted and row.get("path"):
            found[clip_id] = _excerpt(row)
    return found


def _excerpt(row: JsonObject) -> str:
    try:
        clip = Clip.from_row({key: row.get(key) for key in ("id", "path", "start", "seconds", "sample_rate")})
        short = Clip(clip.id, clip.path, clip.start, min(clip.seconds, MOST_SECONDS), clip.sample_rate)
        samples = read_clip(short, SAMPLE_RATE)
    except (AudioError, UserError, OSError, TypeError):
        return "audio not found"
    kind, name = ("MP3", "mpeg") if "MP3" in soundfile.available_formats() else ("FLAC", "flac")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format=kind)
    return f"data:audio/{name};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
