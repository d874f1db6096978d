"""Writes reports: one self-contained HTML page and its JSON, from runs, results and fairness audits.

The page is made of the JSON's data alone, except for audio. It does not depend on the time or the machine: the same
inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audio_ssl.artifacts.fairness_report import FairnessReport, fairness_of
from audio_ssl.artifacts.records import to_json
from audio_ssl.artifacts.result import SCORES_FILE
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import locked_file, write_json, write_text
from audio_ssl.report.comparison import compare_models
from audio_ssl.report.html import Page, render
from audio_ssl.report.inputs import read_inputs, share_baselines
from audio_ssl.report.language.answer import score_lines
from audio_ssl.report.language.conclusions import fairness_answer
from audio_ssl.report.markdown import fairness_markdown
from audio_ssl.report.numbers import count
from audio_ssl.report.pages import ReportPage, sections_of
from audio_ssl.report.paired import SystemPairs
from audio_ssl.report.sections.probes import contents
from audio_ssl.report.summary import ReportSummary, summarise


def build_report(inputs: Sequence[Path], out: Path, title: str = "Report", audio: bool = True) -> Path:
    """Write a report on any number of runs, probe results and fairness audits.

    Parameters
    ----------
    inputs
        Run folders, result folders and the JSON files of fairness audits, in any mixture. They are shown in order.
    out
        The page to write, ``.html``; the numbers go into a ``.json`` of the same name beside it.
    title
        Heading of the page.
    audio
        Put the first seconds of the worst clips into the page, to be listened to.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    UserError
        An input is none of the known things or damaged, or `out` does not end in ``.html`` or would replace an input.
    """
    keep_inputs(inputs, out)
    with locked_file(out, ".json"):
        json_path = _json_beside(out)
        found = read_inputs([Path(one) for one in inputs])
        found = replace(found, results=share_baselines(found.results))
        report = summarise(found, title, out.resolve().parent)
        data = to_json(report)
        write_json(json_path, data)
        sections = sections_of(ReportPage(report, found, audio))
        asked = contents(report.comparison.questions)
        write_text(out, render(Page(title, report.answer, sections, _about(report), json_path.name, data, asked)))
        return out


def build_fairness_report(result: FairnessReport, out: Path) -> Path:
    """Write the page, the Markdown and the JSON of one fairness audit.

    Parameters
    ----------
    result
        What the audit found.
    out
        The page to write, ``.html``; beside it the same as ``.md``, and ``result.to_json()``, as it is, as ``.json``.

    Returns
    -------
    Path
        `out`.
    """
    json_path = _json_beside(out)
    # The page shows what the file says, in which no text steers a screen and no number is infinite.
    report = fairness_of(result.to_json(), str(json_path))
    numbers = report.to_text()
    systems = {one.name for one in report.results} or {row.result for row in report.groups}
    page = Page(
        title="Fairness report",
        answer=fairness_answer(report),
        sections=sections_of(report),
        about=f"Made by audio_ssl from {count(len(systems), 'result')}.",
        json_name=json_path.name,
        data=report.to_json(),
    )
    # All three are made before any is written: numbers without their page would stand beside an older one.
    drawn, markdown = render(page), fairness_markdown(report)
    write_text(json_path, numbers)
    write_text(out.with_suffix(".md"), markdown)
    write_text(out, drawn)
    return out


def fairness_lines(report: FairnessReport) -> list[str]:
    """Return what a fairness report answers, as lines for a terminal."""
    said = fairness_answer(report)
    return [line for subject, lines in said.items() for line in (f"{subject}:", *(f"  {one}" for one in lines))]


def result_lines(folder: Path) -> list[str]:
    """Return the scores of one result folder, model and baselines, as lines for a terminal."""
    results = read_inputs([folder]).results
    # Without its signature a BLEU means little.
    signatures = [one.model.scores.signature for one in results if one.model.scores.tokenizer]
    return [*score_lines(compare_models(results, folder, SystemPairs())), *signatures]


def keep_inputs(inputs: Sequence[Path], out: Path) -> None:
    """Raise UserError if the JSON beside the page `out` would replace an input, or the scores of a result folder."""
    json_path = _json_beside(out)
    files = [file for one in inputs for file in (Path(one), Path(one) / SCORES_FILE)]
    if json_path.resolve() in [file.resolve() for file in files]:
        raise UserError("`out` would replace one of the inputs", where=str(json_path), remedy="give another name")


def _json_beside(out: Path) -> Path:
    if out.suffix != ".html":
        raise UserError(f"`out` must end in .html, but is {out}", remedy=f"give {out}.html")
    # The page names the file beside it.
    try:
        out.name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"`out` must have a name in UTF-8, but {out.name!r} is not UTF-8") from error
    return out.with_suffix(".json")


def _about(report: ReportSummary) -> str:
    amounts = (
        (len(report.runs), "pretraining run"),
        (len(report.results), "probe"),
        (len(report.fairness), "fairness audit"),
    )
    return f"Made by audio_ssl from {', '.join(count(amount, noun) for amount, noun in amounts if amount)}."
