"""Commands that train models and take them elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from audio_ssl.base.errors import UserError, shown
from audio_ssl.commands.app import ModelName, Out, OutOrShow, RecipeName, Show, app, need_out, say_next


@app.command
def pretrain(
    recipe: RecipeName,
    *overrides: str,
    out: OutOrShow = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    show: Show = False,
) -> None:
    """Train a model (or a codec teacher) by a recipe, in one process or in several under torchrun or srun.

    Parameters
    ----------
    recipe
        Name or path of a recipe; a run's own recipe.yaml repeats the run.
    overrides
        Settings, for example data.manifest=M.jsonl steps=4000 seed=1.
    out
        Folder of the run.
    resume
        Continue from the last checkpoint in `out`; with a larger steps=N the run is lengthened.
    show
        Do not train: print every key of the recipe with its value and a line about it, as a recipe (YAML).
    """
    if show:
        from audio_ssl.commands.explain import explained_yaml
        from audio_ssl.pretrain.recipe import open_recipe

        print(explained_yaml(open_recipe(recipe, overrides), kind=True), end="")
        return

    from audio_ssl.artifacts.run import is_marked_finished
    from audio_ssl.base.disk import DiskError
    from audio_ssl.base.errors import StoppedBySignal
    from audio_ssl.base.launch import is_leader
    from audio_ssl.commands.app import free_name
    from audio_ssl.pretrain.run import pretrain as stage

    try:
        run = stage(recipe, overrides, need_out(out), resume)
    except DiskError as error:
        raise error.going_on_with("--resume") from error
    except KeyboardInterrupt:
        stopped = StoppedBySignal("what was finished is on the disk; run the same command with --resume to go on")
        stopped.said = not is_leader(os.environ)
        raise stopped from None
    if is_leader(os.environ):
        print(run)
        if is_marked_finished(run):
            say_next("extract", "AUDIO_FOLDER", run, "--out", free_name(Path("features")))
        else:
            say_next("pretrain", recipe, *overrides, "--out", run, "--resume")


@app.command
def extract(
    audio: Path,
    model: ModelName,
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
    """Extract features of a folder, a file or a manifest; run again, a stopped extraction continues.

    Under torchrun or srun the processes share the work, each on its own GPU if there are GPUs.

    Parameters
    ----------
    audio
        Folder, audio file, or manifest (.jsonl).
    model
        A model that ships (`audio-ssl list models`), a run folder, a saved model folder, a model of another library
        (`docs/exchange.md`), untrained:MODEL, or a baseline (logmel, cqt, librosa,
        librosa:mfcc+chroma). MODEL?normalize=false&sample_rate=16000 adds settings that its weights do not contain.
    overrides
        Settings: precision=bfloat16 (float32, float16), chunk_seconds=30, context_seconds=2, batch_seconds=60,
        device=cpu, ray_workers=2.
    out
        Folder for the features, index.jsonl and errors.jsonl.
    layers
        all, one layer (9), several (0,4,12), or a probe's result folder, for the weighted sum of layers that it
        learned. Layer 0 is the encoder's input, layer n the output of block n.
    pool
        none keeps all frames; mean, max and attentive (with the attention of the probe given to --layers) give one
        vector a clip.
    format
        A safetensors store, .npy files in the same tree as the audio, or a table (open the folder parquet inside `out`
        with pandas.read_parquet).
    dtype
        Number format of the features.
    rate
        Frames a second, so that features of several models line up; by default the model's own.
    workers
        Threads that decode audio in advance; 0: two, or four with a GPU.
    engine
        local: this process, or the processes of torchrun or srun; ray: workers on a Ray cluster.
    """
    from audio_ssl.base.launch import is_leader
    from audio_ssl.features.extract import extract as stage

    options = {"layers": layers, "pool": pool, "format": format, "dtype": dtype, "engine": engine}
    stage(audio, model, out, rate=rate, workers=workers, overrides=overrides, **options)
    if is_leader(os.environ):
        print(out)


@app.command
def export(
    source: ModelName,
    *,
    out: Out,
    to: Literal["transformers", "fairseq2", "onnx", "torch"] = "transformers",
    model: str | None = None,
    normalize: bool | None = None,
    sample_rate: int | None = None,
    push: str | None = None,
    weights: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
    opset: int | None = None,
) -> None:
    """Write a model of any library, or of a probe's result with its head, as a folder with a card.

    transformers opens the folder: a model by AutoModel, a result by a pipeline, with the same numbers. Its own classes
    do it where it has such a model; elsewhere they are those of this package, once audio_ssl is imported. With `--to
    onnx` or `--to torch` the folder has a graph that runs without this package.

    Parameters
    ----------
    source
        The result of a recognition or classification probe, which brings its head: automatic-speech-recognition and
        audio-classification pipelines run it. Or a model: one that ships (`audio-ssl list models`), a run folder, a
        saved model, a folder of transformers, a name on the Hugging Face hub, torchaudio:BUNDLE, or a file of weights
        of fairseq, fairseq2, torchaudio or spidr. MODEL?normalize=false&sample_rate=16000 adds settings that its
        weights do not contain. So with all commands.
    out
        Folder to write.
    to
        Layout of the folder: transformers (this package's own if transformers has no such model), checkpoints of
        fairseq2, or a graph: onnx (model.onnx, for onnxruntime) or torch (model.pt2, for torch.export.load).
    model
        Where the model of a result is now, if it has moved.
    normalize
        Whether waveforms are standardised; the same as ?normalize=true or false in the name. It is never guessed.
    sample_rate
        Sample rate of the waveforms in Hz; the same as ?sample_rate=16000 in the name.
    push
        Also upload the folder to the Hugging Face hub, as a private repository of this name (org/name).
    weights
        Number format of the stored weights. float16 and bfloat16 halve the file; they are read back as float32. int8,
        with `--to onnx`, adds model.int8.onnx, whose products are of 8-bit integers; the card states its error.
    opset
        Version of ONNX's operators, 18 or newer.
    """
    from audio_ssl.commands.app import free_name
    from audio_ssl.interop.export import export_model
    from audio_ssl.probing.deploy import export_result, holds_result

    if holds_result(Path(source)):
        of_models = {"normalize": normalize, "sample-rate": sample_rate, "push": push, "opset": opset}
        for name in (name for name, value in of_models.items() if value is not None):
            raise UserError(
                f"`--{name}` belongs to a model, and {shown(source)} is the result of a probe",
                remedy="send the folder by `hf upload`" if name == "push" else f"leave `--{name}` out",
            )
        export_result(Path(source), out, to=to, model=model, weights=weights)
        print(out)
        return
    if model is not None:
        raise UserError(
            f"`--model` belongs to the result of a probe, and {shown(source)} is none", remedy="leave `--model` out"
        )
    address = export_model(
        source, out, to=to, normalize=normalize, sample_rate=sample_rate, push=push, weights=weights, opset=opset
    )
    print(out if address is None else f"{out}\n{address}")
    if to in ("onnx", "torch"):
        return
    say_next("extract", "AUDIO_FOLDER", out, "--out", free_name(Path("features")))
