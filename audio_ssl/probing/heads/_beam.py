"""Beam search of an encoder-decoder, by speechbrain's `S2SBeamSearcher`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.catalog import quiet_import

with quiet_import():
    from speechbrain.decoders.seq2seq import S2SBeamSearcher

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From tokens ``[batch, token]``, memory ``[batch, frame, dim]`` and its frames ``[batch]`` to the log-probabilities of
the next token, ``[batch, class]``."""


class _Searcher(S2SBeamSearcher):  # type: ignore[misc]
    """speechbrain's search, whose steps are a function; the tokens so far are its memory."""

    def __init__(self, step: Step, lengths: Tensor, classes: int, max_tokens: int, **settings: Any) -> None:
        super().__init__(min_decode_ratio=0.0, max_decode_ratio=1.0, **settings)
        self._step, self._classes, self._max_tokens = step, classes, max_tokens
        self._lengths = lengths.repeat_interleave(self.beam_size, dim=0)

    def set_n_out(self) -> int:
        return self._classes

    def change_max_decoding_length(self, min_decode_steps: int, max_decode_steps: int) -> tuple[int, int]:
        # speechbrain cuts the last token of a hypothesis that has no end; with a step more, that is not one of ours.
        return 0, self._max_tokens + 1

    def reset_mem(self, batch_size: int, device: Any) -> None:
        return None

    def permute_mem(self, memory: Tensor, index: Tensor) -> Tensor:
        return memory.index_select(0, index)

    def forward_step(
        self, inp_tokens: Tensor, memory: Tensor | None, enc_states: Tensor, enc_lens: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        tokens = inp_tokens[:, None] if memory is None else torch.cat([memory, inp_tokens[:, None]], dim=1)
        return self._step(tokens, enc_states, self._lengths), tokens, None


@torch.no_grad()
def search(
    step: Step,
    memory: Float[Tensor, "batch frame dim"],
    lengths: Int[Tensor, " batch"],
    classes: int,
    ends: tuple[int, int],
    beam: int,
    max_tokens: int,
    length_normalisation: bool,
) -> list[Int[Tensor, " token"]]:
    """Return the best hypothesis of each clip, without start and end, on the CPU.

    Parameters
    ----------
    step
        One step of the decoder.
    memory, lengths
        What the encoder gave, and how much of it belongs to each clip.
    classes
        Tokens there are, the special ones among them.
    ends
        The start token and the end token.
    beam
        Hypotheses kept at each step, at most `classes`.
    max_tokens
        Longest hypothesis.
    length_normalisation
        Compare hypotheses by their mean log-probability per token.
    """
    searcher = _Searcher(
        step,
        lengths,
        classes,
        max_tokens,
        bos_index=ends[0],
        eos_index=ends[1],
        beam_size=min(beam, classes),
        # An end token counts as any other; speechbrain would refuse it where it is much less likely than the best.
        using_eos_threshold=False,
        length_normalization=length_normalisation,
    )
    # The shares of the longest clip that speechbrain asks for go unused: `lengths` has the frames themselves.
    found, *_ = searcher(memory, torch.ones(len(memory), device=memory.device))
    return [torch.tensor(tokens, dtype=torch.long) for tokens in found]
