"""Codes of a model's layer from several codebooks that add up."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from audio_ssl.base.errors import UserError
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.targets.clustering import half_squares, nearest
from audio_ssl.targets.spec import check_targets, needs_fit
from audio_ssl.targets.teachers import mvq
from audio_ssl.targets.teachers._additive_codes import AdditiveCodes, fit_codes, improve, residual

CPU = torch.device("cpu")
ENCODER = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
SMALL = mvq.Config(layer=1, codebooks=3, codebook_size=8, fit_frames=500)


def error(frames, found, labels):
    return float((frames - found.decode(labels)).square().sum())


def made(frames=400, dim=6, seed=0):
    return torch.randn(frames, dim, generator=torch.Generator().manual_seed(seed)) * torch.arange(1.0, dim + 1)


def test_a_wide_beam_finds_the_best_sum_and_a_narrow_one_is_near():
    frames, generator = made(), torch.Generator().manual_seed(1)
    codes = torch.randn(3, 8, 6, generator=generator)
    found = AdditiveCodes(codes)
    sums = (codes[0][:, None, None] + codes[1][:, None] + codes[2]).reshape(512, 6)
    best = float(torch.cdist(frames, sums).square().min(1).values.sum())
    errors = [error(frames, found, found.encode(frames, beam)) for beam in (1, 4, 64)]
    assert errors[2] == pytest.approx(best, rel=1e-5)
    assert best < errors[1] < 1.05 * best < errors[0]


def test_with_a_beam_of_one_codes_are_those_of_residual_quantisation():
    frames = made()
    codes = residual(frames, 3, 8, torch.Generator().manual_seed(0), 1000)
    labels, rest = AdditiveCodes(codes).encode(frames, 1), frames
    for book in range(3):
        chosen = nearest(rest, codes[book], half_squares(codes[book]))[0]
        assert torch.equal(labels[:, book], chosen)
        rest = rest - codes[book][chosen]


def test_least_squares_finds_the_codebooks_that_made_the_frames_and_leaves_unused_codes_alone():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 7, (3000, 3), generator=generator)
    true = torch.randn(3, 8, 5, generator=generator)
    frames = AdditiveCodes(true).decode(labels)
    start = torch.randn(3, 8, 5, generator=generator)
    found = start
    for _ in range(3):
        found = improve(frames, found, labels)
    assert error(frames, AdditiveCodes(found), labels) < 1e-4 * error(frames, AdditiveCodes(start), labels)
    assert torch.equal(found[:, 7], start[:, 7])


def test_rounds_lower_the_error_of_residual_quantisation():
    frames = made(1500, 12)
    codes = fit_codes(frames, (4, 16), 6, 8, torch.Generator().manual_seed(0), 2000)
    stages = AdditiveCodes(residual(frames, 4, 16, torch.Generator().manual_seed(0), 2000))
    before = error(frames, stages, stages.encode(frames, 1))
    found = AdditiveCodes(codes)
    assert error(frames, found, found.encode(frames, 8)) < 0.85 * before


def clips():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, generator=generator) for samples in (80_000, 300, 50_010, 42_345)]


def fitted(tmp_path, config):
    model = build_model(ModelConfig(conv.Config(channels=(8,) * 7), ENCODER, 16000), torch.Generator().manual_seed(0))
    model.eval().save_pretrained(tmp_path / "run")
    config = replace(config, model=str(tmp_path / "run"))
    state = mvq.fit(config, clips(), 16000, torch.Generator(), load_model=SSLModel.from_pretrained)
    save_file(state, tmp_path / mvq.STATE_FILE)
    return model, replace(config, path=str(tmp_path)), state


@pytest.mark.parametrize("standardize", [False, True])
@torch.no_grad()
def test_a_clip_has_the_codes_of_its_states(tmp_path, standardize):
    model, config, state = fitted(tmp_path, replace(SMALL, standardize=standardize))
    assert needs_fit(replace(config, path=None))
    teacher = mvq.build(config, 16000, CPU, SSLModel.from_pretrained)
    assert teacher.spec == mvq.target_spec(config, 16000, CPU, SSLModel.from_pretrained)
    for clip in clips():
        check_targets(teacher(clip), teacher.spec, len(clip))
    states = model(clips()[0][None]).hidden[1][0]
    found = AdditiveCodes(state["codes"]).decode(teacher(clips()[0])) / state["scale"] + state["mean"]
    left = float((found - states).square().sum() / (states - states.mean(0)).square().sum())
    assert left < 0.6
    assert bool((state["scale"] != 1).any()) == standardize
    # In whatever company: a clip's first half alone has codes of its own, but the same frames have the same codes.
    assert torch.equal(teacher._codes.encode(found[:7], 8), teacher._codes.encode(found, 8)[:7])


def test_what_cannot_be_quantised_is_refused(tmp_path):
    _, config, _ = fitted(tmp_path, SMALL)
    for wrong, message in (
        ({"layer": 3}, "`layers` must lie between 0 and 2, but has 3"),
        ({"model": None}, "`model` must be given"),
        ({"codebooks": 0}, "`codebooks` must be at least 1, but is 0"),
        ({"beam": 0}, "`beam` must be at least 1, but is 0"),
        ({"codebook_size": 16}, r"dimensions \[3, 8, 16\], config and model \[3, 16, 16\]"),
    ):
        with pytest.raises(UserError, match=message):
            mvq.build(replace(config, **wrong), 16000, CPU, SSLModel.from_pretrained)
    with pytest.raises(UserError, match="mvq needs at least as many frames as `codebook_size` 600, but has 500"):
        mvq.fit(replace(config, codebook_size=600), clips(), 16000, torch.Generator(), CPU, SSLModel.from_pretrained)
    with pytest.raises(UserError, match="has not been fitted: `path` is null"):
        mvq.build(replace(config, path=None), 16000, CPU, SSLModel.from_pretrained)
