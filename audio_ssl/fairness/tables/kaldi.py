"""Predictions in Kaldi's folders and in NIST sclite's transcripts.

**Kaldi's folders**: ``text``, ``utt2spk`` (or ``spk2utt``), ``spk2gender``, and hypotheses, one utterance per line.
Hypotheses are in the first of ``hyp, hyp.txt, text_hyp`` that exists, or in a decode folder: the folder itself or its
only ``decode*``, with ``scoring_kaldi/penalty_P/N.txt`` for the weight N and the penalty P of the best score, which
``scoring_kaldi/wer_details`` names. The references of a decode folder may also be ``scoring_kaldi/test_filt.txt``.
Durations are in ``utt2dur`` or ``segments``. Any other attribute X is read from ``utt2X`` or ``spk2X``.

**sclite's transcripts** (``.trn``): ``words (utterance)`` per line, references and hypotheses in separate files:
``ref.trn`` beside ``hyp.trn``, or ``NAME.ref.trn`` beside ``NAME.hyp.trn``. The speaker is what stands before the
first ``-`` or ``_`` of the utterance, which sclite calls ``spu_id``. In a folder, Kaldi's ``utt2X`` and ``spk2X`` give
further attributes. Lines that begin with ``;;`` are comments. Not covered on purpose: references with a choice of words
(``{ a / b }``), which have no single word count; such clips are excluded by their line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from audio_ssl.base.errors import UserError
from audio_ssl.fairness.tables.lines import Lookup, read_lines
from audio_ssl.fairness.tables.source import Numbered, Refuse, Row, Source

HYPOTHESES = ("hyp", "hyp.txt", "text_hyp")
"""File names of hypotheses, tried before decode folders."""

_SCORING = "scoring_kaldi"

_TABLE = re.compile(r"(utt|spk)2(\w+)")
_NO_ATTRIBUTE = ("utt", "spk", "dur")


def is_kaldi(folder: Path) -> bool:
    """Return whether a folder is one of Kaldi's."""
    return (folder / _SCORING).is_dir() or any((folder / name).is_file() for name in ("text", "utt2spk", "spk2utt"))


def open_kaldi(folder: Path) -> Source:
    """Describe a folder.

    Raises
    ------
    UserError
        If it has no hypotheses, or more than one decode folder.
    """
    hypotheses = _hypotheses(folder)
    text = next((path for path in (folder / "text", _filtered(hypotheses)) if path and path.is_file()), None)
    tables = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and _TABLE.fullmatch(path.name)}
    used = [text, hypotheses, *tables.values(), folder / "segments"]
    columns = ["id", "hypothesis", *(["reference"] if text else []), *attribute_columns(folder)]
    return Source(
        tuple(path for path in used if path is not None and path.is_file()),
        tuple(dict.fromkeys(columns)),
        lambda wanted, refuse: _rows(folder, text, hypotheses, wanted),
        note=f"hypotheses of {hypotheses.relative_to(folder).as_posix()}",
    )


def attribute_columns(folder: Path) -> tuple[str, ...]:
    """Return the attributes that the tables of a folder have."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and _TABLE.fullmatch(path.name))
    columns = ["speaker"] if {"utt2spk", "spk2utt"} & set(names) else []
    columns += ["seconds"] if "utt2dur" in names or (folder / "segments").is_file() else []
    return tuple(dict.fromkeys([*columns, *(name[4:] for name in names if name[4:] not in _NO_ATTRIBUTE)]))


def _rows(folder: Path, text: Path | None, hypotheses: Path, wanted: Collection[str]) -> Numbered:
    """Yield the utterances of the references, then those that only have a hypothesis."""
    attributes = Attributes(folder, wanted)
    said = Lookup(hypotheses, _first_word)
    if text is not None:
        for number, utterance, words in _utterances(text):
            found = said.get(utterance)
            hypothesis = None if found is None else _split(found[1])[1]
            yield number, {**attributes.of(utterance), "id": utterance, "reference": words, "hypothesis": hypothesis}
    for utterance in list(said.unused()):
        number, line = said.get(utterance) or (0, "")
        yield number, {**attributes.of(utterance), "id": utterance, "hypothesis": _split(line)[1]}
    said.close()


class Attributes:
    """Speaker, length and other attributes of utterances."""

    def __init__(self, folder: Path, wanted: Collection[str]) -> None:
        self._speaker = _speakers(folder)
        self._of_utterance: dict[str, dict[str, str]] = {}
        self._of_speaker: dict[str, dict[str, str]] = {}
        for name in wanted:
            for kind, tables in (("utt", self._of_utterance), ("spk", self._of_speaker)):
                path = folder / f"{kind}2{name}"
                if name not in _NO_ATTRIBUTE and path.is_file() and name not in self._of_utterance:
                    tables[name] = _read(path)
        self._seconds: dict[str, float | str] = {}
        if "seconds" in wanted:
            self._seconds = _seconds(folder)

    def of(self, utterance: str, speaker: str | None = None) -> Row:
        """Return the attributes of an utterance; `speaker` is used if the folder names none."""
        speaker = self._speaker.get(utterance, speaker)
        row: Row = {"speaker": speaker, "seconds": self._seconds.get(utterance)}
        row |= {name: table.get(utterance) for name, table in self._of_utterance.items()}
        return row | {name: table.get(speaker or "") for name, table in self._of_speaker.items()}


def _hypotheses(folder: Path) -> Path:
    for name in HYPOTHESES:
        if (folder / name).is_file():
            return folder / name
    decoded = [folder] if (folder / _SCORING).is_dir() else sorted(folder.glob(f"decode*/{_SCORING}"))
    if len(decoded) > 1:
        names = ", ".join(path.parent.name for path in decoded)
        raise UserError(
            f"there are several decode folders: {names}",
            where=str(folder),
            remedy="copy the hypotheses of one to `hyp`",
        )
    if not decoded:
        raise UserError(
            f"a Kaldi folder needs hypotheses: none of {', '.join(HYPOTHESES)}, decode*/{_SCORING} is here",
            where=str(folder),
        )
    return _best(decoded[0] / _SCORING if decoded[0] == folder else decoded[0])


def _best(scoring: Path) -> Path:
    """Return the hypotheses of the best weight and penalty."""
    details = scoring / "wer_details"
    try:
        weight, penalty = ((details / name).read_text(encoding="utf-8").strip() for name in ("lmwt", "wip"))
    except (OSError, ValueError) as error:
        raise UserError(
            "the best weight and penalty are not known: `lmwt` and `wip` were expected here",
            where=str(details),
            remedy="copy the hypotheses of one to `hyp`",
        ) from error
    path = scoring / f"penalty_{penalty}" / f"{weight}.txt"
    # A name in a file must not lead out of the folder.
    if not re.fullmatch(r"[\w.]+", weight + penalty) or not path.is_file():
        raise UserError("the hypotheses of the best score were expected here", where=str(path))
    return path


def _filtered(hypotheses: Path) -> Path | None:
    """Return the references beside a decode folder's hypotheses."""
    scoring = hypotheses.parent.parent
    return scoring / "test_filt.txt" if scoring.name == _SCORING else None


def _speakers(folder: Path) -> dict[str, str]:
    if (folder / "utt2spk").is_file():
        return _read(folder / "utt2spk")
    if not (folder / "spk2utt").is_file():
        return {}
    speaker_of: dict[str, str] = {}
    for number, speaker, utterances in _utterances(folder / "spk2utt"):
        for utterance in utterances.split():
            if speaker_of.setdefault(utterance, speaker) != speaker:
                raise UserError(
                    f"`{utterance}` is of two speakers: {speaker_of[utterance]} and {speaker}",
                    where=f"{folder / 'spk2utt'}:{number}",
                )
    return speaker_of


def _seconds(folder: Path) -> dict[str, float | str]:
    if (folder / "utt2dur").is_file():
        return {**_read(folder / "utt2dur")}
    found: dict[str, float | str] = {}
    if (folder / "segments").is_file():
        for number, utterance, rest in _utterances(folder / "segments"):
            try:
                _, start, end = rest.split()
                found[utterance] = float(end) - float(start)
            except ValueError as error:
                raise UserError(
                    "a segment must be `utterance recording start end`", where=f"{folder / 'segments'}:{number}"
                ) from error
    return found


def _read(path: Path) -> dict[str, str]:
    """Return a table of two columns. Equal values are stored once."""
    once: dict[str, str] = {}
    table: dict[str, str] = {}
    for number, key, value in _utterances(path):
        if table.setdefault(key, once.setdefault(value, value)) != value:
            raise UserError(f"`{key}` has two values: {table[key]} and {value}", where=f"{path}:{number}")
    return table


def _utterances(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, _, line in read_lines(path):
        if line.strip():
            yield number, *_split(line)


def _first_word(number: int, line: str) -> str | None:
    return _split(line)[0] if line.strip() else None


def _split(line: str) -> tuple[str, str]:
    key, *rest = line.strip().split(None, 1)
    return key, rest[0] if rest else ""


_LINE = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")
_LOOKED_AT = 1 << 16
_SPEAKER = re.compile(r"[^-_]+(?=[-_])")


def is_trn(path: Path) -> bool:
    """Return whether a path is sclite's: a file by its suffix or first line, a folder by its pair of files."""
    if path.is_dir():
        return bool(_trn_hypotheses(path))
    if path.suffix.lower() == ".trn":
        return True
    if path.suffix.lower() not in (".txt", ".hyp", ".ref"):
        return False
    with path.open("rb") as file:
        first = file.readline(_LOOKED_AT).decode("utf-8", "replace")
    return _LINE.fullmatch(first.strip()) is not None


def open_trn(path: Path) -> Source:
    """Describe hypotheses, with references if they are beside them; `path` may be the folder of both.

    Raises
    ------
    UserError
        If a folder has hypotheses of several systems.
    """
    folder = path if path.is_dir() else path.parent
    hypotheses = path
    if path.is_dir():
        found = _trn_hypotheses(path)
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
        lambda wanted, refuse: _trn_rows(hypotheses, references, folder if tables else None, wanted, refuse),
        note=note,
    )


def parse_trn(line: str) -> tuple[str, str] | None:
    """Return utterance and words of a line, None of a comment or an empty line.

    Raises
    ------
    ValueError
        If the line does not end in an utterance.

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
    """Return the speaker in an id; None if it has none.

    Examples
    --------
    >>> speaker_of("ann-01"), speaker_of("ann_b-01"), speaker_of("01")
    ('ann', 'ann', None)
    """
    found = _SPEAKER.match(utterance)
    return found[0] if found else None


def _trn_rows(
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


def _trn_hypotheses(folder: Path) -> list[Path]:
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
