"""Speech Commands v0.02: one spoken English word of a second, for keyword spotting with twelve classes.

105 829 recordings of 35 words by 2618 speakers, 16 kHz (Warden 2018). The classes are those of the paper and of SUPERB
(Yang et al. 2021): ten commands, ``unknown`` for the 25 other words, and ``silence``. Silence is cut from the noises
that come with the words, a second each: the first 80 % of a noise are for training, the next 10 % for validation, the
last for the test. Get the two archives named below from http://download.tensorflow.org/data; neither has a folder of
its own, so unpack each into one of its name.

Layout below the root::

    speech_commands_v0.02/WORD/SPEAKER_nohash_N.wav     or the words' folders at the root itself
    speech_commands_v0.02/_background_noise_/*.wav
    speech_commands_v0.02/{validation_list,testing_list}.txt
    speech_commands_test_set_v0.02/CLASS/*.wav          optional: the official test set, with its own silence

Without the official test set, the test split is the words of ``testing_list.txt`` and the ends of the noises. Training
has some 15 times more ``unknown`` than any other class; SUPERB draws the classes evenly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    check_split,
    expected,
    read_text,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="speech_commands",
    title="Speech Commands",
    description=(
        "Single English words of a second by many speakers, recorded at home: ten commands, other words as `unknown`, "
        "and silence. Gender and age are not recorded."
    ),
    licence="CC-BY-4.0",
    citation=(
        "Warden 2018, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv:1804.03209. "
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz and speech_commands_test_set_v0.02.tar.gz"
    ),
    size="2.4 GB to download, 105829 words of up to a second, 29 h; the official test set 113 MB, 4890 clips",
    layout=(
        "speech_commands_v0.02/WORD/*.wav with _background_noise_, validation_list.txt and testing_list.txt, and "
        "speech_commands_test_set_v0.02/CLASS/*.wav if there"
    ),
    splits={
        "train": "words in neither list, by speaker; the first 80 % of each noise as silence",
        "valid": "words of validation_list.txt, the corpus's own; the next 10 % of each noise",
        "test": "the official test set; without it the words of testing_list.txt and the last 10 % of each noise",
    },
    languages=("en",),
    labels=("label", "text", "language", "speaker"),
)

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The classes beside ``unknown`` and ``silence``."""

_NOISE = "_background_noise_"
# In the official test set an unknown word may stand before its speaker.
_NAME = re.compile(r"(?:(?P<word>[a-z]+)_)?(?P<speaker>[0-9a-f]+)_nohash_\d+$")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a word, and one a second of noise.

    Raises
    ------
    UserError
        If there are no words below `root`, or one of the two lists is missing.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    tests = [root / "speech_commands_test_set_v0.02", root / "test"]
    test_set = next((place for place in tests if place.is_dir()), None)
    places = [root / "speech_commands_v0.02", root / "train", root]
    words = next((place for place in places if (place / "yes").is_dir()), None)
    if words is None:
        raise UserError(
            f"the words of {CORPUS.title} were expected here, but there is no folder `yes`",
            where=str(root),
            remedy=f"layout: {CORPUS.layout}",
        )
    listed = dict.fromkeys(_list(words / "testing_list.txt"), "test")
    listed.update(dict.fromkeys(_list(words / "validation_list.txt"), "valid"))
    for clip in _words(words, listed, left_out):
        # The official test set has the same recordings as the list.
        if split in (None, clip.split) and not (test_set and clip.split == "test"):
            yield clip
    if test_set and split in (None, "test"):
        yield from _test_set(test_set, left_out)


def _list(path: Path) -> list[str]:
    if not path.is_file():
        raise expected(CORPUS, path, "there is no such file", "a list of")
    return read_text(path).split()


def _words(words: Path, listed: dict[str, str], left_out: LeftOut) -> Iterator[Clip]:
    for folder in sorted(path for path in words.iterdir() if path.is_dir()):
        for path in sorted(folder.glob("*.wav")):
            name = path.relative_to(words).as_posix()
            if (clip := usable_file(path, name.removesuffix(".wav"), left_out)) is None:
                continue
            if folder.name == _NOISE:
                yield from _silence(clip)
            elif match := _NAME.match(path.stem):
                yield _labelled(clip, folder.name, match["speaker"], listed.get(name, "train"))
            else:
                left_out.add(path, "the name has no speaker")


def _silence(noise: Clip) -> Iterator[Clip]:
    seconds = int(noise.seconds)
    for second in range(seconds):
        part = "train" if second < 0.8 * seconds else "valid" if second < 0.9 * seconds else "test"
        name = f"{noise.id}#{second:03d}"
        yield replace(noise, id=name, start=float(second), seconds=1.0, label="silence", split=part)


def _test_set(folder: Path, left_out: LeftOut) -> Iterator[Clip]:
    for path in sorted(folder.glob("*/*.wav")):
        if (clip := usable_file(path, f"test_set/{path.parent.name}/{path.stem}", left_out)) is None:
            continue
        kind, match = path.parent.name.strip("_"), _NAME.match(path.stem)
        if kind == "silence":
            yield replace(clip, label=kind, split="test")
        else:
            word = kind if kind in COMMANDS else match["word"] if match else None
            yield _labelled(clip, word, match["speaker"] if match else None, "test")


def _labelled(clip: Clip, word: str | None, speaker: str | None, part: str) -> Clip:
    label = word if word in COMMANDS else "unknown"
    return replace(clip, label=label, text=word, language="en", speaker=speaker, split=part)
