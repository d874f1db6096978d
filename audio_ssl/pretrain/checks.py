"""Everything that can be wrong with a recipe of masked prediction, found before any work starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from audio_ssl.base import config as parts
from audio_ssl.base.config import kind_of, traits_of
from audio_ssl.base.errors import UserError, located, under
from audio_ssl.base.seeds import generator
from audio_ssl.data.augment import read_noise
from audio_ssl.models.interfaces import Encoder, EncoderTraits, Frontend, FrontendTraits, check_point, frontends_in
from audio_ssl.models.model import SSLModel
from audio_ssl.models.spectra import check_bands, hop_and_window
from audio_ssl.pretrain.decoder import build_decoder
from audio_ssl.pretrain.kinds.codec import frame_grid
from audio_ssl.pretrain.recipe import Recipe
from audio_ssl.pretrain.teachers import CodecRun, build_teacher, codec_recipe, spec_before_fit
from audio_ssl.pretrain.view import ModelShape, Needs, Objective, ObjectiveTraits
from audio_ssl.targets.spec import PREVIOUS, TargetSpec, needs_fit, teacher_traits

if TYPE_CHECKING:  # it imports this module
    from audio_ssl.pretrain.kinds.masked_prediction import Config

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Round:
    """One iteration of a recipe, with the parts that its checks try out."""

    recipe: Config
    """The run's recipe, with this iteration's own teachers and settings."""

    frontend: Frontend
    encoder: Encoder

    model: Callable[[], SSLModel]
    """Makes the model that is trained; called where a teacher follows it."""

    where: str = "$.teachers"
    """Key path of the teachers."""

    previous: Encoder | None = None
    """Encoder of the iteration before, which a teacher may hear; None: there is none."""


def check_round(planned: Round) -> None:
    """Raise UserError for what would fail in an iteration; builds what can be built, trains nothing."""
    recipe = planned.recipe
    if recipe.mask is not None:
        recipe.mask.check("$.mask")
    if recipe.mixing is not None:
        recipe.mixing.check("$.mixing")
        if recipe.mixing.noise is not None:
            with under("$.mixing.noise.manifest"):
                read_noise(recipe.mixing.noise)
    if recipe.freeze_frontend_after is not None and recipe.freeze_frontend_after < 0:
        raise UserError(
            f"`freeze_frontend_after` must not be negative, or be null, but is {recipe.freeze_frontend_after}",
            where="$.freeze_frontend_after",
        )
    check_fill(planned)
    check_decoder(planned)
    if not recipe.teachers and any(needs_of(objective) is not None for objective in recipe.objectives):
        raise UserError("a recipe needs at least one teacher", where=planned.where)
    check_points(planned, check_objectives(planned, check_teachers(planned)))
    check_conditions(planned)


def needs_of(objective: object) -> Needs:
    """Return what an objective, given by its config, needs of its teacher; None: it has no teacher."""
    return traits_of(objective, ObjectiveTraits).needs


def check_shares(config: Any) -> None:
    """Raise UserError where a part of the network drops more than everything, or less than nothing."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(inner):
                check_shares(inner)
        if field.name.endswith(("dropout", "layer_drop")) and not 0 <= value < 1:
            raise UserError(f"`{field.name}` must be at least 0 and below 1, but is {value}")


def check_fill(planned: Round) -> None:
    """Raise UserError where hidden frames cannot be filled as the mask says."""
    mask = planned.recipe.mask
    if mask is None or mask.fill == "embedding":
        return
    if planned.recipe.decoder is not None:
        raise UserError(
            f"with a `decoder` the encoder never sees hidden frames, so `fill: {mask.fill}` would do nothing",
            where="$.mask.fill",
            remedy="leave `fill` or the `decoder` out",
        )
    if mask.fill == "feature_noise" and planned.frontend.noise_width is None:
        kind = kind_of(planned.recipe.frontend)
        raise UserError(
            f"`fill: feature_noise` needs a frontend with a spectrogram, but `{kind}` shows none",
            where="$.mask.fill",
            remedy="take the frontend mel or mel_res2d, or a concat of these, or fill: waveform_noise",
        )


def check_decoder(planned: Round) -> None:
    """Raise UserError where masked frames are to be left out of the encoder and cannot be."""
    recipe = planned.recipe
    if recipe.decoder is None:
        return
    if recipe.mask is None:
        raise UserError("the decoder fills in masked frames, but `mask` is null", where="$.decoder")
    if not traits_of(recipe.encoder, EncoderTraits).leaves_out:
        raise UserError(
            f"a {kind_of(recipe.encoder)} encoder needs every frame beside its neighbours, so masked frames cannot be "
            "left out of it",
            where="$.encoder",
            remedy="take a transformer, or `decoder: null`; `mask.clones` needs no decoder",
        )
    with located("$.decoder"):
        check_shares(recipe.decoder)
        build_decoder(recipe.decoder, planned.encoder.dim)


def check_teachers(planned: Round) -> list[TargetSpec]:
    """Return what each teacher will give; UserError unless it can be made and counts frames as the frontend does."""
    specs = []
    for index, config in enumerate(planned.recipe.teachers):
        place = f"{planned.where}[{index}]"
        with located(place):
            spec = _spec(planned, config)
            check_frontend = teacher_traits(config).check_frontend
            if check_frontend is not None:
                for frontend in frontends_in(planned.recipe.frontend).values():
                    check_frontend(config, frontend, place)
            planned.frontend.grid.require_same_rate(spec.grid, "the frontend", f"teacher {index} (`{kind_of(config)}`)")
        specs.append(spec)
    return specs


def _spec(planned: Round, config: Any) -> TargetSpec:
    traits, rate = teacher_traits(config), planned.recipe.data.sample_rate
    if traits.follow is not None:
        spec: TargetSpec = traits.follow(config, planned.model()).spec
        return spec
    if traits.codec and config.path is None:
        return _codec_spec(planned.recipe, planned.recipe.codec)
    if traits.spec_of_previous is not None and config.model == PREVIOUS:
        if planned.previous is None:
            raise UserError(f"`model` is {PREVIOUS}, but there is no earlier iteration")
        return traits.spec_of_previous(config, planned.frontend.grid, planned.previous)
    return spec_before_fit(config, rate, _CPU) if needs_fit(config) else build_teacher(config, rate, _CPU).spec


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


def check_objectives(planned: Round, specs: Sequence[TargetSpec]) -> list[Objective]:
    """Return the objectives; UserError unless each can be built for the targets of the teacher it names, if any."""
    if not planned.recipe.objectives:
        raise UserError("a recipe needs at least one objective", where="$.objectives")
    shape = ModelShape.of(planned.frontend, planned.encoder, planned.recipe.decoder is not None)
    heads: list[Objective] = []
    for number, objective in enumerate(planned.recipe.objectives):
        with located(f"$.objectives[{number}]"):
            check_shares(objective)
            heads.append(parts.build(objective, shape, _target(objective, specs)))
    return heads


def _target(objective: Any, specs: Sequence[TargetSpec]) -> TargetSpec | None:
    if needs_of(objective) is None:
        return None
    index: int = objective.teacher
    if not 0 <= index < len(specs):
        raise UserError(
            f"`teacher` must be the index of one of the {len(specs)} teachers, but is {index}", where=".teacher"
        )
    return specs[index]


def check_points(planned: Round, heads: Sequence[Objective]) -> None:
    """Raise UserError unless the objectives look at one point of a layer, and the encoder has it."""
    for number, head in enumerate(heads):
        where = f"$.objectives[{number}]"
        with located(f"{where}.point"):
            check_point(head.point, planned.recipe.encoder)
        if head.point != heads[0].point:
            raise UserError(
                f"all objectives look at one `point` of a layer, but objective 0 at {heads[0].point} and this at "
                f"{head.point}",
                where=where,
                remedy="give all of them `point: output`, the only one that other kinds of objectives know",
            )


def check_conditions(planned: Round) -> None:
    """Raise UserError where an objective needs masks, or an encoder that does not look ahead, and has none."""
    mask = planned.recipe.mask
    clones = 1 if mask is None else mask.clones
    for number, objective in enumerate(planned.recipe.objectives):
        kind, where, traits = kind_of(objective), f"$.objectives[{number}]", traits_of(objective, ObjectiveTraits)
        if traits.masked and mask is None:
            raise UserError(f"{kind} needs frames hidden from the encoder, but `mask` is null", where=where)
        if traits.causal and not is_causal(planned.encoder, planned.frontend.dim):
            raise UserError(
                f"{kind} needs an encoder that sees no frame after the one it describes",
                where="$.encoder",
                remedy="take an encoder that runs forwards only",
            )
        if traits.clones and clones < 2:
            raise UserError(
                f"{kind} compares masks of a clip, so `mask.clones` must be at least 2, but is {clones}",
                where=where,
                remedy="give mask.clones=2",
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


def check_new(frontend: object, teachers: Sequence[object], sample_rate: int) -> None:
    """Raise UserError for what a new run must not have, though one of an earlier release may be resumed with it.

    A mel band without a spectral line is constant. A recipe that wants such bands names `fft_samples`.

    Parameters
    ----------
    frontend, teachers
        Their configs.
    sample_rate
        Of the waveforms, in Hz.
    """
    frontends = {f"$.frontend{key}": config for key, config in frontends_in(frontend).items()}
    found = [(where, config, traits_of(config, FrontendTraits).mel) for where, config in frontends.items()]
    found += [(f"$.teachers[{n}]", teacher, teacher_traits(teacher).mel) for n, teacher in enumerate(teachers)]
    for where, config, settings_of in found:
        settings = None if settings_of is None else settings_of(config)
        if settings is not None and settings.fft_samples is None:
            _, window = hop_and_window(sample_rate, settings.hop_seconds, settings.window_seconds)
            with located(where):
                check_bands(settings.n_mels, window, sample_rate, None, settings.form == "speechbrain")
