"""`AudioSSLModel`: a saved model of ours as a model of transformers, which `AutoModel` opens.

transformers has no class for such models (spectrograms, conformers, recurrent layers), so `SSLModel` computes here.
`audio_ssl.interop.auto_registry` tells transformers of this class.

A model of transformers gets waveforms that its feature extractor has prepared. Ours prepares them itself, by each
clip's own length, so its feature extractor only pads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import Wav2Vec2BaseModelOutput

from audio_ssl.artifacts.run import MODEL_TYPE
from audio_ssl.base.errors import UserError
from audio_ssl.interop.auto_config import AudioSSLConfig
from audio_ssl.models.model import ModelOutput, SSLModel, config_from
from audio_ssl.models.weights import CONFIG_FILE


class AudioSSLModel(PreTrainedModel):  # type: ignore[misc]
    """A saved model of ours as a model of transformers, with the same names of weights.

    Parameters
    ----------
    config
        What to build.
    """

    config_class = AudioSSLConfig
    base_model_prefix = MODEL_TYPE
    main_input_name = "input_values"

    def __init__(self, config: AudioSSLConfig) -> None:
        super().__init__(config)
        with real_float32():
            model = SSLModel(config_from(config.to_dict(), config.name_or_path or CONFIG_FILE))
        self.frontend, self.encoder = model.frontend, model.encoder
        # Its two parts are this model's: named once here, so that the weights are called as in our files.
        self.__dict__["_model"] = model
        self._tables = {
            f"{place}.{name}": buffer
            for place, module in self.named_modules()
            for name, buffer in module.named_buffers(recurse=False)
            if name in module._non_persistent_buffers_set
        }
        config.hidden_size, config.num_hidden_layers = model.dim, model.num_layers
        config.inputs_to_logits_ratio = model.grid.hop_samples
        # Spectra need float32, so a model that is opened in half precision stays as it is; autocast is for speed.
        self._keep_in_fp32_modules_strict = [name for name, part in self.named_children() if [*part.parameters()]]
        self.post_init()

    def forward(
        self,
        input_values: Float[Tensor, "batch sample"],
        attention_mask: Int[Tensor, "batch sample"] | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Wav2Vec2BaseModelOutput | tuple[Any, ...]:
        """Encode a padded batch.

        Parameters
        ----------
        input_values
            Waveforms at the model's rate, not standardised; padding comes after a clip.
        attention_mask
            1 for a clip's samples, 0 for padding; None: clips fill the batch.
        output_hidden_states
            Whether all layers are returned, the encoder's input first.
        return_dict
            False for a tuple.
        others
            What other models of transformers take; left out.

        Returns
        -------
        Wav2Vec2BaseModelOutput
            ``last_hidden_state``, ``[batch, frame, dim]``, ``extract_features``, what the frontend gives, and
            ``hidden_states``. All are zero past a clip's frames.

        Raises
        ------
        UserError
            If padding comes before a clip.
        """
        output = self.encode(input_values, attention_mask)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        hidden = tuple(output.hidden) if wanted else None
        found = Wav2Vec2BaseModelOutput(
            last_hidden_state=output.hidden[-1], extract_features=output.features, hidden_states=hidden
        )
        as_dict = getattr(self.config, "return_dict", True) if return_dict is None else return_dict
        return found if as_dict else found.to_tuple()

    def encode(
        self, input_values: Float[Tensor, "batch sample"], attention_mask: Int[Tensor, "batch sample"] | None
    ) -> ModelOutput:
        """Return the hidden states with the frames of each clip."""
        model: SSLModel = self.__dict__["_model"]
        lengths = None if attention_mask is None else _lengths(attention_mask)
        output: ModelOutput = model(input_values.float(), lengths)
        return output

    def _init_weights(self, module: nn.Module) -> None:
        """Give computed tables their values, which loading has thrown away; weights are drawn by their modules."""
        for name, values in self._tables.items():
            place, _, own = name.rpartition(".")
            if self.get_submodule(place) is module:
                buffer = module.get_buffer(own)
                buffer.copy_(values.to(buffer.device))


@contextmanager
def real_float32() -> Iterator[None]:
    """Make modules with values, in float32, wherever transformers opens a model.

    Version 5 builds models without memory and in the precision that was asked for, but what is computed rather than
    learned (filters of a spectrogram, kernels of a CQT) needs its values.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def _lengths(mask: Int[Tensor, "batch sample"]) -> Int[Tensor, " batch"]:
    """Return the samples of each clip; UserError unless each is followed by its padding."""
    inside = mask.bool()
    if bool((inside[:, 1:] & ~inside[:, :-1]).any()):
        raise UserError(
            "`attention_mask` must be 1 for each clip's samples and then 0, but padding comes before a clip",
            remedy="pad on the right: the feature extractor's `padding_side` is `right`",
        )
    return inside.sum(1)
