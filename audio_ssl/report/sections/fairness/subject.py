"""What was audited, for whoever signs: date, systems, test set, scope, method, files, missing data."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.fairness.people import CROSSED
from audio_ssl.metrics.names import metric_label
from audio_ssl.report.html import Block, Section, Table, make_table
from audio_ssl.report.numbers import MISSING, count, finite, number
from audio_ssl.report.sections.fairness.groups import ordered
from audio_ssl.report.sections.fairness.rows import MOST_OPEN, Report, Row, cut, group_name, groups_of, rows_of

_NOT_STATED = "not stated"
_OTHERS = ""
"""Speakers of larger groups who are left out because another attribute would give a small group away."""


def subject_section(report: Report) -> Section | None:
    """State what was audited and how; None of a report that is older than these statements."""
    statement = report.get("statement")
    if not isinstance(statement, dict):
        return None
    tables = [_statement(report, statement)]
    missing = _missing(report)
    return Section(
        "subject",
        "What was audited",
        (
            Block(id="subject-statement", tables=tuple(tables)),
            *([Block(id="subject-missing", tables=(missing,))] if missing else []),
        ),
    )


def _statement(report: Report, statement: Row) -> Table:
    origin = report.get("provenance") or {}
    results = rows_of(report, "results")
    tolerance = finite(statement.get("tolerance"))
    rows = [
        ("Date", str(statement.get("date") or _NOT_STATED)),
        *_systems(results),
        ("Test set, version", str(statement.get("test_set") or f"{_NOT_STATED} (--test-set)")),
        ("Scope", _scope(report, results)),
        ("Tolerance", "none stated (--tolerance)" if tolerance is None else f"{tolerance:g}, in points of the metric"),
        (
            "Method",
            f"permutation tests over speakers ({number(origin.get('permutations'))} permutations, or all), "
            f"Holm-adjusted; 95 % confidence intervals from {number(origin.get('replicates'))} resamples of speakers; "
            f"seed {origin.get('seed')}; groups of fewer than {origin.get('min_group_speakers')} speakers not scored; "
            f"audio_ssl {(origin.get('versions') or {}).get('audio_ssl', _NOT_STATED)}",
        ),
    ]
    return make_table("Statement", ("What", "Stated"), rows, text_columns=(1,))


def _systems(results: Sequence[Row]) -> list[tuple[str, str]]:
    rows = []
    for place, row in enumerate(results, start=1):
        name = "System, version" if len(results) == 1 else f"System {place}, version"
        said = [str(row[key]) for key in ("system", "version") if row.get(key)]
        if not row.get("system"):
            said = [f"{_NOT_STATED} (--system, --version); called {row.get('name')} here"]
        elif not row.get("version"):
            said.append(f"version {_NOT_STATED} (--version)")
        rows.append((name, ", ".join(said)))
    return rows


def _scope(report: Report, results: Sequence[Row]) -> str:
    amounts = []
    for row in results:
        hours = finite(row.get("hours"))
        speech = f", {number(hours, 2)} hours" if hours else ""
        about = (
            f"{count(int(row.get('clips') or 0), 'clip')} of {count(int(row.get('speakers') or 0), 'speaker')}{speech}"
        )
        amounts.append(f"{row['name']}: {about}" if len(results) > 1 else about)
    by = dict.fromkeys(str(row["by"]) for row in (*groups_of(report), *rows_of(report, "suppressed")))
    metrics = dict.fromkeys(metric_label(metric) for row in results for metric in row.get("metrics") or ())
    # Of several systems a group is one group, scored if it is for one of them.
    scored = {(str(row["by"]), str(row["group"])) for row in rows_of(report, "groups") if not row.get("total")}
    hidden = {(str(row["by"]), str(name)) for row in rows_of(report, "suppressed") for name in row.get("groups") or ()}
    return (
        f"{'; '.join(amounts)}. Compared by {', '.join(by) or 'nothing'}; {', '.join(metrics) or 'no score'}. "
        f"{count(len(scored), 'group')} scored, {number(len(hidden - scored))} counted only."
    )


def _missing(report: Report) -> Table | None:
    """Count what of each group of one attribute is missing, scored or not."""
    seen: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for row in ordered(rows_of(report, "groups")):
        key = (str(row.get("result") or ""), str(row["by"]), str(row["group"]))
        if not row.get("total") and CROSSED not in key[1] and key not in seen:
            amounts = (row.get(name) for name in ("speakers", "clips", "missing_hypotheses", "empty_hypotheses"))
            seen[key] = (*map(number, amounts), number(row.get("empty_references")), "yes")
    for row in rows_of(report, "suppressed"):
        if CROSSED in str(row["by"]):
            continue
        why = f"no: {row['reason']}" if row.get("groups") else "no: in a small group by another attribute"
        for group in row.get("groups") or (_OTHERS,):
            key = (str(row["result"]), str(row["by"]), str(group))
            seen[key] = (number(row.get("speakers")), number(row.get("clips")), *[MISSING] * 3, why)
    if not seen:
        return None
    several = len({result for result, _, _ in seen}) > 1
    cells = [
        (f"{f'{result}: ' if several else ''}{by}: {_named(by, group)}", *amounts)
        for (result, by, group), amounts in seen.items()
    ]
    shown, notes = cut(cells)
    left_out = (report.get("provenance") or {}).get("empty_hypothesis") == "leave-out"
    empty = (
        "Those with an empty one are left out as well (--empty-hypothesis leave-out)."
        if left_out
        else "Those with an empty one are counted: each word of the reference is an error."
    )
    head = ("Group", "Speakers", "Clips", "Hypothesis missing", "Hypothesis empty", "Reference empty", "Scored")
    return make_table(
        "Missing data per group", head, shown, text_columns=(6,), folded=len(shown) > 2 * MOST_OPEN,
        notes=(
            *notes,
            f"Clips without a hypothesis are left out of every number and are not among the clips counted. {empty}",
        ),
    )  # fmt: skip


def _named(by: str, group: str) -> str:
    return "others" if group == _OTHERS else group_name({"by": by, "group": group})


def input_table(report: Report) -> Table | None:
    """Name every file that was read, with its whole hash; None where the report has none."""
    inputs = rows_of(report.get("provenance") or {}, "inputs")
    if not inputs:
        return None
    cells = [
        (str(row.get("result") or "all"), str(row.get("role")), str(row.get("path")), str(row.get("sha256")))
        for row in inputs
    ]
    return make_table("The files that were read", ("System", "What", "File", "SHA-256"), cells, text_columns=(1, 2, 3))
