"""A probe's head on a model of ours as a model of transformers: what the pipelines open where no class of theirs fits.

That is a model with other parts (mel, CQT, conformer, recurrent), a head that mixes layers, or one that is more than
linear. `AudioSSLForCTC` transcribes, `AudioSSLForAudioClassification` names classes; both compute what the probe does,
in padded batches as well. `audio_ssl.interop.auto_registry` tells transformers of them.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput

from audio_ssl.artifacts.run import MODEL_TYPE
from audio_ssl.base.config import build, structure
from audio_ssl.data.frames import frame_mask
from audio_ssl.interop.auto_classes import AudioSSLModel, real_float32
from audio_ssl.interop.auto_config import AudioSSLConfig
from audio_ssl.interop.write_heads import NEVER
from audio_ssl.models.model import ModelOutput
from audio_ssl.probing.deploy import HeadConfig
from audio_ssl.probing.features import LayerBatch
from audio_ssl.probing.head import Head, HeadBatch
from audio_ssl.probing.layer_heads import LayerHead, LayerStatistics


class _Headed(PreTrainedModel):  # type: ignore[misc]
    """The model and the head."""

    config_class = AudioSSLConfig
    base_model_prefix = MODEL_TYPE
    main_input_name = "input_values"

    def __init__(self, config: AudioSSLConfig) -> None:
        super().__init__(config)
        self.audio_ssl = AudioSSLModel(config)
        self.known = structure(HeadConfig, config.probe or {}, where="$.probe")
        dim, count = cast(int, config.hidden_size), len(self.known.layers)
        with real_float32():
            head = cast(Head, build(self.known.head, dim, self.known.classes, self.known.output))
            scale = torch.ones(count, dim if self.known.whitened else 1, dim)
            self.probe = LayerHead(head, LayerStatistics(torch.zeros(count, 1, dim), scale), None)
        self._keep_in_fp32_modules_strict = [name for name, _ in self.named_children()]
        self.post_init()

    def outputs(
        self, input_values: Float[Tensor, "batch sample"], attention_mask: Int[Tensor, "batch sample"] | None
    ) -> tuple[Tensor, ModelOutput]:
        """Return the head's outputs, and the hidden states they are from."""
        found = self.audio_ssl.encode(input_values, attention_mask)
        values, frames = torch.stack([found.hidden[layer] for layer in self.known.layers]), found.lengths
        if self.known.output != "tokens" and not self.probe.head.needs_frames:
            # Hidden states are zero past a clip's frames.
            values, frames = values.sum(2, keepdim=True) / frames[:, None, None], torch.ones_like(frames)
        statistics = LayerStatistics(self.probe.mean, self.probe.scale)
        batch: HeadBatch = self.probe.batch(statistics.standardise(LayerBatch(values, frames)))
        return self.probe.head(batch.features, batch.frames), found

    def _init_weights(self, module: nn.Module) -> None:
        """Leave weights as their modules have drawn them."""


class AudioSSLForCTC(_Headed):
    """A recogniser; class 0 is the blank, and what lies past a clip's frames is blank."""

    def forward(
        self,
        input_values: Float[Tensor, "batch sample"],
        attention_mask: Int[Tensor, "batch sample"] | None = None,
        labels: Int[Tensor, "batch token"] | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput | tuple[Any, ...]:
        """Return the logits of the blank and of each symbol.

        Parameters
        ----------
        input_values, attention_mask, output_hidden_states, return_dict
            As of `AudioSSLModel`.
        labels
            Ids of the tokeniser, -100 past each clip's; the CTC loss is then given as well, for further training.
        """
        logits, found = self.outputs(input_values, attention_mask)
        inside = frame_mask(found.lengths, logits.shape[1])[..., None]
        blank = torch.full_like(logits[0, 0], NEVER)
        blank[0] = 0.0
        logits = torch.where(inside, logits, blank)
        loss = None
        if labels is not None:
            wanted, lengths = labels[labels >= 0], (labels >= 0).sum(1)
            spoken = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)
            loss = F.ctc_loss(spoken, wanted, found.lengths, lengths, zero_infinity=True)
        hidden = tuple(found.hidden) if output_hidden_states else None
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=hidden)
        return output if return_dict is not False else output.to_tuple()


class AudioSSLForAudioClassification(_Headed):
    """A classifier of clips."""

    def forward(
        self,
        input_values: Float[Tensor, "batch sample"],
        attention_mask: Int[Tensor, "batch sample"] | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Return the logits of each class.

        Parameters
        ----------
        input_values, attention_mask, output_hidden_states, return_dict
            As of `AudioSSLModel`.
        labels
            A class of each clip, or zeros and ones of all classes; the loss is then given as well.
        """
        logits, found = self.outputs(input_values, attention_mask)
        loss = None
        if labels is not None:
            several = labels.ndim == 2
            loss = (
                F.binary_cross_entropy_with_logits(logits, labels.float())
                if several
                else F.cross_entropy(logits, labels)
            )
        hidden = tuple(found.hidden) if output_hidden_states else None
        output = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden)
        return output if return_dict is not False else output.to_tuple()
