"""`load_result` gives the head of a result in Python: predictions of waveforms and of files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.base.errors import UserError
from audio_ssl.data.audio import at_rate
from audio_ssl.data.manifest import Clip
from audio_ssl.features.load import Paths, items_of_paths
from audio_ssl.features.pieces import OnRefused, pieces, pieces_of_waveform
from audio_ssl.features.settings import Settings
from audio_ssl.models.waveforms import checked_batch
from audio_ssl.probing.answering import answer_pieces
from audio_ssl.probing.predicting import settings_for
from audio_ssl.probing.trained import TrainedProbe, open_result

logger = logging.getLogger(__name__)

Waveform = Float[Tensor, " sample"] | Float[np.ndarray, " sample"]
OneClip = Waveform | str | Path | Clip


def load_result(folder: str | Path, *, model: str | Path | None = None, device: str = "auto") -> Predictor:
    """Open the result of a probe, to predict with its head.

    Parameters
    ----------
    folder
        What ``audio-ssl probe`` has written, or the folder of one of its baselines.
    model
        Where the probed model is now; None: where the probe found it.
    device
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda``.

    Raises
    ------
    UserError
        If it is no finished result, is damaged, has no head for new files, or its model cannot be found or has changed.

    Examples
    --------
    ::

        emotions = audio_ssl.load_result("results/emotion")
        one = emotions.predict("talk.wav")
        one.label, one.classes[0].probability
        for found in emotions.stream("my_recordings"):
            print(found.path, found.label)
    """
    settings = Settings(device=device)
    settings.check()
    probe = open_result(Path(folder), None if model is None else str(model))
    return Predictor(probe.at(settings.torch_device()))


class Predictor:
    """The head of a result: `predict` for some clips, `stream` for many.

    Parameters
    ----------
    probe
        On its device.
    """

    def __init__(self, probe: TrainedProbe) -> None:
        self.probe = probe
        """The model, the mix of layers, the head, its classes and its search."""

        self._settings = settings_for(probe)

    @property
    def sample_rate(self) -> int:
        """Of waveforms, in Hz."""
        return self.probe.source.sample_rate

    @property
    def task(self) -> str:
        """Name of the task, which says what a prediction holds."""
        return self.probe.task.kind

    @property
    def classes(self) -> list[str]:
        """Names of the classes, tags, numbers or tokens."""
        return list(self.probe.task.classes)

    @overload
    def predict(self, audio: OneClip, *, sample_rate: int | None = None) -> ClipPrediction: ...

    @overload
    def predict(
        self, audio: list[OneClip] | tuple[OneClip, ...], *, sample_rate: int | None = None
    ) -> list[ClipPrediction]: ...

    def predict(
        self, audio: OneClip | list[OneClip] | tuple[OneClip, ...], *, sample_rate: int | None = None
    ) -> ClipPrediction | list[ClipPrediction]:
        """Return what the head says of a waveform or a file, or of several, in their order.

        Parameters
        ----------
        audio
            Samples ``[sample]``, mono, between -1 and 1; the path of an audio file; a `Clip`; or a list of these. Any
            length.
        sample_rate
            Of the samples, in Hz; None: that of the model, `Predictor.sample_rate`. Files tell their own.

        Returns
        -------
        ClipPrediction
            Texts with the times of words, classes and tags with probabilities, numbers, segments, beats or notes, as
            the task has them.

        Raises
        ------
        UserError
            If a waveform has another shape or type, or a file cannot be used.
        """
        if isinstance(audio, Tensor | np.ndarray | str | Path | Clip):
            return self._predict([audio], sample_rate)[0]
        return self._predict(list(audio), sample_rate)

    def stream(self, paths: Paths, *, on_error: OnRefused | None = None) -> Iterator[ClipPrediction]:
        """Yield the prediction of each usable clip; decoding runs ahead in threads.

        Parameters
        ----------
        paths
            A folder, a file, a manifest (``.jsonl``), or several files or clips. Clips of like length are computed
            together, so they come in another order than they lie.
        on_error
            Called with a clip and the reason that it cannot be used; None: both are logged.
        """
        refuse = on_error or _log
        found = pieces(items_of_paths(paths), self.probe.source, refuse, self.probe.layers, self._settings)
        for _, clip, output in answer_pieces(found, self.probe, refuse, self._settings):
            yield self.probe.task.clip_prediction(clip, output)

    def _predict(self, clips: Sequence[OneClip], sample_rate: int | None) -> list[ClipPrediction]:
        found: dict[int, ClipPrediction] = {}
        files = {place: one for place, one in enumerate(clips) if isinstance(one, str | Path | Clip)}
        for one in files.values():
            if not isinstance(one, Clip) and not Path(one).is_file():
                raise UserError("no such file", where=str(one), remedy="`stream` takes folders and manifests")
        items = items_of_paths([one if isinstance(one, Clip) else Path(one) for one in files.values()])
        source, task = self.probe.source, self.probe.task
        given = pieces(items, source, _refuse, self.probe.layers, self._settings)
        places = list(files)
        for item, clip, output in answer_pieces(given, self.probe, _refuse, self._settings):
            found[places[item.number]] = task.clip_prediction(clip, output)
        for place, given_one in enumerate(clips):
            if isinstance(given_one, Tensor | np.ndarray):
                wave = self._checked(given_one, sample_rate)
                parts = pieces_of_waveform(wave, source, self.probe.layers, self._settings)
                ((_, clip, output),) = answer_pieces(parts, self.probe, _refuse, self._settings)
                found[place] = task.clip_prediction(clip, output)
        return [found[place] for place in range(len(clips))]

    def _checked(self, waveform: Waveform, rate: int | None) -> Float[Tensor, " sample"]:
        wave = torch.as_tensor(waveform).detach().cpu()
        if wave.ndim != 1:
            raise UserError(
                f"`audio` must be samples of one clip [sample], but has the shape {list(wave.shape)}",
                remedy="give several clips as a list",
            )
        if rate is not None:
            if rate < 1:
                raise UserError(f"`sample_rate` must be in Hz, at least 1, but is {rate}")
            # Whole numbers have no scale; they are refused below.
            if wave.is_floating_point():
                wave = torch.from_numpy(at_rate(wave.float().numpy(), rate, self.sample_rate))
        shortest = max(1, self.probe.source.grid.num_samples(1))
        checked, _ = checked_batch(wave, None, shortest_samples=shortest, like=torch.zeros(()))
        return checked[0]


def _refuse(clip: Clip, reason: str) -> None:
    raise UserError(reason, where=clip.path)


def _log(clip: Clip, reason: str) -> None:
    logger.warning("%s: %s", clip.path, reason)
