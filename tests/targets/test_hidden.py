"""Layers of a frozen model as targets."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv, cqt
from audio_ssl.models.model import ModelConfig, SSLModel, build_model
from audio_ssl.targets.spec import check_targets, needs_fit
from audio_ssl.targets.teachers import hidden

CPU = torch.device("cpu")
ENCODER = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)


def clips():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, generator=generator) * (1 + samples % 3) for samples in (8000, 300, 5001, 12_345)]


def save(folder, frontend):
    model = build_model(ModelConfig(frontend, ENCODER, 16000), torch.Generator().manual_seed(0)).eval()
    model.save_pretrained(folder)
    return model


def fitted(tmp_path, config):
    state = hidden.fit(config, clips(), 16000, torch.Generator(), load_model=SSLModel.from_pretrained)
    save_file(state, tmp_path / hidden.STATE_FILE)
    return replace(config, path=str(tmp_path))


def teacher_of(config, rate=16000):
    return hidden.build(config, rate, CPU, load_model=SSLModel.from_pretrained)


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("frontend", [conv.Config(channels=(8,) * 7), cqt.Config(24, 12, 200.0)])
@torch.no_grad()
def test_targets_are_the_mean_of_layers_that_are_standardised_over_the_corpus(tmp_path, frontend, pool):
    model = save(tmp_path / "run", frontend)
    config = fitted(tmp_path, hidden.Config(model=str(tmp_path / "run"), layers=(1, 2), pool_frames=pool))
    states = []
    for clip in clips():
        if model.grid.num_frames(len(clip)) >= pool:
            both = torch.stack([model(clip[None]).hidden[layer][0] for layer in (1, 2)])
            frames = both.shape[1] // pool
            states.append(torch.stack([both[:, i * pool : (i + 1) * pool].mean(1) for i in range(frames)], 1))
    corpus = torch.cat(states, 1)
    scaled = (corpus - corpus.mean(1, keepdim=True)) / (corpus.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = scaled.mean(0).split([state.shape[1] for state in states])
    teacher, counted = teacher_of(config), iter(expected)
    assert teacher.spec == hidden.target_spec(config, 16000, CPU, SSLModel.from_pretrained)
    for clip in clips():
        found = teacher(clip)
        check_targets(found, teacher.spec, len(clip))
        if model.grid.num_frames(len(clip)) >= pool:
            torch.testing.assert_close(found, next(counted), rtol=1e-3, atol=1e-4)
    assert next(counted, None) is None


GRIDS = st.builds(
    FrameGrid, st.just(16000), st.just(320), st.integers(1, 900), st.sampled_from(["valid", "ceil", "center", "floor"])
)


@given(GRIDS, st.integers(2, 5), st.integers(0, 9000))
def test_means_of_frames_are_counted_as_the_grid_says(grid, pool, samples):
    pooled = hidden.pooled_grid(grid, pool)
    assert pooled.num_frames(samples) == grid.num_frames(samples) // pool
    assert pooled.frame_rate_hz == pytest.approx(grid.frame_rate_hz / pool)


def test_without_names_the_last_layer_at_the_point_that_is_asked_for(tmp_path):
    save(tmp_path / "run", conv.Config(channels=(8,) * 7))
    plain = fitted(tmp_path, hidden.Config(model=str(tmp_path / "run")))
    named = teacher_of(replace(plain, layers=(2,)))
    assert torch.equal(teacher_of(plain)(clips()[0]), named(clips()[0]))
    other = teacher_of(replace(plain, point="feed_forward"))
    assert not torch.allclose(other(clips()[0]), named(clips()[0]), atol=0.1)
    assert other.fingerprint != teacher_of(plain).fingerprint


def test_what_cannot_teach_is_refused(tmp_path):
    save(tmp_path / "run", conv.Config(channels=(8,) * 7))
    config = hidden.Config(model=str(tmp_path / "run"))
    assert needs_fit(config)
    for wrong, message in (
        ({"model": None}, "`model` must be given"),
        ({"layers": (3,)}, "`layers` must lie between 0 and 2, but has 3"),
        ({"pool_frames": 0}, "`pool_frames` must be at least 1, but is 0"),
    ):
        with pytest.raises(UserError, match=message):
            hidden.target_spec(replace(config, **wrong), 16000, CPU, SSLModel.from_pretrained)
    with pytest.raises(UserError, match="the hidden teacher is for 16000 Hz, the recipe for 24000 Hz"):
        hidden.target_spec(config, 24000, CPU, SSLModel.from_pretrained)
    with pytest.raises(UserError, match="has not been fitted: `path` is null"):
        teacher_of(config)
    with pytest.raises(UserError, match="no clip is long enough for a frame of the model"):
        hidden.fit(config, clips()[1:2], 16000, torch.Generator(), load_model=SSLModel.from_pretrained)
    ready = fitted(tmp_path, config)
    with pytest.raises(
        UserError, match=r"the statistics are of \[1, 16\] layers and channels, the model has \[2, 16\]"
    ):
        teacher_of(replace(ready, layers=(1, 2)))
