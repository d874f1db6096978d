"""The fairness report as Markdown, for pull requests and papers: the page's sentences and tables without its figures.

Written from the same sections as the page, so the two say the same. Text from transcripts and tables is escaped: it
can neither leave its cell nor become markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from audio_ssl.artifacts.fairness_report import FairnessReport
from audio_ssl.report.html import Block, ClipExample, Section, Table
from audio_ssl.report.language.conclusions import fairness_answer
from audio_ssl.report.pages import sections_of

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")
_BLOCK_MARK = re.compile(r"^(?:[-+](?=\s|$)|\d+[.)](?=\s|$)|[-=](?=[-=\s]*$))")
_MENTION = "@\u2060"
"""An at sign with an unseen joiner behind it, because GitHub notifies people whose name follows a plain one."""


def fairness_markdown(report: FairnessReport) -> str:
    """Write what an audit found as Markdown (GitHub's, with tables)."""
    # A signature has its place on paper, not in a pull request.
    sections = [section for section in sections_of(report) if section.id != "sign-off"]
    return render_markdown("Fairness report", fairness_answer(report), sections)


def render_markdown(title: str, answer: Mapping[str, Sequence[str]], sections: Sequence[Section]) -> str:
    """Write the answer and the sections of a page as Markdown; figures are left out, their numbers are in tables."""
    parts = [f"# {escape(title)}"]
    for subject, sentences in answer.items():
        if sentences:
            parts += [f"## {escape(subject[:1].upper() + subject[1:])}", f"**{escape(sentences[0])}**"]
            parts += [_list(sentences[1:])] if sentences[1:] else []
    for section in sections:
        parts.append(f"## {escape(section.heading)}")
        parts += map(escape, section.lead)
        for block in section.blocks:
            parts += _block(block)
    return "\n\n".join(parts) + "\n"


def escape(text: str | Markup) -> str:
    r"""Write text so that Markdown shows it as it is, on one line.

    Examples
    --------
    >>> print(escape("a|b <i>\n# `c`"))
    a\|b \<i\> \# \`c\`
    >>> print(escape("- no list"))
    \- no list
    """
    plain = text.striptags() if isinstance(text, Markup) else text
    line = _SPECIAL.sub(r"\\\1", " ".join(plain.replace("\u00a0", " ").split()))
    line = line.replace("://", ":\\//").replace("www.", "www\\.").replace("@", _MENTION)
    # What would begin a list or underline a heading: its last sign is escaped, because a digit cannot be.
    return _BLOCK_MARK.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)


def _block(block: Block) -> Iterator[str]:
    if block.heading:
        yield f"### {escape(block.heading)}"
    yield from map(escape, block.lead)
    if block.points:
        yield _list(block.points)
    for sentence in block.warnings:
        yield f"> **Warning:** {escape(sentence)}"
    for table in block.tables:
        yield from _table(table)
    if block.examples:
        yield "\n".join(line for example in block.examples for line in _example(example))
    for command in block.commands:
        yield _code(command)
    for fold in block.folds:
        yield f"#### {escape(fold.summary)}"
        yield from _block(fold.inside)


def _list(sentences: Sequence[str | Markup]) -> str:
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)


def _table(table: Table) -> Iterator[str]:
    yield f"*{escape(table.caption)}*"
    marks = [":--" if index == 0 or index in table.text_columns else "--:" for index in range(len(table.head))]
    lines = [_row(table.head), f"| {' | '.join(marks)} |", *map(_row, table.rows)]
    yield "\n".join(lines)
    yield from map(escape, table.notes)


def _row(cells: Sequence[str | Markup]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def _example(example: ClipExample) -> Iterator[str]:
    """Write a clip as a list; missing words are struck out and added ones bold."""
    about = " ".join(escape(one) for one in (example.score, example.about) if one)
    yield f"- {escape(example.id)}{f' ({about})' if about else ''}"
    for name, left_out, kept, mark in (("Reference", "added", "missing", "~~"), ("Answer", "missing", "added", "**")):
        words = [
            f"{mark}{escape(text)}{mark}" if kind == kept else escape(text)
            for kind, text in example.changes
            if kind != left_out
        ]
        yield f"  - {name}: {' '.join(words) or '(empty)'}"


def _code(command: str) -> str:
    """Fence a command; the fence is longer than any run of backticks inside."""
    longest = max(map(len, re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{command}\n{fence}"
