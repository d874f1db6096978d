"""The fairness report: the answer in words, then groups, gaps, models, single clips, methods, sources.

Drawn from the JSON of the fairness stage alone, so that an old report can be drawn again: what is newer than a report
is left out of its page.

What the audit found: at most three lines at the top, then each main comparison with what follows from it.

What was audited, for whoever signs: date, systems, test set, scope, method, files, missing data.

How the numbers were made, what they cannot say, and from which files they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from audio_ssl.artifacts.fairness import CROSSED
from audio_ssl.fairness.wording import capital
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.html import MOST_OPEN, Block, Section, Table, TableColumn, make_table, tabulate
from audio_ssl.report.language.conclusions import conclusion, headline
from audio_ssl.report.language.fairness import TESTED, VERDICTS, gap_difference_words, verdict_of
from audio_ssl.report.language.methods import GLOSSARY, HOW_MADE, SIGN_LEAD, method_rows
from audio_ssl.report.numbers import MISSING, count, finite, number
from audio_ssl.report.sections.fairness_clips import examples_section, excluded_section
from audio_ssl.report.sections.fairness_groups import ordered
from audio_ssl.report.sections.fairness_models import empty_section, models_section, systems_section
from audio_ssl.report.sections.fairness_overview import attribute_section, metric_block, overview_section
from audio_ssl.report.sections.fairness_rows import (
    Report,
    Row,
    attributes,
    group_name,
    groups_of,
    keys,
    rows_of,
)
from audio_ssl.report.sections.provenance import command_line, provenance_table
from audio_ssl.report.sections.representation import representation_blocks

_MOST_BLOCKS = 40


def fairness_sections(report: Mapping[str, Any], sha256: str = "") -> tuple[Section, ...]:
    """Return the sections of a page about one fairness report, in the order of reading.

    Parameters
    ----------
    report
        The JSON of the fairness stage.
    sha256
        Of the JSON file beside the page, for the reader who signs.
    """
    sections = [
        conclusions_section(report),
        subject_section(report),
        overview_section(report),
        *(attribute_section(report, by) for by in attributes(report)),
        models_section(report),
        systems_section(report),
        empty_section(report),
        _representation_section(report),
        examples_section(report),
        excluded_section(report),
        methods_section(report),
        sources_section(report),
        glossary_section(),
        sign_off_section(sha256),
    ]
    return tuple(section for section in sections if section)


def fairness_section(reports: Sequence[Mapping[str, Any]]) -> Section:
    """Show fairness reports as one part of a page about more: scores and gaps, a block per attribute and metric."""
    blocks: list[Block] = []
    for index, report in enumerate(reports):
        place = 0
        for by in attributes(report):
            for result, metric in keys(report, by):
                block = metric_block(report, (result, by, metric), f"fair-{index}-{place}")
                blocks.append(Block(**{**vars(block), "heading": f"{block.heading} by {by}"}))
                place += 1
    lead = [HOW_MADE]
    if len(blocks) > _MOST_BLOCKS:
        lead.append(
            f"The first {_MOST_BLOCKS} of {len(blocks)} blocks; the whole is in the report of `audio-ssl fairness`."
        )
    return Section("fairness", "Fairness between groups", tuple(blocks[:_MOST_BLOCKS]), lead=tuple(lead))


def _representation_section(report: Mapping[str, Any]) -> Section | None:
    model_of = {row.get("name"): row.get("model_fingerprint") for row in rows_of(report, "results")}
    gaps = [{**row, "model_fingerprint": model_of.get(row.get("result"))} for row in rows_of(report, "comparisons")]
    blocks = representation_blocks(rows_of(report, "representation"), gaps)
    return Section("representation", "What the layers tell", blocks) if blocks else None


_MOST_SAID = 6


def fairness_answer(report: Report) -> dict[str, list[str]]:
    """Answer whether groups fare differently, and how sure that is.

    Parameters
    ----------
    report
        The JSON of the fairness stage.

    Returns
    -------
    dict
        ``in short``: one to three lines, whatever the number of groups.
    """
    return {"in short": headline([report])}


def _main_ones(rows: Sequence[Row]) -> list[Row]:
    """Choose what is said in full: attributes before intersections, the main metric, what is significant first."""
    main = {row.get("result"): row["metric"] for row in reversed(rows)}
    return sorted(
        (row for row in rows if row["metric"] == main[row.get("result")]),
        key=lambda row: (CROSSED in str(row["by"]), verdict_of(row) != "found"),
    )[:_MOST_SAID]


def conclusions_section(report: Report) -> Section | None:
    """Say of the main comparisons what may be concluded and what may not; None where nothing was tested."""
    tested = [row for row in rows_of(report, "comparisons") if verdict_of(row) in TESTED]
    shown = _main_ones(tested)
    if not shown:
        return None
    blocks = []
    for place, row in enumerate(shown):
        said = conclusion(row, report)
        blocks.append(
            Block(
                id=f"conclusion-{place}",
                heading=f"{said.subject}: {VERDICTS[verdict_of(row)]}",
                lead=(said.finding,),
                points=(said.may, said.may_not),
            )
        )
    changes = [row for row in rows_of(report, "gap_differences") if verdict_of(row) == "found"]
    if changes:
        points = tuple(capital(gap_difference_words(row)) for row in changes[:2])
        blocks.append(Block(id="conclusion-systems", heading="Between systems", points=points))
    lead = ["The paragraph below each heading can be quoted alone."]
    more = len(tested) - len(shown)
    if more:
        lead.append(f"{count(more, 'further tested comparison')} {'is' if more == 1 else 'are'} in the tables below.")
    return Section("conclusions", "What may be concluded", tuple(blocks), lead=tuple(lead))


_Missing = tuple[tuple[str, str, str], tuple[str, ...]]
"""Result, attribute and group, and what is written of them."""
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
    left_out = (report.get("provenance") or {}).get("empty_hypothesis") == "leave-out"
    empty = (
        "Those with an empty one are left out as well (--empty-hypothesis leave-out)."
        if left_out
        else "Those with an empty one are counted: each word of the reference is an error."
    )
    heads = ("Speakers", "Clips", "Hypothesis missing", "Hypothesis empty", "Reference empty", "Scored")
    columns = [
        TableColumn[_Missing]("Group", lambda one: f"{f'{one[0][0]}: ' if several else ''}{_named(*one[0][1:])}"),
        *(TableColumn(head, partial(_part, place), words=head == "Scored") for place, head in enumerate(heads)),
    ]
    note = f"Clips without a hypothesis are left out of every number and are not among the clips counted. {empty}"
    caption = "Missing data per group"
    return tabulate(caption, list(seen.items()), columns, notes=(note,), open_up_to=2 * MOST_OPEN)


def _part(place: int, one: _Missing) -> str:
    return one[1][place]


def _named(by: str, group: str) -> str:
    return f"{by}: {'others' if group == _OTHERS else group_name({'by': by, 'group': group})}"


def input_table(report: Report) -> Table | None:
    """Name every file that was read, with its whole hash; None where the report has none."""
    inputs = rows_of(report.get("provenance") or {}, "inputs")
    if not inputs:
        return None
    columns = [
        TableColumn[Row]("System", lambda row: str(row.get("result") or "all")),
        TableColumn("What", lambda row: str(row.get("role")), words=True),
        TableColumn("File", lambda row: str(row.get("path")), words=True),
        TableColumn("SHA-256", lambda row: str(row.get("sha256")), words=True),
    ]
    return tabulate("The files that were read", inputs, columns)


_SIGNATORIES = 2


def methods_section(report: Report) -> Section:
    """Explain every number in plain words, then the limits."""
    how = make_table("What the numbers mean", ("Number", "How it was made"), method_rows(report), text_columns=(1,))
    blocks = [Block(id="methods-how", tables=(how,))]
    notes = tuple(map(str, report.get("notes") or ()))
    if notes:
        blocks.append(Block(id="methods-notes", heading="To be known in reading", points=notes))
    limits = tuple(map(str, report.get("limits") or ()))
    if limits:
        blocks.append(Block(id="methods-limits", heading="What this cannot say", points=limits))
    return Section("methods", "Methods and limits", tuple(blocks))


def glossary_section() -> Section:
    """Explain the terms of the page."""
    table = make_table("Terms", ("Term", "Meaning"), GLOSSARY, text_columns=(1,))
    return Section("glossary", "Glossary", (Block(id="glossary-terms", tables=(table,)),))


def sources_section(report: Report) -> Section:
    """Name the files, their hashes, seeds, versions and the command."""
    results = rows_of(report, "results")
    blocks = []
    if results:
        files = input_table(report)
        tables = _result_tables(results)
        blocks.append(Block(id="sources-results", tables=(tables[0], files or tables[1])))
    origin = report.get("provenance") or {}
    if isinstance(origin, Mapping):
        shown = {key: value for key, value in origin.items() if key != "inputs"}
        table_ = provenance_table("How the audit was run", shown)
        if table_:
            blocks.append(Block(id="sources-audit", tables=(table_,)))
        if origin.get("command"):
            command = command_line(origin["command"])
            blocks.append(Block(id="sources-again", heading="To make it again", commands=(command,)))
    return Section("provenance", "Provenance", tuple(blocks))


def _result_tables(results: Sequence[Row]) -> tuple[Table, Table]:
    name = TableColumn[Row]("System", lambda row: str(row.get("name")))
    amounts = [
        name,
        TableColumn("Task", lambda row: str(row.get("task") or "not recorded"), words=True),
        TableColumn("Metrics", lambda row: ", ".join(map(metric_label, row.get("metrics") or ())), words=True),
        TableColumn("Clips", lambda row: number(row.get("clips"))),
        TableColumn("Speakers", lambda row: number(row.get("speakers"))),
        TableColumn("Hours", lambda row: number(row.get("hours"))),
        TableColumn(
            "How text and values were read", lambda row: str(row.get("signature") or "as they are"), words=True
        ),
    ]
    files = [
        name,
        TableColumn("File", lambda row: str(row.get("path")), words=True),
        TableColumn("SHA-256", lambda row: str(row.get("sha256") or "not recorded"), words=True),
    ]
    return tabulate("What was audited", results, amounts, sticky=True), tabulate("The files", results, files)


def _signature(row: Row) -> str:
    return str(row.get("signature") or "as they are")


def sign_off_section(sha256: str = "") -> Section:
    """Leave room for who has read the report to say so, on paper or in a PDF."""
    lead = [SIGN_LEAD]
    if sha256:
        lead.append(f"The numbers read are those of the JSON file with the SHA-256 {sha256}.")
    what = ("Name", "Role and organisation", "What was checked", "Conclusion", "Place and date", "Signature")
    people = [f"Reader {number}" for number in range(1, _SIGNATORIES + 1)]
    table = make_table("Read and checked", ("What", *people), [(name, *("",) * _SIGNATORIES) for name in what], (1, 2))
    return Section("sign-off", "Sign-off", (Block(id="sign-off-table", tables=(table,)),), lead=tuple(lead))
