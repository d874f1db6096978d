"""Everything that can be wrong with a recipe of masked prediction, found before any work starts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from audio_ssl.base import config as parts
from audio_ssl.base.catalog import load_part
from audio_ssl.base.config import kind_of
from audio_ssl.base.errors import UserError, shown
from audio_ssl.base.seeds import generator
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.frontends import mel, mel_res2d, patches
from audio_ssl.models.spectra import check_bands, hop_and_window
from audio_ssl.pretrain.decoder import DecoderSizes, build_decoder
from audio_ssl.pretrain.kinds.codec import frame_grid
from audio_ssl.pretrain.masking import Mask
from audio_ssl.pretrain.objectives import contrastive
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.teachers import PREVIOUS, CodecRun, build_teacher, codec_recipe, spec_before_fit
from audio_ssl.pretrain.view import Needs
from audio_ssl.targets.spec import TargetSpec, needs_fit
from audio_ssl.targets.teachers import hidden, mel_rvq, random_projection
from audio_ssl.targets.teachers import mel as mel_teacher

logger = logging.getLogger(__name__)

_CPU = torch.device("cpu")

_SPECTRA = (mel.Config, mel_res2d.Config, patches.Config, mel_teacher.Config, random_projection.Config)
"""Parts with mel bands that are built whether or not a band is empty, as earlier releases built them."""


@contextmanager
def located(where: str) -> Iterator[None]:
    """Give UserErrors raised inside the key path they are about, where they have none."""
    try:
        yield
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=where, remedy=error.remedy) from error


@contextmanager
def under(where: str) -> Iterator[None]:
    """Put a key path before what UserErrors raised inside are about, such as the file that the key names."""
    try:
        yield
    except UserError as error:
        what = error.what if error.where is None else f"{error.where}: {error.what}"
        raise UserError(what, where=where, remedy=error.remedy) from error


def is_online(teacher: Any) -> bool:
    """Tell whether a teacher, given by its config, follows the model while it is trained."""
    return bool(getattr(load_part("teachers", kind_of(teacher)), "ONLINE", False))


def needs_of(objective: Any) -> Needs:
    """Return what an objective, given by its config, needs of its teacher; None: it has no teacher."""
    needs: Needs = load_part("objectives", kind_of(objective)).NEEDS
    return needs


def check_objectives(
    objectives: Sequence[Any], specs: Sequence[TargetSpec], encoder: nn.Module, feature_dim: int
) -> None:
    """Raise UserError unless every objective can be built, and names a teacher whose targets it can use, if any.

    Parameters
    ----------
    objectives
        Their configs.
    specs
        What each teacher gives.
    encoder
        Gives the width and the number of hidden layers.
    feature_dim
        Width of the frontend's features.
    """
    if not objectives:
        raise UserError("a recipe needs at least one objective", where="$.objectives")
    for number, objective in enumerate(objectives):
        where = f"$.objectives[{number}]"
        spec = None
        if needs_of(objective) is not None:
            index = objective.teacher
            if not 0 <= index < len(specs):
                raise UserError(
                    f"`teacher` must be the index of one of the {len(specs)} teachers, but is {index}",
                    where=f"{where}.teacher",
                )
            spec = specs[index]
        with located(where):
            check_shares(objective)
            parts.build(objective, encoder.dim, feature_dim, spec)
        normed = isinstance(getattr(encoder, "feature_norm", None), nn.LayerNorm)
        if isinstance(objective, contrastive.Config) and objective.shared_norm and not normed:
            raise UserError(
                "`shared_norm` takes the encoder's norm of the features, but this encoder has none",
                where=f"{where}.shared_norm",
                remedy=f"give the objective a norm of its own: objectives.{number}.shared_norm=false",
            )
        highest, layers = max(getattr(objective, "layers", ()), default=0), int(encoder.num_layers)  # type: ignore[arg-type]
        if highest > layers:
            raise UserError(
                f"`layers` names hidden layer {highest}, but the encoder has {layers}", where=f"{where}.layers"
            )


def check_clones(objectives: Sequence[Any], mask: Mask | None) -> None:
    """Raise UserError where an objective compares several masks of a clip and the recipe draws too few."""
    clones = 1 if mask is None else mask.clones
    for number, objective in enumerate(objectives):
        if getattr(load_part("objectives", kind_of(objective)), "CLONES", False) and clones < 2:
            raise UserError(
                f"{kind_of(objective)} compares masks of a clip, so `mask.clones` must be at least 2, but is {clones}",
                where=f"$.objectives[{number}]",
                remedy="give mask.clones=2",
            )


def check_conditions(objectives: Sequence[Any], masked: bool, encoder: nn.Module, input_dim: int) -> None:
    """Raise UserError if frames must be hidden and are not, or an encoder has already seen what is to be predicted."""
    for number, objective in enumerate(objectives):
        kind = kind_of(objective)
        part = load_part("objectives", kind)
        if getattr(part, "MASKED", False) and not masked:
            raise UserError(
                f"{kind} needs frames hidden from the encoder, but `mask` is null", where=f"$.objectives[{number}]"
            )
        if getattr(part, "CAUSAL", False) and not is_causal(encoder, input_dim):
            raise UserError(
                f"{kind} needs an encoder that sees no frame after the one it describes",
                where="$.encoder",
                remedy="take an encoder that runs forwards only",
            )


def check_shares(config: Any) -> None:
    """Raise UserError where a part of the network drops more than everything, or less than nothing."""
    for part in getattr(config, "parts", ()):
        check_shares(part)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name.endswith(("dropout", "layer_drop")) and not 0 <= value < 1:
            raise UserError(f"`{field.name}` must be at least 0 and below 1, but is {value}")


def check_previous(teachers: Sequence[Any], layers: int, where: str) -> None:
    """Raise UserError where a teacher listens to a hidden state that the model of the iteration before does not have.

    Parameters
    ----------
    teachers
        Their configs.
    layers
        Of the encoder of the iteration before.
    where
        Key path of the teachers.
    """
    for index, config in enumerate(teachers):
        if getattr(config, "model", None) != PREVIOUS:
            continue
        name = "layers" if isinstance(config, hidden.Config) else "layer"
        named = config.layers if isinstance(config, hidden.Config) else (config.layer,)
        for layer in named:
            if not 0 <= layer <= layers:
                raise UserError(
                    f"`{name}` must be 0 to {layers}, as the model of the iteration before has, but is {layer}",
                    where=f"{where}[{index}].{name}",
                )


def check_decoder(
    decoder: DecoderSizes | None, masked: bool, encoder_config: Any, encoder: nn.Module, objectives: Sequence[Any]
) -> None:
    """Raise UserError where masked frames are to be left out of the encoder and cannot be.

    Parameters
    ----------
    decoder
        What fills them in; None: nothing is left out.
    masked
        Whether the recipe has a mask.
    encoder_config
        Its config.
    encoder
        Built from it.
    objectives
        Their configs.
    """
    if decoder is None:
        return
    if not masked:
        raise UserError("the decoder fills in masked frames, but `mask` is null", where="$.decoder")
    kind = kind_of(encoder_config)
    if not getattr(load_part("encoders", kind), "VISIBLE", False):
        raise UserError(
            f"a {kind} encoder needs every frame beside its neighbours, so masked frames cannot be left out of it",
            where="$.encoder",
            remedy="take a transformer, or `decoder: null`; `mask.clones` needs no decoder",
        )
    for number, objective in enumerate(objectives):
        if getattr(objective, "layers", ()):
            raise UserError(
                "`layers` needs hidden states of masked frames, but with a `decoder` the encoder never sees these",
                where=f"$.objectives[{number}].layers",
                remedy="leave `layers` or the `decoder` out",
            )
    with located("$.decoder"):
        check_shares(decoder)
        build_decoder(decoder, encoder.dim)  # type: ignore[arg-type]


def check_fill(mask: Mask | None, frontend_config: Any, frontend: nn.Module, decoder: DecoderSizes | None) -> None:
    """Raise UserError where hidden frames cannot be filled as the mask says.

    Parameters
    ----------
    mask
        Says how; None: nothing is hidden.
    frontend_config
        Its config.
    frontend
        Built from it.
    decoder
        Stands in for the mask embedding.
    """
    if mask is None or mask.fill == "embedding":
        return
    if decoder is not None:
        raise UserError(
            f"with a `decoder` the encoder never sees hidden frames, so `fill: {mask.fill}` would do nothing",
            where="$.mask.fill",
            remedy="leave `fill` or the `decoder` out",
        )
    if mask.fill == "feature_noise" and not hasattr(frontend, "noise_width"):
        raise UserError(
            f"`fill: feature_noise` needs a frontend with a spectrogram, but `{kind_of(frontend_config)}` shows none",
            where="$.mask.fill",
            remedy="take the frontend mel or mel_res2d, or a concat of these, or fill: waveform_noise",
        )


def check_new(recipe: Recipe) -> None:
    """Raise UserError for what a run that is begun must not have, though one that was begun earlier may go on with it.

    Mel bands without a spectral line are constant. A recipe that wants them, as one of an earlier release may, says so
    by naming `fft_samples`.
    """
    frontend = getattr(recipe, "frontend", None)
    spectra = [("$.frontend", frontend)]
    spectra += [(f"$.frontend.parts[{n}]", part) for n, part in enumerate(getattr(frontend, "parts", ()))]
    spectra += [(f"$.teachers[{n}]", teacher) for n, teacher in enumerate(getattr(recipe, "teachers", ()))]
    for where, config in spectra:
        if isinstance(config, _SPECTRA) and config.fft_samples is None:
            rate = recipe.data.sample_rate
            _, window = hop_and_window(rate, config.hop_seconds, config.window_seconds)
            with located(where):
                check_bands(config.n_mels, window, rate, None, getattr(config, "form", "plain") == "speechbrain")


def check_spectrum(frontend: Any, teacher: Any, where: str) -> None:
    """Raise UserError where a teacher of the frontend's own spectrogram has another one: its targets are not in there.

    Parameters
    ----------
    frontend, teacher
        Their configs.
    where
        Key path of the teacher.
    """
    if not isinstance(teacher, mel_rvq.Config):
        return
    for part in getattr(frontend, "parts", ()):
        check_spectrum(part, teacher, where)
    if isinstance(frontend, mel.Config) and frontend.normalize:
        logger.warning(
            "%s predicts levels that the mel frontend takes away clip by clip: much of it cannot be learnt; take the "
            "mel_res2d frontend, or frontend.normalize=false with frontend.mean and frontend.std",
            where,
        )
    if not isinstance(frontend, mel_res2d.Config):
        return
    for name in ("n_mels", "hop_seconds", "window_seconds", "fft_samples", "mean", "std"):
        theirs, mine = getattr(frontend, name), getattr(teacher, name)
        if theirs != mine:
            raise UserError(
                f"`{name}` must be that of the frontend, {shown(theirs)}, as the model predicts what it hears, but is "
                f"{shown(mine)}",
                where=f"{where}.{name}",
                remedy="give frontend and teacher the same value",
            )


def is_causal(encoder: nn.Module, input_dim: int) -> bool:
    """Try out whether an encoder's frames depend on no later frame."""
    random = generator("causal")
    frames = torch.tensor([24])
    first = torch.randn(1, 24, input_dim, generator=random)
    second = torch.cat([first[:, :12], torch.randn(1, 12, input_dim, generator=random)], 1)
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        one, two = encoder(first, frames)[-1], encoder(second, frames)[-1]
    encoder.train(training)
    return torch.allclose(one[:, :12], two[:, :12], atol=1e-5)


def check_teachers(
    recipe: Recipe,
    teachers: Sequence[Any],
    codec: CodecRun | None,
    grid: FrameGrid,
    where: str,
    previous_dim: int | None,
    model: Callable[[], nn.Module],
) -> list[TargetSpec]:
    """Raise UserError unless every teacher can be made and counts frames as the frontend does.

    Parameters
    ----------
    recipe
        Gives sample rate and device.
    teachers
        Their configs.
    codec
        How a codec is trained where an `rvq` teacher has no path.
    grid
        Of the frontend.
    where
        Key path of the teachers.
    previous_dim
        Width of the model of the iteration before, which a teacher could use; None: there is none.
    model
        Makes the model that is trained; called if a teacher follows it.

    Returns
    -------
    What each teacher will give.
    """
    specs = []
    for index, config in enumerate(teachers):
        place = f"{where}[{index}]"
        with located(place):
            spec = (
                _online_spec(config, model) if is_online(config) else _spec(recipe, config, codec, grid, previous_dim)
            )
            check_spectrum(getattr(recipe, "frontend", None), config, place)
            grid.require_same_rate(spec.grid, "the frontend", f"teacher {index} (`{kind_of(config)}`)")
        specs.append(spec)
    return specs


def _online_spec(config: Any, model: Callable[[], nn.Module]) -> TargetSpec:
    spec: TargetSpec = load_part("teachers", kind_of(config)).build_online(config, model()).spec
    return spec


def _spec(recipe: Recipe, config: Any, codec: CodecRun | None, grid: FrameGrid, previous_dim: int | None) -> TargetSpec:
    kind = kind_of(config)
    if kind == "rvq" and config.path is None:
        return _codec_spec(recipe, codec)
    if getattr(config, "model", None) == PREVIOUS:
        if previous_dim is None:
            raise UserError(f"`model` is {PREVIOUS}, but there is no earlier iteration")
        if isinstance(config, hidden.Config):
            return TargetSpec("values", previous_dim, None, hidden.pooled_grid(grid, config.pool_frames))
        return TargetSpec("codes", 1, config.clusters, grid)
    if needs_fit(config):
        return spec_before_fit(config, recipe.data.sample_rate, _CPU)
    return build_teacher(config, recipe.data.sample_rate, _CPU).spec


def _codec_spec(recipe: Recipe, codec: CodecRun | None) -> TargetSpec:
    if codec is None:
        raise UserError(
            "the rvq teacher has no codec: `path` is null",
            remedy="give `path`, the run folder of a codec, or a `codec` section with the recipe to train one by",
        )
    with located("$.codec"):
        config = codec_recipe(recipe, codec)
    sizes = config.codec
    return TargetSpec("codes", sizes.codebooks, sizes.codebook_size, frame_grid(config))
