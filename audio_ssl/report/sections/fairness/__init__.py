"""The fairness report: the answer in words, then groups, gaps, models, single clips, methods, sources.

Drawn from the JSON of the fairness stage alone, so that an old report can be drawn again: what is newer than a report
is left out of its page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.report.fairness_words.methods import HOW_MADE
from audio_ssl.report.html import Block, Section
from audio_ssl.report.sections.fairness.answer import conclusions_section, fairness_answer
from audio_ssl.report.sections.fairness.attribute import attribute_section, metric_block
from audio_ssl.report.sections.fairness.empty import empty_section
from audio_ssl.report.sections.fairness.evidence import examples_section, excluded_section
from audio_ssl.report.sections.fairness.methods import (
    glossary_section,
    methods_section,
    sign_off_section,
    sources_section,
)
from audio_ssl.report.sections.fairness.models import models_section
from audio_ssl.report.sections.fairness.overview import overview_section
from audio_ssl.report.sections.fairness.rows import attributes, keys, rows_of
from audio_ssl.report.sections.fairness.subject import subject_section
from audio_ssl.report.sections.fairness.systems import systems_section
from audio_ssl.report.sections.representation import representation_blocks

__all__ = ["fairness_answer", "fairness_section", "fairness_sections"]

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
