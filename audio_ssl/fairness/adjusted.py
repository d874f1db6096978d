"""Ratio of two groups' error rates, adjusted for covariates by a mixed model.

Women and men may have read different sentences, at different speeds and levels. The model of Liu, Veliche & Peng 2022
(arXiv 2109.09061) has the group and each clip's length, speech rate and level as columns, and a random effect for each
speaker.
"""

from __future__ import annotations

import math
from dataclasses import replace

from audio_ssl.artifacts.fairness import AdjustedRatio, CovariateRatio
from audio_ssl.base.errors import UserError
from audio_ssl.fairness.comparisons import Question, sides_of
from audio_ssl.fairness.design import Design, group_design
from audio_ssl.fairness.groups import Grouping, Pair
from audio_ssl.fairness.mixed_model import MixedModel, fit_mixed_model

_UNITS = 3


def model_rows(question: Question, grouping: Grouping) -> list[AdjustedRatio]:
    """Return one model for each pair of groups. The metric must count errors."""
    return [_model(question, grouping, pair) for pair in grouping.pairs]


def _model(question: Question, grouping: Grouping, pair: Pair) -> AdjustedRatio:
    sides = sides_of(question, grouping, pair)
    score = question.metric.score
    a, b = float(score(sides.first.sum(0))), float(score(sides.second.sum(0)))
    row = AdjustedRatio(
        **vars(question.about(grouping.by)),
        a=pair.first,
        b=pair.second,
        covariates=(),
        ratio=math.nan,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
        crude_ratio=a / b if b else math.nan,
        speaker_sd=math.nan,
        dispersion=math.nan,
        clips=0,
        speakers=0,
        covariate_ratios={},
        refused=sides.refusal(pair),
        warning=None,
    )
    if row.refused:
        return row
    first, second = grouping.sides(pair)
    used = (first | second) & (question.statistics[:, _UNITS] > 0)
    predictions = question.predictions
    # A group may have the name of a covariate.
    column = f"group {pair.first}"
    design = group_design(
        column, first[used], predictions.seconds[used], predictions.words[used], predictions.level_dbfs[used]
    )
    errors, units = question.statistics[used, :_UNITS].sum(1), question.statistics[used, _UNITS]
    try:
        model = fit_mixed_model(errors, units, predictions.speakers.index[used], design.columns)
    except UserError as error:
        return replace(row, refused=f"the model could not be fitted: {error}")
    return _fitted(row, model, column, design)


def _fitted(row: AdjustedRatio, model: MixedModel, column: str, design: Design) -> AdjustedRatio:
    ratio = model.ratios[column]
    return replace(
        row,
        covariates=tuple(design.per),
        ratio=ratio.value,
        low=ratio.low,
        high=ratio.high,
        p_value=model.p_values[column],
        speaker_sd=model.speaker_sd,
        dispersion=model.dispersion,
        clips=model.clips,
        speakers=model.speakers,
        covariate_ratios={name: CovariateRatio(*model.ratios[name], per=unit) for name, unit in design.per.items()},
        warning="; ".join([*design.notes, *model.notes]) or None,
    )
