"""Commands that ask questions of models and report the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

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
    """Probe a model with one probe or a suite of them: train heads on its features and on those of baselines.

    Parameters
    ----------
    probe
        Name or path of a probe, or of a suite (suite_speech, suite_music, suite_demo).
    model
        A model that ships (`audio-ssl list models`), a run folder, a saved model folder, a model of another library
        (`docs/exchange.md`), or a baseline (logmel, cqt, librosa,
        librosa:mfcc+chroma). MODEL?normalize=false&sample_rate=16000 adds settings that its weights do not contain.
    overrides
        Settings, for example data.manifest=M.jsonl seeds=[2]; for a suite manifests=FOLDER, and PROBE.key=value for one
        probe.
    out
        Folder of the result; for a suite, of all results and their report.html.
    show
        Do not probe: print every key of the probe with its value and a line about it, as a probe (YAML).
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


@app.command
def predict(
    result: Path,
    audio: Path,
    *overrides: str,
    out: Out,
    model: str | None = None,
    format: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Predict with the head of a probe's result: texts, classes, beats … of new audio; run again, it continues.

    Under torchrun or srun the processes share the work, each on its own GPU if there are GPUs.

    Parameters
    ----------
    result
        Result folder of a probe, or of one of its baselines.
    audio
        Folder, audio file, or manifest (.jsonl). No label is needed; files may be of any length.
    overrides
        Settings: precision=bfloat16 (float32, float16), chunk_seconds=30, context_seconds=2, batch_seconds=60,
        device=cpu, ray_workers=2.
    out
        Folder for predictions.jsonl, predictions.parquet, other formats and errors.jsonl.
    model
        New place of the probed model, where it has moved; another model is refused.
    format
        Another format, beside predictions.jsonl and predictions.parquet: ctm, srt, vtt, txt, textgrid, json, lab,
        beats, mid, jams; by default the usual one of the task. May be given several times.
    workers
        Threads that decode audio in advance; 0: two, or up to sixteen with a GPU.
    engine
        local: this process, or the processes of torchrun or srun; ray: workers on a Ray cluster.
    """
    from audio_ssl.probing.predicting import predict as stage

    written = stage(
        result, audio, out, model=model, formats=format, workers=workers, engine=engine, overrides=overrides
    )
    if written is None:
        return
    print("\n".join(map(str, written.files)))
    if written.audited:
        table = next(path for path in written.files if path.suffix == ".parquet")
        known = () if written.references else ("--manifest", "MANIFEST_WITH_REFERENCES")
        say_next("fairness", table, *known, "--by", written.attribute or "COLUMN", "--out", "fairness.html")


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
        Attribute that makes the groups. May be given several times; combinations are then compared too (gender × age).
    out
        Page to write (.html); Markdown (.md) and the numbers (.json) are written beside it.
    metric
        Metric: wer, cer, bleu, chrf, accuracy ...; by default those of the task. May be given several times.
    manifest
        Manifest (.jsonl) with what the tables lack, matched by id: speakers, attributes, references.
    column
        Name of a column in the tables: reference=sentence. May be given several times.
    normaliser
        How references and hypotheses are normalised before they are compared: none, lower, basic, librispeech ...; by
        default none, or what the card of an example says.
    empty_hypothesis
        How empty hypotheses are treated: count (every word of the reference is an error) or leave-out.
    tokenizer
        How BLEU splits texts into words: 13a, zh, ja-mecab, ko-mecab, char; by default what the target language needs.
    seed
        Seed of the bootstrap and of the permutation tests.
    replicates
        Number of bootstrap resamples of the speakers, and of random permutations where not all are tried.
    min_speakers
        Smallest number of speakers for which a group is scored; smaller groups are only counted.
    tolerance
        Largest difference that does not matter, in points of the metric (percentage points of an error rate).
    system
        Name of the audited system. For several results, give one for each, in their order.
    version
        Version of the system, in the same way.
    test_set
        Name and version of the test set.
    examples
        Show a few of the worst clips of each group, with texts and speaker ids.
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
        Gap to find, relative to the pilot's score: 0.2 is 20 % of it.
    power
        Power of the test: the probability that it finds the gap.
    by
        Attribute that makes the groups.
    metric
        Metric: wer, cer, bleu ...; by default the main one of the pilot.
    manifest
        Manifest (.jsonl) with what the pilot lacks, matched by id.
    normaliser
        How texts are normalised before they are compared: none, lower, basic ...; by default none, or what the card of
        an example says.
    column
        Name of a column in the pilot: reference=sentence. May be given several times.
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
    """Pretrain on training sets that differ in their speakers, probe each model, and compare gaps between groups.

    Parameters
    ----------
    study
        Name or path of a study (gender_study, gender_study_tiny).
    overrides
        Settings, for example manifest=M.jsonl hours=100 seeds=[0,1].
    out
        Folder of the study: its training sets, runs, results, and study.html. Run again, a stopped study continues.
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
        Page to write (.html); its numbers are written beside it (.json).
    audio
        Embed the first seconds of the worst clips, to listen to.
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
