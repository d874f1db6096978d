"""How the numbers were made, what they cannot say, and from which files they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audio_ssl.metrics.names import metric_label
from audio_ssl.report.html import Block, Section, Table, make_table
from audio_ssl.report.numbers import number
from audio_ssl.report.sections.fairness.rows import Report, Row, rows_of
from audio_ssl.report.sections.provenance import command_line, provenance_table

_ASSUMED = {"replicates": 10_000, "min_speakers": 5}


def methods_section(report: Report) -> Section:
    """Explain every number in plain words, then the limits."""
    rows = _always(report.get("provenance") or {}) + _where_there(report)
    how = make_table("What the numbers mean", ("Number", "How it was made"), rows, text_columns=(1,))
    blocks = [Block(id="methods-how", tables=(how,))]
    notes = tuple(map(str, report.get("notes") or ()))
    if notes:
        blocks.append(Block(id="methods-notes", heading="To be known in reading", points=notes))
    limits = tuple(map(str, report.get("limits") or ()))
    if limits:
        blocks.append(Block(id="methods-limits", heading="What this cannot say", points=limits))
    return Section("methods", "Methods and limits", tuple(blocks))


def _always(origin: Row) -> list[tuple[str, str]]:
    """Explain what every report has.

    Parameters
    ----------
    origin
        Its provenance.
    """
    replicates = number(origin.get("replicates") or _ASSUMED["replicates"])
    fewest = number(origin.get("min_speakers") or _ASSUMED["min_speakers"])
    permutations = number(origin.get("permutations") or replicates)
    return [
        (
            "Gap",
            "The first group's score minus the second's. In percent it is relative to the second; Δrel is 100 times "
            "the gap over the mean of the two, whose size does not depend on the order.",
        ),
        (
            "95 % interval",
            f"Speakers, not clips, are drawn again {replicates} times, because clips of one speaker are alike. The "
            "percentiles are moved outwards for small groups (expanded percentiles).",
        ),
        (
            "p",
            "How often a gap at least this large arises when the group is dealt out at random over the speakers: all "
            f"ways where they can be counted, else {permutations} random ones.",
        ),
        (
            "p (Holm)",
            "The same, raised because many gaps were looked at: over all those of one family the chance of even one "
            "false find stays at 5 %. What reads as beyond chance has p (Holm) below 0.05.",
        ),
        (
            "Gap found 8 times in 10",
            "The true gap that a study of this size would find 8 times in 10, at the 5 % level. Smaller gaps may be "
            "there and go unseen.",
        ),
        (
            "Not tested, warned",
            f"Below {fewest} speakers in a group no gap is tested and none gets an interval; below 20 there is a "
            "warning. Crossed groups that are too small are named without scores.",
        ),
    ]


def _where_there(report: Report) -> list[tuple[str, str]]:
    """Explain what some reports have."""
    rows = []
    if rows_of(report, "models"):
        what = (
            "A Poisson model of errors per word with a random effect for every speaker, which holds covariates fixed."
        )
        rows.append(("Adjusted ratio", what))
    if rows_of(report, "gap_differences"):
        what = "The gap of one system minus that of another, the speakers of both drawn together."
        rows.append(("Difference of gaps", what))
    if any(row.get("metric") in ("term_coverage", "gender_accuracy") for row in rows_of(report, "groups")):
        what = (
            "The share of the reference's annotated gendered words that the translation holds, in the right or the "
            "wrong form (MuST-SHE); gender accuracy is the share of these in the right form."
        )
        rows.append(("Term coverage", what))
    return rows


def sources_section(report: Report) -> Section:
    """Name the files, their hashes, seeds, versions and the command."""
    results = rows_of(report, "results")
    blocks = []
    if results:
        blocks.append(Block(id="sources-results", tables=_result_tables(results)))
    origin = report.get("provenance") or {}
    if isinstance(origin, Mapping):
        table_ = provenance_table("How the audit was run", origin)
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
    lead = ["To be filled in by whoever has read this report and answers for it."]
    if sha256:
        lead.append(f"The numbers read are those of the JSON file with the SHA-256 {sha256}.")
    rows = [(name, "") for name in ("Name and role", "What was checked", "Conclusion", "Date and signature")]
    table = make_table("Read and checked", ("What", "Filled in by the reader"), rows, text_columns=(1,))
    return Section("sign-off", "Sign-off", (Block(id="sign-off-table", tables=(table,)),), lead=tuple(lead))
