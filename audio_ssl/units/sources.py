"""What units are made of: the layers of a model or baseline, or the codes of a teacher such as a codec.

A teacher is named as its file, with its keys as settings: ``encodec``, ``encodec?path=encodec_24khz.th&codebooks=4``,
``random_projection?codebooks=2``. The run folder of a codec is named by itself. A teacher hears whole clips, as a code
may depend on all audio before it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from audio_ssl.base import config as parts_config
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError, located
from audio_ssl.features.baselines import is_baseline
from audio_ssl.features.source import FeatureSource, open_source
from audio_ssl.interop.read import read_model
from audio_ssl.interop.settings import path_of
from audio_ssl.models.weights import CONFIG_FILE
from audio_ssl.targets.codec.rvq_vae import FORMAT
from audio_ssl.targets.spec import Teacher, hears, is_online, teacher_traits

logger = logging.getLogger(__name__)

TEACHERS = "targets/teachers"
_RATE = "sample_rate"
_USUAL_RATE = 16_000


@dataclass(frozen=True)
class TeacherName:
    """A teacher and its settings, as a name says them."""

    name: str
    """As given."""
    config: Any
    """Of the teacher."""
    sample_rate: int
    """In Hz."""


def teacher_name(name: str) -> TeacherName | None:
    """Return the teacher that a name means; None where it means a model or a baseline.

    Raises
    ------
    UserError
        If a setting is unknown or has no sensible value, or the teacher gives no codes by itself.
    """
    path = path_of(name)
    if path.is_dir():
        return _teacher(name, "rvq", {"path": str(path)}) if _is_codec(path) else None
    kind, _, query = name.partition("?")
    if kind not in parts(TEACHERS) or is_baseline(name) or path.exists():
        return None
    settings = parts_config.apply_overrides({}, [word for word in query.split("&") if word])
    return _teacher(name, kind, settings)


def _is_codec(folder: Path) -> bool:
    file = folder / CONFIG_FILE
    return file.is_file() and read_object(file).get("format") == FORMAT


def _teacher(name: str, kind: str, settings: dict[str, Any]) -> TeacherName:
    rate = settings.pop(_RATE, None)
    with located(name):
        config = parts_config.structure(load_part(TEACHERS, kind).Config, settings)
        fixed = teacher_traits(config).sample_rate
        if rate is None:
            rate = (None if fixed is None else fixed(config)) or _USUAL_RATE
        if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
            raise UserError(f"`{_RATE}` must be a number of Hz, but is {rate}")
        if is_online(config):
            raise UserError(f"the teacher `{kind}` follows a model that is trained, and gives nothing by itself")
    return TeacherName(name, config, rate)


def open_units(name: str, device: torch.device | None = None) -> FeatureSource:
    """Open what units are made of.

    Parameters
    ----------
    name
        What `open_source` takes, or a teacher that gives codes.
    device
        Where a teacher computes; of models see `FeatureSource.at`.

    Raises
    ------
    UserError
        If it is none of these, or a teacher gives values instead of codes.
    """
    teacher = teacher_name(name)
    return open_source(name) if teacher is None else TeacherSource(teacher, device or torch.device("cpu"))


@contextmanager
def _as_name(kind: str) -> Iterator[None]:
    """Say settings of errors as a name has them, where a recipe's are meant."""
    try:
        yield
    except UserError as error:
        remedy = None if error.remedy is None else error.remedy.replace("teachers.N.", f"{kind}?")
        raise UserError(error.what, where=error.where, remedy=remedy) from error


class TeacherSource:
    """The codes of a teacher as the only layer, ``[batch, frame, codebook]``: a `FeatureSource`."""

    def __init__(self, teacher: TeacherName, device: torch.device) -> None:
        self._told = teacher
        self.name, self.sample_rate, self.device = teacher.name, teacher.sample_rate, device
        traits = teacher_traits(teacher.config)
        if traits.untrained is not None and traits.untrained(teacher.config):
            logger.warning("%s has random weights: its codes are meaningless", teacher.name)
        deps = {"load_model": lambda name: read_model(name).to(device)} if hears(teacher.config) else {}
        with located(teacher.name), _as_name(parts_config.kind_of(teacher.config)):
            self._teacher: Teacher = parts_config.build(teacher.config, teacher.sample_rate, device, **deps)
        spec = self._teacher.spec
        if spec.kind != "codes" or spec.num_classes is None:
            kind = parts_config.kind_of(teacher.config)
            raise UserError(f"the teacher `{kind}` gives values, not codes", where=teacher.name)
        self.num_layers, self.dim, self.codes = 1, spec.width, spec.num_classes
        self.grid, self.fingerprint = spec.grid, self._teacher.fingerprint

    def at(self, device: torch.device, precision: str) -> TeacherSource:
        """Return the source on a device. Codes are computed in float32, whatever the precision."""
        return self if device == self.device else TeacherSource(self._told, device)

    def statistics(self, blocks: Iterable[Tensor]) -> None:
        """Return None: clips are given whole."""

    @torch.inference_mode()
    def __call__(
        self, waveform: Tensor, lengths: Tensor, *, top: int | None = None, statistics: object | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the codes of each clip, which is computed alone, and its frames."""
        codes = [self._teacher(one[:length]) for one, length in zip(waveform, lengths.tolist(), strict=True)]
        return [pad_sequence(codes, batch_first=True)], torch.tensor([len(one) for one in codes])
