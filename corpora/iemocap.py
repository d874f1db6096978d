"""IEMOCAP: dialogues of pairs of actors, scripted and improvised, with the emotion that listeners heard in each turn.

10 039 turns in five sessions, each with one woman and one man of its own, 12 h, 16 kHz (Busso et al. 2008). The label
is one of the four classes of SUPERB's emotion recognition (Yang et al. 2021): ``angry``, ``happy`` (with ``excited``),
``neutral`` and ``sad``, 5531 turns; other turns have none, and their emotion is in the column of this name. Get it from
https://sail.usc.edu/iemocap, on request.

Layout below the root, which may be the folder `IEMOCAP_full_release` or the one that holds it::

    SessionN/dialog/EmoEvaluation/DIALOG.txt     lines `[START - END] TURN EMOTION [VALENCE, ACTIVATION, DOMINANCE]`
    SessionN/dialog/transcriptions/DIALOG.txt    lines `TURN [START-END]: text`; optional
    SessionN/sentences/wav/DIALOG/TURN.wav

A turn is named Ses01F_impro05_M019: the last letter is who speaks, the first who wears the motion capture markers.
There is no official split; the field's folds leave one session out (`fold_column: session`, `folds: 5`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    check_split,
    expected,
    require_folder,
    whole_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    description=(
        "Acted English dialogues with transcript, emotion, valence and arousal by several listeners, and five speakers "
        "of either gender. Whether a turn was scripted matters: the words of scripts tell the emotion."
    ),
    licence="IEMOCAP licence (on request, for research)",
    citation=(
        "Busso, Bulut, Lee, Kazemzadeh, Mower, Kim, Chang, Lee and Narayanan 2008, IEMOCAP: interactive emotional "
        "dyadic motion capture database, Language Resources and Evaluation 42(4). https://sail.usc.edu/iemocap"
    ),
    size="10039 turns, 12 h; 5531 turns have a label",
    layout="SessionN/dialog/{EmoEvaluation,transcriptions}/*.txt and SessionN/sentences/wav/DIALOG/*.wav",
    splits={f"Session{number}": "the session; for folds, no official split is cut" for number in range(1, 6)},
    languages=("en",),
    labels=(
        "label",
        "text",
        "language",
        "speaker",
        "gender",
        "emotion",
        "session",
        "valence",
        "arousal",
        "dominance",
        "improvised",
    ),
)

EMOTIONS = {
    "ang": "angry",
    "dis": "disgusted",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "oth": "other",
    "sad": "sad",
    "sur": "surprised",
    "xxx": "no agreement",
}
"""Code in the evaluation -> emotion."""

CLASSES = {"angry": "angry", "excited": "happy", "happy": "happy", "neutral": "neutral", "sad": "sad"}
"""Emotion -> SUPERB's class."""

_TURN = re.compile(r"\[[\d. ]+-[\d. ]+\]\s+(?P<turn>Ses\d\d\w+)\s+(?P<emotion>\w{3})\s+\[(?P<values>[\d., ]+)\]")
_TEXT = re.compile(r"(?P<turn>Ses\d\d\w+)\s+\[[\d. ]+-[\d. ]+\]:\s*(?P<text>.*)")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a turn that was evaluated.

    Raises
    ------
    UserError
        If there is no session below `root`, or one lacks its evaluation.
    """
    check_split(CORPUS, split)
    inner = root / "IEMOCAP_full_release"
    root = inner if inner.is_dir() else root
    require_folder(root, CORPUS)
    sessions = [session for session in CORPUS.splits if split in (None, session) and (root / session).is_dir()]
    if not sessions:
        raise expected(CORPUS, root, f"there is no folder {split or 'Session1'}")
    for session in sessions:
        texts = _texts(root / session / "dialog/transcriptions")
        evaluations = require_folder(root / session / "dialog/EmoEvaluation", CORPUS)
        # Files that begin with "._" are archive litter.
        for dialog in sorted(evaluations.glob("Ses*.txt")):
            for match in _TURN.finditer(dialog.read_text(encoding="utf-8", errors="replace")):
                turn = match["turn"]
                path = root / session / "sentences/wav" / dialog.stem / f"{turn}.wav"
                try:
                    yield _labelled(whole_file(path, turn), session, match, texts.get(turn))
                except AudioError as error:
                    left_out.add(path, error.reason)


def _labelled(clip: Clip, session: str, match: re.Match[str], text: str | None) -> Clip:
    turn = match["turn"]
    gender = turn.split("_")[-1][0]
    emotion = EMOTIONS.get(match["emotion"].lower(), match["emotion"])
    try:
        valence, arousal, dominance = (float(value) for value in match["values"].split(","))
    except ValueError as error:
        raise AudioError(f"its ratings must be three numbers, but are `{match['values'][:40]}`") from error
    return replace(
        clip,
        label=CLASSES.get(emotion),
        text=text,
        language="en",
        speaker=f"{turn[:5]}{gender}",
        gender=gender if gender in ("F", "M") else None,
        split=session,
        extra={
            "emotion": emotion,
            "session": session,
            "valence": valence,
            "arousal": arousal,
            "dominance": dominance,
            "improvised": "impro" in turn,
        },
    )


def _texts(folder: Path) -> dict[str, str]:
    """Return turn -> transcript; turns may be missing."""
    files = sorted(folder.glob("Ses*.txt"))
    found = (match for path in files for match in _TEXT.finditer(path.read_text(encoding="utf-8", errors="replace")))
    return {match["turn"]: match["text"].strip() for match in found}
