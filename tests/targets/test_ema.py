import math

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.base.versions import fill_in
from audio_ssl.models.encoders import gru, transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.targets.teachers import ema


def make_model(seed=0):
    encoder = transformer.Config(
        layers=3, dim=16, ffn_dim=32, heads=2, dropout=0.5, position_kernel_frames=8, position_groups=4
    )
    config = ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000)
    return build_model(config, torch.Generator().manual_seed(seed))


def make(model, **options):
    return ema.build_online(ema.Config(**{"layers": 2, **options}), model)


def audio(*lengths):
    waveform = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(lengths)
    return waveform * (torch.arange(waveform.shape[1]) < lengths[:, None]), lengths


@pytest.mark.parametrize("point", ["feed_forward", "output"])
def test_targets_are_the_mean_of_instance_normalised_layers_of_the_unmasked_input(point):
    model = make_model()
    teacher = make(model, point=point)
    waveform, lengths = audio(4000)
    targets = teacher(waveform, lengths)
    hidden = model.eval()(waveform, lengths, point=point).hidden
    expected = sum(F.instance_norm(state.mT).mT for state in hidden[-2:]) / 2
    torch.testing.assert_close(targets, expected, rtol=1e-5, atol=1e-5)
    assert targets.shape == (1, model.grid.num_frames(4000), 16)
    assert (teacher.spec.kind, teacher.spec.width, teacher.spec.grid) == ("values", 16, model.grid)


def test_targets_of_a_clip_do_not_depend_on_its_neighbours():
    teacher = make(make_model())
    waveform, lengths = audio(4000, 2400)
    together = teacher(waveform, lengths)
    alone = teacher(waveform[1:, :2400], lengths[1:])
    torch.testing.assert_close(together[1, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-4)
    assert not together[1, alone.shape[1] :].any()


def test_known_features_give_the_same_targets():
    model = make_model()
    waveform, lengths = audio(4000, 2400)
    features = model.frontend(waveform, lengths)
    shared, own = make(model), make(model, share_frontend=False, average="encoder")
    torch.testing.assert_close(shared(waveform, lengths, features), shared(waveform, lengths))
    wrong = (features[0] + 1, features[1])
    assert not torch.allclose(shared(waveform, lengths, wrong), shared(waveform, lengths))
    assert torch.equal(own(waveform, lengths, wrong), own(waveform, lengths))


def test_the_decay_rises_linearly():
    teacher = make(make_model(), decay_start=0.5, decay_end=0.9, decay_steps=4)
    assert [round(teacher.decay(step), 6) for step in (0, 1, 2, 4, 100)] == [0.5, 0.6, 0.7, 0.9, 0.9]
    published = ema.build_online(ema.Config(layers=3), make_model())
    assert [published.decay(step) for step in (0, 15_000, 30_000)] == pytest.approx([0.999, 0.99945, 0.9999])


def test_the_decay_of_spidr_comes_nearer_to_one_by_an_e_th():
    options = {"schedule": "exponential", "decay_start": 0.999, "decay_end": 1.0, "decay_steps": 20_000}
    teacher = make(make_model(), **options)
    expected = [0.999, 1 - 0.001 / math.e, 1 - 0.001 / math.e**2]
    assert [teacher.decay(step) for step in (0, 20_000, 40_000)] == pytest.approx(expected, abs=1e-12)


SHARED = {
    "layers": {"feature_norm", "projection", "mask_embedding", "positions"},
    "transformer": {"feature_norm", "projection", "mask_embedding"},
    "encoder": set(),
}


@pytest.mark.parametrize(("average", "share"), [*((name, True) for name in SHARED), ("encoder", False)])
def test_weights_follow_by_the_average_and_what_is_shared_at_once(average, share):
    model, other = make_model(0), make_model(1)
    teacher = make(model, decay_start=0.75, decay_end=0.75, share_frontend=share, average=average)
    start = {name: value.clone() for name, value in model.named_parameters()}
    teacher.update(other, 0)
    teacher.update(other, 1)
    theirs, at_once = dict(other.named_parameters()), set()
    for name, mine in teacher.model.named_parameters():
        section, part = name.split(".")[:2]
        shared = share if section == "frontend" else part in SHARED[average]
        keep = 0.0 if shared else 0.75**2
        torch.testing.assert_close(mine, keep * start[name] + (1 - keep) * theirs[name].detach(), msg=name)
        torch.testing.assert_close(model.state_dict()[name], start[name], rtol=0, atol=0)
        at_once |= {part} if shared and section == "encoder" else set()
    assert at_once == SHARED[average]


def test_recipes_of_earlier_runs_keep_their_targets():
    earlier = fill_in(ema.Config, {"layers": 2}, version=1)
    average = {"layers": 2, "point": "output", "average": "encoder"}
    assert earlier == average | {"schedule": "linear", "freeze_after": None}
    assert ema.Config() == ema.Config(point="feed_forward", average="layers")


def test_frozen_it_stands_still_and_hears_what_the_model_hears():
    model, other = make_model(0), make_model(1)
    teacher = make(model, freeze_after=1)
    teacher.update(other, 0)
    before = {name: value.clone() for name, value in teacher.model.named_parameters()}
    teacher.update(make_model(2), 1)
    theirs, moved = dict(make_model(2).named_parameters()), set()
    for name, value in teacher.model.named_parameters():
        if not torch.equal(value, before[name]):
            moved.add(".".join(name.split(".")[: 1 + name.startswith("encoder")]))
            assert torch.equal(value, theirs[name])
    # Norms start at 1 and 0 in all models.
    assert moved == {"frontend", "encoder.projection", "encoder.mask_embedding"}


def test_the_first_update_is_number_one():
    model, other = make_model(0), make_model(1)
    teacher = make(model, decay_start=0.0, decay_end=1.0, decay_steps=2)
    before, after = (one.encoder.blocks[0].query.weight.detach().clone() for one in (model, other))
    teacher.update(other, 0)
    torch.testing.assert_close(teacher.model.encoder.blocks[0].query.weight, (before + after) / 2)


def test_no_gradient_no_dropout_no_trainable_weight():
    model = make_model()
    teacher = make(model)
    waveform, lengths = audio(4000)
    features, frames = model.frontend(waveform, lengths)
    assert not teacher(waveform, lengths, (features, frames)).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in model.parameters())
    teacher.train()
    assert torch.equal(teacher(waveform, lengths), teacher(waveform, lengths))


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="`layers` must lie between 1 and the encoder's 3, but is 4"):
        make(make_model(), layers=4)
    with pytest.raises(UserError, match="`decay_end` must be a share"):
        make(make_model(), decay_end=1.5)
    with pytest.raises(UserError, match="`schedule` must be linear or exponential, but is `cosine`"):
        make(make_model(), schedule="cosine")
    with pytest.raises(UserError, match="`freeze_after` must not be negative, or be null, but is -1"):
        make(make_model(), freeze_after=-1)
    with pytest.raises(UserError, match="`average` must be layers, transformer or encoder, but is `model`"):
        make(make_model(), average="model")
    with pytest.raises(UserError, match="the projection must be averaged too, but `average` is layers"):
        make(make_model(), share_frontend=False)
    recurrent = build_model(ModelConfig(conv.Config(channels=(8,) * 7), gru.Config(layers=2, dim=16), 16000))
    with pytest.raises(UserError, match="which a gru encoder does not have"):
        make(recurrent)
    assert make(recurrent, point="output")(*audio(4000)).shape[2] == 16
    with pytest.raises(UserError, match="cannot be used without one"):
        ema.build(ema.Config(), 16000, torch.device("cpu"))
