"""NIST sclite's transcripts (``.trn``): ``words (utterance)`` a line, references and hypotheses in a file each.

The references are beside the hypotheses: ``ref.trn`` of ``hyp.trn``, or ``NAME.ref.trn`` of ``NAME.hyp.trn``. The
speaker is what stands before the first ``-`` or ``_`` of the utterance, which sclite calls ``spu_id``. In a folder,
Kaldi's ``utt2X`` and ``spk2X`` give further attributes. Lines that begin with ``;;`` are comments. What is left out on
purpose: references with a choice of words (``{ a / b }``), which have no one word count; such clips are refused by
their line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.fairness.readers.kaldi import Attributes, attribute_columns
from audio_ssl.fairness.readers.lines import Lookup, read_lines
from audio_ssl.fairness.readers.source import Numbered, Refuse, Row, Source

_LINE = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")
_LOOKED_AT = 1 << 16
_SPEAKER = re.compile(r"[^-_]+(?=[-_])")


def is_trn(path: Path) -> bool:
    """Tell a file by its suffix, or by how its first line ends; a folder by the pair in it."""
    if path.is_dir():
        return bool(_hypotheses(path))
    if path.suffix.lower() == ".trn":
        return True
    if path.suffix.lower() not in (".txt", ".hyp", ".ref"):
        return False
    with path.open("rb") as file:
        first = file.readline(_LOOKED_AT).decode("utf-8", "replace")
    return _LINE.fullmatch(first.strip()) is not None


def open_trn(path: Path) -> Source:
    """Describe hypotheses, with their references where these are beside them; `path` may be the folder of both.

    Raises
    ------
    UserError
        If a folder has hypotheses of several systems.
    """
    folder = path if path.is_dir() else path.parent
    hypotheses = path
    if path.is_dir():
        found = _hypotheses(path)
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise UserError(f"there are hypotheses of several systems: {names}", where=str(path), remedy="name one")
        hypotheses = found[0]
    references = _references(hypotheses)
    tables = attribute_columns(folder) if path.is_dir() else ()
    columns = ["id", "hypothesis", "speaker", *(["reference"] if references else []), *tables]
    files = [hypotheses, *([references] if references else [])]
    note = f"sclite's transcripts {' and '.join(one.name for one in files)}, speakers by the ids"
    return Source(
        tuple(files),
        tuple(dict.fromkeys(columns)),
        lambda wanted, refuse: _rows(hypotheses, references, folder if tables else None, wanted, refuse),
        note=note,
    )


def parse_trn(line: str) -> tuple[str, str] | None:
    """Return utterance and words of a line, None of a comment or an empty line.

    Raises
    ------
    ValueError
        If no utterance stands at its end.

    Examples
    --------
    >>> parse_trn("the old sea (ann-01)")
    ('ann-01', 'the old sea')
    """
    line = line.strip()
    if not line or line.startswith(";;"):
        return None
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("a line must end in its utterance between brackets: `words (speaker-utterance)`")
    return found[2], found[1]


def speaker_of(utterance: str) -> str | None:
    """Return who speaks, by the id; None where it does not say.

    Examples
    --------
    >>> speaker_of("ann-01"), speaker_of("ann_b-01"), speaker_of("01")
    ('ann', 'ann', None)
    """
    found = _SPEAKER.match(utterance)
    return found[0] if found else None


def _rows(
    hypotheses: Path, references: Path | None, folder: Path | None, wanted: Collection[str], refuse: Refuse
) -> Numbered:
    attributes = Attributes(folder, wanted) if folder is not None else None

    def row(utterance: str, **texts: str | None) -> Row:
        speaker = speaker_of(utterance)
        more = {"speaker": speaker} if attributes is None else attributes.of(utterance, speaker)
        return {**more, "id": utterance, **texts}

    if references is None:
        for number, utterance, words in _lines(hypotheses):
            yield number, row(utterance, hypothesis=words)
        return
    said = Lookup(hypotheses, lambda number, line: _key(hypotheses, number, line))
    for number, utterance, words in _lines(references):
        found = said.get(utterance)
        if reason := _choice(words):
            refuse(number, reason)
            continue
        hypothesis = None if found is None else (parse_trn(found[1]) or ("", ""))[1]
        yield number, row(utterance, reference=words, hypothesis=hypothesis)
    for utterance in list(said.unused()):
        number, line = said.get(utterance) or (0, "")
        yield number, row(utterance, hypothesis=(parse_trn(line) or ("", ""))[1])
    said.close()


def _choice(words: str) -> str | None:
    if "{" in words:
        return "the reference has a choice of words in braces"
    if "(" in words:
        return "the reference has words in brackets, which may be left out"
    return None


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, _, line in read_lines(path):
        found = _parsed(path, number, line)
        if found is not None:
            yield number, *found


def _key(path: Path, number: int, line: str) -> str | None:
    found = _parsed(path, number, line)
    return None if found is None else found[0]


def _parsed(path: Path, number: int, line: str) -> tuple[str, str] | None:
    try:
        return parse_trn(line)
    except ValueError as error:
        raise UserError(str(error), where=f"{path}:{number}") from error


def _hypotheses(folder: Path) -> list[Path]:
    """Return the hypotheses of a folder that have references beside them."""
    return [path for path in sorted(folder.glob("*.trn")) if _references(path) is not None]


def _references(hypotheses: Path) -> Path | None:
    """Return the file of the same name with `ref` for `hyp`, or the folder's only ``ref.trn``."""
    name = hypotheses.name
    if "hyp" not in name.lower():
        return None
    paired = hypotheses.with_name(re.sub("hyp", "ref", name, flags=re.IGNORECASE))
    alone = hypotheses.with_name(f"ref{hypotheses.suffix}")
    return next((path for path in (paired, alone) if path.is_file()), None)
