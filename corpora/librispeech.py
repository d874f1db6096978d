"""LibriSpeech: read English audiobooks in the layout of its own archives, with the recorded sex of each reader.

About 1000 hours by 2484 readers of LibriVox books, 16 kHz FLAC, cut into utterances with upper-case transcripts
(Panayotov et al. 2015). Get it from https://www.openslr.org/12 and unpack it; any subsets will do, and a subset without
transcripts too.

Layout below the root, which may be the folder `LibriSpeech` or the one that holds it::

    SPEAKERS.TXT                                    `ID | SEX | SUBSET | MINUTES | NAME`; optional
    SUBSET/READER/CHAPTER/READER-CHAPTER-NNNN.flac
    SUBSET/READER/CHAPTER/READER-CHAPTER.trans.txt  optional
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    UserError,
    annotation_text,
    check_split,
    list_lines,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="librispeech",
    title="LibriSpeech",
    description=(
        "Read English speech with transcripts and many readers of either sex, as recorded by the corpus: the usual "
        "corpus for pretraining and recognition, and large enough for tests over speakers. dev and test hold other "
        "readers than train."
    ),
    licence="CC-BY-4.0",
    citation=(
        "Panayotov, Chen, Povey and Khudanpur 2015, Librispeech: an ASR corpus based on public domain audio books, "
        "ICASSP. https://www.openslr.org/12"
    ),
    size="60 GB to download for all seven subsets, 982 h; train-clean-100 6.3 GB, 100 h; test-other 328 MB, 5 h",
    layout="SPEAKERS.TXT and SUBSET/READER/CHAPTER/*.flac with *.trans.txt, as unpacked",
    splits={
        "train-clean-100": "100 h; the corpus's own split, by reader, as all of these",
        "train-clean-360": "360 h",
        "train-other-500": "500 h, harder",
        "dev-clean": "5 h",
        "dev-other": "5 h, harder",
        "test-clean": "5 h",
        "test-other": "5 h, harder",
    },
    languages=("en",),
    labels=("text", "language", "speaker", "gender", "chapter"),
)


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip an utterance of the subsets that are there.

    Raises
    ------
    UserError
        If there is no subset below `root`, or not the one asked for; the others need not be there.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    if (
        root.name in CORPUS.splits
        and split in (None, root.name)
        and not any((root / subset).is_dir() for subset in CORPUS.splits)
    ):
        # One subset as the root: of the ones beside it nobody spoke.
        split, root = root.name, root.parent
    subsets = [subset for subset in CORPUS.splits if split in (None, subset) and (root / subset).is_dir()]
    if not subsets and split is not None:
        require_folder(root / split, CORPUS)
    if not subsets:
        raise UserError(
            f"none of {CORPUS.title}'s subsets was found here: {', '.join(CORPUS.splits)}",
            where=str(root),
            remedy=f"layout: {CORPUS.layout}",
        )
    genders = _genders(root / "SPEAKERS.TXT", left_out)
    for subset in subsets:
        clips, lacking = 0, 0
        for chapter in sorted((root / subset).glob("*/*")):
            texts = _texts(chapter, left_out)
            for path in sorted(chapter.glob("*.flac")):
                for clip in _clip(path, subset, texts.get(path.stem), genders, left_out):
                    clips, lacking = clips + 1, lacking + (clip.text is None)
                    yield clip
        if lacking:
            some = f"none of the {clips} clips has" if lacking == clips else f"{lacking} of the {clips} clips lack"
            left_out.say(f"{subset}: {some} a transcript (READER-CHAPTER.trans.txt, beside the audio)")


def _clip(path: Path, subset: str, text: str | None, genders: dict[str, str], left_out: LeftOut) -> Iterator[Clip]:
    if (clip := usable_file(path, path.stem, left_out)) is None:
        return
    reader = path.parent.parent.name
    yield replace(
        clip,
        text=text,
        language="en",
        speaker=reader,
        gender=genders.get(reader),
        split=subset,
        extra={"chapter": path.parent.name},
    )


def _texts(chapter: Path, left_out: LeftOut) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted(chapter.glob("*.trans.txt")):
        try:
            lines = annotation_text(path).splitlines()
        except AudioError as error:
            left_out.add(path, error.reason)
            continue
        pairs = (line.partition(" ") for line in lines)
        texts.update({name: text.strip() for name, found, text in pairs if found})
    return texts


def _genders(path: Path, left_out: LeftOut) -> dict[str, str]:
    """Return reader -> F or M, for the readers the file lists; names may hold bars, so only the first fields count."""
    if not path.is_file():
        return {}
    genders: dict[str, str] = {}
    for where, line in list_lines(path):
        row = [field.strip() for field in line.split("|", 4)]
        if not line.startswith(";") and len(row) == 5:
            genders[row[0]] = row[1]
        elif not line.startswith(";"):
            left_out.add(where, "a line must be `ID | SEX | SUBSET | MINUTES | NAME`")
    return genders
