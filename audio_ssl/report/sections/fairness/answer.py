"""What the audit found, in sentences: first over all systems, then system by system."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.fairness.people import capital, that_of, whose
from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words import (
    chance_words,
    detectable_words,
    gap_difference_words,
    inference_words,
    plain_words,
    relative_size,
    spread_words,
)
from audio_ssl.report.numbers import count, finite
from audio_ssl.report.sections.fairness.comparisons import gap_sentences
from audio_ssl.report.sections.fairness.rows import Report, Row, attributes, chosen, keys, rows_of
from audio_ssl.report.verdicts import SIGNIFICANT, verdict_of

_MOST_NAMED = 4
_MOST_SAID = 7
_MOST_SYSTEMS = 12


def fairness_answer(report: Report) -> dict[str, list[str]]:
    """Answer whether groups fare differently, and how sure that is.

    Parameters
    ----------
    report
        The JSON of the fairness stage.

    Returns
    -------
    dict
        Subject to sentences, the most important first: ``in short``, then one subject for each system.
    """
    out = {"in short": _in_short(report)}
    systems = dict.fromkeys(
        str(row.get("result") or "") for part in ("groups", "comparisons") for row in rows_of(report, part)
    )
    for name in list(systems)[:_MOST_SYSTEMS]:
        said = _system(report, name)
        if said:
            out[f"system {name}" if name else "the system"] = said
    if len(systems) > _MOST_SYSTEMS:
        out["in short"].append(f"{len(systems) - _MOST_SYSTEMS} systems more are below.")
    return out


def _in_short(report: Report) -> list[str]:
    rows = rows_of(report, "comparisons")
    if not rows:
        return ["There are no two groups to compare, so nothing can be said about a gap."]
    tested = [row for row in rows if verdict_of(row) in ("found", "alone", "open")]
    refused = len(rows) - len(tested)
    if not tested:
        reason = str(next((row["refused"] for row in rows if row.get("refused")), "no test was made")).rstrip(".")
        return [f"No gap could be tested, so nothing follows for other speakers: {reason}."]
    found = [row for row in tested if verdict_of(row) == "found"]
    if found:
        are = "is" if len(found) == 1 else "are"
        first = f"{len(found)} of {count(len(tested), 'tested gap')} {are} larger than chance makes."
    elif len(tested) == 1:
        first = "The one gap that was tested is not told from chance."
    else:
        first = f"None of the {len(tested)} tested gaps is told from chance."
    hopeless = [] if found else _hopeless(tested)
    said = [first, *hopeless, *(f"{capital(_named(row))}." for row in found[:_MOST_NAMED])]
    if len(found) > _MOST_NAMED:
        said.append(f"{len(found) - _MOST_NAMED} more are below.")
    if len(found) < len(tested):
        said.append(
            "A gap that is not told from chance may still be there: see for each how large it had to be to be found."
        )
    if refused:
        few = sum("are needed" in str(row.get("refused")) for row in rows)
        why = ", mostly for want of speakers" if 2 * few > refused else ""
        said.append(f"{refused} of {len(rows)} gaps could not be tested{why}.")
    changes = [row for row in rows_of(report, "gap_differences") if verdict_of(row) == "found"]
    said += [capital(gap_difference_words(row)) for row in changes[:2]]
    return said


def _hopeless(tested: Sequence[Row]) -> list[str]:
    """Say where the smallest p-value that the permutations allow is too large for so many comparisons."""
    tries = max(finite(row.get("assignments")) or 0 for row in tested)
    fewest = min(finite(row.get("compared")) or 0 for row in tested)
    if not tries or fewest / (tries + 1) < SIGNIFICANT:
        return []
    many = f"{len(tested):,} gaps"
    return [f"With {tries:,.0f} permutations none of {many} could be told from chance, however large: see the notes."]


def _named(row: Row) -> str:
    by = str(row["by"])
    size = relative_size(row) or ("higher" if float(row.get("difference") or 0) > 0 else "lower")
    where = f" with {row['result']}" if row.get("result") else ""
    return f"{whose(by, str(row['a']), metric_label(row['metric']))} is {size} than {that_of(by, str(row['b']))}{where}"


def _system(report: Report, result: str) -> list[str]:
    """Say the main metric of every attribute in full, of the others the gap and the test."""
    said: list[str] = []
    for by in attributes(report):
        metrics = [metric for name, metric in keys(report, by) if name == result]
        for place, metric in enumerate(metrics):
            comparisons = chosen(rows_of(report, "comparisons"), result=result, by=by, metric=metric)
            spread = chosen(rows_of(report, "spread"), result=result, by=by, metric=metric)
            if len(comparisons) == 1:
                said += _pair(comparisons[0], full=place == 0)
            elif place == 0:
                said += gap_sentences(comparisons, spread)[:2] if comparisons else _spread(spread)
    return said[:_MOST_SAID]


def _pair(row: Row, full: bool) -> list[str]:
    """Say a gap: the size and whether chance makes it, then the numbers of the test, then what it could have found."""
    first = plain_words(row)
    if not full or verdict_of(row) in ("refused", "untested"):
        return [first] if not full else [first, *filter(None, (chance_words(row),))]
    return [first, *filter(None, (inference_words(row), detectable_words(row)))]


def _spread(rows: Sequence[Row]) -> list[str]:
    return [text for row in rows if finite(row.get("difference")) is not None and (text := spread_words(row))]
