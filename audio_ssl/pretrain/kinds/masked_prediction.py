"""Masked prediction and its kin: HuBERT, MERT, BEST-RQ, wav2vec 2.0, data2vec, APC, CPC, by the choice of parts.

Papers: HuBERT (Hsu et al. 2021, arXiv 2106.07447), MERT (Li et al. 2023, arXiv 2306.00107), BEST-RQ (Chiu et al. 2022,
arXiv 2202.01855); those of the others are named by their objectives. The defaults are MERT 95M's.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from audio_ssl.artifacts.run import STATE_FOLDER, checkpoint_folders
from audio_ssl.base import config as parts
from audio_ssl.base.config import PartOf, apply_overrides, kind_of, structure, unstructure
from audio_ssl.base.errors import UserError, located, under
from audio_ssl.base.seeds import generator, seeded
from audio_ssl.base.versions import added
from audio_ssl.data.augment import Mixing, NoiseBank
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.interfaces import Encoder, Frontend
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.pretrain.checks import Round, check_new, check_round, check_shares, needs_of
from audio_ssl.pretrain.decoder import DecoderSizes, build_decoder
from audio_ssl.pretrain.init import Init, check_init, check_same_model, complete
from audio_ssl.pretrain.init_weights import begin_learner, begin_model, bring_teachers, open_source
from audio_ssl.pretrain.jobs import KindTraits, RunStage, StageContext, Training
from audio_ssl.pretrain.learner import MaskedLearner, ObjectiveHead
from audio_ssl.pretrain.masking import Mask
from audio_ssl.pretrain.recipe import Recipe, check_values
from audio_ssl.pretrain.selection import Selection
from audio_ssl.pretrain.teachers import CodecRun, prepare_teachers
from audio_ssl.pretrain.view import ModelShape, Objective
from audio_ssl.targets.health import check_labels
from audio_ssl.targets.sources import ComputedTargets, StoredTargets
from audio_ssl.targets.spec import PREVIOUS, FollowingTeacher, TargetSpec, hears, is_online, teacher_traits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Iteration:
    """One iteration of HuBERT's refinement: its own teachers and settings, a model from scratch."""

    share: float
    """Share of the run's steps; the shares are scaled to add up to 1."""

    teachers: tuple[Annotated[object, PartOf("teachers")], ...]
    """Teachers of this iteration; `model: previous` is the model of the iteration before."""

    settings: tuple[str, ...] = added(())
    """``key=value`` settings of this iteration alone (WavLM's first is HuBERT's, so it has ``mixing=null``); one of the
    command line takes the place of those of the same key."""


@dataclass(frozen=True)
class Config(Recipe):
    """A recipe of masked prediction."""

    frontend: Annotated[object, PartOf("frontends")] = field(default_factory=conv.Config)
    """Waveform to frames (MERT, HuBERT: seven convolutions, 320 samples a frame)."""

    encoder: Annotated[object, PartOf("encoders")] = field(default_factory=transformer.Config)
    """Frames to hidden layers (MERT 95M: transformer, 12 x 768)."""

    normalize: bool = False
    """Give each clip's waveform zero mean and unit variance (MERT, HuBERT base: no)."""

    normalize_epsilon: float = added(1e-7)
    """Added to that variance (transformers: 1e-7; fairseq, torchaudio: 1e-5); a model it begins from has its own."""

    init: Init | None = added(None)
    """The model that this one begins from; ``init=MODEL`` is short for ``init.model=MODEL``. null: random weights."""

    teachers: tuple[Annotated[object, PartOf("teachers")], ...] = ()
    """What is predicted; empty where `iterations` bring their own or no objective needs a teacher."""

    objectives: tuple[Annotated[object, PartOf("objectives")], ...] = ()
    """How the model learns; most name a teacher by its index."""

    mask: Mask | None = field(default_factory=Mask)
    """Frames hidden from the encoder; null: none, so the loss counts all frames (APC, CPC)."""

    decoder: DecoderSizes | None = None
    """Leave masked frames out of the encoder and let a decoder of these sizes fill them in (data2vec 2.0); null: the
    encoder sees the mask embedding in their place."""

    mixing: Mixing | None = field(default_factory=Mixing)
    """Stretches of other clips of the batch, or noise, added to the waveforms (MERT, WavLM); null: none."""

    feature_penalty: float = 10.0
    """Weight of the mean square of the frontend's features (MERT, HuBERT)."""

    feature_grad_mult: float = 0.1
    """Factor on the frontend's gradients (MERT 95M, HuBERT base)."""

    freeze_frontend_after: int | None = added(None)
    """Updates after which the frontend and the encoder's norm and projection of its features stay as they are (DinoSR,
    SpidR: 200,000); null: they are trained to the end."""

    iterations: tuple[Iteration, ...] = ()
    """Models trained one after the other, each from scratch with teachers of its own (HuBERT); empty: one, with
    `teachers`."""

    codec: CodecRun | None = None
    """The codec to train first where an `rvq` teacher has no path; null: none."""


def check(config: Config, selection: Selection) -> None:
    """Raise UserError for anything that would fail later; builds what can be built, trains nothing."""
    if config.iterations and config.teachers:
        raise UserError("give either `teachers` or `iterations`, not both", where="$.iterations")
    if any(not iteration.share > 0 for iteration in config.iterations):
        raise UserError("every `share` must be above 0", where="$.iterations")
    if len(config.iterations) > config.steps:
        raise UserError(
            f"`steps` must be at least the {len(config.iterations)} iterations, but is {config.steps}", where="$.steps"
        )
    if config.init is not None:
        check_init(config.init, config.steps)
    own, previous = own_recipes(config), None
    for number, alone in enumerate(own):
        where = f"$.iterations[{number}].teachers" if config.iterations else "$.teachers"
        before = own[number - 1]
        with _own_settings(config, number):
            if config.init is not None:
                check_same_model(alone, config)
            # Building what is published takes a second; iterations mostly have the same.
            if number == 0 or (alone.frontend, alone.encoder) != (before.frontend, before.encoder):
                with located("$.frontend"):
                    check_shares(alone.frontend)
                    frontend: Frontend = parts.build(alone.frontend, alone.data.sample_rate)
                with located("$.encoder"):
                    check_shares(alone.encoder)
                    encoder: Encoder = parts.build(alone.encoder, frontend.dim)
            check_round(Round(alone, frontend, encoder, partial(_model_of, alone), where, previous))
            previous = encoder
    if config.data.targets is not None and not stored(own[0].teachers):
        raise UserError("no teacher of this recipe has targets to store", where="$.data.targets")


def _model_of(alone: Config) -> SSLModel:
    return SSLModel(model_config(alone))


_OF_AN_ITERATION = (
    *("encoder", "objectives", "mask", "decoder", "mixing", "feature_penalty", "feature_grad_mult", "optim"),
    "freeze_frontend_after",
    *("data.crop_seconds", "data.seconds_per_update", "data.seconds_per_group", "data.seconds_per_batch"),
)
"""Settings that an iteration may change; clips, sample rate and frame rate are shared by the run."""


def own_recipes(config: Config) -> list[Config]:
    """Return the recipe of each iteration: the run's, with the iteration's own teachers and settings.

    Raises
    ------
    UserError
        For settings that cannot be read, or that an iteration cannot have of its own.
    """
    return [_own_recipe(config, number) for number in range(len(config.iterations))] or [config]


def _own_recipe(config: Config, number: int) -> Config:
    iteration, where = config.iterations[number], f"$.iterations[{number}].settings"
    alone = dataclasses.replace(config, teachers=iteration.teachers, iterations=())
    if not iteration.settings:
        return alone
    for setting in iteration.settings:
        key = setting.partition("=")[0]
        if not any(key == own or key.startswith(f"{own}.") for own in _OF_AN_ITERATION):
            raise UserError(
                f"`{key}` is the same in all iterations of a run; one alone may set: {', '.join(_OF_AN_ITERATION)}",
                where=where,
            )
    with _own_settings(config, number):
        changed = structure(Config, apply_overrides(unstructure(alone), iteration.settings))
        check_values(changed)
    return changed


@contextmanager
def _own_settings(config: Config, number: int) -> Iterator[None]:
    """Let errors about keys that an iteration sets itself name its settings, as the key elsewhere has another value."""
    settings = config.iterations[number].settings if config.iterations else ()
    own = {re.split(r"[.=]", setting)[0] for setting in settings}
    try:
        yield
    except UserError as error:
        section = re.split(r"[.\[]", (error.where or "").removeprefix("$."))[0]
        if not own or (section and section not in own):
            raise
        with under(f"$.iterations[{number}].settings"):
            raise


def stages(config: Config) -> list[RunStage]:
    """Return the stretches of the run: its iterations, or itself."""
    if not config.iterations:
        return [RunStage(config, config.steps)]
    total = sum(iteration.share for iteration in config.iterations)
    ends = [0]
    for iteration in config.iterations:
        ends.append(max(ends[-1] + 1, ends[-1] + round(config.steps * iteration.share / total)))
    ends[-1] = config.steps
    return [
        RunStage(alone, end - start) for alone, start, end in zip(own_recipes(config), ends, ends[1:], strict=False)
    ]


def model_config(config: Config) -> ModelConfig:
    """Return what a recipe's model is made of; of several iterations, that of the last."""
    config = own_recipes(config)[-1]
    rate, epsilon = config.data.sample_rate, config.normalize_epsilon
    return ModelConfig(config.frontend, config.encoder, rate, config.normalize, epsilon)


def stored(teachers: Sequence[object]) -> tuple[object, ...]:
    """Return the teachers whose targets can be computed once: all but those that follow the model."""
    return tuple(teacher for teacher in teachers if not is_online(teacher))


def build_learner(
    config: Config, model: SSLModel, heads: Sequence[ObjectiveHead], online: Mapping[int, FollowingTeacher]
) -> MaskedLearner:
    """Return the learner of a model, its heads and the teachers that follow it, with the recipe's decoder."""
    decoder = None
    if config.decoder is not None:
        with seeded(next(model.parameters()).device, config.seed, "decoder"):
            decoder = build_decoder(config.decoder, model.dim, max(head.module.depth for head in heads))
    return MaskedLearner(
        model,
        heads,
        config.mask,
        config.mixing,
        config.feature_penalty,
        config.feature_grad_mult,
        online,
        decoder,
        config.freeze_frontend_after,
        0 if config.init is None else config.init.freeze_updates,
    )


def build(config: Config, context: StageContext) -> Training:
    """Prepare the teachers of a stage and build its model, its heads and its targets."""
    # A run that goes on has all of its weights in its checkpoint.
    begins = config.init is not None and not checkpoint_folders(context.folder / STATE_FOLDER)
    source = open_source(config.init) if config.init is not None and begins else None
    if source is not None:
        bring_teachers(source, config, context.folder)
    teachers = prepare_teachers(config, stored(config.teachers), config.codec, context)
    model = build_model(
        model_config(config), generator(config.seed, "model", context.folder.name if context.previous else "")
    )
    if source is not None:
        begin_model(source, model)
    online = build_online(config, model)
    ready = iter(teachers)
    specs = [online[index].spec if index in online else next(ready).spec for index in range(len(config.teachers))]
    heads = build_heads(config, model, specs)
    learner = build_learner(config, model, heads, online)
    fingerprints = tuple(teacher.fingerprint for teacher in teachers)
    begun = None if source is None else begin_learner(source, config, learner, heads, fingerprints)
    targets: StoredTargets | ComputedTargets | None = None
    # A store holds the targets of the first stage's teachers; later stages have others.
    if config.data.targets is not None and context.previous is None:
        targets = StoredTargets(Path(config.data.targets), fingerprints, context.clips.manifest_hash)
    elif teachers:
        targets = ComputedTargets(teachers, context.reader)
    if targets is not None:
        kinds = [kind_of(teacher) for teacher in stored(config.teachers)]
        store = Path(config.data.targets) if isinstance(targets, StoredTargets) and config.data.targets else None
        check_labels(kinds, teachers, targets.whole, context.clips.train, context.folder, store)
    noise = None
    if config.mixing is not None and config.mixing.noise is not None:
        noise = NoiseBank(config.mixing, config.data.sample_rate, context.ledger)
    return Training(learner, model.grid, targets, fingerprints, model.save_pretrained, noise, begun)


def build_online(config: Config, model: SSLModel) -> dict[int, FollowingTeacher]:
    """Build the teachers that follow the model, by their index in the recipe."""
    found = {}
    for index, teacher in enumerate(config.teachers):
        follow = teacher_traits(teacher).follow
        if follow is not None:
            with seeded(next(model.parameters()).device, config.seed, "teacher", index):
                found[index] = follow(teacher, model)
    return found


def build_heads(config: Config, model: SSLModel, specs: Sequence[TargetSpec]) -> list[ObjectiveHead]:
    """Build one head per objective, for the targets of the teacher it names, if it needs one."""
    heads: list[ObjectiveHead] = []
    shape = ModelShape.of(model.frontend, model.encoder, config.decoder is not None)
    objective: Any
    for number, objective in enumerate(config.objectives):
        index: int | None = None if needs_of(objective) is None else objective.teacher
        name = kind_of(objective) if index is None else kind_of(config.teachers[index])
        if any(head.name == name for head in heads):
            name = f"{name}_{number}"
        spec = None if index is None else specs[index]
        with seeded(next(model.parameters()).device, config.seed, "head", number):
            module: Objective = parts.build(objective, shape, spec)
        heads.append(ObjectiveHead(module, index, objective.weight, name))
    return heads


def describe(config: Config) -> str:
    """Return a sentence on what was trained, for the model card."""
    teachers = "; then ".join(map(_teachers_of, own_recipes(config), config.iterations or (None,)))
    config = own_recipes(config)[-1]
    objectives = " and ".join(dict.fromkeys(kind_of(objective) for objective in config.objectives))
    what = f"A {kind_of(config.frontend)} frontend and a {kind_of(config.encoder)} encoder, trained by {objectives}"
    hidden = "" if config.mask is None else " on masked frames"
    if config.decoder is not None:
        hidden += ", which the encoder did not see; the decoder that filled them in is not part of the model"
    begin = "" if config.init is None else f" It began from {config.init.model}."
    return f"{what}{hidden}.{begin} " + (f"Teachers: {teachers}." if teachers else "There was no teacher.")


def _teachers_of(alone: Config, iteration: Iteration | None) -> str:
    heard = [_heard(teacher) for teacher in alone.teachers]
    kinds = [kind_of(teacher) for teacher in alone.teachers]
    names = " and ".join(kind if name is None else f"{kind} of {name}" for kind, name in zip(kinds, heard, strict=True))
    own = "" if iteration is None else ", ".join(iteration.settings)
    return f"{names} (with {own})" if own else names


def learnt_from(config: Config) -> tuple[str, ...]:
    """Return the models that a recipe's model learns from: what it begins as, and what its teachers hear."""
    heard = [_heard(teacher) for alone in own_recipes(config) for teacher in alone.teachers]
    begun = None if config.init is None else config.init.model
    return tuple(dict.fromkeys(name for name in (begun, *heard) if name is not None))


def _heard(teacher: Any) -> str | None:
    """Return the model that a teacher hears; None for one of the run itself, or where it hears none."""
    return teacher.model if hears(teacher) and teacher.model != PREVIOUS else None


def _check_new(config: Config) -> None:
    check_new(config.frontend, config.teachers, config.data.sample_rate)


TRAITS = KindTraits("pretrain", check, stages, build, describe, _check_new, complete, learnt_from)
