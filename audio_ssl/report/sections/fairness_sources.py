"""What was audited and how, for whoever signs: date, systems, test set, missing data, methods, limits, files, terms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from audio_ssl.artifacts.fairness import CROSSED
from audio_ssl.artifacts.fairness_report import AuditedSystem, FairnessReport, ReadFile
from audio_ssl.artifacts.records import to_json
from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.html import MOST_OPEN, Block, Section, Table, TableColumn, make_table, tabulate
from audio_ssl.report.language.fairness_cells import group_name
from audio_ssl.report.language.fairness_page import (
    LIMITATIONS,
    NOTES,
    amount_words,
    method_words,
    missing_note,
    scope_words,
    sign_off_note,
    statement_rows,
    system_words,
)
from audio_ssl.report.language.methods import AGAIN_HEADING, GLOSSARY, SIGN_LEAD, method_rows, permutations_words
from audio_ssl.report.numbers import hard_spaces, number
from audio_ssl.report.pages import PlacedSection
from audio_ssl.report.sections.provenance import command_line, provenance_table
from audio_ssl.report.selection import ordered

_SIGNATORIES = 2


def subject_section(report: FairnessReport) -> Section | None:
    """State what was audited and how; None of a report that is older than these statements."""
    if report.statement is None:
        return None
    about = report.statement
    rows = statement_rows(
        about.date, _systems(report.results), about.test_set, _scope(report), about.tolerance, _method(report)
    )
    statement = make_table("Statement", ("What", "Stated"), rows, text_columns=(1,))
    missing = _missing_table(report)
    blocks = [Block(id="subject-statement", tables=(statement,))]
    blocks += [Block(id="subject-missing", tables=(missing,))] if missing else []
    return Section("subject", "What was audited", tuple(blocks))


def _method(report: FairnessReport) -> str:
    origin = report.provenance
    fewest = origin.min_group_speakers or origin.min_speakers
    return method_words(
        permutations_words(origin), origin.replicates, origin.seed, fewest, origin.versions.get("audio_ssl", "")
    )


def _systems(results: Sequence[AuditedSystem]) -> list[tuple[str, str]]:
    names = ["System, version"] if len(results) == 1 else [f"System {n + 1}, version" for n in range(len(results))]
    return [(name, system_words(one.name, one.system, one.version)) for name, one in zip(names, results, strict=True)]


def _scope(report: FairnessReport) -> str:
    amounts = [amount_words(one.clips, one.speakers, one.hours) for one in report.results]
    if len(amounts) > 1:
        amounts = [f"{one.name}: {amount}" for one, amount in zip(report.results, amounts, strict=True)]
    by = dict.fromkeys([*(row.by for row in report.scores), *(row.by for row in report.suppressed)])
    metrics = dict.fromkeys(metric_label(metric) for one in report.results for metric in one.metrics)
    # Of several systems a group is one group, scored if it is for one of them.
    scored = {(row.by, row.group) for row in report.groups}
    hidden = {(row.by, name) for row in report.suppressed for name in row.groups}
    return scope_words(amounts, list(by), list(metrics), len(scored), len(hidden - scored))


@dataclass(frozen=True)
class _MissingData:
    """What is missing of one group of one system; without a name, people left out because of another attribute."""

    result: str
    by: str
    group: str
    speakers: int
    clips: int
    scored: str
    missing: int | None = None
    empty: int | None = None
    silent: int | None = None

    @property
    def name(self) -> str:
        return f"{self.by}: {group_name(self.by, self.group) if self.group else 'others'}"


def _missing_data(report: FairnessReport) -> list[_MissingData]:
    """Count what of each group of one attribute is missing, scored or not."""
    found: dict[tuple[str, str, str], _MissingData] = {}
    for row in ordered(report.groups):
        if CROSSED not in row.by:
            amounts = row.missing_hypotheses, row.empty_hypotheses, row.empty_references
            one = _MissingData(row.result, row.by, row.group, row.speakers, row.clips, "yes", *amounts)
            found.setdefault((row.result, row.by, row.group), one)
    for hidden in report.suppressed:
        why = f"no: {hidden.reason}" if hidden.groups else "no: in a small group by another attribute"
        for group in hidden.groups or ("",):
            if CROSSED not in hidden.by:
                one = _MissingData(hidden.result, hidden.by, group, hidden.speakers, hidden.clips, why)
                found[hidden.result, hidden.by, group] = one
    return list(found.values())


def _missing_table(report: FairnessReport) -> Table | None:
    rows = _missing_data(report)
    several = len({row.result for row in rows}) > 1
    columns: list[TableColumn[_MissingData]] = [
        TableColumn("Group", lambda row: f"{row.result}: {row.name}" if several else row.name),
        TableColumn("Speakers", lambda row: number(row.speakers)),
        TableColumn("Clips", lambda row: number(row.clips)),
        TableColumn("Hypothesis missing", lambda row: number(row.missing)),
        TableColumn("Hypothesis empty", lambda row: number(row.empty)),
        TableColumn("Reference empty", lambda row: number(row.silent)),
        TableColumn("Scored", lambda row: row.scored, words=True),
    ]
    note = missing_note(report.provenance.empty_hypothesis == "leave-out")
    shown = tabulate("Missing data per group", rows, columns, notes=(note,), open_up_to=2 * MOST_OPEN)
    return shown if rows else None


def methods_section(report: FairnessReport) -> Section:
    """Explain every number in plain words, then the limits."""
    how = make_table("What the numbers mean", ("Number", "How it was made"), method_rows(report), text_columns=(1,))
    blocks = [Block(id="methods-how", tables=(how,))]
    if report.notes:
        blocks.append(Block(id="methods-notes", heading=NOTES, points=report.notes))
    if report.limits:
        blocks.append(Block(id="methods-limits", heading=LIMITATIONS, points=report.limits))
    return Section("methods", "Methods and limits", tuple(blocks))


def sources_section(report: FairnessReport) -> Section:
    """Name the files, their hashes, seeds, versions and the command."""
    origin = report.provenance
    blocks = []
    if report.results:
        files = _input_table(report) if origin.inputs else _file_table(report.results)
        blocks.append(Block(id="sources-results", tables=(_result_table(report.results), files)))
    shown = {key: value for key, value in to_json(origin).items() if value is not None and key != "inputs"}
    table = provenance_table("How the audit was run", shown)
    if table:
        blocks.append(Block(id="sources-audit", tables=(table,)))
    if origin.command:
        blocks.append(Block(id="sources-again", heading=AGAIN_HEADING, commands=(command_line(origin.command),)))
    return Section("provenance", "Provenance", tuple(blocks))


def _result_table(results: Sequence[AuditedSystem]) -> Table:
    columns: list[TableColumn[AuditedSystem]] = [
        TableColumn("System", lambda row: row.name),
        TableColumn("Task", lambda row: row.task or "not recorded", words=True),
        TableColumn("Metrics", lambda row: ", ".join(map(metric_label, row.metrics)), words=True),
        TableColumn("Clips", lambda row: number(row.clips)),
        TableColumn("Speakers", lambda row: number(row.speakers)),
        TableColumn("Hours", lambda row: number(row.hours)),
        TableColumn("How text and values were read", lambda row: row.signature or "as they are", words=True),
    ]
    return tabulate("What was audited", results, columns, sticky=True)


def _input_table(report: FairnessReport) -> Table:
    several: list[TableColumn[ReadFile]] = [TableColumn("System", lambda row: row.result or "all")]
    columns: list[TableColumn[ReadFile]] = [
        *(several if len(report.results) > 1 else []),
        TableColumn("What", lambda row: row.role, words=True),
        TableColumn("File", lambda row: row.path, words=True),
        TableColumn("SHA-256", lambda row: row.sha256, words=True),
    ]
    return tabulate("The files that were read", report.provenance.inputs, columns)


def _file_table(results: Sequence[AuditedSystem]) -> Table:
    columns: list[TableColumn[AuditedSystem]] = [
        TableColumn("System", lambda row: row.name),
        TableColumn("File", lambda row: row.path, words=True),
        TableColumn("SHA-256", lambda row: row.sha256, words=True),
    ]
    return tabulate("The files", results, columns)


def glossary_section(report: FairnessReport) -> Section:
    """Explain the terms of the page."""
    terms = [(term, hard_spaces(meaning)) for term, meaning in GLOSSARY]
    table = make_table("Terms", ("Term", "Meaning"), terms, text_columns=(1,))
    return Section("glossary", "Glossary", (Block(id="glossary-terms", tables=(table,)),))


def sign_off_section(report: FairnessReport) -> Section:
    """Leave room for who has read the report to say so, on paper or in a PDF."""
    sha256 = hashlib.sha256(report.to_text().encode()).hexdigest()
    what = ("Name", "Role and organisation", "What was checked", "Conclusion", "Place and date", "Signature")
    people = [f"Reader {number}" for number in range(1, _SIGNATORIES + 1)]
    table = make_table("Read and checked", ("What", *people), [(name, *("",) * _SIGNATORIES) for name in what], (1, 2))
    lead = (SIGN_LEAD, sign_off_note(sha256))
    return Section("sign-off", "Sign-off", (Block(id="sign-off-table", tables=(table,)),), lead=lead)


SECTIONS = (
    PlacedSection(FairnessReport, 20, subject_section),
    PlacedSection(FairnessReport, 110, methods_section),
    PlacedSection(FairnessReport, 120, sources_section),
    PlacedSection(FairnessReport, 130, glossary_section),
    PlacedSection(FairnessReport, 140, sign_off_section),
)
