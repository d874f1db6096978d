"""Commands that ask questions of models and report the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audio_ssl.cli._app import Out, app, html, need, say_next
from audio_ssl.errors import UserError


@app.command
def probe(probe: str, model: str, *overrides: str, out: Out) -> None:
    """Ask one question of a model, or those of a suite: train heads on its features, beside the same on baselines.

    Parameters
    ----------
    probe
        Name or path of a probe, or of a suite (suite_speech, suite_music, suite_demo).
    model
        A run folder, a saved model folder, or a baseline (logmel, cqt).
    overrides
        Settings, for example data.manifest=M.jsonl seeds=[2]; of a suite manifests=FOLDER, and PROBE.key=value for one.
    out
        Folder of the result; of a suite, of all results and their report.html.
    """
    from audio_ssl.probing.run import run_probe
    from audio_ssl.probing.suite import is_suite

    if is_suite(probe):
        _suite(probe, model, overrides, out)
        return

    from audio_ssl.report.build import result_lines

    result = run_probe(probe, model, out, overrides)
    print("\n".join(result_lines(result)))
    print(result)
    say_next(f"audio-ssl report {result} --out report.html")


@app.command
def fairness(*results: Path, by: tuple[str, ...] = ("gender",), out: Out) -> None:
    """Compare groups of speakers in probe results or in any table of predictions.

    Parameters
    ----------
    results
        Result folders, or tables (.csv, .jsonl, .parquet) with id, reference, hypothesis, speaker and attributes.
    by
        The attributes to compare by.
    out
        The page to write (.html); its numbers go to .json beside it.
    """
    from audio_ssl.fairness.audit import audit
    from audio_ssl.report.build import build_fairness_report

    need(results, "results")
    print(build_fairness_report(audit(results, by), html(out)))


@app.command
def report(*inputs: Path, out: Out, audio: bool = True) -> None:
    """Write one page about runs, results and fairness audits; models that answered the same probes are compared.

    Parameters
    ----------
    inputs
        Run folders, result folders, and fairness .json files.
    out
        The page to write (.html); its numbers go to .json beside it.
    audio
        Put the first seconds of the worst clips into the page.
    """
    from audio_ssl.report.build import build_report

    need(inputs, "inputs")
    _summary(build_report(inputs, html(out), audio=audio))


def _suite(name: str, model: str, overrides: Sequence[str], out: Path) -> None:
    from audio_ssl.probing.suite import run_suite
    from audio_ssl.report.build import build_report

    done = run_suite(name, model, out, overrides)
    if done.results:
        title = f"{Path(name).stem} of {Path(model).name}"
        _summary(build_report(done.results, out / "report.html", title=title))
    if done.failed:
        raise UserError(f"{len(done.failed)} probes failed: {', '.join(done.failed)}", where=str(out / "suite.json"))


def _summary(page: Path) -> None:
    from audio_ssl.report.build import read_report
    from audio_ssl.report.summary import summary_lines

    print("\n".join((*summary_lines(read_report(page)), str(page))))
