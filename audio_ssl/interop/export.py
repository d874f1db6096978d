"""The `export` command: a model of any library as a folder, with what is known of where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_ssl.artifacts.run import read_run_record
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import locked_folder
from audio_ssl.interop.fairseq2 import write_fairseq2
from audio_ssl.interop.graphs.write import export_onnx, export_torch
from audio_ssl.interop.hub import push_to_hub
from audio_ssl.interop.read import ModelKind, detect, read_model
from audio_ssl.interop.settings import parse_name
from audio_ssl.interop.write import export
from audio_ssl.shipped import SHIPPED, Shelf


def export_model(
    model: str,
    out: Path,
    *,
    to: str = "transformers",
    normalize: bool | None = None,
    sample_rate: int | None = None,
    push: str | None = None,
    weights: str = "float32",
    opset: int | None = None,
) -> str | None:
    """Write a model as a folder; return its address on the hub if it was sent there.

    Parameters
    ----------
    model, normalize, sample_rate
        As of `read_model`.
    out
        The folder.
    to
        ``transformers``, ``fairseq2``, or a graph: ``onnx`` or ``torch``.
    push
        ``org/name`` on the hub; None: it is not sent.
    weights
        How they are stored: ``float32``; ``float16`` or ``bfloat16`` in the layout of transformers or ours; ``int8``
        in a graph of ONNX.
    opset
        Version of ONNX's operators; None: the oldest that can be written.

    Raises
    ------
    UserError
        If the model cannot be read, the layout cannot hold it, or the hub refuses.
    """
    if push is not None and to != "transformers":
        raise UserError("`--push` sends the layout of transformers", remedy="leave out `--to` or `--push`")
    if weights == "int8" and to != "onnx":
        raise UserError("`--weights` int8 is for graphs of ONNX", remedy="add `--to onnx`, or leave out `--weights`")
    if weights in ("float16", "bfloat16") and (push is not None or to != "transformers"):
        raise UserError(
            f"`--weights` {weights} is for folders in the layout of transformers or ours",
            remedy="leave out `--weights`, or `--to` and `--push`",
        )
    if opset is not None and to != "onnx":
        raise UserError("`--opset` is for graphs of ONNX", remedy="add `--to onnx`, or leave out `--opset`")
    found = read_model(model, normalize=normalize, sample_rate=sample_rate)
    origin = origin_of(model)
    with locked_folder(out):
        if to == "fairseq2":
            write_fairseq2(found, out)
            return None
        if to == "onnx":
            export_onnx(found, out, name=model, int8=weights == "int8", opset=opset, facts=origin.rows)
            return None
        if to == "torch":
            export_torch(found, out, name=model, facts=origin.rows)
            return None
        export(found, out, name=push, facts=origin.rows, licence=origin.licence, weights=weights)
    return None if push is None else push_to_hub(found, push, facts=origin.rows, licence=origin.licence)


@dataclass(frozen=True)
class ModelOrigin:
    """Where a model comes from, for its card."""

    rows: dict[str, str]
    """Names and values of the card's table."""
    licence: str | None = None
    """Of the weights, where it is known."""


def origin_of(model: str, shelf: Shelf = SHIPPED) -> ModelOrigin:
    """Return what is known of where a model comes from."""
    plain, _ = parse_name(model)
    shipped = shelf.name_in(plain)
    if shipped is not None and detect(plain, shelf) is ModelKind.SHIPPED:
        found = shelf.facts(shipped)
        rows = {
            "exported from": f"{shipped}, which ships with audio_ssl",
            "licence of the weights": found.licence,
            "trained on": "; ".join(f"{one.title}, {one.hours:.2f} h ({one.licence})" for one in found.corpora),
            "recipe (hash)": found.recipe_hash,
            "manifest (hash)": found.manifest_hash,
        }
        return ModelOrigin(rows, found.licence)
    rows = {"exported from": Path(plain).name if Path(plain).exists() else model}
    record = read_run_record(Path(plain))
    if record is None:
        return ModelOrigin(rows)
    known = {
        "recipe (hash)": record.recipe_hash,
        "manifest (hash)": record.manifest_hash,
        "training finished": "" if record.finished is None else str(record.finished),
        "training ended": record.ended,
        "versions": ", ".join(f"{name} {number}" for name, number in record.versions.items()),
    }
    return ModelOrigin(rows | {name: value for name, value in known.items() if value})
