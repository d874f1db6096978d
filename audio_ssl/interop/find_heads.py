"""Finds heads of pretraining among the weights of fairseq, transformers, torchaudio and fairseq2.

What is found is checked against the sizes of the model, so that a head that does not fit is an error that names it.
What a file holds and no objective here computes is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.interop.heads import (
    CodeHead,
    ContrastiveHead,
    FollowedAverage,
    GumbelTemperatures,
    LinearWeights,
    Pretrained,
)
from audio_ssl.models.model import SSLModel

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""Symbols with which every dictionary of fairseq begins."""


@dataclass(frozen=True)
class FoundHeads:
    """Heads in a file, and the names of the weights that they take."""

    codes: tuple[CodeHead, ...] = ()
    contrastive: ContrastiveHead | None = None
    regression: LinearWeights | None = None
    reconstruction: LinearWeights | None = None
    average: FollowedAverage | None = None
    left_out: tuple[str, ...] = ()
    taken: frozenset[str] = field(default_factory=frozenset)

    def with_model(self, model: SSLModel, others: Iterable[str]) -> Pretrained:
        """Return the model with these heads; `others` are the names of all weights that the model did not take."""
        said = " ".join(self.left_out)
        rest = [name for name in sorted(others) if name not in self.taken and f"`{_first(name)}`" not in said]
        more = (f"{named_parts(rest)}: not part of the encoder, and no head that is known here",) if rest else ()
        heads = (self.codes, self.contrastive, self.regression, self.reconstruction, self.average)
        return Pretrained(model, *heads, (*self.left_out, *more))


class HeadSizes(NamedTuple):
    """Widths that heads must fit."""

    hidden: int
    """Of the hidden states."""

    features: int
    """Of the frontend's features."""


class HeadTable:
    """Weights of a file, taken by name and checked.

    Parameters
    ----------
    state
        All weights.
    prefix
        What the names of the heads begin with.
    sizes
        Of the model.
    where
        The file, for errors.
    """

    def __init__(self, state: Mapping[str, Tensor], prefix: str, sizes: HeadSizes, where: Path | str) -> None:
        self._state, self._prefix, self.sizes, self._where = state, prefix, sizes, str(where)
        self.taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._state

    def under(self, *starts: str) -> list[str]:
        """Return the names, without the prefix, that begin with one of `starts`."""
        names = (name.removeprefix(self._prefix) for name in self._state if name.startswith(self._prefix))
        return sorted(name for name in names if name.startswith(starts))

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        """Return a weight as float32 of its own; UserError if it is missing or misshapen (None: any size)."""
        full = self._prefix + name
        if full not in self._state:
            raise UserError(
                f"the weight `{full}` is missing, though others of the same head are there", where=self._where
            )
        value = self._state[full]
        if value.dim() != len(shape) or any(want not in (None, got) for want, got in zip(shape, value.shape)):  # noqa: B905
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise UserError(
                f"the weight `{full}` must have the shape [{wanted}], but has {list(value.shape)}", where=self._where
            )
        self.taken.add(full)
        return value.detach().float().clone()

    def linear(self, name: str, inputs: int, outputs: int | None = None) -> LinearWeights:
        """Return a linear layer."""
        weight = self.tensor(f"{name}.weight", outputs, inputs)
        bias = f"{name}.bias"
        return LinearWeights(weight, self.tensor(bias, len(weight)) if bias in self else torch.zeros(len(weight)))

    def error(self, what: str) -> UserError:
        """Return an error about the file."""
        return UserError(what, where=self._where)


class LabelSets(NamedTuple):
    """What a file of fairseq says of the sets of labels that a HuBERT was trained on."""

    symbols: Sequence[Sequence[str]] | None = None
    """Of each set's dictionary, in order, special ones included; None: the file has no dictionaries."""

    number: int | None = None
    """Of sets; None: unknown."""


NO_SETS = LabelSets()
"""Where a file says nothing of them."""


def code_heads(
    table: HeadTable, names: CodeNames, temperatures: float | Sequence[float], sets: LabelSets
) -> tuple[CodeHead, ...]:
    """Return HuBERT's head as one for each set of labels.

    Parameters
    ----------
    table
        Weights.
    names
        By which it has projection and embeddings.
    temperatures
        Of the cosine: one of all sets, or one each.
    sets
        The sets of labels.

    Raises
    ------
    UserError
        If embeddings and sets do not fit together.
    """
    embeddings = table.tensor(names.embeddings, None, None)
    projections = _projections(table, names, embeddings.shape[1], sets.number)
    number = len(projections)
    sizes = _class_sizes(table, names, len(embeddings), number, sets)
    if names.glu in table:
        # A projection of embeddings alone is a table of other embeddings.
        width = embeddings.shape[1]
        glu = table.linear(names.glu.removesuffix(".weight"), width, 2 * width)
        embeddings = F.glu(F.linear(embeddings, glu.weight, glu.bias), dim=-1)
    heads = []
    for index, (projection, codes) in enumerate(zip(projections, torch.split(embeddings, sizes), strict=True)):
        temperature = temperatures if isinstance(temperatures, float | int) else temperatures[index]
        symbols = None if sets.symbols is None else sets.symbols[index]
        special = names.special if symbols is None else sum(symbol in SPECIAL for symbol in symbols)
        heads.append(CodeHead(projection, _by_number(codes, symbols, special), float(temperature), special))
    return tuple(heads)


class CodeNames(NamedTuple):
    """Names of the parts of HuBERT's head in a library."""

    projection: str
    embeddings: str
    glu: str = "target_glu.0.weight"
    separate: str = "final_projs"
    special: int = 0
    """Symbols before the labels, where no dictionary tells."""


def _projections(table: HeadTable, names: CodeNames, width: int, number: int | None) -> list[LinearWeights]:
    """Return the projection of each set: they are one for all, the parts of one, or several (MERT)."""
    hidden = table.sizes.hidden
    separate = [name for name in table.under(f"{names.separate}.") if name.endswith(".weight")]
    if separate:
        return [table.linear(f"{names.separate}.{index}", hidden, width) for index in range(len(separate))]
    whole = table.linear(names.projection, hidden)
    parts, rest = divmod(len(whole.weight), width)
    number = max(parts, 1) if number is None else number
    if rest or parts not in (1, number):
        raise table.error(
            f"the weight `{names.projection}.weight` must have {width} rows, or as many for each of the {number} sets "
            f"of labels, but has {len(whole.weight)}"
        )
    if parts == 1:
        return [whole] * number
    return [
        LinearWeights(*pair)
        for pair in zip(whole.weight.view(number, width, -1), whole.bias.view(number, -1), strict=True)
    ]


def _class_sizes(table: HeadTable, names: CodeNames, rows: int, number: int, sets: LabelSets) -> list[int]:
    if sets.symbols is not None:
        sizes = [len(symbols) for symbols in sets.symbols]
        if len(sizes) != number or sum(sizes) != rows:
            raise table.error(
                f"the weight `{names.embeddings}` must have a row for each symbol of {number} dictionaries, but has "
                f"{rows} rows, and the dictionaries have {', '.join(map(str, sizes)) or 'no'} symbols"
            )
        return sizes
    if rows % number:
        raise table.error(
            f"the weight `{names.embeddings}` has {rows} rows, which are not {number} equal sets of codes"
        )
    return [rows // number] * number


def _by_number(codes: Tensor, symbols: Sequence[str] | None, special: int) -> Tensor:
    """Return the rows in the order of the labels' numbers, where the dictionary lists these in another order."""
    labels = None if symbols is None else list(symbols[special:])
    if labels is None or not all(label.isdecimal() for label in labels):
        return codes.clone()
    if sorted(map(int, labels)) != list(range(len(labels))):
        return codes.clone()
    place = {int(label): special + row for row, label in enumerate(labels)}
    return codes[[*range(special), *(place[number] for number in range(len(labels)))]]


class ContrastiveNames(NamedTuple):
    """Names of the parts of wav2vec 2.0's head in a library."""

    vectors: str
    choice: str
    context: str
    codes: str


FAIRSEQ_CONTRAST = ContrastiveNames("quantizer.vars", "quantizer.weight_proj", "final_proj", "project_q")
TRANSFORMERS_CONTRAST = ContrastiveNames("quantizer.codevectors", "quantizer.weight_proj", "project_hid", "project_q")
FAIRSEQ2_CONTRAST = ContrastiveNames("quantizer.entries", "quantizer.entry_proj", "final_proj", "final_target_proj")


def contrastive_head(
    table: HeadTable,
    names: ContrastiveNames,
    temperature: float = 0.1,
    negatives: int | None = None,
    gumbel: GumbelTemperatures | None = None,
) -> ContrastiveHead:
    """Return wav2vec 2.0's quantiser and projections.

    Parameters
    ----------
    table
        Weights.
    names
        By which it has them.
    temperature, negatives, gumbel
        Of their training.

    Raises
    ------
    UserError
        If they do not fit together.
    """
    flat = table.tensor(names.vectors, 1, None, None)[0]
    project_context = table.linear(names.context, table.sizes.hidden)
    width = table.tensor(f"{names.codes}.weight", len(project_context.weight), None).shape[1]
    books, rest = divmod(width, flat.shape[1])
    if rest or not books or len(flat) % books:
        raise table.error(
            f"the weight `{names.vectors}` has {len(flat)} vectors of {flat.shape[1]} numbers, which do not make "
            f"quantised frames of the {width} that `{names.codes}` takes"
        )
    return ContrastiveHead(
        choice=table.linear(names.choice, table.sizes.features, len(flat)),
        vectors=flat.view(books, -1, flat.shape[1]),
        project_context=project_context,
        project_codes=table.linear(names.codes, width, len(project_context.weight)),
        temperature=float(temperature),
        negatives=negatives,
        gumbel=gumbel,
    )


def linear_codes(table: HeadTable, name: str, number: int) -> tuple[LinearWeights, ...]:
    """Return DinoSR's heads, ``name.format(0)`` and so on: a logit for each code."""
    return tuple(table.linear(name.format(index), table.sizes.hidden) for index in range(number))


def online_codebooks(table: HeadTable, sums: str, sizes: str, number: int) -> tuple[Tensor, Tensor]:
    """Return the sums and sizes of DinoSR's codebooks, the number of a book standing for ``{}`` in their names."""
    rows = [table.tensor(sums.format(index), None, table.sizes.hidden) for index in range(number)]
    counts = [table.tensor(sizes.format(index), len(rows[index])) for index in range(number)]
    if len({len(row) for row in rows}) > 1:
        raise table.error("the codebooks must have equal numbers of codes")
    return torch.stack(rows), torch.stack(counts)


def named_parts(names: Iterable[str]) -> str:
    """Return the first words of names, each once, for a sentence."""
    return ", ".join(f"`{name}`" for name in dict.fromkeys(map(_first, names)))


def _first(name: str) -> str:
    return name.partition(".")[0]
