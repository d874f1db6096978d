"""The two points of a layer that a hidden state may be taken from, by name.

Layer n ends with a sum: the residual path plus what its feed-forward part makes of it. A state is taken

- at ``output``, after that sum and the norm that belongs to it: what layer n + 1 gets;
- at ``feed_forward``, before it: the feed-forward part's last linear layer, before dropout, factor and norm. Its scale
  and meaning are others, so what was fitted to the one (a k-means, a probe) is wrong on the other.

===================  ================================================  =============================================
layer                ``output``                                        ``feed_forward``
===================  ================================================  =============================================
post-norm, DeepNorm  ``final_norm(factor * x + dropout(F(x)))``        ``F(x)``, x after the attention part's norm
pre-norm             ``x + dropout(F(final_norm(x)))``                 ``F(final_norm(x))``
conformer            ``final_norm(x + dropout(F(x)) / 2)``             ``F(x)`` of the second half, at full size
===================  ================================================  =============================================

State 0, the first layer's input, is the same at both. Where an encoder has a final norm after all layers (pre-norm,
two forms of the Conformer), its last state at ``output`` has passed it; no state at ``feed_forward`` has.

Elsewhere: transformers' ``hidden_states[n]`` is ``output`` (of pre-norm models some versions list the last one before
the final norm). An entry n - 1 of fairseq's ``layer_results`` is ``(x, attention, layer_result)``: ``x`` is
``output``, always before the final norm, and ``layer_result`` is ``feed_forward``. HuBERT's k-means takes ``x``,
data2vec's targets are made of ``layer_result`` (so are those of data2vec 2.0, unless ``end_of_block_targets``).
"""

from __future__ import annotations

from typing import Literal

Point = Literal["output", "feed_forward"]
"""Where in a layer its hidden state is taken."""
