"""Weights of fairseq2's wav2vec 2.0 models in ours and ours in fairseq2's; fairseq2 itself is not needed for it.

Covers fairseq2's ``wav2vec2`` family with a transformer: base (group norm, post-LN) and large (layer norm, pre-LN).
Its quantiser and its projections belong to the contrastive loss, not to the model. They are read separately. Writing
puts them back or makes new ones, as fairseq2 loads a model only with them.

Weights and card of a fairseq2 model on the disk; nothing is unpickled but tensors.

A folder of checkpoints holds ``model.yaml`` and ``step_N/model/``; there lie safetensors files, or
``pp_00/tp_00/sdp_00.pt`` as fairseq2's trainer writes them. Published models are single ``.pt`` files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from audio_ssl.artifacts.run import checkpoint_folders
from audio_ssl.base.config import read_yaml
from audio_ssl.base.documents import dump_yaml
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_write, write_text
from audio_ssl.interop._fairseq2_config import (
    FileLayout,
    card_of,
    check_writable,
    head_shapes,
    is_named_by_fairseq,
    layout_of,
    model_config,
    training_section,
)
from audio_ssl.interop.find_heads import FAIRSEQ2_CONTRAST, FoundHeads, HeadSizes, HeadTable, contrastive_head
from audio_ssl.interop.heads import GumbelTemperatures, Pretrained
from audio_ssl.interop.settings import ModelSettings, invalid_settings
from audio_ssl.interop.weight_names import common_name
from audio_ssl.interop.weights import (
    PICKLED,
    build_from,
    checked_table,
    identity,
    not_taken,
    read_pickle,
    read_safetensors,
)
from audio_ssl.models.model import SSLModel

_HEADS = ("quantizer.", "final_proj.", "final_target_proj.", "project_q.")
_BASE_HEADS = {"final_dim": 256, "quantized_dim": 256, "num_codebooks": 2, "num_codebook_entries": 320}
"""Sizes of new ones (wav2vec 2.0 base)."""
_UPDATES = "quantizer.num_updates"
_HEADS_SEED = 20_200_620

_HEAD_NAMES = (
    (r"^quantizer\.vars$", "quantizer.entries"),
    (r"^quantizer\.weight_proj\.0\.|^quantizer\.weight_proj\.", "quantizer.entry_proj."),
    (r"^project_q\.", "final_target_proj."),
)
"""fairseq's names of what belongs to the loss, which published fairseq2 files may hold, and fairseq2's."""


def to_fairseq2_weights(model: SSLModel) -> dict[str, Tensor]:
    """Return our weights under fairseq2's names, without quantiser and projections.

    Raises
    ------
    UserError
        If fairseq2's model cannot hold them.
    """
    names = _names(model)
    weights = {names[ours]: value.detach().cpu() for ours, value in model.state_dict().items()}
    frontend, encoder = check_writable(model.config)
    if frontend.channels[-1] == encoder.dim:
        for name, value in identity(encoder.dim).items():
            if not torch.equal(weights.pop(names[name]), value):
                raise UserError(
                    f"features and encoder both have width {encoder.dim}: fairseq2 has no projection there, but this "
                    "model has one"
                )
    return weights


def read_fairseq2(
    path: str | Path, heads: int | None = None, *, normalize: bool | None = None, sample_rate: int | None = None
) -> SSLModel:
    """Read a wav2vec 2.0 model that fairseq2 has written, or that is published for it.

    Parameters
    ----------
    path
        A ``.safetensors`` or ``.pt`` file, or a folder of fairseq2's trainer: of checkpoints, of one step, of a model.
        A ``.pt`` file is read without running anything that it may hold.
    heads
        Number of attention heads, which the weights do not contain; None: that of ``model.yaml``, or of the published
        models of this width.
    normalize, sample_rate
        fairseq2 does not save them; None: those that `write_fairseq2` put into ``model.yaml``.

    Returns
    -------
    SSLModel
        Without quantiser and projections of the contrastive loss.

    Raises
    ------
    UserError
        If it cannot be read, is another kind of model, or normalisation or sample rate are unknown.
    """
    path = Path(path)
    return model_of(read_weights(path), path, ModelSettings(normalize, sample_rate, heads)).model


def model_of(state: Mapping[str, Tensor], path: Path, given: ModelSettings, heads: bool = False) -> Pretrained:
    """Make a model of weights under fairseq2's names, or fairseq's, if wanted with `heads`; see `read_fairseq2`."""
    with invalid_settings(path):
        layout, card = layout_of(state), read_card(path)
        config = model_config(state, layout, card, given, path)
        frontend, encoder = check_writable(config)

    def name(ours: str) -> str:
        return layout.name(common_name(ours))

    # Where the widths are equal, fairseq2 has no projection.
    defaults = identity(encoder.dim) if frontend.channels[-1] == encoder.dim else {}
    model = build_from(config, state, name, heads=_HEADS, defaults=defaults, where=path, say=not heads)
    if not heads:
        return Pretrained(model)
    with invalid_settings(path):
        named = {_head_name(name): value for name, value in state.items()}
        table = HeadTable(named, "", HeadSizes(encoder.dim, frontend.channels[-1]), path)
        return _heads(table, training_section(card)).with_model(model, not_taken(named, _HEADS))


def _heads(table: HeadTable, training: Mapping[str, Any]) -> FoundHeads:
    if FAIRSEQ2_CONTRAST.vectors not in table:
        return FoundHeads()
    updates = int(table.tensor(_UPDATES)) if _UPDATES in table else None
    latent = training.get("codebook_sampling_temperature")
    gumbel = None
    if latent is not None:
        start, end, decay = map(float, latent)
        gumbel = GumbelTemperatures(start, end, decay, updates)
    temperature, negatives = float(training.get("logit_temp", 0.1)), training.get("num_distractors")
    head = contrastive_head(table, FAIRSEQ2_CONTRAST, temperature, negatives, gumbel)
    return FoundHeads(contrastive=head, taken=frozenset(table.taken))


def _head_name(name: str) -> str:
    for pattern, replacement in _HEAD_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read_fairseq2_heads(path: str | Path) -> dict[str, Tensor]:
    """Return the weights that `read_fairseq2` leaves out, under fairseq2's names, for `write_fairseq2`."""
    named = {_head_name(name): value for name, value in read_weights(Path(path)).items()}
    return {name: value for name, value in named.items() if name.startswith(_HEADS)}


def is_fairseq2(state: Mapping[str, Tensor]) -> bool:
    """Return whether a table of weights has fairseq2's names, or fairseq's, which published files may hold."""
    return is_named_by_fairseq(state) or any(name.startswith("encoder_frontend.") for name in state)


def write_fairseq2(model: SSLModel, folder: str | Path, heads: Mapping[str, Tensor] | None = None) -> None:
    """Write a model as a folder of fairseq2 checkpoints: ``model.yaml`` and ``step_0/model/model.safetensors``.

    In fairseq2, ``register_checkpoint_models(container, folder)`` finds it as ``checkpoint_step_0``.

    Parameters
    ----------
    model
        With the conv frontend and the transformer encoder.
    folder
        Where to write.
    heads
        Quantiser and projections under fairseq2's names, with two codebooks; None: new ones from a fixed seed, which
        only make fairseq2 load the model.

    Raises
    ------
    UserError
        If fairseq2's wav2vec 2.0 has no such model.
    """
    sizes = _BASE_HEADS if heads is None else _sizes(heads)
    shapes = head_shapes(model.config, sizes)
    if heads is None:
        generator = torch.Generator().manual_seed(_HEADS_SEED)
        heads = {name: torch.rand(tuple(shape), generator=generator) - 0.5 for name, shape in shapes.items()}
    wrong = sorted(name for name, shape in shapes.items() if name not in heads or heads[name].shape != tuple(shape))
    if wrong:
        raise UserError(f"`heads` must fit the model, but these do not: {', '.join(wrong)}")
    weights = {**to_fairseq2_weights(model), _UPDATES: torch.zeros((), dtype=torch.long), **heads}
    folder = Path(folder)
    (folder / MODEL_FOLDER).mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / MODEL_FOLDER / "model.safetensors") as partial:
        save_file({name: value.contiguous() for name, value in weights.items()}, partial)
    write_text(folder / MODEL_YAML, dump_yaml(card_of(model.config, sizes)))


def _names(model: SSLModel) -> dict[str, str]:
    frontend, encoder = check_writable(model.config)
    layout = FileLayout(frontend.norm == "group", encoder.pre_norm)
    return {name: layout.name(common_name(name)) for name in model.state_dict()}


def _sizes(heads: Mapping[str, Tensor]) -> dict[str, int]:
    books = _BASE_HEADS["num_codebooks"]
    try:
        entries, final = heads["quantizer.entries"], heads["final_proj.weight"]
    except KeyError as error:
        raise UserError(f"`heads` must hold {error}") from error
    return {
        "final_dim": final.shape[0],
        "quantized_dim": entries.shape[-1] * books,
        "num_codebooks": books,
        "num_codebook_entries": entries.shape[-2] // books,
    }


MODEL_YAML = "model.yaml"
MODEL_FOLDER = Path("step_0") / "model"
"""Where we write, so that fairseq2 finds a folder of checkpoints."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return all weights of a file or folder.

    Parameters
    ----------
    path
        A file, or any of the folders that fairseq2 writes; of several steps the last is read.

    Raises
    ------
    UserError
        If there are no weights, or they are shared out over several files of shards.
    """
    state: dict[str, Tensor] = {}
    for file in _weight_files(path):
        state.update(_read_file(file))
    return state


def read_card(path: Path) -> dict[str, Any]:
    """Return the ``model.yaml`` of a file or folder, from the nearest of the folders above it; {} if there is none."""
    for folder in (path, *path.absolute().parents[:5]):
        if (folder / MODEL_YAML).is_file():
            return read_yaml(folder / MODEL_YAML)
    return {}


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError("no such file or folder", where=str(path))
    if steps := checkpoint_folders(path):
        path = steps[-1]
    if (path / "model").is_dir():
        path = path / "model"
    shards = sorted(path.glob("pp_*/tp_*/sdp_*.pt"))
    if len(shards) > 1:
        raise UserError(
            f"the weights are shared out over {len(shards)} files",
            where=str(path),
            remedy="load the model in fairseq2 and save it whole",
        )
    files = shards or sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError("the folder contains no weights of fairseq2", where=str(path))
    return files


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if file.suffix not in PICKLED:
        raise UserError(f"weights have the suffix .safetensors, {', '.join(PICKLED)}", where=str(file))
    return weights_in(read_pickle(file), file)


def weights_in(content: Any, file: Path) -> dict[str, Tensor]:
    """Return the weights of a file's content: all of it, or what is under ``model``, with Lightning ``state_dict``."""
    key = next((key for key in ("model", "state_dict") if isinstance(content, dict) and key in content), None)
    inner = content if key is None else content[key]
    if inner is not content and any(content.get(key) is not None for key in ("args", "cfg")):
        raise UserError(
            "this is a checkpoint of fairseq, not of fairseq2",
            where=str(file),
            remedy="name the file itself",
        )
    return {name.removeprefix("module."): value for name, value in checked_table(inner, file).items()}
