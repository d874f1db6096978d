"""Commands that ask questions of models and report the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from audio_ssl.base.errors import UserError
from audio_ssl.commands.app import (
    ModelName,
    Out,
    OutOrShow,
    ProbeName,
    Show,
    StudyName,
    app,
    html,
    need,
    need_out,
    say_next,
)


@app.command
def probe(probe: ProbeName, model: ModelName = "", *overrides: str, out: OutOrShow = None, show: Show = False) -> None:
    """Ask one question of a model, or those of a suite: train heads on its features, beside the same on baselines.

    Parameters
    ----------
    probe
        Name or path of a probe, or of a suite (suite_speech, suite_music, suite_demo).
    model
        A model that ships (`audio-ssl list models`), a run folder, a saved model folder, a model of another library
        (`docs/exchange.md`), or a baseline (logmel, cqt, librosa,
        librosa:mfcc+chroma). MODEL?normalize=false&sample_rate=16000 says what its weights do not tell.
    overrides
        Settings, for example data.manifest=M.jsonl seeds=[2]; of a suite manifests=FOLDER, and PROBE.key=value for one.
    out
        Folder of the result; of a suite, of all results and their report.html.
    show
        Ask nothing: print every key of the probe with its value and a line about it, as a probe (YAML).
    """
    if show:
        _show(probe, [word for word in (model, *overrides) if "=" in word and "?" not in word.partition("=")[0]])
        return
    if not model:
        raise UserError("`model` must be given", remedy="name a run folder, another library's model, or logmel")
    out = need_out(out)
    from audio_ssl.probing.run import is_suite, run_probe

    if is_suite(probe):
        _suite(probe, model, overrides, out)
        return

    from audio_ssl.report.build import result_lines

    result = run_probe(probe, model, out, overrides)
    print("\n".join(result_lines(result)))
    print(result)
    say_next("report", result, "--out", "report.html")


# `--version` is that of the audited system here.
_fairness = App(name="fairness", version_flags=())
app.command(_fairness)


@_fairness.default
def fairness(
    *results: Path,
    by: Annotated[tuple[str, ...], Parameter(negative="")] = ("gender",),
    out: Out,
    metric: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    manifest: Path | None = None,
    column: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    normaliser: str | None = None,
    empty_hypothesis: str = "count",
    tokenizer: str | None = None,
    seed: int = 0,
    replicates: int = 10_000,
    min_speakers: int = 5,
    tolerance: float | None = None,
    system: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    version: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    test_set: str | None = None,
    examples: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare groups of speakers in probe results or in any table of predictions.

    `audio-ssl fairness plan PILOT` says how many speakers and clips a test needs.

    Parameters
    ----------
    results
        Result folders, or tables (.csv, .tsv, .jsonl, .parquet) with reference, hypothesis, speaker and attributes,
        NeMo's or lhotse's .jsonl, sclite's .trn, or folders of Kaldi; or the name of an example (`audio-ssl list
        examples`). Several that answered the same clips are compared with the first.
    by
        The attribute to compare by. Give it once for each; several are also compared together (gender × age).
    out
        The page to write (.html); the same goes to .md, its numbers to .json beside it.
    metric
        wer, cer, bleu, chrf, accuracy ...; what fits the task if not given. Give it once for each.
    manifest
        A manifest (.jsonl) that has, by id, what the tables lack: speakers, attributes, references.
    column
        Which column of the tables is what: reference=sentence. Give it once for each.
    normaliser
        What is done to references and hypotheses before they are compared: none, lower, basic, librispeech ...; none if
        not given, of an example what its card says.
    empty_hypothesis
        What a hypothesis without a word is: count (every word of the reference is an error) or leave-out.
    tokenizer
        How BLEU cuts texts into words: 13a, zh, ja-mecab, ko-mecab, char; as the target language needs it if not given.
    seed
        Seed of the bootstrap and of the permutation tests.
    replicates
        Number of bootstrap resamples of the speakers.
    min_speakers
        Fewest speakers of a group that is scored; smaller ones are counted only.
    tolerance
        Differences smaller than this do not matter, in points of the metric (percentage points of an error rate).
    system
        What the audited system is called. Of several results give it once for each, in their order.
    version
        Version of the system, likewise.
    test_set
        Name and version of the test set.
    examples
        Add a few of the worst clips of each group, with texts and speaker ids.
    """
    from audio_ssl.base.files import locked_file
    from audio_ssl.data.build import parse_assignments
    from audio_ssl.fairness.about import About, with_example
    from audio_ssl.fairness.audit import audit
    from audio_ssl.report.build import build_fairness_report, fairness_lines, keep_inputs

    need(results, "results")
    page = html(out)
    tables, asked = with_example(results, About(system, version, test_set), normaliser)
    keep_inputs([*tables, *([manifest] if manifest else [])], page)
    with locked_file(page, ".json", ".md"):
        found = audit(
            tables, by, seed, replicates,
            metrics=metric, manifest=manifest, normaliser=asked.normaliser, min_speakers=min_speakers,
            columns=parse_assignments("--column", column), empty_hypothesis=empty_hypothesis, tokenizer=tokenizer,
            tolerance=tolerance, about=asked.about, examples=examples,
        )  # fmt: skip
        build_fairness_report(found, page)
    print("\n".join((*fairness_lines(found), str(page))))


@_fairness.command
def plan(
    pilot: Path,
    *,
    gap: float = 0.2,
    power: float = 0.8,
    by: str = "gender",
    metric: str | None = None,
    manifest: Path | None = None,
    normaliser: str | None = None,
    column: Annotated[tuple[str, ...], Parameter(negative="")] = (),
) -> None:
    """Say how many speakers and clips a test needs to find a gap, from a small pilot.

    Parameters
    ----------
    pilot
        A result folder, a table, or the name of an example, as `audio-ssl fairness` takes; a few speakers with several
        clips each.
    gap
        The gap to find, relative to the pilot's score: 0.2 is 20 % of it.
    power
        How often the test should find it.
    by
        The attribute that makes the groups.
    metric
        wer, cer, bleu ...; the main one of the pilot if not given.
    manifest
        A manifest (.jsonl) that has, by id, what the pilot lacks.
    normaliser
        What is done to texts before they are compared: none, lower, basic ...; none if not given, of an example what
        its card says.
    column
        OURS=THEIRS where a table calls a column otherwise.
    """
    from audio_ssl.data.build import parse_assignments
    from audio_ssl.fairness.about import About, with_example
    from audio_ssl.fairness.planning import plan_test
    from audio_ssl.report.language.methods import plan_lines

    (table,), asked = with_example([pilot], About(), normaliser)
    columns = parse_assignments("--column", column)
    print("\n".join(plan_lines(plan_test(table, gap, power, by, metric, manifest, asked.normaliser, columns))))


@app.command
def study(study: StudyName, *overrides: str, out: Out) -> None:
    """Pretrain on sets of speech that differ in whose it is, probe each model, and compare its gaps between groups.

    Parameters
    ----------
    study
        Name or path of a study (gender_study, gender_study_tiny).
    overrides
        Settings, for example manifest=M.jsonl hours=100 seeds=[0,1].
    out
        Folder of the study: its sets, runs, results, and study.html; a stopped study goes on when run again.
    """
    from audio_ssl.study.run import run_study

    print(run_study(study, out, overrides))


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


def _show(probe: str, settings: Sequence[str]) -> None:
    from audio_ssl.commands.explain import explained_yaml
    from audio_ssl.probing.probe import load_probe
    from audio_ssl.probing.run import is_suite

    if is_suite(probe):
        raise UserError("`--show` takes one probe, not a suite", remedy="`audio-ssl list probes` names them")
    print(explained_yaml(load_probe(probe, settings)[1]), end="")


def _suite(name: str, model: str, overrides: Sequence[str], out: Path) -> None:
    from audio_ssl.artifacts.result import SUITE_FILE
    from audio_ssl.probing.run import run_suite
    from audio_ssl.report.build import build_report

    done = run_suite(name, model, out, overrides)
    if done.results:
        title = f"{Path(name).stem} of {Path(model).name}"
        _summary(build_report([out / one for one in done.results], out / "report.html", title=title))
    if done.failed:
        raise UserError(f"{len(done.failed)} probes failed: {', '.join(done.failed)}", where=str(out / SUITE_FILE))


def _summary(page: Path) -> None:
    from audio_ssl.report.language.answer import summary_lines
    from audio_ssl.report.summary import read_report

    print("\n".join((*summary_lines(read_report(page)), str(page))))
