"""What the audit found: at most three lines at the top, then each main comparison with what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.fairness.people import CROSSED, capital
from audio_ssl.report.fairness_words.conclusions import conclusion
from audio_ssl.report.fairness_words.differences import gap_difference_words
from audio_ssl.report.fairness_words.headline import headline
from audio_ssl.report.html import Block, Section
from audio_ssl.report.numbers import count
from audio_ssl.report.sections.fairness.rows import Report, Row, rows_of
from audio_ssl.report.verdicts import TESTED, VERDICTS, verdict_of

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
