"""Metrics that compare groups, which of them fit a task, and the language of the texts of a table.

BLEU's tokeniser depends on the target language, and in a language without spaces between words CER is the main metric.
The target language is that of the column ``translation_language`` (``target_language`` …). A column ``language`` is not
used, because it is the language of the speech. Without such a column, the script of the references decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError, unknown_name
from audio_ssl.fairness.tables.source import Numbered, Row
from audio_ssl.metrics.metric import AdditiveMetric
from audio_ssl.metrics.registry import find_metric, get_metric, metrics_of_groups
from audio_ssl.metrics.texts import (
    USUAL,
    check_tokenizer,
    language_of_script,
    language_without_spaces,
    one_tokenizer,
    tokenizer_of,
    words_warning,
)

USUAL_TASK = "asr"
"""Task that is assumed for a table from elsewhere."""


def get_measure(name: str, tokenizer: str | None = None) -> AdditiveMetric:
    """Return a metric by name: those of texts, labels and slots, and MuST-SHE's ``term_coverage, gender_accuracy``.

    `tokenizer` is BLEU's; the score of given sums does not depend on it.

    Raises
    ------
    UserError
        For an unknown name, or a metric without statistics per clip.
    """
    known = metrics_of_groups()
    if name not in known:
        raise unknown_name("metric", name, known)
    return get_metric(name, (), tokenizer)


def of_terms(names: Iterable[str]) -> bool:
    """Return whether one of the metrics needs MuST-SHE's column ``terms``."""
    found = map(find_metric, names)
    return any(isinstance(one, AdditiveMetric) and one.reference == "terms" for one in found)


def check_task(task: str, where: str) -> tuple[str, ...]:
    """Return the metrics by which groups are compared in a task's results, the main one first.

    Raises
    ------
    UserError
        If the task has no score per clip.
    """
    found = metrics_of_groups(task)
    if not found:
        known = [name for name in catalog.parts("probing/tasks") if metrics_of_groups(name)]
        instead = "its equal error rate is read by audio_ssl/fairness/verification.py"
        raise UserError(
            f"the task `{task}` has no score per clip; groups are compared on {', '.join(known)}",
            where=where,
            remedy=instead if task == "speaker_verification" else None,
        )
    return found


def choose_metrics(task: str | None, asked: Sequence[str], has_terms: bool, where: str) -> tuple[str, ...]:
    """Return the names of the metrics to count, the main one first.

    Parameters
    ----------
    task
        Task of a result folder; None for a table from elsewhere.
    asked
        Metrics that the user names; if empty, those of the task.
    has_terms
        Whether the table has MuST-SHE's columns ``terms`` and ``category``.
    where
        Path for errors.

    Raises
    ------
    UserError
        For an unknown metric, or a task without a score per clip.
    """
    if asked:
        for name in asked:
            get_measure(name)
        return tuple(dict.fromkeys(asked))
    found = check_task(task or USUAL_TASK, where)
    if has_terms and task in (None, "st"):
        measures = [get_measure(name) for name in metrics_of_groups()]
        translated = [one.name for one in measures if one.translation]
        return (*translated, *(one.name for one in measures if one.reference == "terms"))
    return found


COLUMNS = ("translation_language", "target_language", "tgt_language", "target_lang", "tgt_lang")
"""Names of the column with the target language; the first that exists is used."""

_REMEDY = "score the languages apart, one table for each, or name one way for all: --tokenizer char"
_LOOKED_AT, _LOOKED_AT_CHARACTERS = 1000, 1 << 20


@dataclass(frozen=True)
class Writing:
    """How the texts of a table are counted."""

    measures: dict[str, AdditiveMetric]
    """Metrics by name, the main one first."""

    tokenizer: str
    """BLEU's tokeniser."""

    notes: tuple[str, ...]
    """Notes for readers of the scores."""


def look_at(
    rows: Numbered, measures: Mapping[str, AdditiveMetric], asked: bool, tokenizer: str | None, where: str
) -> tuple[Writing, Numbered]:
    """Return how to count the texts of some rows, and all the rows.

    Parameters
    ----------
    rows
        Predictions. The first thousand are read here, or fewer if texts are long.
    measures
        Metrics. CER comes before WER in languages without spaces between words.
    asked
        Whether the user named the metrics; then their order is kept.
    tokenizer
        BLEU's tokeniser; None chooses it by the target language.
    where
        Path for errors.

    Raises
    ------
    UserError
        If the target languages need different tokenisers, or `tokenizer` is unknown.
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
    """Yield the rows; UserError if the language of one needs another tokeniser."""
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
    """Return the columns among `found` that name the target language."""
    return [name for name in COLUMNS if name in found] if "bleu" in measures else []
