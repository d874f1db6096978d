"""Commands that make and describe data, and `list` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from audio_ssl.commands.app import Out, RecipeName, SourceName, app, html, need, say_next


@app.command(name="list")
def list_(what: Literal["all", "recipes", "probes", "corpora", "examples", "models", "parts"] = "all") -> None:
    """List the names that the other commands take.

    Parameters
    ----------
    what
        Which names: recipes, probes, corpora, examples of predictions, models that ship with the package, or the parts
        a recipe is made of.
    """
    from audio_ssl.commands.explain import listing_lines

    print("\n".join(listing_lines(what)))


@app.command
def demo(
    *,
    out: Out = Path("runs/demo"),
    data: Path = Path("data"),
    pip_only: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run every stage in small, from corpora to a fairness report; takes about ten minutes on two cores.

    Parameters
    ----------
    out
        Folder for everything that the demo writes; run again, an interrupted demo continues there.
    data
        Folder into which the corpora are downloaded.
    pip_only
        Use only corpora from pip packages, even if apt-get is available.
    """
    from audio_ssl.commands.demo import run_demo

    report = run_demo(out, data, pip_only)
    print(f"{report}\nOpen it in a browser.")


@app.command
def manifest(
    source: SourceName,
    *,
    out: Out,
    root: Path | None = None,
    split: str | None = None,
    fetch: Annotated[bool, Parameter(negative="")] = False,
    max_seconds: float | None = None,
    column: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    option: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    balance: str | None = None,
    hours: float | None = None,
    speaker_hours: float | None = None,
    seed: int = 0,
) -> None:
    """Write a manifest (one clip a line) of a folder, a corpus, a mix of corpora, or a balanced subset of these.

    Parameters
    ----------
    source
        A folder of audio, the name of a corpus (`audio-ssl list corpora`), a corpus file of your own (.py), a mix of
        corpora by name (`audio-ssl list recipes`) or file (.yaml), or another manifest (.jsonl).
    out
        The manifest to write (.jsonl).
    root
        Folder of the corpus, by default data/NAME. For a mix, the folder that holds its corpora, by default data.
    split
        Only this split of the corpus.
    fetch
        Download the corpus into `root` first, if its card can.
    max_seconds
        Cut longer files of a folder into clips of equal length, at most this long.
    column
        Name of a column in a table: text=sentence. May be given several times.
    option
        Another option of the corpus, NAME=VALUE; the first lines of its file name them. For a mix, the folder of a
        corpus: CORPUS=FOLDER. May be given several times.
    balance
        Shares of the hours: gender=F:0.5,M:0.5. The hours of a group are spread as evenly as possible over its
        speakers. What was drawn is written beside the manifest (.balance.json).
    hours
        Hours that --balance draws.
    speaker_hours
        Most hours of one speaker.
    seed
        Seed of the draw of --balance.
    """
    from audio_ssl.commands.app import after_manifest
    from audio_ssl.data.build import make_manifest

    count, errors = make_manifest(
        source,
        out,
        root=root,
        split=split,
        fetch=fetch,
        max_seconds=max_seconds,
        columns=column,
        options=option,
        balance=balance,
        hours=hours,
        speaker_hours=speaker_hours,
        seed=seed,
    )
    notes = out.with_suffix(".notes.jsonl")
    print(
        f"{out}: {count} clips"
        + (f"; {errors} unusable, see {out.with_suffix('.errors.jsonl')}" if errors else "")
        + (f"; notes on files are in {notes}" if notes.exists() else "")
    )
    say_next(*after_manifest(out))


@app.command
def targets(recipe: RecipeName, *overrides: str, out: Out) -> None:
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
    from audio_ssl.commands.app import free_name
    from audio_ssl.pretrain.make_targets import make_targets

    store = make_targets(recipe, overrides, out)
    print(store)
    say_next(
        "pretrain", recipe, *overrides, f"data.targets={store}", "--out", free_name(Path("runs") / Path(recipe).stem)
    )


@app.command
def check(*paths: Path) -> None:
    """Read all files of runs, features, stores, results, models or manifests; report damage and what repairs it.

    Parameters
    ----------
    paths
        Folders, searched to the bottom, or manifests (.jsonl), whose audio files must exist and be long enough.
    """
    from audio_ssl.base.errors import UserError
    from audio_ssl.commands.check import check as look
    from audio_ssl.commands.findings import finding_lines

    need(paths, "paths")
    total = damaged = 0
    for finding in look(paths):
        print("\n".join(finding_lines(finding)))
        total, damaged = total + 1, damaged + bool(finding.damaged)
    if damaged:
        raise UserError(f"{damaged} of {total} artifacts {'is' if damaged == 1 else 'are'} damaged")


@app.command
def audit(
    *manifests: Path,
    by: Annotated[tuple[str, ...], Parameter(negative="")] = ("gender",),
    out: Out,
    levels: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Describe the speakers of manifests: hours, speakers, clips, durations and levels of each group.

    Parameters
    ----------
    manifests
        Manifests (.jsonl).
    by
        Attribute that makes the groups. May be given several times.
    out
        Page to write (.html); its numbers are written beside it (.json).
    levels
        Also measure the level of each clip, which reads all audio, and write manifests with the levels beside the page.
    """
    from audio_ssl.report.composition import build_composition_report, composition_report_lines

    need(manifests, "manifests")
    page = build_composition_report(manifests, by, html(out), levels=levels)
    print("\n".join((*composition_report_lines(page), str(page))))
