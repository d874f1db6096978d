"""Masks of 2,000 clips against fairseq's: share, runs, gaps and places, all within four standard errors."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from audio_ssl.pretrain.masking import Mask, draw_masks
from audio_ssl.pretrain.recipe import load_recipe
from tests.reference import golden

PUBLISHED = golden("mask_statistics")
ROWS = 2000
CASES = sorted(name for name, case in PUBLISHED.about["cases"].items() if "min_masks" in case)
RECIPES = ["data2vec_base", "hubert_base", "mert_330m", "mert_95m", "wav2vec2_base", "wavlm_base"]


def settings(name: str) -> tuple[int, Mask]:
    """Frames and our mask of a case; those of a batch are trimmed to the smallest of its rows."""
    case = PUBLISHED.about["cases"][name]
    trim_frames = case["rows_a_call"] * case["frames"] if case["rows_a_call"] > 1 else None
    return case["frames"], Mask(case["mask_prob"], case["mask_length"], case["min_masks"], trim_frames)


@functools.cache
def draw(frames: int, mask: Mask) -> Tensor:
    return draw_masks(torch.full((ROWS,), frames), frames, mask, range(ROWS))


def run_lengths(mask: Tensor) -> Tensor:
    """``[row, length]``: how many runs a row has of each length."""
    edges = torch.nn.functional.pad(mask.int(), (1, 1)).diff(dim=1)
    rows, begins = (edges == 1).nonzero().T
    counts = torch.zeros(len(mask), mask.shape[1] + 1)
    return counts.index_put_((rows, (edges == -1).nonzero()[:, 1] - begins), torch.ones(len(rows)), accumulate=True)


def assert_mean(ours: Tensor, theirs: float, rows_a_call: int, of: Tensor | None = None) -> None:
    """Compare the mean over rows, or the sum over rows divided by that of `of`; a batch's rows share their count."""
    of = torch.ones(ROWS) if of is None else of
    mean = float(ours.sum() / of.sum())
    error = float((ours - mean * of).std() / of.mean()) / ROWS**0.5
    assert abs(mean - theirs) < 4 * error * (1 + rows_a_call) ** 0.5, (mean, theirs, error)


@pytest.mark.parametrize("name", CASES)
def test_masks_have_the_published_statistics(name: str) -> None:
    frames, setting = settings(name)
    rows = PUBLISHED.about["cases"][name]["rows_a_call"]
    mask, length = draw(frames, setting), setting.length_frames
    assert_mean(mask.float().mean(1), float(PUBLISHED[f"{name}/share_per_row"].mean()), rows)
    assert float(mask.float().mean(1).std()) == pytest.approx(float(PUBLISHED[f"{name}/share_per_row"].std()), rel=0.12)
    assert not mask[:, -1].any()
    runs = run_lengths(mask)
    assert_mean(runs.sum(1), float(PUBLISHED[f"{name}/runs_per_row"].double().mean()), rows)
    for found, kind in ((runs, "run"), (run_lengths(~mask), "gap")):
        theirs = PUBLISHED[f"{name}/{kind}_length_counts"].float()
        for some in (slice(1, 2), slice(1, length), slice(length, length + 1), slice(2 * length, None)):
            expected = float(theirs[some].sum() / theirs.sum())
            assert_mean(found[:, some].sum(1), expected, rows, of=found.sum(1)) if expected else None
    share = (mask.sum(0) + PUBLISHED[f"{name}/masked_rows_per_frame"])[:-1] / (2 * ROWS)
    gap = (mask.sum(0) - PUBLISHED[f"{name}/masked_rows_per_frame"])[:-1] / ROWS
    z = gap / (2 * share * (1 - share) / ROWS).sqrt()
    # Frames side by side are hidden together, so that there are few independent ones to take the mean of.
    assert float(z.abs().max()) < 5
    assert float(z.square().mean()) < 1.7


def test_masks_that_are_not_trimmed_are_not_the_published_ones() -> None:
    frames, setting = settings("hubert_base/batch")
    mask = draw(frames, Mask(setting.prob, setting.length_frames, setting.min_masks))
    with pytest.raises(AssertionError):
        assert_mean(mask.float().mean(1), float(PUBLISHED["hubert_base/batch/share_per_row"].mean()), 5)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_mask_as_published(name: str) -> None:
    """The frames that a recipe trims within hold as many clips as the published batch."""
    case = PUBLISHED.about["cases"][f"{name}/batch"]
    mask = load_recipe(name).mask
    assert (mask.prob, mask.length_frames) == (case["mask_prob"], case["mask_length"])
    assert mask.min_masks == case["min_masks"]
    assert mask.trim_frames // case["frames"] == case["rows_a_call"]
