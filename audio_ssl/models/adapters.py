"""Low-rank adapters (LoRA, Hu et al. 2022, arXiv 2106.09685) on the linear layers of an encoder, by the package peft.

A layer's map ``W x`` becomes ``W x + (alpha / rank) B A x``, where only the narrow matrices A and B are trained. B
starts at zero, so an adapted model starts as the model that it adapts. An adapter is written as peft writes it
(``adapter_config.json``, ``adapter_model.safetensors``), so peft opens it on the same model; merged into the weights it
costs nothing at inference.

Queries, keys and values are layers of their own here, and the faster products of `audio_ssl.models.fast.cpu` are left
to plain linear layers, so an adapted layer is always called as peft means it. Models are prepared for inference
(`audio_ssl.models.fast.prepared`) after their adapters are merged, as preparing looks at plain layers alone.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import safe_open
from torch import nn

from audio_ssl.artifacts.adapter import ADAPTER_WEIGHTS, AdapterOrigin, read_adapter_origin, write_adapter_origin
from audio_ssl.base.catalog import optional_packages
from audio_ssl.base.checksums import faults, write_seals
from audio_ssl.base.errors import UserError
from audio_ssl.base.files import atomic_folder, write_text
from audio_ssl.models.attention import SelfAttention
from audio_ssl.models.model import SSLModel, fingerprint

if TYPE_CHECKING:
    pass

ATTENTION, FEED_FORWARD = "attention", "feed_forward"
_OF_ATTENTION, _OF_FEED_FORWARD = ("query", "key", "value", "out"), ("inner", "outer")


@dataclass(frozen=True)
class Lora:
    """Which layers are adapted, and how much an adapter can change."""

    rank: int = 8
    """Rank of the change of a layer (Hu et al. 2022: 8 is enough; peft: 8)."""

    alpha: float = 16.0
    """The change is multiplied by `alpha` / `rank`. Twice the rank is usual; with a fixed `alpha` a larger rank needs
    no other learning rate."""

    dropout: float = 0.05
    """On what an adapter sees, in training (QLoRA, Dettmers et al. 2023, arXiv 2305.14314: 0.05 for large models, 0.1
    for small ones)."""

    targets: tuple[str, ...] = (ATTENTION, FEED_FORWARD)
    """Linear layers: ``attention`` (query, key, value, out), ``feed_forward`` (inner, outer), or layers by name, such
    as [query, value], which Hu et al. took. All layers of a block is what QLoRA needed to equal full fine-tuning."""


def check_lora(settings: Lora, where: str) -> None:
    """Raise UserError for a rank, a scale or a dropout that cannot be."""
    if settings.rank < 1:
        raise UserError(f"must be at least 1, but is {settings.rank}", where=f"{where}.rank", remedy="8 is usual")
    if not settings.alpha > 0:
        raise UserError(f"must be above 0, but is {settings.alpha:g}", where=f"{where}.alpha")
    if not 0 <= settings.dropout < 1:
        raise UserError(f"must be at least 0 and below 1, but is {settings.dropout:g}", where=f"{where}.dropout")
    if not settings.targets:
        raise UserError("must name at least one", where=f"{where}.targets", remedy="for example [query, value]")


def targets_of(model: SSLModel, settings: Lora, where: str | None = None) -> list[str]:
    """Return the full names of the layers that are adapted.

    Raises
    ------
    UserError
        For a target that the encoder does not have; the message names those that it has.
    """
    known = _layers_by_target(model)
    found: list[str] = []
    for number, target in enumerate(settings.targets):
        if target not in known:
            place = None if where is None else f"{where}.targets[{number}]"
            raise UserError(f"the encoder has no linear layers `{target}`", where=place, remedy=_there_are(known))
        found += known[target]
    return sorted(set(found))


def _there_are(known: dict[str, list[str]]) -> str:
    return f"there are: {', '.join(sorted(known))}" if known else "this encoder has no linear layers; leave out `lora`"


def _layers_by_target(model: SSLModel) -> dict[str, list[str]]:
    """Return the names of linear layers by what they may be asked for with: a group, or the last part of the name."""
    found: dict[str, list[str]] = {}
    for parent, module in model.encoder.named_modules(prefix="encoder"):
        for name, child in module.named_children():
            if type(child) is not nn.Linear:
                continue
            full = f"{parent}.{name}"
            found.setdefault(name, []).append(full)
            if name in _OF_ATTENTION and isinstance(module, SelfAttention):
                found.setdefault(ATTENTION, []).append(full)
            elif name in _OF_FEED_FORWARD:
                found.setdefault(FEED_FORWARD, []).append(full)
    return found


def need_peft(where: str | None = None) -> None:
    """Raise UserError where peft is not installed; the message has the command that installs it."""
    with optional_packages("`lora`", where):
        import peft  # noqa: F401


class AdaptedModel:
    """A model with adapters: its own weights are frozen, and stay in the given model, which is changed in place.

    Parameters
    ----------
    model
        Gets the adapters; called as before.
    settings
        Rank, scale, dropout, layers.
    seed
        Of the first weights of the adapters; torch's own generator stays untouched.
    frontend
        Train the frontend as well; it is then written beside the adapters, whole.
    """

    def __init__(self, model: SSLModel, settings: Lora, seed: int = 0, frontend: bool = False) -> None:
        targets = targets_of(model, settings)
        need_peft()
        from peft import LoraConfig, PeftModel

        config = LoraConfig(
            r=settings.rank,
            lora_alpha=cast(int, settings.alpha),
            lora_dropout=settings.dropout,
            target_modules=targets,
            modules_to_save=["frontend"] if frontend else None,
        )
        self._fingerprint = fingerprint(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._peft = PeftModel(model, config)
        self.model = model

    def save(self, folder: Path, base: str, place: Path | None = None) -> None:
        """Write the adapters as peft does, whole or not at all.

        Parameters
        ----------
        folder
            Is replaced.
        base
            Name of the model without adapters, as it was given.
        place
            Its path; None: it has a name alone.
        """
        self._peft.peft_config["default"].base_model_name_or_path = base
        origin = AdapterOrigin(base, self._fingerprint, None if place is None else str(place.resolve()))
        with atomic_folder(folder) as partial:
            # peft would ask the hub about the vocabulary of a language model.
            self._peft.save_pretrained(str(partial), save_embedding_layers=False)
            write_text(partial / "README.md", _CARD.format(model=base, fingerprint=origin.fingerprint))
            # peft lets nobody else read them.
            (partial / ADAPTER_WEIGHTS).chmod((partial / "README.md").stat().st_mode)
            write_adapter_origin(partial, origin)
            write_seals(partial, [ADAPTER_WEIGHTS])


_CARD = """---
library_name: peft
base_model: {model}
tags: [lora]
---

# A LoRA adapter

Adapts `{model}` (fingerprint `{fingerprint}`). `audio_ssl.load("FOLDER")` opens both together; in Python, peft opens it
on the same model: `PeftModel.from_pretrained(audio_ssl.load("{model}").model, "FOLDER")`.
"""


def merge_adapter(model: SSLModel, folder: Path) -> SSLModel:
    """Return a model with the adapters of a folder merged into its weights; the given model is used up.

    Raises
    ------
    UserError
        If peft is missing, the files are damaged, the adapters were made for another model, or layers that they adapt
        are not there.
    """
    broken = faults(folder, [ADAPTER_WEIGHTS])
    for name, wrong in broken.items():
        raise UserError(f"{name} {wrong}", where=str(folder), remedy="copy the folder again, or run the probe again")
    origin, here = read_adapter_origin(folder), fingerprint(model)
    if origin.fingerprint not in (None, here):
        raise UserError(
            f"the adapter belongs to `{origin.model}` with the fingerprint {origin.fingerprint}, but this model has "
            f"{here}",
            where=str(folder),
            remedy="give the model that was adapted",
        )
    need_peft()
    from peft import PeftModel, get_peft_model_state_dict

    try:
        # peft warns of weights that are missing; here they are an error.
        with warnings.catch_warnings(action="ignore"):
            adapted = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
        with safe_open(folder / ADAPTER_WEIGHTS, "pt") as file:
            there = set(file.keys())
        needed = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
        if there != needed:
            raise ValueError(f"it does not have its weights, such as {min(there ^ needed)}")
        merged = cast(SSLModel, adapted.merge_and_unload(safe_merge=True))
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise UserError(
            f"peft cannot put the adapter on the model: {error}",
            where=str(folder),
            remedy="run the probe again",
        ) from error
    return merged.requires_grad_(True).eval()
