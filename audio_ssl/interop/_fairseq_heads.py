"""Heads in fairseq's checkpoints: HuBERT, WavLM, MERT, wav2vec 2.0, data2vec audio and DinoSR."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from audio_ssl.interop.find_heads import (
    FAIRSEQ_CONTRAST,
    NO_SETS,
    SPECIAL,
    CodeNames,
    FoundHeads,
    HeadTable,
    LabelSets,
    code_heads,
    contrastive_head,
    linear_codes,
    named_parts,
    online_codebooks,
)
from audio_ssl.interop.heads import CodeHead, FollowedAverage, GumbelTemperatures

_CODES = CodeNames("final_proj", "label_embs_concat", special=len(SPECIAL))
_CQT, _MEL = "encoder_cqt_model.fc", "encoder_mel_model.fc"
_LEARNT_TEMPERATURE = "logit_temp_list"


@dataclass(frozen=True)
class FairseqTraining:
    """What a checkpoint's settings say of the training of its heads."""

    temperature: float = 0.1
    """`logit_temp`."""

    highest_scale: float = 100.0
    """`learnable_temp_max` of MERT: the largest factor that a learnt temperature may stand for."""

    latent_temperatures: object = None
    """`latent_temp` as it is stored: three numbers, or a text of them."""

    negatives: int | None = None
    """`num_negatives`."""

    updates: int | None = None
    """Made until the checkpoint."""

    sets: LabelSets = NO_SETS
    """Of HuBERT's labels."""


def heads_of_fairseq(
    table: HeadTable, training: FairseqTraining, average: Mapping[str, Tensor], ours: Mapping[str, str], tuned: bool
) -> FoundHeads:
    """Return the heads of a checkpoint.

    Parameters
    ----------
    table
        Its weights.
    training
        Its settings.
    average
        The running average of the encoder that it holds, by fairseq's names of the encoder's parts; empty: none.
    ours
        Our names of the model's weights, by fairseq's.
    tuned
        Whether the model was fine-tuned after its pretraining.

    Raises
    ------
    UserError
        If the weights of a head do not fit together.
    """
    there = table.under("final_proj", "label_embs_concat", "quantizer.", "project_q.", "heads.", "encoder_cqt_model.")
    if tuned:
        why = f"{named_parts(there)}: the encoder was fine-tuned since, so that they no longer fit its hidden states"
        return FoundHeads(left_out=(why,) if there else ())
    found = FoundHeads()
    left_out: list[str] = []
    if "label_embs_concat" in table:
        found = FoundHeads(codes=code_heads(table, _CODES, _temperatures(table, training), training.sets))
    elif "quantizer.vars" in table:
        found, left_out = _contrastive(table, training)
    elif "heads.0.weight" in table:
        found = _dinosr(table, average, ours)
    elif average and "final_proj.weight" in table:
        hidden = table.sizes.hidden
        regression = table.linear("final_proj", hidden, hidden)
        found = FoundHeads(regression=regression, average=FollowedAverage(_averaged(average, ours)))
    elif there:
        left_out.append(f"{named_parts(there)}: without quantiser, embeddings of codes or an average of the encoder")
    if f"{_CQT}.weight" in table:
        found = replace(found, reconstruction=table.linear(_CQT, table.sizes.hidden))
    if f"{_MEL}.weight" in table:
        left_out.append("`encoder_mel_model`: no teacher here computes MERT's mel spectrogram")
    return replace(found, left_out=tuple(left_out), taken=frozenset(table.taken))


def symbols_of(dictionaries: object) -> list[list[str]] | None:
    """Return the symbols of fairseq's pickled dictionaries, as plain data; None where there is none."""
    if not isinstance(dictionaries, list) or not dictionaries:
        return None
    symbols = [item.get("symbols") if isinstance(item, Mapping) else None for item in dictionaries]
    return [[str(one) for one in item] for item in symbols] if all(isinstance(i, list) for i in symbols) else None  # type: ignore[union-attr]


def _temperatures(table: HeadTable, training: FairseqTraining) -> float | Sequence[float]:
    if _LEARNT_TEMPERATURE not in table:
        return training.temperature
    # MERT learns the logarithm of the factor of each set.
    return [1 / min(math.exp(value), training.highest_scale) for value in table.tensor(_LEARNT_TEMPERATURE, None)]


def _contrastive(table: HeadTable, training: FairseqTraining) -> tuple[FoundHeads, list[str]]:
    whole = "so that quantiser and projections are left out"
    if table.under("target_glu."):
        return FoundHeads(), [f"`target_glu`: no objective here has a gated layer on quantised frames, {whole}"]
    if f"{FAIRSEQ_CONTRAST.choice}.weight" not in table:
        return FoundHeads(), [f"`{FAIRSEQ_CONTRAST.choice}`: it has several layers, {whole}"]
    gumbel = _gumbel(training)
    head = contrastive_head(table, FAIRSEQ_CONTRAST, training.temperature, training.negatives, gumbel)
    return FoundHeads(contrastive=head), []


def _gumbel(training: FairseqTraining) -> GumbelTemperatures | None:
    values: Any = training.latent_temperatures
    if isinstance(values, str):
        try:
            values = ast.literal_eval(values[:100])
        except (SyntaxError, ValueError):
            return None
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(isinstance(v, float | int) for v in values):
        return None
    start, end, decay = map(float, values)
    return GumbelTemperatures(start, end, decay, training.updates)


def _dinosr(table: HeadTable, average: Mapping[str, Tensor], ours: Mapping[str, str]) -> FoundHeads:
    number = len([name for name in table.under("heads.") if name.endswith(".weight")])
    codes = tuple(CodeHead(head, None) for head in linear_codes(table, "heads.{}", number))
    if not average or "_codebook0" not in table:
        return FoundHeads(codes=codes)
    books = online_codebooks(table, "_codebook{}", "_codebook_cnts{}", number)
    return FoundHeads(codes=codes, average=FollowedAverage(_averaged(average, ours), *books))


def _averaged(average: Mapping[str, Tensor], ours: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the average by our names: fairseq has those of the whole model, or of its encoder alone."""
    whole = any(name.startswith("encoder.") for name in average)
    names = {name: ours.get(name if whole else f"encoder.{name}") for name in average}
    return {mine: average[name].detach().float().clone() for name, mine in names.items() if mine is not None}
