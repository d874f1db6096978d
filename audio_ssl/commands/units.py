"""The command `units`, and `units quality`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from audio_ssl.commands.app import ModelName, Out, app, say_next

_units = App(name="units")
app.command(_units)


@_units.default
def units(
    audio: Path,
    model: ModelName,
    *overrides: str,
    out: Out,
    layer: int | None = None,
    clusters: int | None = None,
    codebook: Path | None = None,
    merge: Annotated[bool, Parameter(negative="")] = False,
    workers: int = 0,
    engine: Literal["local", "ray"] = "local",
) -> None:
    """Turn a folder, a file or a manifest into discrete units with their times; run again, a stopped command continues.

    A unit is the nearest centroid of a frame of one layer, or a frame's codes of a codec. Under torchrun or srun the
    processes share the work. `audio-ssl units quality U M.jsonl` says how good units are.

    Parameters
    ----------
    audio
        Folder, audio file, or manifest (.jsonl).
    model
        What `audio-ssl extract` takes; or encodec, encodec?path=encodec_24khz.th&codebooks=4, another teacher that
        gives codes, or the run folder of a codec. MODEL?point=feed_forward takes a layer before its last sum.
    overrides
        Settings: fit.hours=10, fit.frames=200000, fit.seed=0, and those of `audio-ssl extract`: precision=bfloat16,
        chunk_seconds=30, context_seconds=2, batch_seconds=60, device=cpu, ray_workers=2.
    out
        Folder for units.jsonl and units.parquet (a row a clip: id, path, unit, start, end), the code book,
        index.jsonl and errors.jsonl.
    layer
        Hidden state that is coded: 0 is the encoder's input, n the output of block n. By default that of the code book.
    clusters
        Codes of the book that is fitted by k-means; by default 100.
    codebook
        A code book instead: a folder of units, a teacher's kmeans.safetensors, a file of scikit-learn's k-means as
        fairseq and textlesslib publish them (.bin), or centroids as .npy or .safetensors. Nothing in it is run.
    merge
        Make one unit of frames in a row that have equal codes.
    workers
        Threads that decode audio in advance; 0: two, or up to sixteen with a GPU.
    engine
        local: this process, or the processes of torchrun or srun; ray: workers on a Ray cluster.
    """
    from audio_ssl.artifacts.unit_records import read_units_record
    from audio_ssl.base.launch import is_leader
    from audio_ssl.units.run import make_units, summary_line

    options = {"layer": layer, "clusters": clusters, "code_book": codebook}
    make_units(audio, model, out, merge=merge, workers=workers, engine=engine, overrides=overrides, **options)  # type: ignore[arg-type]
    if is_leader(os.environ):
        print(summary_line(read_units_record(out)))
        print(out)
        if audio.suffix == ".jsonl":
            say_next("units", "quality", out, audio)


@_units.command
def quality(
    folder: Path,
    manifest: Path,
    *,
    times: str = "phone_times",
    abx: bool = True,
) -> None:
    """Say how good units are: PNMI, purities, bitrate, units a second and ABX errors, with intervals over speakers.

    Parameters
    ----------
    folder
        What `audio-ssl units` wrote; quality.json is written into it.
    manifest
        Manifest (.jsonl) of the same clips, with speakers and a column of the times of phones.
    times
        Name of that column: start end phone; start end phone, in seconds.
    abx
        Also compute ABX errors of the codes as one-hot vectors and of their centroids, which takes the longest.
    """
    from audio_ssl.artifacts.unit_records import QUALITY_FILE
    from audio_ssl.units.quality import measure_units, quality_lines

    print("\n".join(quality_lines(measure_units(folder, manifest, times, abx))))
    print(folder / QUALITY_FILE)
