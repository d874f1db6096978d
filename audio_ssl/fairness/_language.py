"""What language the texts of a table are in: BLEU's tokeniser follows it, and without spaces there are no words.

The target language is what the column ``translation_language`` (``target_language`` …) says. A column ``language`` is
that of the speech, which in translation is another one, so it is not asked. Where no column says, the script of the
references does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from audio_ssl.errors import UserError
from audio_ssl.fairness.readers.source import Numbered, Row
from audio_ssl.metrics.additive import AdditiveMetric, get_metric
from audio_ssl.metrics.tokenizers import (
    USUAL,
    check_tokenizer,
    language_of_script,
    language_without_spaces,
    one_tokenizer,
    tokenizer_of,
    words_warning,
)

COLUMNS = ("translation_language", "target_language", "tgt_language", "target_lang", "tgt_lang")
"""Names of the column with the language of the translations, the first that is there."""

_REMEDY = "score the languages apart, one table for each, or name one way for all: --tokenizer char"
_LOOKED_AT, _LOOKED_AT_CHARACTERS = 1000, 1 << 20


@dataclass(frozen=True)
class Writing:
    """How the texts are counted."""

    measures: dict[str, AdditiveMetric]
    """The main one first."""

    tokenizer: str
    """Of BLEU."""

    notes: tuple[str, ...]
    """What readers of the scores must know, in sentences."""


def look_at(
    rows: Numbered, measures: Mapping[str, AdditiveMetric], asked: bool, tokenizer: str | None, where: str
) -> tuple[Writing, Numbered]:
    """Return how to count the texts of some rows, and the rows.

    Parameters
    ----------
    rows
        Of the predictions; the first thousand are looked at, or fewer where texts are long.
    measures
        What is counted; WER gives way to CER where there are no words.
    asked
        Whether the user named the metrics: then their order stays.
    tokenizer
        Of BLEU; None: as the target language needs it.
    where
        For errors.

    Raises
    ------
    UserError
        If the target languages need different tokenisers, or `tokenizer` is none.
    """
    head = _head(rows)
    rows = chain(head, rows)
    texts = [text for _, row in head if isinstance(text := row.get("reference"), str)]
    notes: list[str] = []
    chosen = USUAL if tokenizer is None else check_tokenizer(tokenizer)
    found = dict(measures)
    if "bleu" in found:
        if tokenizer is None:
            column = next((name for name in COLUMNS if any(row.get(name) for _, row in head)), None)
            languages = {str(row[column]) for _, row in head if row.get(column)} if column else set()
            of_all = one_tokenizer(languages or {language_of_script(texts)}, _REMEDY, where)
            chosen = of_all.name
            notes += [f"BLEU: {of_all.reason}"] if of_all.reason else []
            if column is not None:
                rows = _same(rows, column, chosen, where)
        found["bleu"] = get_metric("bleu", (), chosen)
    if "wer" in found and (language := language_without_spaces(texts)) is not None:
        if asked:
            notes.append(
                f"the references are {language}, written without spaces between words: WER takes a whole sentence for "
                "one word; CER (`--metric cer`) is the score to read"
            )
        else:
            found = {"cer": found["cer"], **found}
            notes.append(words_warning(language))
    return Writing(found, chosen, tuple(notes)), rows


def _head(rows: Numbered) -> list[tuple[int, Row]]:
    """Return the first rows; fewer where texts are long."""
    head: list[tuple[int, Row]] = []
    characters = 0
    for number, row in islice(rows, _LOOKED_AT):
        head.append((number, row))
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if characters > _LOOKED_AT_CHARACTERS:
            break
    return head


def _same(rows: Numbered, column: str, chosen: str, where: str) -> Iterator[tuple[int, Row]]:
    """Pass rows on; refuse one whose language needs another tokeniser."""
    fitting: dict[object, bool] = {}
    for number, row in rows:
        language = row.get(column)
        if language and isinstance(language, str):
            if language not in fitting:
                fitting[language] = tokenizer_of(language).name == chosen
            if not fitting[language]:
                raise UserError(
                    f"line {number} is a translation into `{language[:40]}`, which needs another tokenizer than "
                    f"`{chosen}`, that of the rows before",
                    where=where,
                    remedy=_REMEDY,
                )
        yield number, row


def columns_to_read(found: Sequence[str] | Mapping[str, object], measures: Mapping[str, AdditiveMetric]) -> list[str]:
    """Return the columns that say the language of translations, of those that are there."""
    return [name for name in COLUMNS if name in found] if "bleu" in measures else []
