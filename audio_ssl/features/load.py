"""`load` gives a model with the same few methods, whichever library it comes from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.base.errors import AudioError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.features.arrange import ClipArranger, arrangement
from audio_ssl.features.clips import ClipToExtract, items_of, walk
from audio_ssl.features.pieces import OnRefused, pieces
from audio_ssl.features.settings import Settings
from audio_ssl.features.source import ModelSource
from audio_ssl.interop.hub import push_to_hub
from audio_ssl.interop.read import read_model
from audio_ssl.interop.write import export
from audio_ssl.models.model import ModelConfig, ModelOutput, SSLModel, fingerprint
from audio_ssl.models.points import Point
from audio_ssl.models.waveforms import checked_batch

logger = logging.getLogger(__name__)

Paths = str | Path | Iterable[str | Path | Clip]


def load(
    name_or_path: str | Path,
    *,
    normalize: bool | None = None,
    sample_rate: int | None = None,
    heads: int | None = None,
) -> Model:
    """Load a model, in evaluation mode, on the CPU.

    Parameters
    ----------
    name_or_path
        The name of a model that ships with the package (``audio-ssl list models``); a run folder, finished or not, or
        saved model; a folder of transformers (HuBERT, wav2vec 2.0, WavLM, data2vec
        audio, MERT), of its Trainer, or its name on the Hugging Face hub; ``torchaudio:HUBERT_BASE`` and other bundles;
        a file of weights of fairseq, fairseq2, torchaudio or spidr. ``MODEL?normalize=false&sample_rate=16000`` names a
        model with its settings.
    normalize
        Whether waveforms are standardised. It must be given if no file beside the weights says it: it is never guessed.
    sample_rate
        Of the waveforms in Hz, with the same rule.
    heads
        Number of attention heads, where there is only a table of weights.

    Raises
    ------
    UserError
        If there is no such model, a weight is missing or left over, or a setting of it is unknown.

    Examples
    --------
    >>> import tempfile, torch
    >>> from audio_ssl.models.encoders import transformer
    >>> from audio_ssl.models.frontends import conv
    >>> encoder = transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, position_groups=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     SSLModel(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000)).save_pretrained(folder)
    ...     model = load(folder)
    >>> model(torch.zeros(1, 16000)).hidden[-1].shape
    torch.Size([1, 49, 16])
    """
    model = read_model(name_or_path, normalize=normalize, sample_rate=sample_rate, heads=heads)
    return Model(model, str(name_or_path))


class Model(nn.Module):
    """A waveform model: hidden states of batches, for training, and of files.

    Parameters
    ----------
    model
        Frontend and encoder.
    name
        For texts.
    """

    def __init__(self, model: SSLModel, name: str = "model") -> None:
        super().__init__()
        self.name = name
        self.model = model
        # As the model is: `load` gives one for evaluation, and `train` and `eval` change both.
        self.training = model.training

    @property
    def config(self) -> ModelConfig:
        """What the model is made of; `config.normalize` says whether it standardises waveforms."""
        return self.model.config

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.model.config.sample_rate

    @property
    def grid(self) -> FrameGrid:
        """How samples become frames."""
        return self.model.grid

    @property
    def num_layers(self) -> int:
        """Number of blocks; there is one more hidden state."""
        return self.model.num_layers

    @property
    def dim(self) -> int:
        """Width of the hidden states."""
        return self.model.dim

    @property
    def fingerprint(self) -> str:
        """Hash of configuration and weights."""
        return fingerprint(self.model)

    def forward(
        self,
        waveform: Float[Tensor, "*batch sample"],
        lengths: Int[Tensor, " batch"] | Sequence[int] | None = None,
        mask: Bool[Tensor, "batch frame"] | None = None,
        layers: int | None = None,
        point: Point = "output",
    ) -> ModelOutput:
        """Return the hidden states of a padded batch; what lies past a clip's length has no influence.

        Parameters
        ----------
        waveform
            ``[batch, sample]``, mono, floating, at the model's rate. The model standardises it if its settings say so.
            ``[sample]`` is a batch of one.
        lengths
            Samples of each clip, whole numbers; None: all are whole.
        mask
            Frames to replace by the mask embedding.
        layers
            Blocks to run, from the first; None: all.
        point
            Where in a layer its hidden state is taken: at its ``output``, or its ``feed_forward`` part's before the
            last residual sum.

        Raises
        ------
        UserError
            If a shape, a type or a length is wrong, or a clip is too short for a frame or holds NaN or infinity.
        """
        waveform, lengths = checked_batch(
            waveform,
            lengths,
            shortest_samples=max(1, self.grid.num_samples(1)),
            like=next(self.model.parameters()),
            normalized=self.config.normalize,
        )
        output: ModelOutput = self.model(waveform, lengths, mask, layers, point=point)
        return output

    def stream(
        self,
        paths: Paths,
        *,
        layers: str = "all",
        pool: str = "none",
        rate_hz: float | None = None,
        dtype: str = "float32",
        settings: Settings | None = None,
        on_error: OnRefused | None = None,
    ) -> Iterator[tuple[Clip, Tensor]]:
        """Yield each usable clip and its features, on the CPU; decoding runs ahead in threads.

        Parameters
        ----------
        paths
            A folder, a file, a manifest (``.jsonl``), or several files or clips. Clips of like length are computed
            together, so they come in another order than they lie.
        layers, pool, rate_hz, dtype
            As of ``audio-ssl extract``: ``[frame, dim]`` for one layer, ``[layer, frame, dim]`` for several, without
            frames when pooled.
        settings
            Precision, chunks, batches.
        on_error
            Called with a clip and the reason that it cannot be used; None: both are logged.
        """
        settings = Settings() if settings is None else settings
        device = next(self.model.parameters()).device
        source = ModelSource(self.name, self.model).at(device, settings.precision)
        refuse = on_error or _log
        made = arrangement(source, layers, pool, rate_hz, dtype)
        arranger: ClipArranger | None = None
        held: list[Tensor] = []
        for piece in pieces(items_of_paths(paths), source, refuse, made.layers, settings):
            if piece.first == 0:
                arranger, held = ClipArranger(made), []
            # None: the clip was refused by an earlier piece.
            if arranger is None:
                continue
            try:
                given = arranger.add(piece)
            except AudioError as error:
                refuse(piece.clip, error.reason)
                arranger = None
                continue
            if given is not None:
                held.append(given)
            if piece.last:
                yield piece.clip, held[0] if len(held) == 1 else torch.cat(held, -2)

    def save_pretrained(self, folder: str | Path, *, weights: str = "float32") -> None:
        """Write a folder that `load` reads and, where transformers has such a model, ``transformers.AutoModel`` too.

        Parameters
        ----------
        folder
            Where to write; no other model may be in it.
        weights
            How they are stored: ``float32``, or ``float16`` or ``bfloat16`` at half the length.
        """
        export(self.model, folder, weights=weights)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        facts: Mapping[str, object] | None = None,
        licence: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub, and return its address.

        Parameters
        ----------
        repo_id
            ``org/name``; a new repository is created if there is none.
        private
            Whether a new repository is private.
        facts
            Names and values for the card's section on where the model comes from.
        licence
            Of the weights; None: the card asks the owner to name it.
        """
        return push_to_hub(self.model, repo_id, private=private, facts=facts, licence=licence)


def items_of_paths(paths: Paths) -> Iterator[ClipToExtract]:
    """Yield the clips of a folder, a file, a manifest, or of several files or clips; what is wrong is logged."""
    if isinstance(paths, str | Path):
        yield from walk(Path(paths), ErrorLedger(Path(ERRORS_FILE), read=False, keep="log"))
        return
    for number, path in enumerate(paths):
        if isinstance(path, Clip):
            yield from (item._replace(number=number) for item in items_of([path]))
        else:
            yield ClipToExtract(number, str(path), str(path), str(path), None)


def _log(clip: Clip, reason: str) -> None:
    logger.warning("%s: %s", clip.path, reason)
