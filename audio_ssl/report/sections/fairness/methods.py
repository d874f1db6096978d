"""How the numbers were made, what they cannot say, and from which files they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.fairness_words.methods import GLOSSARY, SIGN_LEAD, method_rows
from audio_ssl.report.html import Block, Section, Table, make_table
from audio_ssl.report.numbers import number
from audio_ssl.report.sections.fairness.rows import Report, Row, rows_of
from audio_ssl.report.sections.fairness.subject import input_table
from audio_ssl.report.sections.provenance import command_line, provenance_table

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
    amounts = [
        (
            str(row.get("name")),
            str(row.get("task") or "not recorded"),
            ", ".join(map(metric_label, row.get("metrics") or ())),
            number(row.get("clips")),
            number(row.get("speakers")),
            number(row.get("hours")),
            str(row.get("signature") or "as they are"),
        )
        for row in results
    ]
    files = [(str(row.get("name")), str(row.get("path")), str(row.get("sha256") or "not recorded")) for row in results]
    head = ("System", "Task", "Metrics", "Clips", "Speakers", "Hours", "How text and values were read")
    return (
        make_table("What was audited", head, amounts, text_columns=(1, 2, 6), sticky=True),
        make_table("The files", ("System", "File", "SHA-256"), files, text_columns=(1, 2)),
    )


def sign_off_section(sha256: str = "") -> Section:
    """Leave room for who has read the report to say so, on paper or in a PDF."""
    lead = [SIGN_LEAD]
    if sha256:
        lead.append(f"The numbers read are those of the JSON file with the SHA-256 {sha256}.")
    what = ("Name", "Role and organisation", "What was checked", "Conclusion", "Place and date", "Signature")
    people = [f"Reader {number}" for number in range(1, _SIGNATORIES + 1)]
    table = make_table("Read and checked", ("What", *people), [(name, *("",) * _SIGNATORIES) for name in what], (1, 2))
    return Section("sign-off", "Sign-off", (Block(id="sign-off-table", tables=(table,)),), lead=tuple(lead))
