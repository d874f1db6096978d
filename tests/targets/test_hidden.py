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
from audio_ssl.targets.teachers._model_layers import between_frames, pooled_grid, resampled, resampled_grid

CPU = torch.device("cpu")
ENCODER = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)


def clips():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, generator=generator) * (1 + samples % 3) for samples in (8000, 300, 5001, 12_345)]


def save(folder, frontend, rate=16000):
    model = build_model(ModelConfig(frontend, ENCODER, rate), torch.Generator().manual_seed(0)).eval()
    model.save_pretrained(folder)
    return model


def fitted(tmp_path, config, rate=16000):
    state = hidden.fit(config, clips(), rate, torch.Generator(), load_model=SSLModel.from_pretrained)
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
    pooled = pooled_grid(grid, pool)
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
    with pytest.raises(UserError, match="has not been fitted: `path` is null"):
        teacher_of(config)
    with pytest.raises(UserError, match="no clip is long enough for a frame of the model"):
        hidden.fit(config, clips()[1:2], 16000, torch.Generator(), load_model=SSLModel.from_pretrained)
    ready = fitted(tmp_path, config)
    with pytest.raises(
        UserError, match=r"the statistics are of \[1, 16\] layers and channels, the model has \[2, 16\]"
    ):
        teacher_of(replace(ready, layers=(1, 2)))


@torch.no_grad()
def test_layers_side_by_side_are_each_normalised_layer_and_their_mean_is_the_other_form(tmp_path):
    save(tmp_path / "run", conv.Config(channels=(8,) * 7))
    mean = fitted(tmp_path, hidden.Config(model=str(tmp_path / "run"), layers=(0, 2)))
    apart = replace(mean, combine="concat")
    assert needs_fit(replace(apart, path=None))
    teacher = teacher_of(apart)
    assert (teacher.spec.width, teacher.spec.blocks) == (32, 2)
    assert teacher.spec == hidden.target_spec(apart, 16000, CPU, SSLModel.from_pretrained)
    found = teacher(clips()[0])
    check_targets(found, teacher.spec, len(clips()[0]))
    torch.testing.assert_close(found.unflatten(1, (2, 16)).mean(1), teacher_of(mean)(clips()[0]))
    alone = teacher_of(fitted(tmp_path, replace(apart, path=None, layers=(2,))))
    torch.testing.assert_close(found[:, 16:], alone(clips()[0]))
    assert teacher.fingerprint != teacher_of(fitted(tmp_path, replace(mean, path=None))).fingerprint


@torch.no_grad()
def test_without_normalising_targets_are_the_states_themselves_and_nothing_is_fitted(tmp_path):
    model = save(tmp_path / "run", conv.Config(channels=(8,) * 7))
    config = hidden.Config(model=str(tmp_path / "run"), layers=(1, 2), combine="concat", normalize=False)
    assert not needs_fit(config)
    teacher, states = teacher_of(config), model(clips()[0][None]).hidden
    assert torch.equal(teacher(clips()[0]), torch.cat([states[1][0], states[2][0]], -1))
    other = build_model(ModelConfig(model.config.frontend, ENCODER, 16000), torch.Generator().manual_seed(1))
    other.save_pretrained(tmp_path / "other")
    assert teacher_of(replace(config, model=str(tmp_path / "other"))).fingerprint != teacher.fingerprint
    with pytest.raises(UserError, match="`path` has statistics of the corpus, which `normalize: false` does not use"):
        teacher_of(replace(config, path=str(tmp_path)))


@pytest.mark.parametrize(
    ("rate", "hop", "frames"), [(16000, 320, 50), (16000, 400, 40), (24000, None, 75), (24000, 480, 50)]
)
@torch.no_grad()
def test_a_model_of_24_khz_teaches_on_the_frames_of_another_rate(tmp_path, rate, hop, frames):
    model = save(tmp_path / "run", conv.Config(channels=(8,) * 7), 24000)
    config = fitted(tmp_path, hidden.Config(model=str(tmp_path / "run"), hop_samples=hop, combine="concat"), rate)
    teacher = teacher_of(config, rate)
    assert teacher.spec.grid.frame_rate_hz == frames
    assert teacher.spec.grid.sample_rate == rate
    for samples in (0, 200, 266, 267, 400, 7000, 20_000):
        check_targets(teacher(torch.randn(samples)), teacher.spec, samples)
    plain = teacher_of(replace(config, hop_samples=None), 24000)
    clip = torch.sin(torch.arange(20_000) / 9)
    states = plain(resampled(clip, rate, 24000))
    found = teacher(clip)
    for frame in (0, 1, 7, 20):
        place = (frame + 0.5) * 75 / frames - 0.5
        low = max(int(place), 0)
        expected = states[low] if place < 0 else states[low] * (low + 1 - place) + states[low + 1] * (place - low)
        torch.testing.assert_close(found[frame], expected)
    assert model.grid.frame_rate_hz == 75


def test_frames_that_no_whole_hop_reaches_must_be_named(tmp_path):
    save(tmp_path / "run", conv.Config(channels=(8,) * 7), 24000)
    with pytest.raises(UserError, match=r"`hop_samples` must be given, as the model has 75 frames/s") as error:
        hidden.target_spec(hidden.Config(model=str(tmp_path / "run")), 16000, CPU, SSLModel.from_pretrained)
    assert "320 at 16 kHz are 50 frames/s" in str(error.value)
    with pytest.raises(UserError, match="`hop_samples` must be at least 1, but is 0"):
        hidden.target_spec(
            hidden.Config(model=str(tmp_path / "run"), hop_samples=0), 16000, CPU, SSLModel.from_pretrained
        )


RATES = st.sampled_from([8000, 16000, 22050, 24000, 44100])


@given(GRIDS, RATES, st.integers(100, 900), st.integers(0, 9000))
def test_a_frame_between_is_there_as_soon_as_the_model_has_one(grid, rate, hop, samples):
    wanted = resampled_grid(grid, rate, hop, "a model")
    heard = grid.num_frames(len(resampled(torch.zeros(samples), rate, grid.sample_rate)))
    assert wanted.num_frames(samples) == 0 or heard > 0
    if heard and (rate, hop) != (grid.sample_rate, grid.hop_samples):
        # No frame begins after the last sample that the model heard.
        assert (wanted.num_frames(samples) - 1) * hop < samples or samples == 0


def test_between_frames_a_straight_line_stays_straight_and_equal_rates_change_nothing():
    line = torch.arange(40.0)[None, :, None]
    heard, half = FrameGrid(16000, 320, 400), FrameGrid(16000, 640, 400)
    assert torch.equal(between_frames(line, heard, FrameGrid(8000, 160, 200), 40), line)
    assert torch.equal(between_frames(line, heard, half, 20)[0, :, 0], torch.arange(20) * 2 + 0.5)
    double = between_frames(line, heard, FrameGrid(16000, 160, 400), 80)[0, :, 0]
    assert torch.equal(double[1:-1], (torch.arange(1.0, 79.0) + 0.5) / 2 - 0.5)
    assert torch.equal(double[[0, -1]], torch.tensor([0.0, 39.0]))
